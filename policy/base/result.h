#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "policy/base/reasons.h"
#include "policy/base/verify.h"

namespace ipsec {

/// Why an operation did not succeed: a reason of the catalogue, a detail for people, and the chain of what was being
/// done. Made by whatever met the problem, carried upwards by value, logged once by whoever gives up.
class [[nodiscard]] Error {
 public:
  /// `detail` must not hold bytes of a peer unescaped (use `printable()` of bytes.h). `os_errno` is 0 or a positive
  /// errno.
  explicit Error(Reason reason, std::string detail = {}, int os_errno = 0)
      : reason_(reason), os_errno_(os_errno), detail_(std::move(detail)) {}

  /// Puts what the caller was doing in front: "SA payload: proposal 2: need 8 bytes, have 3".
  Error context(std::string_view doing) &&;

  Reason reason() const { return reason_; }
  int os_errno() const { return os_errno_; }
  const std::string& detail() const { return detail_; }
  /// The whole sentence: detail, then the system's word for the errno if there is one.
  std::string text() const;

 private:
  Reason reason_;
  int os_errno_ = 0;
  std::string detail_;
};

/// A value or the Error that prevented it.
template <typename T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() & { return *held(std::get_if<0>(&state_)); }
  const T& value() const& { return *held(std::get_if<0>(&state_)); }
  T&& value() && { return std::move(*held(std::get_if<0>(&state_))); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  const Error& error() const& { return *held(std::get_if<1>(&state_)); }
  Error&& error() && { return std::move(*held(std::get_if<1>(&state_))); }

 private:
  /// What is asked for must be there: asking for the value of an error is a bug of ours.
  template <typename Held>
  static Held* held(Held* there) {
    VERIFY(there != nullptr);
    return there;
  }
  std::variant<T, Error> state_;
};

/// Success without a value, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const& { return VERIFY(!ok()), *error_; }
  Error&& error() && { return VERIFY(!ok()), std::move(*error_); }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

}  // namespace ipsec

#define IPSEC_JOIN_INNER(a, b) a##b
#define IPSEC_JOIN(a, b) IPSEC_JOIN_INNER(a, b)

/// `TRY_ASSIGN(auto x, expression, "doing what")`: the value of a Result, or return its error with that context.
#define TRY_ASSIGN(declaration, expression, doing)                                                               \
  auto IPSEC_JOIN(tried_, __LINE__) = (expression);                                                              \
  if (!IPSEC_JOIN(tried_, __LINE__).ok()) return std::move(IPSEC_JOIN(tried_, __LINE__)).error().context(doing); \
  declaration = std::move(IPSEC_JOIN(tried_, __LINE__)).value()

/// `TRY(expression, "doing what")`: the same for a Result without a value, or one whose value is not wanted.
#define TRY(expression, doing)                                                                  \
  do {                                                                                          \
    if (auto tried = (expression); !tried.ok()) return std::move(tried).error().context(doing); \
  } while (false)
