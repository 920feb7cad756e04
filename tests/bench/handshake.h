#pragma once

#include <array>
#include <functional>
#include <string_view>
#include <vector>

#include "ike/crypto/crypto_context.h"
#include "ike/engine.h"
#include "policy/base/random.h"

namespace ipsec::bench {

/// What a responder does for one handshake, in the order of its inputs.
enum class Phase : uint8_t {
  kInitRequest,
  kInitPolicy,
  kAuthRequest,
  kPeer,
  kVerify,
  kProve,
  kInstall,
  kDrain,
  kCount
};
inline constexpr size_t kPhaseCount = static_cast<size_t>(Phase::kCount);
inline constexpr std::array<std::string_view, kPhaseCount> kPhaseNames = {
    "IKE_SA_INIT request",
    "its policy: response made",
    "IKE_AUTH request: shared secret, keys, open",
    "peer found",
    "AUTH of the peer good",
    "own AUTH made: child begun",
    "inbound installed: response made, outbound keys",
    "shell: AUTH computed, actions taken"};

/// What the two see of each other's datagrams: the path with its own side first.
extern const ike::Path kFromInitiator, kFromResponder;

/// All handshakes come from one address at one moment: for measuring their cost alone.
policy::AdmissionLimits unlimited();

/// One side of the set-ups, with a shell that answers at once and no kernel.
class Party {
 public:
  Party(bool initiator, uint64_t seed, const policy::AdmissionLimits& limits = unlimited(), bool pfs = false);

  ike::IkeEngine& engine() { return *engine_; }
  void initiate(Instant now, const ike::Path& path);
  void tick(Instant now) { engine_->tick(now); }
  void receive(Instant now, const ike::Path& path, ByteView datagram);
  /// Carries out all actions; datagrams go to `sink`.
  void drain(Instant now, const std::function<void(const ike::Path&, ByteView)>& sink);
  size_t established = 0;
  size_t children_rekeyed = 0, ikes_rekeyed = 0, failures = 0;  ///< As reported.
  std::vector<std::pair<ike::IkeSaId, ike::ChildId>> children;  ///< Outbound halves, in the order of installation.
  /// CPU time per phase, in microseconds, when `timed`.
  std::array<double, kPhaseCount> spent{};
  std::array<double, kPhaseCount> readings{};  ///< How often the clock was read for that.
  bool timed = false;

 private:
  template <typename Work>
  void account(Phase phase, Work work);
  void carry_out(Instant now, ike::Action& action, const std::function<void(const ike::Path&, ByteView)>& sink);
  std::shared_ptr<const policy::Tunnel> tunnel_;
  SeededRandom random_;
  ike::WorkerSpiSource spis_;
  ike::CryptoContext crypto_;
  std::unique_ptr<ike::IkeEngine> engine_;
};

using Sink = std::function<void(const ike::Path&, ByteView)>;
/// All that a responder does with one datagram; by this name valgrind knows what to count.
[[gnu::noinline]] void responder_turn(Party& responder, Instant now, const ike::Path& path, ByteView datagram,
                                      const Sink& sink);

/// Lets a pair try one handshake by function calls; `before_each` comes before each datagram that the responder gets.
void shake_hands(Party& initiator, Party& responder, Instant now, const std::function<void()>& before_each = {});

/// Microseconds of the responder per handshake, engine and shell, nothing between them but function calls.
struct EngineResult {
  double microseconds = 0;
  std::array<double, kPhaseCount> phases{};
};
EngineResult run_engines(size_t count);

/// The same through UDP sockets on loopback: user and system time.
double run_sockets(size_t count);

/// Bytes of resident memory per IKE SA with its child, at the responder.
double run_memory(size_t count);

}  // namespace ipsec::bench
