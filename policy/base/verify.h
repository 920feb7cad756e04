#pragma once

namespace ipsec {

/// Prints what was violated and aborts: a broken promise inside this program, never something a peer or the kernel did.
[[noreturn]] void verify_failed(const char* condition, const char* file, int line);

}  // namespace ipsec

/// Asserts an invariant of our own code, in every build. A peer's or the system's misbehaviour is a Result instead.
#define VERIFY(condition) \
  (static_cast<bool>(condition) ? void(0) : ::ipsec::verify_failed(#condition, __FILE__, __LINE__))
