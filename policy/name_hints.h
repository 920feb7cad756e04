#pragma once

#include <array>
#include <functional>
#include <string>
#include <string_view>

#include "policy/limits.h"

namespace ipsec::policy {

/// Finds the known name that a wrong word was meant to be. The work is bounded: all searches of one object share a
/// budget of compared characters. A search that the rest of the budget does not suffice for finds nothing.
class NameHints {
 public:
  explicit NameHints(size_t budget = kHintCharactersMax) : left_(budget) {}

  /// The nearest of `names`, if one is near enough to be meant. `name_of` makes a text of an element.
  template <typename Names, typename NameOf = std::identity>
  std::string nearest(std::string_view word, const Names& names, const NameOf& name_of = {}) {
    Search search{.word = word, .best = {}, .least = std::max<size_t>(2, word.size() / 3) + 1};
    for (const auto& each : names)
      if (!look_at(search, name_of(each))) return {};
    return std::move(search.best);
  }

  /// Characters that may still be compared.
  size_t left() const { return left_; }

 private:
  static constexpr size_t kNameMax = 80;  // no longer one is looked at
  struct Search {
    std::string_view word;
    std::string best;
    size_t least = 0;  // differences, of which a name has to have fewer
  };
  bool look_at(Search& search, std::string_view name);
  size_t distance(std::string_view a, std::string_view b);

  size_t left_;
  std::array<size_t, kNameMax + 1> row_{};
};

}  // namespace ipsec::policy
