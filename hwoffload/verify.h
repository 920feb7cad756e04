#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "policy/kernel_model.h"

namespace ipsec::hwoffload {

/// Watches that SAs which are shown on a NIC really carry traffic: a packet-offloaded SA can stand in the kernel and
/// still be passed over, everything being dropped and counted as XfrmOutNoStates (the trap of the shared hash bucket,
/// netlink facts). Pure: samples in, suspects out.
class CounterWatch {
 public:
  struct Sample {
    policy::SaKey key;
    uint64_t packets = 0;
  };
  /// One look at a namespace: its XfrmOutNoStates and its packet-offloaded outbound SAs. Returns those whose packets
  /// stood still while the drops rose since the look before. The first look at an SA only remembers it.
  std::vector<policy::SaKey> observe(const std::string& netns, uint64_t out_drops,
                                     const std::vector<Sample>& offloaded);

 private:
  struct Before {
    uint64_t out_drops = 0;
    std::map<policy::SaKey, uint64_t> packets;
  };
  std::map<std::string, Before> before_;
};

/// The same question where a tunnel has an interface of its own: packets go in there, and the SA on the NIC counts
/// none. That shows a NIC which takes SAs and carries nothing. Pure.
class OfferedWatch {
 public:
  static constexpr uint64_t kEnough = 3;  ///< Packets: one or two may be on their way.

  /// A look at an SA's counter. Whether it stands still since the last one, so that what was offered matters.
  bool stands_still(const policy::SaKey& key, uint64_t packets);
  /// What its interface has sent by now. Whether that rose by kEnough or more while the SA's counter stood still.
  bool was_offered(const policy::SaKey& key, uint64_t packets);
  void forget_all_but(const std::set<policy::SaKey>& keys);

 private:
  struct Seen {
    uint64_t packets = 0;
    std::optional<uint64_t> offered;  // when the counter was first seen to stand
  };
  std::map<policy::SaKey, Seen> seen_;
};

}  // namespace ipsec::hwoffload
