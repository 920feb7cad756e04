#include "policy/config_warnings.h"

#include <algorithm>

#include "policy/limits.h"

namespace ipsec::policy {

void WarningGroup::add(std::string text) {
  if (++count_ <= kWarningsNamedMax) named_.push_back(std::move(text));
}

void WarningGroup::finish(std::vector<std::string>& warnings) {
  for (std::string& each : named_) warnings.push_back(std::move(each));
  if (count_ > kWarningsNamedMax) warnings.push_back(std::to_string(count_ - kWarningsNamedMax) + " " + more_);
  named_.clear();
  count_ = 0;
}

std::string named(const std::vector<std::string_view>& names) {
  std::string text;
  const size_t shown = std::min(names.size(), kNamesNamedMax);
  for (size_t i = 0; i < shown; ++i) {
    const bool last = i + 1 == shown && shown == names.size();
    text.append(i == 0 ? "" : last ? " and " : ", ").append(names[i]);
  }
  if (names.size() > shown) text.append(" and ").append(std::to_string(names.size() - shown)).append(" more");
  return text;
}

}  // namespace ipsec::policy
