#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ipsec::tidy {

/// One source file, as it stands and without what is no code.
struct SourceFile {
  std::string path;                ///< From the root of the project.
  std::vector<std::string> lines;  ///< As written.
  std::vector<std::string> code;   ///< The same lines with comments and the insides of literals blanked.

  bool in(std::string_view folder) const { return path.starts_with(folder); }
  bool is_header() const { return path.ends_with(".h"); }
};

/// All .h and .cc files below `root`, but not of the build tree; sorted.
std::vector<SourceFile> read_tree(const std::string& root);

/// Blanks comments and the insides of string and character literals, line by line.
std::vector<std::string> without_comments(const std::vector<std::string>& lines);

/// A function's length in lines: from the line whose brace opens its body at namespace or class level to its closing
/// brace.
struct FunctionLength {
  size_t line = 0;  ///< From 1.
  size_t lines = 0;
};
std::vector<FunctionLength> functions_of(const SourceFile& file);

/// Whether `word` stands in `line` with no letter, digit or underscore on either side.
bool has_word(std::string_view line, std::string_view word);

}  // namespace ipsec::tidy
