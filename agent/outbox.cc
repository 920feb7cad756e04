#include "agent/outbox.h"

#include <optional>
#include <utility>
#include <variant>

namespace ipsec::agent {
namespace {

constexpr size_t kLetterBytes = 512;  // the action itself, its letter, and small things that it owns

size_t bytes_of(const std::vector<policy::Proposal>& proposals) {
  size_t bytes = 0;
  for (const policy::Proposal& each : proposals)
    bytes += sizeof each + each.transforms.capacity() * sizeof(policy::Transform);
  return bytes;
}

size_t bytes_of(const policy::SelectorList& selectors) {
  return selectors.capacity() * sizeof(policy::TrafficSelector);
}

size_t bytes_of(const std::vector<Field>& fields) {
  size_t bytes = 0;
  for (const Field& each : fields) bytes += sizeof each + each.value.capacity();
  return bytes;
}

size_t bytes_of(const policy::Negotiation& negotiation) {
  return sizeof negotiation + bytes_of(negotiation.offered) + bytes_of(negotiation.configured) +
         bytes_of(negotiation.offered_local) + bytes_of(negotiation.offered_remote) +
         bytes_of(negotiation.configured_local) + bytes_of(negotiation.configured_remote) +
         negotiation.offered_text.capacity() + negotiation.configured_text.capacity() +
         negotiation.offered_local_text.capacity() + negotiation.configured_local_text.capacity();
}

/// A child's spec: its action may be the last to hold it.
size_t bytes_of(const policy::ChildSpec& spec) { return sizeof spec + bytes_of(spec.local) + bytes_of(spec.remote); }

/// The IKE SA that the main thread makes a record of because of this action. A report makes none: it may come after the
/// end of its IKE SA, and nobody would ever take such a record away.
std::optional<ike::IkeSaId> recorded_by(const ike::Action& action) {
  if (const auto* identity = std::get_if<ike::IdentityEstablished>(&action)) return identity->ike;
  if (const auto* inbound = std::get_if<ike::InstallInbound>(&action)) return inbound->ike;
  if (const auto* rekeyed = std::get_if<ike::IkeRekeyed>(&action)) return rekeyed->fresh;
  return std::nullopt;
}

}  // namespace

size_t bytes_of(const ike::Action& action) {
  size_t bytes = kLetterBytes;
  if (const auto* report = std::get_if<ike::Report>(&action)) {
    bytes += bytes_of(report->fields) + report->tunnel.capacity();
    if (report->negotiation != nullptr) bytes += bytes_of(*report->negotiation);
  } else if (const auto* inbound = std::get_if<ike::InstallInbound>(&action)) {
    bytes += bytes_of(*inbound->spec);
  } else if (const auto* outbound = std::get_if<ike::InstallOutbound>(&action)) {
    bytes += bytes_of(*outbound->spec);
  } else if (const auto* remove = std::get_if<ike::RemoveChild>(&action)) {
    bytes += bytes_of(*remove->spec);
  } else if (const auto* failed = std::get_if<ike::ChildFailed>(&action)) {
    bytes += failed->child.capacity() + failed->detail.capacity();
  }
  return bytes;
}

Outbox::Verdict Outbox::judge(Instant now, const ike::Action& action) {
  if (const auto* snapshot = std::get_if<ike::SnapshotChanged>(&action))
    return snapshot->gone && recorded_.erase(snapshot->ike) != 0 ? Verdict::kSend : Verdict::kNotNeeded;
  if (const auto* report = std::get_if<ike::Report>(&action); report != nullptr && report->unauthenticated)
    if (!(report->tunnel.empty() ? unnamed_ : named_).take(now, kUnauthenticatedReportsPerSecond))
      return Verdict::kDropped;
  if (const auto recorded = recorded_by(action)) recorded_.insert(*recorded);
  return Verdict::kSend;
}

void Outbox::send(Letter letter) {
  if (waiting_.empty() && mailbox_.offer(letter, when_room_)) return;
  waiting_.push_back(std::move(letter));
}

bool Outbox::flush() {
  while (!waiting_.empty()) {
    if (!mailbox_.offer(waiting_.front(), when_room_)) return false;
    waiting_.pop_front();
  }
  return true;
}

}  // namespace ipsec::agent
