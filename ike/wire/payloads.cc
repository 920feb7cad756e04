#include "ike/wire/payloads.h"

#include <algorithm>
#include <string>

#include "ike/limits.h"

namespace ipsec::ike {
namespace {

constexpr size_t kGenericHeaderBytes = 4;
constexpr uint8_t kCriticalFlag = 0x80;

/// Generic payload header (RFC 7296 section 3.2).
///      0                   1                   2                   3
///     | Next Payload  |C|  RESERVED   |         Payload Length        |
struct GenericHeader {
  PayloadType next = PayloadType::kNone;
  bool critical = false;
  size_t body_bytes = 0;

  static Result<GenericHeader> parse(ByteReader& chain) {
    TRY_ASSIGN(const uint8_t next, chain.u8(), "next payload");
    TRY_ASSIGN(const uint8_t flags, chain.u8(), "flags");
    TRY_ASSIGN(const uint16_t length, chain.u16(), "length");
    if (length < kGenericHeaderBytes) return Error(Reason::kMalformed, "length: " + std::to_string(length));
    return GenericHeader{.next = PayloadType{next},
                         .critical = (flags & kCriticalFlag) != 0,
                         .body_bytes = length - kGenericHeaderBytes};
  }
};

/// Notes what is odd in a payload that was read; most kinds have nothing of that sort.
template <typename P>
void look_over(const P&, Payloads&) {}
void look_over(const NotifyPayload& payload, Payloads& into) {
  into.pass_over(payload.oddity());
  into.pass_over(Reason::kIkeSkipped, payload.left_out ? 1 : 0);
}
void look_over(const CertPayload& payload, Payloads& into) { into.pass_over(payload.oddity()); }
void look_over(const CertReqPayload& payload, Payloads& into) { into.pass_over(payload.oddity()); }
void look_over(const IdPayload& payload, Payloads& into) {
  into.pass_over(Reason::kIkeSkipped, payload.left_out ? 1 : 0);
}
void look_over(const KePayload& payload, Payloads& into) {
  into.pass_over(Reason::kIkeSkipped, payload.left_out ? 1 : 0);
}
void look_over(const DeletePayload& payload, Payloads& into) { into.pass_over(payload.oddity); }
void look_over(const ConfigPayload& payload, Payloads& into) {
  into.pass_over(Reason::kIkeAttributeIgnored, payload.unknown_attributes());
  into.pass_over(Reason::kIkeSkipped, payload.left_out);
}
void look_over(const SaPayload& payload, Payloads& into) {
  into.pass_over(Reason::kIkeSkipped, payload.left_out ? 1 : 0);
  for (const WireProposal& each : payload.proposals) {
    into.pass_over(each.oddity());
    into.pass_over(Reason::kTransformUnusable, each.transforms_left_out);
    into.pass_over(Reason::kIntegrityBesideAead, policy::has_integrity_beside_aead(each.proposal) ? 1 : 0);
  }
}

template <typename P>
Status read_once(std::optional<P>& slot, ByteReader body, Payloads& into) {
  if (slot) return Error(Reason::kIkePayloadDuplicate, "occurs twice");
  TRY_ASSIGN(slot, P::parse(body), "");
  look_over(*slot, into);
  return {};
}

/// What nobody acts on is not read beyond `max`.
template <typename P>
Status read_some(std::vector<P>& list, ByteReader body, Payloads& into, size_t max) {
  if (list.size() >= max) return into.pass_over(Reason::kIkeSkipped), Status();
  TRY_ASSIGN(P payload, P::parse(body), "");
  look_over(payload, into);
  list.push_back(std::move(payload));
  return {};
}

/// The first of its kind counts, for it would be ignored like the others.
template <typename P>
Status read_first(std::optional<P>& slot, ByteReader body, Payloads& into) {
  if (slot) return into.pass_over(Reason::kIkeSkipped), Status();
  return read_once(slot, body, into);
}

Status read_config(ByteReader body, Payloads& into) {
  TRY(read_first(into.config, body, into), "");
  if (into.config->has_known_type()) return {};
  into.config.reset();
  into.pass_over(Reason::kIkeSkipped);
  return {};
}

/// A notification that says nothing which those before it do not say, as far as this version understands it.
bool says_nothing_new(const NotifyPayload& payload, const Payloads& among) {
  if (is_known(payload.type)) return among.notify(payload.type) != nullptr;
  return !is_error(payload.type) || among.first_error() != nullptr;
}

/// Beyond kPayloadsMax only what is new: so as many more as there are types at most.
Status read_notify(ByteReader body, Payloads& into) {
  TRY_ASSIGN(NotifyPayload payload, NotifyPayload::parse(body), "");
  if (into.notifies.size() >= kPayloadsMax && says_nothing_new(payload, into))
    return into.pass_over(Reason::kIkeSkipped), Status();
  look_over(payload, into);
  into.notifies.push_back(std::move(payload));
  return {};
}

/// No Delete is skipped that names something, so their number has a limit that is an error.
Status read_delete(ByteReader body, Payloads& into) {
  TRY_ASSIGN(DeletePayload payload, DeletePayload::parse(body), "");
  look_over(payload, into);
  if (payload.protocol != policy::Protocol::kIke && payload.spis.empty()) return {};
  if (into.deletes.size() >= kPayloadsMax)
    return Error(Reason::kIkeTooManyPayloads, "more than " + std::to_string(kPayloadsMax) + " of them");
  into.deletes.push_back(std::move(payload));
  return {};
}

bool is_known(PayloadType type) { return type >= PayloadType::kSa && type <= PayloadType::kEap; }

/// A payload of a type that this version does not know (RFC 7296 section 2.5).
Status skip_unknown(PayloadType type, bool critical, Payloads& into) {
  if (critical) {
    return Error(Reason::kIkeCriticalPayload,
                 std::to_string(static_cast<unsigned>(type)) + ": a payload type that is not known here");
  }
  ++into.unknown;
  return {};
}

/// Reads one payload that is not the encrypted one.
Status read_payload(PayloadType type, bool critical, ByteReader body, Payloads& into) {
  switch (type) {
    case PayloadType::kSa: return read_once(into.sa, body, into);
    case PayloadType::kKe: return read_once(into.ke, body, into);
    case PayloadType::kIdI: return read_once(into.id_i, body, into);
    case PayloadType::kIdR: return read_once(into.id_r, body, into);
    case PayloadType::kCert: return read_some(into.certs, body, into, kCertificatesMax);
    case PayloadType::kCertReq: return read_some(into.cert_requests, body, into, kCertificatesMax);
    case PayloadType::kAuth: return read_once(into.auth, body, into);
    case PayloadType::kNonce: return read_once(into.nonce, body, into);
    case PayloadType::kNotify: return read_notify(body, into);
    case PayloadType::kDelete: return read_delete(body, into);
    case PayloadType::kVendorId: return read_some(into.vendor_ids, body, into, kPayloadsMax);
    case PayloadType::kTsI: return read_once(into.ts_i, body, into);
    case PayloadType::kTsR: return read_once(into.ts_r, body, into);
    case PayloadType::kConfig: return read_config(body, into);
    case PayloadType::kEap: return read_first(into.eap, body, into);
    case PayloadType::kFragment:  // RFC 7383 is not announced, so a fragment is as unknown as any other type
    case PayloadType::kEncrypted:
    case PayloadType::kNone: break;
  }
  return skip_unknown(type, critical, into);
}

}  // namespace

const NotifyPayload* Payloads::notify(NotifyType type) const {
  auto found = std::find_if(notifies.begin(), notifies.end(), [&](const auto& each) { return each.type == type; });
  return found == notifies.end() ? nullptr : &*found;
}

const NotifyPayload* Payloads::first_error() const {
  auto found = std::find_if(notifies.begin(), notifies.end(), [](const auto& each) { return is_error(each.type); });
  return found == notifies.end() ? nullptr : &*found;
}

void Payloads::pass_over(Reason reason, size_t times) {
  if (reason == Reason::kNone || times == 0) return;
  auto found = std::ranges::find(passed_over, reason, &PassedOver::reason);
  if (found == passed_over.end()) found = passed_over.insert(found, {.reason = reason});
  found->times += times;
}

bool Payloads::has(PayloadType type) const {
  switch (type) {
    case PayloadType::kSa: return sa.has_value();
    case PayloadType::kKe: return ke.has_value();
    case PayloadType::kIdI: return id_i.has_value();
    case PayloadType::kIdR: return id_r.has_value();
    case PayloadType::kCert: return !certs.empty();
    case PayloadType::kCertReq: return !cert_requests.empty();
    case PayloadType::kAuth: return auth.has_value();
    case PayloadType::kNonce: return nonce.has_value();
    case PayloadType::kNotify: return !notifies.empty();
    case PayloadType::kDelete: return !deletes.empty();
    case PayloadType::kVendorId: return !vendor_ids.empty();
    case PayloadType::kTsI: return ts_i.has_value();
    case PayloadType::kTsR: return ts_r.has_value();
    case PayloadType::kEncrypted: return encrypted.has_value();
    case PayloadType::kConfig: return config.has_value();
    case PayloadType::kEap: return eap.has_value();
    case PayloadType::kFragment:
    case PayloadType::kNone: break;
  }
  return false;
}

Result<Payloads> parse_payloads(PayloadType first, ByteView chain) {
  Payloads payloads;
  ByteReader reader(chain);
  size_t count = 0;
  for (PayloadType type = first; type != PayloadType::kNone;) {
    if (++count > kPayloadsWalkedMax)
      return Error(Reason::kIkeTooManyPayloads, "more than " + std::to_string(kPayloadsWalkedMax) + " payloads");
    const size_t offset = chain.size() - reader.remaining();
    TRY_ASSIGN(const GenericHeader header, GenericHeader::parse(reader), name(type) + " payload");
    TRY_ASSIGN(ByteReader body, reader.sub(header.body_bytes), name(type) + " payload");
    // RFC 7296 section 2.5: the flag of a payload that every version knows does not count.
    if (header.critical && is_known(type)) payloads.pass_over(Reason::kIkeCriticalIgnored);
    if (type == PayloadType::kEncrypted) {
      // RFC 7296 section 3.14: it is the last payload; its next payload field is about what is inside.
      TRY(reader.expect_done(), "SK payload: after it");
      payloads.encrypted = Payloads::Encrypted{.offset = offset, .inner = header.next};
      return payloads;
    }
    if (auto read = read_payload(type, header.critical, body, payloads); !read.ok()) {
      // The type stands first in the detail of a critical payload: whoever answers needs it.
      if (read.error().reason() == Reason::kIkeCriticalPayload) return std::move(read).error();
      return std::move(read).error().context(name(type) + " payload");
    }
    type = header.next;
  }
  TRY(reader.expect_done(), "after the last payload");
  return payloads;
}

template <typename P>
void PayloadWriter::append(PayloadType type, const P& payload) {
  const size_t start = out_.size();
  if (start == 0)
    first_ = type;
  else
    out_.patch_u8(last_header_, static_cast<uint8_t>(type));
  last_header_ = start;
  out_.u8(static_cast<uint8_t>(PayloadType::kNone));
  out_.u8(0);
  out_.u16(0);  // length, below
  payload.write(out_);
  VERIFY(out_.size() - start <= UINT16_MAX);
  out_.patch_u16(start + 2, static_cast<uint16_t>(out_.size() - start));
}

void PayloadWriter::add(const SaPayload& payload) { append(PayloadType::kSa, payload); }
void PayloadWriter::add(const KePayload& payload) { append(PayloadType::kKe, payload); }
void PayloadWriter::add(const NoncePayload& payload) { append(PayloadType::kNonce, payload); }
void PayloadWriter::add(PayloadType id_i_or_r, const IdPayload& payload) {
  VERIFY(id_i_or_r == PayloadType::kIdI || id_i_or_r == PayloadType::kIdR);
  append(id_i_or_r, payload);
}
void PayloadWriter::add(const AuthPayload& payload) { append(PayloadType::kAuth, payload); }
void PayloadWriter::add(const CertPayload& payload) { append(PayloadType::kCert, payload); }
void PayloadWriter::add(const CertReqPayload& payload) { append(PayloadType::kCertReq, payload); }
void PayloadWriter::add(PayloadType ts_i_or_r, const TsPayload& payload) {
  VERIFY(ts_i_or_r == PayloadType::kTsI || ts_i_or_r == PayloadType::kTsR);
  append(ts_i_or_r, payload);
}
void PayloadWriter::add(const NotifyPayload& payload) { append(PayloadType::kNotify, payload); }
void PayloadWriter::add(const DeletePayload& payload) { append(PayloadType::kDelete, payload); }
void PayloadWriter::add(const VendorIdPayload& payload) { append(PayloadType::kVendorId, payload); }
void PayloadWriter::add(const ConfigPayload& payload) { append(PayloadType::kConfig, payload); }
void PayloadWriter::add(const EapPayload& payload) { append(PayloadType::kEap, payload); }

}  // namespace ipsec::ike
