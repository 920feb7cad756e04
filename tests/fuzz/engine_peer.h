#pragma once

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "ike/crypto/crypto_context.h"
#include "ike/limits.h"
#include "ike/sa/ike_sa.h"
#include "ike/wire/header.h"
#include "ike/wire/payloads.h"

/// The other end of an IKE SA, with its keys and message IDs: says what belongs, as often as the program wants, so that
/// the engine's limits are reached within one input.
namespace ipsec::fuzz {

class Peer {
 public:
  /// Speaks to the owner of `sa`, which has keys. `salt` makes SPIs differ.
  Peer(const ike::IkeSa& sa, const policy::Tunnel& tunnel, ike::CryptoContext& crypto, Random& random)
      : crypto_(crypto),
        random_(random),
        tunnel_(tunnel),
        keys_(std::move(ike::KeySchedule::restore(sa.keys()->suite(), sa.keys()->block().clone())).value()),
        initiator_(!sa.initiator),
        spi_i_(sa.spi_i),
        spi_r_(sa.spi_r),
        next_id_(sa.window.expected) {
    if (const auto* established = std::get_if<ike::Established>(&sa.state))
      for (const ike::ChildSa& child : established->children) spis_.push_back(child.spec->spi_out.value());
  }

  /// A request for child `which` of the tunnel, or for one in the place of the newest.
  Bytes ask_child(size_t which, bool rekey) {
    ike::PayloadWriter out;
    if (rekey && !spis_.empty())
      out.add(ike::NotifyPayload{
          .protocol = policy::Protocol::kEsp, .type = ike::NotifyType::kRekeySa, .spi = bytes_of(spis_.back())});
    const policy::ChildConfig& child = tunnel_.children[which % tunnel_.children.size()];
    ike::SaPayload offer;
    offer.proposals.push_back({.number = 1, .spi = bytes_of(wanted_ = next_spi_++), .proposal = esp()});
    out.add(offer);
    out.add(nonce());
    out.add(ike::PayloadType::kTsI, ike::TsPayload{.selectors = child.remote});
    out.add(ike::PayloadType::kTsR, ike::TsPayload{.selectors = child.local});
    return request(ike::Exchange::kCreateChildSa, out);
  }

  /// Deletes its `count` oldest children.
  Bytes delete_children(size_t count) {
    ike::PayloadWriter out;
    count = std::min({count, spis_.size(), ike::kSpisPerDeleteMax});
    const auto end = spis_.begin() + static_cast<ptrdiff_t>(count);
    if (count != 0) out.add(ike::DeletePayload{.protocol = policy::Protocol::kEsp, .spis = {spis_.begin(), end}});
    spis_.erase(spis_.begin(), end);
    return request(ike::Exchange::kInformational, out);
  }

  /// A request to rekey the IKE SA; its answer is followed.
  std::optional<Bytes> rekey_ike() {
    if (!pair_) {
      auto made = crypto_.generate(keys_.suite().group, random_);
      if (!made.ok()) return std::nullopt;
      pair_ = std::move(*made);  // one for all: the engine cannot tell, and it is the dear part
    }
    rekey_nonce_ = nonce();
    rekey_spi_ = ike::IkeSpi(uint64_t{0x7e00000000000000} | uint64_t{next_spi_++} << 8);
    ByteWriter spi(8);
    spi.u64(rekey_spi_.value());
    ike::SaPayload offer;
    offer.proposals.push_back({.number = 1, .spi = std::move(spi).take(), .proposal = keys_.suite().to_proposal()});
    ike::PayloadWriter out;
    out.add(offer);
    out.add(rekey_nonce_);
    out.add(ike::KePayload{pair_->group, pair_->public_value});
    return request(ike::Exchange::kCreateChildSa, out);
  }

  /// What the engine has sent. Learns from answers; keeps the last request, for `answer`.
  void hear(ByteView datagram) {
    auto header = ike::Header::parse(datagram);
    if (!header.ok() || header->initiator_spi != spi_i_ || header->responder_spi != spi_r_) return;
    auto outer = ike::parse_payloads(header->next_payload, datagram.subspan(ike::Header::kBytes));
    if (!outer.ok() || !outer->encrypted) return;
    auto plain = crypto_.open(keys_.cipher_keys(!initiator_), datagram, ike::Header::kBytes + outer->encrypted->offset);
    if (!plain.ok()) return;
    auto inner = ike::parse_payloads(outer->encrypted->inner, *plain);
    if (!inner.ok()) return;
    if (!header->is_response()) {
      asked_.emplace(*header, std::move(*inner));
      return;
    }
    if (header->message_id + 1 != next_id_ || !inner->sa) return;
    if (inner->sa->proposals[0].spi.size() == 4) spis_.push_back(wanted_);
    if (inner->sa->proposals[0].spi.size() == 8 && inner->ke && inner->nonce) follow(*inner);
  }

  /// Answers the engine's last request: a child as it was offered, everything else with nothing.
  std::optional<Bytes> answer() {
    if (!asked_) return std::nullopt;
    const auto [header, payloads] = std::move(*std::exchange(asked_, std::nullopt));
    ike::PayloadWriter out;
    if (header.exchange == ike::Exchange::kCreateChildSa && payloads.sa && payloads.ts_i && payloads.ts_r) {
      ike::SaPayload chosen;
      spis_.push_back(next_spi_);
      chosen.proposals.push_back({.number = 1, .spi = bytes_of(next_spi_++), .proposal = esp()});
      out.add(chosen);
      out.add(nonce());
      out.add(ike::PayloadType::kTsI, *payloads.ts_i);
      out.add(ike::PayloadType::kTsR, *payloads.ts_r);
    } else if (header.exchange == ike::Exchange::kCreateChildSa) {
      out.add(ike::NotifyPayload{.type = ike::NotifyType::kTemporaryFailure});
    }
    return seal(header.exchange, ike::Header::kFlagResponse, header.message_id, out);
  }

 private:
  static Bytes bytes_of(uint32_t spi) {
    ByteWriter out(4);
    out.u32(spi);
    return std::move(out).take();
  }
  static policy::Proposal esp() {
    return policy::parse_proposal(policy::Protocol::kEsp, "aes256gcm16-noesn").value().front();
  }
  ike::NoncePayload nonce() {
    Bytes bytes(ike::kNonceBytesMin);
    random_.fill(bytes);
    return {std::move(bytes)};
  }
  Bytes request(ike::Exchange exchange, const ike::PayloadWriter& payloads) {
    return seal(exchange, 0, next_id_++, payloads);
  }
  Bytes seal(ike::Exchange exchange, uint8_t flags, uint32_t id, const ike::PayloadWriter& payloads) {
    ByteWriter out;
    ike::Header{.initiator_spi = spi_i_,
                .responder_spi = spi_r_,
                .next_payload = ike::PayloadType::kEncrypted,
                .exchange = exchange,
                .flags = static_cast<uint8_t>(flags | (initiator_ ? ike::Header::kFlagInitiator : 0)),
                .message_id = id}
        .write(out);
    out.u8(static_cast<uint8_t>(payloads.first()));
    out.zeros(3);
    VERIFY(crypto_.seal(keys_.cipher_keys(initiator_), payloads.view(), random_, out.buffer()).ok());
    return std::move(out).take();
  }
  void follow(const ike::Payloads& answer) {
    const ike::IkeSpi theirs(ByteReader(answer.sa->proposals[0].spi).u64().value());
    auto shared = crypto_.shared_secret(*pair_, answer.ke->public_value);
    if (!shared.ok()) return;
    auto keys = keys_.rekey(crypto_, keys_.suite(), {rekey_nonce_.nonce, answer.nonce->nonce, rekey_spi_, theirs},
                            std::move(*shared));
    if (!keys.ok()) return;
    keys_ = std::move(*keys);
    initiator_ = true;
    spi_i_ = rekey_spi_;
    spi_r_ = theirs;
    next_id_ = 0;
  }

  ike::CryptoContext& crypto_;
  Random& random_;
  const policy::Tunnel& tunnel_;
  ike::KeySchedule keys_;
  bool initiator_;
  ike::IkeSpi spi_i_, spi_r_;
  uint32_t next_id_;
  std::vector<uint32_t> spis_;
  uint32_t next_spi_ = 0x30000000, wanted_ = 0;
  std::optional<ike::KeyPair> pair_;
  ike::NoncePayload rekey_nonce_;
  ike::IkeSpi rekey_spi_;
  std::optional<std::pair<ike::Header, ike::Payloads>> asked_;
};

}  // namespace ipsec::fuzz
