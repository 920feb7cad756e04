#include "ike/wire/sa_payload.h"

#include <algorithm>
#include <optional>
#include <string>

#include "ike/limits.h"

namespace ipsec::ike {
namespace {

using policy::Protocol;
using policy::Transform;
using policy::TransformType;

// RFC 7296 sections 3.3.1 and 3.3.2: what "Last Substruc" says when more follow.
constexpr uint8_t kLast = 0, kMoreProposals = 2, kMoreTransforms = 3;
constexpr size_t kTransformHeaderBytes = 8;
constexpr size_t kProposalHeaderBytes = 8;
// RFC 7296 section 3.3.5.
constexpr uint16_t kFixedLengthFlag = 0x8000;
constexpr uint16_t kKeyLength = 14;

/// Checks "Last Substruc" against whether anything is left behind this structure.
Status check_last(uint8_t last, uint8_t more, const ByteReader& behind) {
  if (last != kLast && last != more) return Error(Reason::kMalformed, "last substructure: " + std::to_string(last));
  if ((last == kLast) != behind.done())
    return Error(Reason::kMalformed,
                 last == kLast ? "last substructure: more follow" : "last substructure: none follows");
  return {};
}

/// What the attributes of one transform say.
struct Attributes {
  uint16_t key_bits = 0;
  bool understood = true;
};

// Key Length is the only attribute that is defined; a transform with any other must not be chosen (RFC 7296 section
// 3.3.6).
Result<Attributes> parse_attributes(ByteReader body) {
  Attributes found;
  for (size_t count = 1; !body.done(); ++count) {
    const std::string which = "attribute " + std::to_string(count);
    if (count > kAttributesMax) return Attributes{.understood = false};
    TRY_ASSIGN(const uint16_t type, body.u16(), which + ": type");
    TRY_ASSIGN(const uint16_t value, body.u16(), which + ": value or length");
    if ((type & kFixedLengthFlag) == 0) {
      TRY(body.bytes(value), which + ": value");
      found.understood = false;
    } else if (type != (kFixedLengthFlag | kKeyLength) || value == 0) {
      found.understood = false;
    } else if (found.key_bits != 0) {
      // RFC 7296 section 3.3: a transform has no two attributes of one type. Nobody knows which of them counts.
      found.understood = false;
    } else {
      found.key_bits = value;
    }
  }
  return found;
}

struct ParsedTransform {
  uint8_t type = 0;
  Transform transform;
  bool usable = true;
};

Result<ParsedTransform> parse_transform(ByteReader& proposal) {
  TRY_ASSIGN(const uint8_t last, proposal.u8(), "last substructure");
  TRY(proposal.u8(), "reserved");  // RFC 7296 section 2.5: ignored
  TRY_ASSIGN(const uint16_t length, proposal.u16(), "length");
  if (length < kTransformHeaderBytes) return Error(Reason::kMalformed, "length: " + std::to_string(length));
  TRY_ASSIGN(ByteReader body, proposal.sub(length - 4U), "length");
  TRY_ASSIGN(const uint8_t type, body.u8(), "type");
  TRY(body.u8(), "reserved");
  TRY_ASSIGN(const uint16_t id, body.u16(), "ID");
  TRY_ASSIGN(const Attributes attributes, parse_attributes(body), "");
  TRY(check_last(last, kMoreTransforms, proposal), "");
  return ParsedTransform{.type = type,
                         .transform = {.type = TransformType{type}, .id = id, .key_bits = attributes.key_bits},
                         .usable = attributes.understood};
}

bool is_known_type(uint8_t type) {
  return type >= static_cast<uint8_t>(TransformType::kEncryption) && type <= static_cast<uint8_t>(TransformType::kEsn);
}

bool is_spi_size(Protocol protocol, uint8_t bytes) {
  // RFC 7296 section 3.3.1: none in the initial exchange, 8 when an IKE SA is rekeyed, 4 for ESP and AH.
  if (protocol == Protocol::kIke) return bytes == 0 || bytes == 8;
  if (protocol == Protocol::kEsp || protocol == Protocol::kAh) return bytes == 4;
  return true;  // a protocol that is not known may have any
}

/// Reads exactly `count` transforms into `wire` and decides whether the proposal can be used.
Status parse_transforms(ByteReader body, uint8_t count, WireProposal& wire) {
  std::vector<TransformType> dropped;
  auto& transforms = wire.proposal.transforms;
  transforms.reserve(count);
  for (unsigned i = 1; i <= count; ++i) {
    const std::string which = "transform " + std::to_string(i);
    TRY_ASSIGN(const ParsedTransform parsed, parse_transform(body), which);
    if (body.done() && i < count)
      return Error(Reason::kMalformed, which + ": the last one, but the proposal counts " + std::to_string(count));
    // RFC 7296 section 3.3.6: a type that is not understood spoils the proposal, an attribute only its transform.
    if (!is_known_type(parsed.type))
      wire.unusable = true;
    else if (parsed.usable)
      transforms.push_back(parsed.transform);
    else
      dropped.push_back(parsed.transform.type);
  }
  TRY(body.expect_done(), "after the transforms");
  wire.transforms_left_out = dropped.size();
  // A type must not seem to be absent because all its transforms were dropped.
  for (TransformType type : dropped) {
    const bool others =
        std::any_of(transforms.begin(), transforms.end(), [&](const auto& t) { return t.type == type; });
    if (!others) wire.unusable = true;
  }
  return {};
}

Result<WireProposal> parse_proposal(ByteReader& payload) {
  TRY_ASSIGN(const uint8_t last, payload.u8(), "last substructure");
  TRY(payload.u8(), "reserved");  // RFC 7296 section 2.5: ignored
  TRY_ASSIGN(const uint16_t length, payload.u16(), "length");
  if (length < kProposalHeaderBytes) return Error(Reason::kMalformed, "length: " + std::to_string(length));
  TRY_ASSIGN(ByteReader body, payload.sub(length - 4U), "length");
  TRY_ASSIGN(const uint8_t number, body.u8(), "number");
  TRY_ASSIGN(const uint8_t protocol, body.u8(), "protocol");
  TRY_ASSIGN(const uint8_t spi_bytes, body.u8(), "SPI size");
  TRY_ASSIGN(const uint8_t count, body.u8(), "number of transforms");
  TRY_ASSIGN(const ByteView spi, body.bytes(spi_bytes), "SPI");

  WireProposal wire{
      .number = number,
      .spi = {spi.begin(), spi.end()},
      .proposal = {.protocol = Protocol{protocol}, .transforms = {}},
      // AH is not implemented, and nobody can use a proposal without transforms.
      .unusable = (Protocol{protocol} != Protocol::kIke && Protocol{protocol} != Protocol::kEsp) || count == 0,
      .odd_spi = !is_spi_size(Protocol{protocol}, spi_bytes)};
  wire.unusable = wire.unusable || wire.odd_spi || count > kTransformsMax;
  if (count <= kTransformsMax) TRY(parse_transforms(body, count, wire), "");
  TRY(check_last(last, kMoreProposals, payload), "");
  return wire;
}

void write_transform(const Transform& transform, uint8_t last, ByteWriter& out) {
  out.u8(last);
  out.u8(0);
  out.u16(transform.key_bits == 0 ? kTransformHeaderBytes : kTransformHeaderBytes + 4);
  out.u8(static_cast<uint8_t>(transform.type));
  out.u8(0);
  out.u16(transform.id);
  if (transform.key_bits == 0) return;
  out.u16(kFixedLengthFlag | kKeyLength);
  out.u16(transform.key_bits);
}

void write_proposal(const WireProposal& wire, uint8_t last, ByteWriter& out) {
  const auto& transforms = wire.proposal.transforms;
  VERIFY(wire.spi.size() <= 8 && transforms.size() <= kTransformsMax);
  const size_t start = out.size();
  out.u8(last);
  out.u8(0);
  out.u16(0);  // length, below
  out.u8(wire.number);
  out.u8(static_cast<uint8_t>(wire.proposal.protocol));
  out.u8(static_cast<uint8_t>(wire.spi.size()));
  out.u8(static_cast<uint8_t>(transforms.size()));
  out.bytes(wire.spi);
  for (const Transform& transform : transforms)
    write_transform(transform, &transform == &transforms.back() ? kLast : kMoreTransforms, out);
  out.patch_u16(start + 2, static_cast<uint16_t>(out.size() - start));
}

}  // namespace

policy::Proposal WireProposal::offered() const {
  if (unusable && proposal.protocol != Protocol::kAh) return {.protocol = Protocol::kNone};
  return proposal;
}

Reason WireProposal::oddity() const {
  if (odd_spi) return Reason::kIkeSpiSize;
  if (proposal.protocol == Protocol::kAh) return Reason::kProtocolNotServed;
  return unusable ? Reason::kProposalUnusable : Reason::kNone;
}

Result<SaPayload> SaPayload::parse(ByteReader body) {
  SaPayload payload;
  if (body.done()) return Error(Reason::kMalformed, "no proposal");
  while (!body.done()) {
    if (payload.proposals.size() == kProposalsMax) {
      payload.left_out = true;
      return payload;
    }
    TRY_ASSIGN(WireProposal proposal, parse_proposal(body), "proposal " + std::to_string(payload.proposals.size() + 1));
    // RFC 7296 section 3.3.1: numbers rise by one. The first is 1 in an offer and any in an answer, so it is not judged
    // here. Equal numbers once meant "both of them" (RFC 4306 section 3.3), which nobody here could answer.
    if (!payload.proposals.empty() && proposal.number != payload.proposals.back().number + 1) proposal.unusable = true;
    payload.proposals.push_back(std::move(proposal));
  }
  return payload;
}

void SaPayload::write(ByteWriter& out) const {
  VERIFY(!proposals.empty() && proposals.size() <= kProposalsMax);
  for (const WireProposal& proposal : proposals)
    write_proposal(proposal, &proposal == &proposals.back() ? kLast : kMoreProposals, out);
}

}  // namespace ipsec::ike
