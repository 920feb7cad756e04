#pragma once

#include <memory>
#include <string>
#include <thread>

#include "agent/leftovers.h"
#include "agent/tunnel_manager.h"
#include "netlink/xfrm_kernel.h"
#include "tests/manager/recorded_workers.h"

namespace ipsec::lab {

/// What a gateway's only child may carry; 0: as much as it likes.
struct ChildVolume {
  uint64_t bytes = 0, packets = 0;
};

/// A tunnel manager on the real kernel for one side of lab::Network, with one tunnel to the other side: child "lan"
/// between 10.1.0.0/16 (left) and 10.2.0.0/16. IKE is played by the test: both sides derive a child's keys from its
/// SPIs. The clock stands still until told.
class Gateway {
 public:
  /// The first run of a gateway on this side, or the next one after another was killed.
  enum class Run : uint8_t { kFirst, kAfterKill };
  explicit Gateway(std::string side, ChildVolume volume = {}, int receive_buffer_bytes = netlink::kReceiveBufferBytes,
                   Run run = Run::kFirst);

  void inbound(uint32_t child, std::optional<uint32_t> replaces = {});
  void outbound(uint32_t child, std::optional<uint32_t> replaces = {});
  void stop_outbound(uint32_t child);
  void remove(uint32_t child, Reason reason = Reason::kChildRekeyed);
  void watch_inbound(uint32_t child);
  void end();

  /// Lets everything that is under way happen.
  void run();
  void pass(Duration time) {
    now = now + time;
    run();
  }
  std::string public_netns() const { return side_ + "-pub"; }
  std::string state() const { return std::string(agent::TunnelManager::state_of(manager->tunnels().at("t"))); }
  policy::SaKey in_key(uint32_t child) const;
  policy::SaKey out_key(uint32_t child) const;
  /// What the kernel shows of an SA; nothing when it is not there.
  std::optional<policy::SaState> shown(const policy::SaKey& key);

  std::vector<Error> not_removed;  ///< What an earlier run has left and could not be removed.
  testing::RecordedWorkers workers;
  Instant now{1000s};
  std::unique_ptr<netlink::XfrmKernel> kernel;
  std::unique_ptr<agent::TunnelManager> manager;

 private:
  std::shared_ptr<const policy::ChildSpec> spec(uint32_t child) const;
  void act(ike::Action action);

  std::string side_;
  SeededRandom random_{1};
  EventRing events_{1000};
  Counters counters_;
  Log log_{LogLevel::kError, [](LogLevel, std::string_view, const std::vector<Field>&) {}};
  uint64_t asks_ = 0;
};

/// Something that runs in the shell meanwhile.
class Meanwhile {
 public:
  explicit Meanwhile(std::string line);
  ~Meanwhile() { join(); }
  Meanwhile(const Meanwhile&) = delete;
  Meanwhile& operator=(const Meanwhile&) = delete;
  /// Waits for its end; what it printed.
  const std::string& join();

 private:
  std::string output_;
  std::thread thread_;
};

/// Writes an outbound SA's sequence number (XFRM_MSG_NEWAE), as replication between nodes does.
Status set_sequence_sent(const std::string& netns, const policy::SaKey& key, uint32_t sequence);

}  // namespace ipsec::lab
