#include "agent/sequence_watch.h"

#include <algorithm>

#include "policy/plan.h"

namespace ipsec::agent {
namespace {

using Seconds = std::chrono::duration<double>;

Duration in_seconds(double seconds) {
  return std::chrono::duration_cast<Duration>(Seconds(std::min(seconds, 86400.0)));
}

}  // namespace

uint64_t SequenceWatch::rekey_point(const policy::RekeyPolicy& policy, uint64_t spread) {
  return std::min(policy::rekey_point(kNumbers, policy, spread), kLatest);
}

void SequenceWatch::add(Instant now, ike::ChildId child, uint64_t rekey_at) {
  children_[child] = {.rekey_at = rekey_at, .sequence = 0, .seen = now};
  looks_.set(child, now + kLookFirst);
}

void SequenceWatch::remove(ike::ChildId child) {
  children_.erase(child);
  looks_.cancel(child);
}

SequenceWatch::Verdict SequenceWatch::observe(Instant now, ike::ChildId id, uint64_t sequence) {
  auto it = children_.find(id);
  if (it == children_.end()) return Verdict::kFine;
  Child& child = it->second;
  const double passed = Seconds(now - child.seen).count();
  const double pace = passed > 0 && sequence > child.sequence ? double(sequence - child.sequence) / passed : 0;
  child.sequence = sequence;
  child.seen = now;
  if (sequence >= child.rekey_at) {
    looks_.set(id, now + kLookAgain);
    return Verdict::kDue;
  }
  const double ahead = double(child.rekey_at - sequence), left = double(kNumbers - sequence);
  double wait = left / kFastest / 2;
  if (pace > 0) wait = std::min(wait, ahead / pace / 2);
  looks_.set(id, now + std::clamp(in_seconds(wait), kLookShortest, kLookLongest));
  return Verdict::kFine;
}

void SequenceWatch::postpone(Instant now, ike::ChildId id) {
  if (children_.contains(id)) looks_.set(id, now + kLookShortest);
}

}  // namespace ipsec::agent
