#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <unordered_set>
#include <vector>

#include "ike/engine.h"

namespace ipsec::sim {

/// What a kernel holds of one direction of a child.
struct KernelSa {
  Bytes key;
  std::shared_ptr<const policy::ChildSpec> spec;
};

/// A gateway's kernel: inbound by our SPI, outbound by the peer's number and its SPI.
struct Kernel {
  std::map<uint32_t, KernelSa> inbound;
  std::map<std::pair<size_t, uint32_t>, KernelSa> outbound;
};

/// The invariants of architecture section 6. Sees all that happens and writes down what must not.
class Ledger {
 public:
  const std::vector<std::string>& violations() const { return violations_; }
  void violate(std::string what);

  /// Invariant 2: a message ID is never sent with different bytes under the same SPIs; 6: nothing shows a key.
  void sent(size_t gateway, ByteView datagram);
  /// Invariant 7: each datagram has an effect that can be seen, or is counted.
  void received(size_t gateway, bool had_effect);
  /// Invariant 7: limits hold.
  void within_limits(size_t gateway, const ike::IkeEngine& engine, const ike::IkeEngine::Options& limits);
  /// Invariant 6.
  void reported(const ike::Report& report);
  /// Invariant 6: from now on these bytes must not be seen anywhere.
  void learn_secret(ByteView secret);
  /// Invariant 2: an outbound key is installed at most once, anywhere.
  void outbound_installed(size_t gateway, ByteView key);
  /// Invariant 1: where both ends hold a direction of a child, they agree on it.
  void agree(const std::vector<const Kernel*>& kernels);
  /// Invariant 3, at rest: both ends hold the same SPIs. What does not match.
  /// `leaving`: inbound SPIs, by gateway, that stay for what is on its way.
  static std::vector<std::string> mismatches(const std::vector<const Kernel*>& kernels,
                                             const std::vector<std::set<uint32_t>>& leaving);

 private:
  static constexpr size_t kWindow = 8;  ///< Bytes of a key that nobody may see.
  bool shows_secret(ByteView bytes) const;
  std::vector<std::string> violations_;
  std::unordered_set<uint64_t> secret_windows_;
  std::set<Bytes> outbound_keys_;
  /// Sender, SPIs, flags and message ID; what was sent under them.
  std::map<std::tuple<size_t, uint64_t, uint64_t, uint8_t, uint32_t>, Bytes> sent_;
};

/// Which gateway a child's peer is: tunnels are named "to-N".
size_t peer_of(const policy::ChildSpec& spec);

}  // namespace ipsec::sim
