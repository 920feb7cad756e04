#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "policy/base/bytes.h"

namespace ipsec::policy {

/// Kinds of identification (RFC 7296 section 3.5).
enum class IdType : uint8_t {
  kIpv4 = 1,
  kFqdn = 2,
  kRfc822 = 3,
  kIpv6 = 5,
  kDerAsn1Dn = 9,
  kDerAsn1Gn = 10,
  kKeyId = 11
};

/// Who a peer says it is. Compared byte by byte; FQDN and mail domain without regard to case.
struct Identity {
  IdType type = IdType::kFqdn;
  Bytes data;

  /// From configuration: an address, user@domain (mail), else a domain name; or what a prefix says: "fqdn:" ("dns:",
  /// and an '@' alone in front), "email:" ("rfc822:", "userfqdn:"), "ipv4:", "ipv6:", "keyid:" with hexadecimal digits
  /// ("@#"), "keyid-text:". Error kConfigBadValue, as what would be allowed: empty ones, patterns ("%any", "*"),
  /// prefixes of addresses, distinguished names, letters beyond ASCII, and what looks like an address and is none.
  static Result<Identity> parse(std::string_view text);
  /// Two identities that mean the same.
  bool matches(const Identity& other) const;
  /// A key for maps: equal exactly when `matches`.
  std::string index_key() const;
  friend bool operator==(const Identity&, const Identity&) = default;
};

/// For people; bytes of a peer are escaped.
std::string to_string(const Identity& identity);

}  // namespace ipsec::policy
