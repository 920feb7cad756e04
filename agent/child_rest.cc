#include <algorithm>

#include "agent/limits.h"
#include "agent/tunnel_manager.h"

// What a peer has not taken of a child's traffic (RFC 7296 section 2.9) is asked for with further child SAs: at once
// where the child comes up without traffic, else by the next packet, until the peer refuses.
namespace ipsec::agent {

using Step = ChildRow::Step;

namespace {

/// Another answer may follow in a while. All others are about what the peer allows.
bool is_passing(Reason reason) {
  return reason == Reason::kPeerTemporaryFailure || reason == Reason::kChildLimit || reason == Reason::kCancelled ||
         reason == Reason::kIkeQueueLimit || reason == Reason::kExists;
}

std::optional<policy::TrafficPair> packet_of(const policy::Acquire* acquire) {
  if (acquire == nullptr) return std::nullopt;
  return policy::TrafficPair{acquire->packet_source, acquire->packet_destination};
}

}  // namespace

std::vector<policy::TrafficPair> TunnelManager::uncovered_of(const ChildRow& child) const {
  std::vector<policy::SelectorPair> carried;
  for (const ike::ChildId id : child.up)
    if (const auto it = installer_.children().find(id); it != installer_.children().end()) {
      const policy::ChildSpec& spec = *it->second->spec;
      if (spec.local == child.config->local && spec.remote == child.config->remote) return {};
      carried.push_back({spec.local, spec.remote});
    }
  if (carried.empty()) return {};
  return policy::uncovered({child.config->local, child.config->remote}, carried);
}

/// `acquire`: the packet that wants it; nullptr: whatever comes first.
void TunnelManager::ask_for_rest(TunnelRow& row, ChildRow& child, const policy::Acquire* acquire) {
  if (stopping_ || child.held_down || child.leaving || child.rest.refused || child.step != Step::kNone) return;
  const IkeRow* ike = child.config->manual ? nullptr : ike_in_use(row);
  if (ike == nullptr) return;
  std::vector<policy::TrafficPair> left = uncovered_of(child);
  auto request = policy::next_request(left, packet_of(acquire));
  if (!request) return;
  child.rest = {.asked = true, .refused = false, .before = std::move(left)};
  child.step = Step::kCreating;
  child.attempt = ike->id;
  WorkerPort::Trigger trigger;
  if (acquire != nullptr) {
    child.acquire = *acquire;
    trigger.emplace(acquire->packet_source, acquire->packet_destination);
  }
  services_.workers.create_child(
      ike->worker, {ike->id, row.tunnel->name, child.config->name, std::move(trigger), std::move(*request)});
}

void TunnelManager::rest_failed(Instant now, TunnelRow& row, ChildRow& child, Reason reason,
                                const std::string& detail) {
  const std::vector<policy::TrafficPair> left = std::move(child.rest.before);
  child.rest = {};
  child.step = Step::kNone;
  child.attempt.reset();
  if (is_passing(reason)) {
    if (child.acquire) services_.clear_acquire(*child.acquire);  // so that the next packet asks again
    child.acquire.reset();
    if (comes_up_by_itself(child)) set_retry(child, now + vary(row.tunnel->ike_policy->retry.most));
    return;
  }
  // The state that the kernel's question left behind stays until it expires: meanwhile no packet asks again.
  child.acquire.reset();
  child.rest.refused = true;
  event("tunnel/" + row.tunnel->name, Reason::kSelectorsUncovered,
        {field("child", child.config->name), field("selectors", policy::to_string(left, kPairsShown)),
         field("because", std::string(code(reason))), field("detail", detail)});
}

/// One more SA of the child carries traffic.
void TunnelManager::on_part_up(Instant now, TunnelRow& row, ChildRow& child, const InstalledChild& installed) {
  const bool asked = std::exchange(child.rest.asked, false);
  const std::vector<policy::TrafficPair> before = std::exchange(child.rest.before, {});
  if (asked && uncovered_of(child) == before) {  // the peer answers what it has answered before
    child.rest.before = before;
    return rest_failed(now, row, child, Reason::kTsUnacceptable, "the peer took nothing new of it");
  }
  const bool at_once = child.config->start == policy::StartMode::kNow ||
                       (child.config->start == policy::StartMode::kRespond && installed.spec->initiator);
  if (at_once) ask_for_rest(row, child, nullptr);
}

}  // namespace ipsec::agent
