#pragma once

#include <optional>

#include "ike/sa/ike_sa.h"
#include "ike/wire/header.h"
#include "ike/wire/payloads.h"
#include "tests/support/engine_world.h"

/// A peer that says whatever a test wants, with the keys of a real one: what an engine does with authentic messages
/// that no engine of ours sends, and what stands in those that it does send.
namespace ipsec::testing {

/// A datagram, read.
struct Read {
  ike::Header header;
  ike::Payloads payloads;  ///< Those inside the encrypted payload, if there is one.
  Bytes chain;             ///< As parsed: with every generic header.
  ike::PayloadType first = ike::PayloadType::kNone;

  bool has_only(ike::NotifyType type) const;
};

/// The answer to a request, if there was one; a test that looks into one that is missing fails.
class Reply {
 public:
  Reply() = default;
  explicit Reply(Read read) : read_(std::move(read)) {}
  explicit operator bool() const { return read_.has_value(); }
  const Read* operator->() const;
  const Read& operator*() const { return *operator->(); }

 private:
  std::optional<Read> read_;
};

/// Bytes of one payload with any type, any flags and any body.
Bytes raw_payload(ike::PayloadType next, uint8_t flags, ByteView body);
/// Reads a datagram that is not encrypted.
Read read_plain(ByteView datagram);

class Insider {
 public:
  /// Speaks in the place of `host`, the owner of an IKE SA whose keys exist, to the other host of `world`.
  Insider(World& world, Host& host);

  uint32_t next_id = 0;  ///< Of the next request.
  uint8_t or_flags = 0;  ///< Set in the header of what is sent, beside what belongs there.
  uint8_t and_flags = 0xff;
  uint8_t version = ike::Header::kVersion;
  ike::Path path;  ///< As the receiver sees it.

  /// Decrypts what either side has sent.
  Read read(ByteView datagram) const;
  Bytes seal(ike::Exchange exchange, uint8_t flags, uint32_t message_id, ike::PayloadType first, ByteView chain);
  /// Sends a request and returns the answer to it, if there is one. Whatever else the other host sends is dropped.
  Reply ask(ike::Exchange exchange, ike::PayloadType first, ByteView chain);
  Reply ask(ike::Exchange exchange, const ike::PayloadWriter& payloads);
  /// Answers the request that the other host has sent last.
  void answer(const Read& request, ike::PayloadType first, ByteView chain);
  void answer(const Read& request, const ike::PayloadWriter& payloads);
  /// The datagrams that the other host wants to send now.
  std::vector<Bytes> sent();
  /// Hands a datagram to the other host and returns what that sends because of it.
  std::vector<Bytes> deliver(const Bytes& datagram);
  /// Rekeys the IKE SA, and speaks in the new one from then on; leaves the old one without a Delete. False: refused.
  bool rekey_ike();
  const ike::IkeSa& sa() const { return *sa_; }
  Host& other() { return other_; }

 private:
  World& world_;
  Host& other_;
  std::unique_ptr<ike::IkeSa> sa_;
  mutable ike::CryptoContext crypto_;
  SeededRandom random_{77};
  uint64_t rekeys_ = 0;
};

}  // namespace ipsec::testing
