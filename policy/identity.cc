#include "policy/identity.h"

#include <algorithm>
#include <array>

#include "policy/base/ip.h"

namespace ipsec::policy {
namespace {

constexpr size_t kIdentityBytesMax = 255;
constexpr std::string_view kForms = "an address, a domain name, user@domain, keyid:HEX or keyid-text:TEXT";

/// How a text behind a prefix is read.
enum class Form : uint8_t { kFqdn, kMail, kIpv4, kIpv6, kKeyHex, kKeyText };
struct Prefix {
  std::string_view text;
  Form form;
};
/// Our prefixes, and those by which other programs say the same: an @ in front keeps strongSwan and libreswan from
/// looking a domain name up. Longer ones come before their own beginnings.
constexpr std::array<Prefix, 14> kPrefixes = {{{"fqdn:", Form::kFqdn},
                                               {"dns:", Form::kFqdn},
                                               {"email:", Form::kMail},
                                               {"rfc822:", Form::kMail},
                                               {"userfqdn:", Form::kMail},
                                               {"user-fqdn:", Form::kMail},
                                               {"ufqdn:", Form::kMail},
                                               {"ipv4:", Form::kIpv4},
                                               {"ipv6:", Form::kIpv6},
                                               {"keyid-text:", Form::kKeyText},
                                               {"keyid:", Form::kKeyHex},
                                               {"@#", Form::kKeyHex},
                                               {"@@", Form::kMail},
                                               {"@", Form::kFqdn}}};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

std::string folded(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), lower);
  return result;
}

Identity from_text(IdType type, std::string_view text) {
  const ByteView bytes = as_bytes(text);
  return {type, Bytes(bytes.begin(), bytes.end())};
}

Error not_allowed(std::string allowed) { return Error(Reason::kConfigBadValue, std::move(allowed)); }

Identity of_address(const IpAddress& address) {
  const ByteView bytes = address.bytes();
  return {address.is_v4() ? IdType::kIpv4 : IdType::kIpv6, Bytes(bytes.begin(), bytes.end())};
}

bool is_pattern(std::string_view text) {
  return text.find('*') != std::string_view::npos || text.starts_with('%') || text == "any";
}

/// TYPE=VALUE, whatever stands between them.
bool is_distinguished(std::string_view text) {
  const size_t equals = text.find('=');
  return equals != std::string_view::npos && equals != 0 && std::ranges::all_of(text.substr(0, equals), [](char c) {
           return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '/';
         });
}

/// Refuses a text that was meant as an address and is none: no peer has such a name.
Status check_no_address(std::string_view text) {
  if (const size_t slash = text.find('/'); slash != std::string_view::npos)
    return IpAddress::parse(text.substr(0, slash)).ok()
               ? not_allowed("one address, without the length of a prefix: a tunnel has one peer")
               : not_allowed(std::string(kForms) + ", without /");
  const bool digits = text.find_first_not_of("0123456789.") == std::string_view::npos;
  const bool colons =
      text.find_first_not_of("0123456789abcdefABCDEF:.") == std::string_view::npos && std::ranges::count(text, ':') > 1;
  if (digits || colons) return not_allowed(std::string(kForms) + "; this looks like an address and is none");
  return {};
}

/// A domain or mail name, whatever its prefix was.
Result<Identity> named(IdType type, std::string_view text) {
  if (text.empty()) return not_allowed("a name behind the prefix");
  if (text.find_first_of(" \"\\'<>(),;") != std::string_view::npos)
    return not_allowed("a name without blanks, quotes, brackets and commas");
  if (text.find('*') != std::string_view::npos)
    return not_allowed("the name of one peer, without *: patterns are not supported in this version");
  if (type == IdType::kFqdn) {
    if (text.find('@') != std::string_view::npos)
      return not_allowed("a domain name, without @ (a mail name: email:NAME)");
    return from_text(type, text);
  }
  const size_t at = text.find('@');
  if (at == std::string_view::npos || at == 0 || at + 1 == text.size() ||
      text.find('@', at + 1) != std::string_view::npos)
    return not_allowed("user@domain, with something on both sides of one @");
  return from_text(type, text);
}

Result<Identity> key_id(std::string_view digits) {
  if (digits.starts_with("0x") || digits.starts_with("0X")) digits.remove_prefix(2);
  auto id = from_hex(digits);
  if (digits.empty() || !id.ok())
    return not_allowed(
        "pairs of hexadecimal digits behind keyid:, as keyid:6272616e6368; for a text: keyid-text:branch");
  return Identity{IdType::kKeyId, std::move(*id)};
}

Result<Identity> prefixed(const Prefix& prefix, std::string_view text) {
  switch (prefix.form) {
    case Form::kFqdn: return named(IdType::kFqdn, text);
    case Form::kMail: return named(IdType::kRfc822, text);
    case Form::kKeyHex: return key_id(text);
    case Form::kKeyText:
      if (text.empty()) return not_allowed("a text behind keyid-text:");
      return from_text(IdType::kKeyId, text);
    case Form::kIpv4:
    case Form::kIpv6: break;
  }
  const bool v4 = prefix.form == Form::kIpv4;
  auto address = IpAddress::parse(text);
  if (!address.ok() || address->is_v4() != v4)
    return not_allowed(v4 ? "an IPv4 address behind ipv4:" : "an IPv6 address behind ipv6:");
  return of_address(*address);
}

}  // namespace

Result<Identity> Identity::parse(std::string_view text) {
  if (text.size() > kIdentityBytesMax)
    return not_allowed("a name of at most " + std::to_string(kIdentityBytesMax) + " characters");
  if (std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) >= 0x7f || c < ' '; }))
    return not_allowed("a name in letters of ASCII (an international domain name as xn--...), or keyid:HEX");
  for (const Prefix& each : kPrefixes)
    if (text.starts_with(each.text)) return prefixed(each, text.substr(each.text.size()));
  if (text.starts_with("asn1dn:") || text.starts_with("dn:") || is_distinguished(text))
    return not_allowed(std::string(kForms) + "; distinguished names are not supported in this version");
  if (text.empty()) return not_allowed(std::string(kForms));
  if (auto address = IpAddress::parse(text); address.ok()) return of_address(*address);
  if (is_pattern(text))
    return not_allowed(std::string(kForms) +
                       "; this is a pattern, and one tunnel has one peer: without remote_id it is "
                       "the one with the remote address");
  TRY(check_no_address(text), "");
  if (const size_t colon = text.find(':'); colon != std::string_view::npos)
    return not_allowed(std::string(kForms) + "; \"" + std::string(text.substr(0, colon + 1)) +
                       "\" is no kind of identity here (for a domain name that looks so: fqdn:NAME)");
  if (text.find('@') == std::string_view::npos) return named(IdType::kFqdn, text);
  return named(IdType::kRfc822, text);
}

std::string Identity::index_key() const {
  std::string key(1, static_cast<char>(type));
  std::string_view text = as_text(data);
  if (type == IdType::kFqdn) {
    if (text.ends_with('.')) text.remove_suffix(1);
    return key.append(folded(text));
  }
  if (type == IdType::kRfc822) {
    // The part before @ is the mail system's own and keeps its case (RFC 5321 section 2.4).
    const size_t at = std::min(text.rfind('@'), text.size());
    return key.append(text.substr(0, at)).append(folded(text.substr(at)));
  }
  return key.append(text);
}

bool Identity::matches(const Identity& other) const { return index_key() == other.index_key(); }

std::string to_string(const Identity& identity) {
  switch (identity.type) {
    case IdType::kIpv4:
    case IdType::kIpv6:
      if (auto address = IpAddress::from_bytes(identity.data); address.ok()) return to_string(*address);
      return "keyid:" + to_hex(identity.data);
    case IdType::kFqdn:
    case IdType::kRfc822: return printable(identity.data);
    case IdType::kDerAsn1Dn:
    case IdType::kDerAsn1Gn: return "der:" + to_hex(identity.data);
    case IdType::kKeyId: return "keyid:" + to_hex(identity.data);
  }
  return "type-" + std::to_string(static_cast<unsigned>(identity.type)) + ":" + to_hex(identity.data);
}

}  // namespace ipsec::policy
