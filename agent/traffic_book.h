#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/child_installer.h"
#include "policy/config.h"
#include "policy/kernel_model.h"

namespace ipsec::agent {

/// What the SAs of each tunnel group have carried since the daemon's start, summed up as SAs are read for other reasons
/// (audits, looks at offload): nothing is read for it. And of each child, for its rate. What an SA carries between its
/// last reading and its end is not seen. Main thread only; as large as there are SAs.
class TrafficBook {
 public:
  struct Carried {
    uint64_t bytes = 0, packets = 0;
  };
  /// By direction (in, out) and by where the work was done, as the kernel showed it (none, crypto, packet).
  using OfGroup = std::array<std::array<Carried, 3>, 2>;

  /// A complete read of a namespace's SAs, in parts. SAs of no child of the installer do not count.
  void begin_read(const std::string& netns) { ++seen_[netns].read; }
  void saw(const std::string& netns, const std::vector<policy::SaState>& states, const ChildInstaller& installer);
  void end_read(const std::string& netns);
  /// Other groups and namespaces are not configured any more.
  void keep(const policy::Config& config);

  /// Of one child since its row is there, both directions; 0: nothing was seen yet.
  uint64_t bytes_of(uint32_t reqid) const;
  void forget(uint32_t reqid) { by_reqid_.erase(reqid); }
  /// By name; a group of which no SA was read is not in it.
  const std::map<std::string, OfGroup>& groups() const { return groups_; }

 private:
  /// What the SAs of a namespace had carried when they were read last.
  struct Seen {
    struct Sa {
      Carried carried;
      uint64_t read = 0;  // the number of that read
    };
    uint64_t read = 0;
    std::map<policy::SaKey, Sa> sas;
  };
  std::map<std::string, Seen> seen_;  // by namespace
  std::map<std::string, OfGroup> groups_;
  std::unordered_map<uint32_t, uint64_t> by_reqid_;  // bytes
};

}  // namespace ipsec::agent
