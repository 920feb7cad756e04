#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "ike/engine.h"
#include "ike/sa/admission.h"
#include "ike/sa/cookie.h"
#include "ike/sa/ike_sa.h"
#include "ike/wire/header.h"
#include "ike/wire/payloads.h"

namespace ipsec::ike {

/// A request or response, opened: what a handler gets.
struct Message {
  const Path& path;
  const Header& header;
  ByteView datagram;
  const Payloads& payloads;
};

/// What all exchanges share: the tables of IKE SAs, the queue of actions, and the operations that every handler is made
/// of. The handlers (ike/exchange) are functions over a core and one IKE SA. Nothing here is public outside `ike`.
class EngineCore {
 public:
  EngineCore(IkeEngine::Options engine_options, Random& randomness, SpiSource& spi_source);

  IkeEngine::Options options;
  Random& random;
  SpiSource& spis;
  CryptoContext crypto;
  CookieJar cookies;
  Counters counters;
  std::deque<Action> actions;
  std::unordered_map<IkeSaId, std::unique_ptr<IkeSa>> sas;
  std::vector<std::unique_ptr<IkeSa>> ended;  ///< Destroyed by the input under way.
  /// Responders by what a repeated IKE_SA_INIT shows: the initiator's SPI and address.
  struct InitKey {
    uint64_t spi_i;
    Endpoint remote;
    friend bool operator==(const InitKey&, const InitKey&) = default;
  };
  struct InitKeyHash {
    KeyedHash spread;  ///< The initiator chooses the SPI, but must not choose its place in the table.
    size_t operator()(const InitKey& key) const noexcept {
      return spread(spread(key.spi_i) ^ std::hash<Endpoint>{}(key.remote));
    }
  };
  std::unordered_map<InitKey, IkeSaId, InitKeyHash> init_index;
  TimerQueue<IkeSaId> timers;
  size_t own_exchanges = 0;  ///< CREATE_CHILD_SA exchanges of ours under way.
  size_t own_exchanges_max = kRekeysAtOnce;
  std::deque<IkeSaId> pace_queue;  ///< Whose rekey waits for one of them to end.
  Admission admission;

  IkeSa* find(IkeSaId id);
  /// A new IKE SA in the tables. As responder `spi_i` is the peer's; as initiator it is chosen.
  IkeSa& create(Instant now, bool initiator, IkeSpi spi_i, const Path& path, State state, Instant deadline);
  /// The only writer of `IkeSa::state`. The deadline is that of the new state.
  void enter(IkeSa& sa, State next, std::optional<Instant> deadline);
  /// Removes an IKE SA: its children from the kernel, its snapshot, itself. `sa` is in state `Ended` afterwards, in no
  /// table, and lives until the public input that this is part of settles.
  void destroy(IkeSa& sa, Reason reason, std::vector<Field> fields = {},
               std::shared_ptr<const policy::Negotiation> negotiation = nullptr);
  void arm(const IkeSa& sa);
  /// A repeated IKE_SA_INIT is not looked for any more.
  void forget_init(const IkeSa& sa);

  AskId next_ask();
  void act(Action action) { actions.push_back(std::move(action)); }
  void report(const IkeSa& sa, Reason reason, std::vector<Field> fields = {},
              std::shared_ptr<const policy::Negotiation> negotiation = nullptr);
  void count(Reason reason) { counters.add(reason); }
  /// What was odd in a message and passed over: once for each message, not each time that it is parsed.
  void count(const Payloads& payloads) {
    for (const PassedOver& each : payloads.passed_over) counters.add(each.reason, each.times);
  }

  Bytes fresh_nonce();
  IkeSpi fresh_ike_spi();
  /// The time after which an SA with this lifetime is rekeyed, varied at random.
  Duration soft_lifetime(Duration lifetime, const policy::RekeyPolicy& rekey);
  /// Sets rekey and end of an IKE SA that begins to be used.
  void start_lifetime(Instant now, IkeSa& sa);

  /// Makes a protected message and puts it on its way as our next request; starts retransmission.
  Status send_request(Instant now, IkeSa& sa, Exchange exchange, const PayloadWriter& payloads);
  /// Answers the peer's request `message_id`; the response is kept for repetitions.
  Status send_response(Instant now, IkeSa& sa, Exchange exchange, uint32_t message_id, uint64_t request_hash,
                       const Path& path, const PayloadWriter& payloads);
  /// An unprotected message (IKE_SA_INIT).
  static Bytes plain_message(const Header& header, const PayloadWriter& payloads);
  void send(const IkeSa& sa, const Path& path, Bytes bytes);
  void send_stateless(const Path& path, Bytes bytes);
  /// Keeps `bytes` as our outstanding request and sends it.
  void start_request(Instant now, IkeSa& sa, Exchange exchange, Bytes bytes);
  void snapshot_changed(const IkeSa& sa) {
    if (sa.state_id() != StateId::kEnded) act(SnapshotChanged{sa.id});
  }

  /// Emits the question of the state that `sa` is in (again, after a restore).
  void repeat_ask(IkeSa& sa);

 private:
  Result<Bytes> seal(const IkeSa& sa, Header header, const PayloadWriter& payloads);
  uint64_t ask_counter_ = 0;
};

/// A notification for the IKE SA (no SPI).
NotifyPayload notify(NotifyType type, Bytes data = {});

}  // namespace ipsec::ike
