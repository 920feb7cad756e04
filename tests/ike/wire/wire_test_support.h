#pragma once

#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "ike/wire/payloads.h"
#include "policy/base/random.h"

namespace ipsec::test {

inline Bytes bytes_of(std::string_view hex) { return *from_hex(hex); }

/// What write() makes of a payload, as hexadecimal digits.
template <typename P>
std::string written(const P& payload) {
  ByteWriter out;
  payload.write(out);
  return to_hex(out.view());
}

template <typename P>
Result<P> parsed(const Bytes& body) {
  return P::parse(ByteReader{ByteView(body)});
}

template <typename P>
Result<P> parsed(std::string_view hex) {
  return parsed<P>(bytes_of(hex));
}

/// The reason and the detail of the error that parsing must end with.
template <typename P>
std::string refused(const Bytes& body) {
  auto result = parsed<P>(body);
  if (result.ok()) return "accepted";
  return std::string(code(result.error().reason())) + " | " + result.error().detail();
}

template <typename P>
std::string refused(std::string_view hex) {
  return refused<P>(bytes_of(hex));
}

/// Whether cutting the body at every byte gives an error or something that can be written; never anything else.
/// `shortest`: the first length that may be accepted.
template <typename P>
void check_truncation(std::string_view hex, size_t shortest) {
  const Bytes whole = bytes_of(hex);
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    CAPTURE(bytes);
    const auto result = parsed<P>(Bytes(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(bytes)));
    if (bytes < shortest) {
      REQUIRE(!result.ok());
      CHECK(!result.error().detail().empty());
    } else {
      CHECK(result.ok());
    }
  }
  CHECK(parsed<P>(hex).ok());
}

}  // namespace ipsec::test
