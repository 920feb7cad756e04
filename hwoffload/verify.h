#pragma once

#include <cstdint>
#include <map>
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
  std::vector<policy::SaKey> observe(const std::string& netns, uint64_t out_no_states,
                                     const std::vector<Sample>& offloaded);

 private:
  struct Before {
    uint64_t out_no_states = 0;
    std::map<policy::SaKey, uint64_t> packets;
  };
  std::map<std::string, Before> before_;
};

}  // namespace ipsec::hwoffload
