#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "ike/actions.h"
#include "ike/limits.h"
#include "ike/ports.h"
#include "policy/base/counters.h"
#include "policy/base/random.h"
#include "policy/base/time.h"

namespace ipsec::ike {

/// Why an IKE SA or child is brought down, and whether the peer is told.
enum class CloseMode : uint8_t { kTellPeer, kSilently };

/// Whether we have, or may have, another IKE SA with the same peer: says INITIAL_CONTACT or not (RFC 7296 section 2.4).
enum class Contact : uint8_t { kInitial, kFurther };

/// What operators see of an IKE SA.
struct IkeSaView {
  IkeSaId id;
  IkeSpi initiator_spi, responder_spi;
  bool initiator = false;
  std::string state;
  std::string tunnel;
  Path path;
  std::string local_id, remote_id, proposal;
  std::optional<Instant> established_at;
  bool nat_local = false, nat_remote = false;
  std::vector<std::shared_ptr<const policy::ChildSpec>> children;
  /// Replaced or deleted, with an inbound SA that stays for what is on its way.
  std::vector<std::shared_ptr<const policy::ChildSpec>> leaving;
  std::optional<Instant> rekey_at, ends_at;  ///< Of the IKE SA.
};

/// The IKEv2 protocol of one worker: bytes, a clock and randomness go in, actions come out.
///
/// Threading: none; one thread owns an engine. Re-entrancy: none; nothing is called back except Random and SpiSource.
/// Inputs are `receive`, `tick`, `answer`, `initiate`, `close*`, `restore`; after each, drain `poll_action()` and sleep
/// until `next_deadline()`. Every public input leaves each IKE SA consistent (checked). Hostile input costs at most one
/// counter.
class IkeEngine {
 public:
  struct Options {
    policy::AdmissionLimits admission;  ///< What this engine keeps to: a worker's share (ike/sa/admission.h).
  };

  IkeEngine(Options options, Random& random, SpiSource& spis);
  ~IkeEngine();
  IkeEngine(const IkeEngine&) = delete;
  IkeEngine& operator=(const IkeEngine&) = delete;

  /// One datagram, without the non-ESP marker. Never fails: what cannot be used is counted and dropped, or answered.
  void receive(Instant now, const Path& path, ByteView datagram);
  /// Runs every timer that is due.
  void tick(Instant now);
  std::optional<Instant> next_deadline() const;
  std::optional<Action> poll_action();
  /// The answer to a question. Unknown or repeated ids are ignored (and counted).
  void answer(Instant now, Answer answer);

  /// Starts an IKE SA with its first child (an empty name: without one, where the IKE policy allows it). `path`: our
  /// address and where the peer is expected. `trigger`: the packet that asked for it, whose selectors are offered first
  /// (RFC 7296 section 2.9).
  Result<IkeSaId> initiate(Instant now, std::shared_ptr<const policy::Tunnel> tunnel, std::string_view child,
                           const Path& path,
                           std::optional<std::pair<policy::TrafficSelector, policy::TrafficSelector>> trigger = {},
                           Contact contact = Contact::kFurther);
  /// Adds a child of the tunnel to an established IKE SA (RFC 7296 section 1.3.1); waits its turn behind other
  /// requests. Its end is InstallOutbound or ChildFailed. `only`: a part of its configured selectors that is asked for
  /// instead of all of them, at most 255 of each list. Errors: kNotFound (no such IKE SA in use, no such child),
  /// kExists (one is under way).
  Status create_child(Instant now, IkeSaId ike, std::string_view child,
                      std::optional<std::pair<policy::TrafficSelector, policy::TrafficSelector>> trigger = {},
                      policy::SelectorPair only = {});
  /// Replaces a child by a fresh one (section 1.3.3), or the IKE SA itself (1.3.2), when its turn comes. Nothing
  /// happens when it is being replaced already. `reason`: what made it necessary.
  void rekey_child(Instant now, IkeSaId ike, ChildId child, Reason reason);
  void rekey_ike(Instant now, IkeSaId ike, Reason reason);
  /// The inbound SA has received: the answer to WatchInbound. Repeated or late calls are ignored.
  void inbound_used(Instant now, IkeSaId ike, ChildId child);
  /// The child carried traffic since its last mention; decides whether an idle one is rekeyed (ChildPolicy::idle).
  void child_used(Instant now, IkeSaId ike, ChildId child);

  /// Ends an IKE SA and its children. Unknown ids are ignored.
  void close_ike(Instant now, IkeSaId ike, Reason reason, CloseMode mode = CloseMode::kTellPeer);
  /// Ends one child (RFC 7296 section 1.4.1).
  void close_child(Instant now, IkeSaId ike, ChildId child, Reason reason);
  /// Sends an empty INFORMATIONAL request now, unless a request is under way (RFC 7296 section 1.4).
  void check_liveness(Instant now, IkeSaId ike);

  /// The whole state of one IKE SA, as bytes with a version (ike/snapshot). Nothing when there is no such SA.
  std::optional<Secret> snapshot(Instant now, IkeSaId ike) const;
  /// Takes over an IKE SA from a snapshot. Questions that were open are asked again, under their old ids.
  /// `find_tunnel` resolves the name of a tunnel in the present configuration.
  using FindTunnel = std::function<std::shared_ptr<const policy::Tunnel>(const std::string&)>;
  Result<IkeSaId> restore(Instant now, const Secret& snapshot, const FindTunnel& find_tunnel);
  /// The configuration has changed: every established IKE SA goes on by the tunnel that `find` returns for its name, as
  /// soon as no exchange of it is under way; by the old one where that is nothing. What was negotiated stays until the
  /// next rekey.
  void adopt(const FindTunnel& find);

  std::vector<IkeSaId> ike_sas() const;
  std::optional<IkeSaView> view(IkeSaId ike) const;
  size_t half_open() const;
  /// Whether every stranger is asked for a cookie now (RFC 7296 section 2.6).
  bool asks_for_cookies(Instant now) const;
  Counters& counters();
  const Counters& counters() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ipsec::ike
