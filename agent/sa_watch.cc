#include "agent/sa_watch.h"

#include <algorithm>

#include "agent/limits.h"

namespace ipsec::agent {
namespace {

/// Sequence numbers of an SA on a NIC are counted there: what the kernel shows of them stands still, and each packet
/// has taken at least one.
uint64_t sequence_of(const policy::SaState& state) {
  const uint64_t shown = std::max(state.sequence_sent, state.sequence_received);
  return state.offload == policy::OffloadKind::kPacket ? std::max(shown, state.packets) : shown;
}

}  // namespace

void SaWatch::watch_inbound(Instant now, ike::ChildId child, const std::string& netns, const policy::SaKey& inbound) {
  inbound_[child] = {netns, inbound, now};
  inbound_looks_.set(child, now + kInboundLookFirst);
}

void SaWatch::stop_inbound(ike::ChildId child) {
  inbound_.erase(child);
  inbound_looks_.cancel(child);
}

void SaWatch::follow(Instant now, ike::ChildId child, Pair pair, const Interest& interest) {
  followed_[child] = {std::move(pair), interest};
  if (interest.rekey_at) sequences_.add(now, child, *interest.rekey_at);
  if (interest.idle_interval) idle_looks_.set(child, now + *interest.idle_interval);
}

void SaWatch::forget(ike::ChildId child) {
  stop_inbound(child);
  followed_.erase(child);
  sequences_.remove(child);
  idle_looks_.cancel(child);
}

std::optional<Instant> SaWatch::next_deadline() const {
  if (in_flight_ >= kWatchReadsMax) return std::nullopt;
  std::optional<Instant> next;
  for (const auto& each : {inbound_looks_.next(), sequences_.next_look(), idle_looks_.next()})
    if (each) next = next ? std::min(*next, *each) : *each;
  return next;
}

void SaWatch::run(Instant now) {
  // A rekey under way comes first: the peer's packets wait for nothing else.
  while (in_flight_ < kWatchReadsMax)
    if (const auto child = inbound_looks_.pop_due(now))
      read_inbound(now, *child);
    else
      break;
  while (in_flight_ < kWatchReadsMax)
    if (const auto child = sequences_.pop_due(now))
      read_pair(now, *child);
    else
      break;
  while (in_flight_ < kWatchReadsMax)
    if (const auto child = idle_looks_.pop_due(now))
      read_pair(now, *child);
    else
      break;
}

void SaWatch::read_inbound(Instant now, ike::ChildId child) {
  const Inbound& watched = inbound_.at(child);
  ++in_flight_;
  queue_.submit(watched.netns, policy::ReadSa{watched.key}, [this, now, child](Result<policy::KernelReply> result) {
    --in_flight_;
    auto it = inbound_.find(child);
    if (it == inbound_.end()) return;
    const auto* state = result.ok() ? std::get_if<policy::SaState>(&*result) : nullptr;
    if (state != nullptr && state->packets > 0) {
      stop_inbound(child);
      return findings_.inbound_used(child);
    }
    const bool early = now - it->second.since < kInboundLookSoon;
    inbound_looks_.set(child, now + (early ? kInboundLookFirst : kInboundLookLater));
  });
}

void SaWatch::read_pair(Instant now, ike::ChildId child) {
  const Pair& pair = followed_.at(child).pair;
  auto look = std::make_shared<Look>();
  for (const policy::SaKey& key : {pair.in, pair.out}) {
    ++in_flight_;
    queue_.submit(pair.netns, policy::ReadSa{key}, [this, now, child, look](Result<policy::KernelReply> result) {
      --in_flight_;
      const auto* state = result.ok() ? std::get_if<policy::SaState>(&*result) : nullptr;
      look->failed = look->failed || state == nullptr;
      if (state != nullptr) {
        look->sequence = std::max(look->sequence, sequence_of(*state));
        look->packets += state->packets;
      }
      if (++look->answers == 2) on_look(now, child, *look);
    });
  }
}

void SaWatch::on_look(Instant now, ike::ChildId child, const Look& look) {
  auto it = followed_.find(child);
  if (it == followed_.end()) return;
  Followed& followed = it->second;
  if (followed.interest.idle_interval) idle_looks_.set(child, now + *followed.interest.idle_interval);
  const bool carried = followed.interest.idle_interval && look.packets > followed.packets;
  followed.packets = std::max(followed.packets, look.packets);
  bool due = false;
  // What was read counts even when the other SA could not be.
  if (followed.interest.rekey_at) {
    if (!look.failed || look.sequence >= *followed.interest.rekey_at)
      due = sequences_.observe(now, child, look.sequence) == SequenceWatch::Verdict::kDue;
    else
      sequences_.postpone(now, child);
  }
  if (carried) findings_.carried(child);
  if (due) findings_.sequence_due(child, look.sequence);
}

}  // namespace ipsec::agent
