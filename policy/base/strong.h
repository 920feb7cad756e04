#pragma once

#include <compare>
#include <cstddef>
#include <functional>

namespace ipsec {

/// An identifier that cannot be mixed up with another one of the same width. `Tag` is any (incomplete) type.
template <typename Tag, typename T>
class Strong {
 public:
  using underlying = T;
  constexpr Strong() = default;
  constexpr explicit Strong(T value) : value_(value) {}
  constexpr T value() const { return value_; }
  constexpr explicit operator bool() const { return value_ != T{}; }
  friend constexpr auto operator<=>(const Strong&, const Strong&) = default;

 private:
  T value_{};
};

}  // namespace ipsec

template <typename Tag, typename T>
struct std::hash<ipsec::Strong<Tag, T>> {
  size_t operator()(const ipsec::Strong<Tag, T>& id) const noexcept { return std::hash<T>{}(id.value()); }
};
