#include "tests/bench/rekey.h"

#include <deque>

#include "tests/bench/handshake.h"
#include "tests/bench/limits.h"

namespace ipsec::bench {

using namespace ike;

namespace {

/// Two parties with `count` tunnels between them, and the datagrams on their way.
struct Pair {
  Pair(size_t count, bool pfs) : initiator(true, 7, unlimited(), pfs), responder(false, 8, unlimited(), pfs) {
    for (size_t i = 0; i < count; ++i) shake_hands(initiator, responder, now);
    VERIFY(initiator.children.size() == count);
    begun = std::exchange(initiator.children, {});
  }
  /// Lets one side take what is on its way to it and act on it; the CPU time of that.
  double turn(Party& party, const Path& path, std::deque<Bytes>& in, std::deque<Bytes>& out) {
    const double start = thread_cpu();
    for (const Bytes& each : std::exchange(in, {})) {
      party.receive(now, path, each);
      party.drain(now, [&](const Path&, ByteView bytes) { out.emplace_back(bytes.begin(), bytes.end()); });
    }
    party.drain(now, [&](const Path&, ByteView bytes) { out.emplace_back(bytes.begin(), bytes.end()); });
    return thread_cpu() - start;
  }
  /// Until nothing is on its way any more.
  void run(RekeyResult& result) {
    std::deque<Bytes> to_initiator, to_responder;
    do {
      result.initiator += turn(initiator, kFromInitiator, to_initiator, to_responder);
      result.in_flight_most = std::max(result.in_flight_most, to_responder.size());
      result.responder += turn(responder, kFromResponder, to_responder, to_initiator);
    } while (!to_initiator.empty() || !to_responder.empty());
    result.initiator /= static_cast<double>(result.count);
    result.responder /= static_cast<double>(result.count);
    result.failures = initiator.failures + responder.failures;
  }
  const Instant now{1000s};
  Party initiator, responder;
  std::vector<std::pair<IkeSaId, ChildId>> begun;
};

}  // namespace

RekeyResult run_child_rekeys(size_t count, bool pfs) {
  Pair pair(count, pfs);
  RekeyResult result{.count = count};
  const double start = thread_cpu();
  for (const auto& [ike, child] : pair.begun)
    pair.initiator.engine().rekey_child(pair.now, ike, child, Reason::kRekeyTime);
  result.initiator = thread_cpu() - start;
  pair.run(result);
  result.done = std::min(pair.initiator.children_rekeyed, pair.responder.children_rekeyed);
  return result;
}

RekeyResult run_ike_rekeys(size_t count) {
  Pair pair(count, false);
  RekeyResult result{.count = count};
  const double start = thread_cpu();
  for (const auto& [ike, child] : pair.begun) pair.initiator.engine().rekey_ike(pair.now, ike, Reason::kRekeyTime);
  result.initiator = thread_cpu() - start;
  pair.run(result);
  result.done = std::min(pair.initiator.ikes_rekeyed, pair.responder.ikes_rekeyed);
  return result;
}

}  // namespace ipsec::bench
