#include "policy/name_hints.h"

#include <algorithm>
#include <utility>

namespace ipsec::policy {

/// Changes, insertions and removals of single characters that turn one word into the other.
size_t NameHints::distance(std::string_view a, std::string_view b) {
  for (size_t j = 0; j <= b.size(); ++j) row_[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row_[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row_[j];
      row_[j] = std::min({change, row_[j] + 1, row_[j - 1] + 1});
    }
  }
  return row_[b.size()];
}

/// False: the budget is used up.
bool NameHints::look_at(Search& search, std::string_view name) {
  const size_t shorter = std::min(search.word.size(), name.size()), longer = std::max(search.word.size(), name.size());
  const bool compares = longer <= kNameMax && longer - shorter < search.least;
  const size_t cost = 1 + (compares ? search.word.size() * name.size() : 0);
  if (cost > left_) {
    left_ = 0;
    return false;
  }
  left_ -= cost;
  if (!compares) return true;
  if (const size_t here = distance(search.word, name); here < search.least) {
    search.least = here;
    search.best = name;
  }
  return true;
}

}  // namespace ipsec::policy
