#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ipsec::policy {

/// Warnings of one kind: a thousand objects with one weakness are one thing to know. The first kWarningsNamedMax are
/// kept in full, the others are counted.
class WarningGroup {
 public:
  /// `more`: what the others are, as it follows their number ("more tunnels that ...").
  explicit WarningGroup(std::string more) : more_(std::move(more)) {}

  void add(std::string text);
  size_t count() const { return count_; }
  /// Adds them to `warnings`, at most one more than kWarningsNamedMax.
  void finish(std::vector<std::string>& warnings);

 private:
  std::string more_;
  std::vector<std::string> named_;
  size_t count_ = 0;
};

/// "a, b, c and 997 more": the first kNamesNamedMax.
std::string named(const std::vector<std::string_view>& names);

}  // namespace ipsec::policy
