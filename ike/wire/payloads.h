#pragma once

#include <optional>
#include <vector>

#include "ike/numbers.h"
#include "ike/wire/auth_payload.h"
#include "ike/wire/cert_payload.h"
#include "ike/wire/config_payload.h"
#include "ike/wire/delete_payload.h"
#include "ike/wire/eap_payload.h"
#include "ike/wire/id_payload.h"
#include "ike/wire/ke_payload.h"
#include "ike/wire/nonce_payload.h"
#include "ike/wire/notify_payload.h"
#include "ike/wire/sa_payload.h"
#include "ike/wire/ts_payload.h"
#include "ike/wire/vendor_id_payload.h"
#include "policy/base/bytes.h"

namespace ipsec::ike {

/// Something odd that is no reason to refuse a message, and how often it occurs in it.
struct PassedOver {
  Reason reason = Reason::kNone;
  size_t times = 0;
};

/// The payloads of one message, by type. Payloads that may occur once and occur twice, and unknown critical ones, are
/// errors of the parser; unknown ones that are not critical are counted and skipped (RFC 7296 section 2.5). So is what
/// goes beyond a limit and would only be ignored: further certificates, vendor IDs, notifications that say nothing new.
struct Payloads {
  std::optional<SaPayload> sa;
  std::optional<KePayload> ke;
  std::optional<NoncePayload> nonce;
  std::optional<IdPayload> id_i, id_r;
  std::optional<AuthPayload> auth;
  std::vector<CertPayload> certs;
  std::vector<CertReqPayload> cert_requests;
  std::optional<TsPayload> ts_i, ts_r;
  std::vector<NotifyPayload> notifies;
  std::vector<DeletePayload> deletes;
  std::vector<VendorIdPayload> vendor_ids;
  std::optional<ConfigPayload> config;
  std::optional<EapPayload> eap;
  size_t unknown = 0;
  /// For whoever counts: kIkeCriticalIgnored, kIkeProtocolId, kIkeSpiSize, kIkeAttributeIgnored, kIkeSkipped,
  /// kCertificateEncoding, kTransformUnusable, kProposalUnusable, kProtocolNotServed, kIntegrityBesideAead, each at
  /// most once.
  std::vector<PassedOver> passed_over;

  /// The encrypted payload, always last (RFC 7296 section 3.14): where its generic header begins, in bytes from the
  /// start of what was parsed, and the type of the first payload inside. Not decrypted here.
  struct Encrypted {
    size_t offset = 0;
    PayloadType inner = PayloadType::kNone;
  };
  std::optional<Encrypted> encrypted;

  const NotifyPayload* notify(NotifyType type) const;
  /// The first error notification, whatever it is.
  const NotifyPayload* first_error() const;
  bool has(PayloadType type) const;
  void pass_over(Reason reason, size_t times = 1);
};

/// Parses a chain whose first payload has type `first`. `chain` must be consumed exactly.
/// Errors: kIkeCriticalPayload (detail holds the type as a decimal number first), kIkePayloadDuplicate,
/// kIkeTooManyPayloads, kLimitReached, kIkeNonceSize, kSelectorsEmpty, kMalformed and kTruncated with the path to the
/// field.
Result<Payloads> parse_payloads(PayloadType first, ByteView chain);

/// Writes payloads one after the other, linking each to the next by its type.
class PayloadWriter {
 public:
  PayloadWriter() = default;

  void add(const SaPayload& payload);
  void add(const KePayload& payload);
  void add(const NoncePayload& payload);
  void add(PayloadType id_i_or_r, const IdPayload& payload);
  void add(const AuthPayload& payload);
  void add(const CertPayload& payload);
  void add(const CertReqPayload& payload);
  void add(PayloadType ts_i_or_r, const TsPayload& payload);
  void add(const NotifyPayload& payload);
  void add(const DeletePayload& payload);
  void add(const VendorIdPayload& payload);
  void add(const ConfigPayload& payload);
  void add(const EapPayload& payload);

  PayloadType first() const { return first_; }
  ByteView view() const { return out_.view(); }

 private:
  template <typename P>
  void append(PayloadType type, const P& payload);
  PayloadType first_ = PayloadType::kNone;
  size_t last_header_ = 0;
  ByteWriter out_;
};

}  // namespace ipsec::ike
