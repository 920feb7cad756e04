#include "policy/identity.h"

#include <algorithm>

#include "policy/base/ip.h"

namespace ipsec::policy {
namespace {

constexpr std::string_view kKeyIdPrefix = "keyid:";
constexpr std::string_view kFqdnPrefix = "fqdn:";

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

}  // namespace

Result<Identity> Identity::parse(std::string_view text) {
  if (text.empty()) return Error(Reason::kConfigBadValue, "an identity must not be empty");
  if (text.size() > 255) return Error(Reason::kConfigBadValue, "an identity has at most 255 characters");
  if (text.starts_with(kKeyIdPrefix)) {
    TRY_ASSIGN(Bytes id, from_hex(text.substr(kKeyIdPrefix.size())), "keyid");
    return Identity{IdType::kKeyId, std::move(id)};
  }
  if (text.starts_with(kFqdnPrefix)) return from_text(IdType::kFqdn, text.substr(kFqdnPrefix.size()));
  if (auto address = IpAddress::parse(text); address.ok()) {
    const ByteView bytes = address->bytes();
    return Identity{address->is_v4() ? IdType::kIpv4 : IdType::kIpv6, Bytes(bytes.begin(), bytes.end())};
  }
  if (text.find_first_of(" \t\n\"\\") != std::string_view::npos)
    return Error(Reason::kConfigBadValue, "an identity is an address, a domain name, a mail address or keyid:HEX");
  return from_text(text.find('@') == std::string_view::npos ? IdType::kFqdn : IdType::kRfc822, text);
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
