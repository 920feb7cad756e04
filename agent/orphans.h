#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/adoption.h"
#include "agent/kernel_queue.h"
#include "agent/packet_rules.h"
#include "agent/shared_objects.h"
#include "policy/base/events.h"

namespace ipsec::agent {

/// SAs that outlived the run that negotiated them. Nobody has their IKE SA, and nobody but the kernel their keys: they
/// carry traffic until new SAs of their child do, at the latest until the kernel's hard lifetime or the end of the
/// grace. They are never rekeyed and, once gone, never made again; their policies and routes are held as those of any
/// child.
class Orphans {
 public:
  using Announce = std::function<void(const std::string& object, Reason, std::vector<Field>)>;
  Orphans(KernelQueue& queue, SharedObjects& shared, PacketRuleBook& rules, Announce announce)
      : queue_(queue), shared_(shared), rules_(rules), announce_(std::move(announce)) {}

  struct Kept {
    OrphanedChild child;
    Instant since, until;
    bool replaced = false;  ///< New SAs carry the traffic; inbound ones still take what is on its way.
    size_t sas() const { return child.inbound.size() + child.outbound.size(); }
  };

  /// They all stand already: nothing is asked of the kernel.
  void adopt(Instant now, std::vector<OrphanedChild> children, Duration grace);
  /// Whether orphans carry the traffic of the child with this reqid (its own; their parts are meant, too): then no
  /// packet of it asks for a tunnel.
  bool carry(uint32_t reqid) const;
  /// New SAs of the child are in the kernel in both directions.
  void replace(Instant now, uint32_t reqid);
  /// The child ends, or changes.
  void end(Instant now, uint32_t reqid, Reason because);
  void end_all(Instant now, Reason because);
  /// A new SA of this key is about to be made (the peer chooses the SPI of our outbound ones; those of manual SAs stay
  /// the same for ever).
  void give_way(const std::string& netns, const policy::SaKey& key);
  /// The kernel has ended an SA, which may be one of these.
  void on_expired(Instant now, const std::string& netns, const policy::SaKey& key);
  /// A complete read of a namespace's SAs, in parts: after the last one what is not there any more is forgotten.
  void begin_read(const std::string& netns) { seen_.erase(netns); }
  void on_seen(const std::string& netns, const std::vector<policy::SaState>& states);
  void end_read(Instant now, const std::string& netns);
  /// Removes what is due.
  void run(Instant now);
  std::optional<Instant> next_deadline() const { return ends_.next(); }

  /// Their keys, and the NICs that they are on.
  /// Of at most `most` children behind the one with reqid `after`, which is set to the last of them. False: that was
  /// the last part.
  bool collect(const std::string& netns, uint32_t& after, size_t most, std::set<policy::SaKey>& keys,
               std::set<std::string>& devices) const;
  const std::map<uint32_t, Kept>& children() const { return children_; }  ///< By reqid.
  size_t sas() const;

 private:
  using Iterator = std::map<uint32_t, Kept>::iterator;
  std::vector<uint32_t> of_child(uint32_t reqid) const;
  void replace_one(Instant now, Iterator it);
  /// Beside those of the child's trap and block.
  static uint64_t owner(uint32_t reqid) { return uint64_t{reqid} << 32 | 2; }
  Iterator find(const std::string& netns, const policy::SaKey& key);
  void take_out(const std::string& netns, const policy::SaKey& key);
  void drop(const Kept& kept, std::map<policy::SaKey, policy::SaState>& sas);
  void release(const Kept& kept);
  void remove(Instant now, Iterator it, Reason reason, std::optional<Reason> because);
  void tell(Instant now, const Kept& kept, size_t sas, Reason reason, std::optional<Reason> because);
  void lose(Instant now, Iterator it, Reason because);

  KernelQueue& queue_;
  SharedObjects& shared_;
  PacketRuleBook& rules_;
  Announce announce_;
  std::map<uint32_t, Kept> children_;
  std::multimap<uint32_t, uint32_t> parts_;                                  // reqids by that of their child
  std::map<std::string, std::map<policy::SaKey, policy::SaIdentity>> seen_;  // by the read that is under way
  std::multimap<policy::SaKey, uint32_t> reqids_;  // of all that were adopted; some may be gone
  TimerQueue<uint32_t> ends_;                      // by reqid
};

}  // namespace ipsec::agent
