#include "tests/tidy/tree.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>

namespace ipsec::tidy {
namespace {

bool is_word_character(char each) { return std::isalnum(static_cast<unsigned char>(each)) != 0 || each == '_'; }

/// What a brace opens, by the text before it since the last brace or semicolon.
enum class Block { kOpen, kFunction, kInside };

Block block_of(std::string_view before, bool inside) {
  if (inside) return Block::kInside;
  for (std::string_view word : {"namespace", "class", "struct", "enum", "union", "extern"})
    if (has_word(before, word) && before.find('(') == std::string_view::npos) return Block::kOpen;
  if (before.find("extern \"") != std::string_view::npos) return Block::kOpen;
  const bool initializer =
      before.find('=') != std::string_view::npos && before.find("operator") == std::string_view::npos;
  return before.find('(') != std::string_view::npos && !initializer ? Block::kFunction : Block::kOpen;
}

}  // namespace

bool has_word(std::string_view line, std::string_view word) {
  for (size_t at = line.find(word); at != std::string_view::npos; at = line.find(word, at + 1)) {
    const bool begins = at == 0 || !is_word_character(line[at - 1]);
    const size_t end = at + word.size();
    if (begins && (end == line.size() || !is_word_character(line[end]))) return true;
  }
  return false;
}

std::vector<std::string> without_comments(const std::vector<std::string>& lines) {
  std::vector<std::string> code;
  bool in_comment = false;
  bool in_raw = false;
  for (const std::string& line : lines) {
    std::string out;
    char quote = 0;
    for (size_t at = 0; at < line.size(); ++at) {
      const std::string_view rest = std::string_view(line).substr(at);
      if (in_comment || in_raw) {
        if (in_comment && rest.starts_with("*/")) in_comment = false, ++at;
        if (in_raw && rest.starts_with(")\"")) in_raw = false, ++at;
      } else if (quote != 0) {
        if (line[at] == '\\') ++at;
        if (at < line.size() && line[at] == quote && line[at - 1] != '\\') quote = 0;
      } else if (rest.starts_with("//")) {
        break;
      } else if (rest.starts_with("/*")) {
        in_comment = true, ++at;
      } else if (rest.starts_with("R\"(")) {
        in_raw = true, at += 2;
      } else if (line[at] == '"' || (line[at] == '\'' && (at == 0 || !is_word_character(line[at - 1])))) {
        quote = line[at];
      } else {
        out += line[at];
      }
    }
    code.push_back(std::move(out));
  }
  return code;
}

std::vector<SourceFile> read_tree(const std::string& root) {
  std::vector<SourceFile> files;
  for (const char* folder : {"agent", "hwoffload", "ike", "netlink", "policy", "tests"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root + "/" + folder)) {
      const std::string extension = entry.path().extension();
      if (!entry.is_regular_file() || (extension != ".h" && extension != ".cc")) continue;
      SourceFile file{.path = std::filesystem::relative(entry.path(), root), .lines = {}, .code = {}};
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);) file.lines.push_back(line);
      file.code = without_comments(file.lines);
      files.push_back(std::move(file));
    }
  }
  std::ranges::sort(files, {}, &SourceFile::path);
  return files;
}

std::vector<FunctionLength> functions_of(const SourceFile& file) {
  std::vector<FunctionLength> found;
  std::string before;
  size_t depth_inside = 0;
  size_t began = 0;
  for (size_t number = 1; number <= file.code.size(); ++number) {
    const std::string& line = file.code[number - 1];
    if (line.starts_with("#")) continue;
    for (char each : line) {
      if (each == '{') {
        if (block_of(before, depth_inside > 0) != Block::kOpen && depth_inside++ == 0) began = number;
        before.clear();
      } else if (each == '}') {
        if (depth_inside > 0 && --depth_inside == 0) found.push_back({began, number - began + 1});
        before.clear();
      } else if (each == ';') {
        before.clear();
      } else {
        before += each;
      }
    }
    before += ' ';
  }
  return found;
}

}  // namespace ipsec::tidy
