#include "ike/wire/id_payload.h"

#include <algorithm>
#include <string>

#include "ike/limits.h"

namespace ipsec::ike {
namespace {

using policy::IdType;

constexpr size_t kBeforeData = 4;  // type and three reserved bytes

Status check_text(ByteView data) {
  // RFC 7296 section 3.5: names hold no terminators.
  auto terminates = [](uint8_t byte) { return byte == 0 || byte == '\r' || byte == '\n'; };
  if (std::any_of(data.begin(), data.end(), terminates))
    return Error(Reason::kMalformed, "identification data: a terminator within a name");
  return {};
}

Status check_address(ByteView data, size_t bytes) {
  if (data.size() == bytes) return {};
  return Error(Reason::kMalformed, "identification data: " + std::to_string(data.size()) + " bytes for an address of " +
                                       std::to_string(bytes));
}

Status check(IdType type, ByteView data) {
  switch (type) {
    case IdType::kIpv4: return check_address(data, 4);
    case IdType::kIpv6: return check_address(data, 16);
    case IdType::kFqdn:
    case IdType::kRfc822: return check_text(data);
    case IdType::kDerAsn1Dn:
    case IdType::kDerAsn1Gn:
    case IdType::kKeyId: return {};
  }
  return {};  // a type that is not known has no form that could be wrong
}

}  // namespace

bool IdPayload::has_known_type() const {
  switch (identity.type) {
    case IdType::kIpv4:
    case IdType::kIpv6:
    case IdType::kFqdn:
    case IdType::kRfc822:
    case IdType::kDerAsn1Dn:
    case IdType::kDerAsn1Gn:
    case IdType::kKeyId: return true;
  }
  return false;
}

IdPayload IdPayload::of(const policy::Identity& identity) {
  ByteWriter body(kBeforeData + identity.data.size());
  body.u8(static_cast<uint8_t>(identity.type));
  body.zeros(3);
  body.bytes(identity.data);
  return {.identity = identity, .body = std::move(body).take()};
}

Result<IdPayload> IdPayload::parse(ByteReader body) {
  ByteReader copy = body;
  const bool left_out = body.remaining() > kBeforeData + kIdentityBytesMax;
  TRY_ASSIGN(const ByteView whole, copy.bytes(std::min(body.remaining(), kBeforeData + kIdentityBytesMax)), "");
  TRY_ASSIGN(const uint8_t type, body.u8(), "identification type");
  TRY(body.bytes(3), "reserved");  // RFC 7296 section 2.5: ignored, though AUTH covers them as they came
  if (body.done()) return Error(Reason::kMalformed, "identification data: none");
  TRY_ASSIGN(const ByteView data, body.bytes(std::min(body.remaining(), kIdentityBytesMax)), "identification data");
  TRY(check(IdType{type}, data), "");
  return IdPayload{.identity = {.type = IdType{type}, .data = {data.begin(), data.end()}},
                   .body = {whole.begin(), whole.end()},
                   .left_out = left_out};
}

void IdPayload::write(ByteWriter& out) const {
  VERIFY(body.size() > kBeforeData);  // made by of() or parse()
  out.bytes(body);
}

}  // namespace ipsec::ike
