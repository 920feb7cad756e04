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
  if (stopping_ || child.held_down || child.leaving || child.step != Step::kNone) return;
  const IkeRow* ike = child.config->manual ? nullptr : ike_in_use(row);
  if (ike == nullptr) return;
  ChildRow::Rest& rest = child.rest;
  std::vector<policy::TrafficPair> left = uncovered_of(child), wanted = left;
  std::erase_if(wanted, [&](const auto& each) { return std::ranges::count(rest.refused, each) != 0; });
  auto request = policy::next_request(wanted, packet_of(acquire));
  if (!request || rest.refused.size() >= kPairsRefusedMax) return report_rest(row, child, left);
  if (rest.singly) request->remote.resize(1);
  rest.asked = true;
  rest.request = *request;
  rest.before = std::move(left);
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

/// What a peer refuses together it may take pair by pair.
void TunnelManager::rest_failed(Instant now, TunnelRow& row, ChildRow& child, Reason reason,
                                const std::string& detail) {
  ChildRow::Rest& rest = child.rest;
  const bool of_packet = child.acquire.has_value();
  rest.asked = false;
  child.step = Step::kNone;
  child.attempt.reset();
  if (is_passing(reason)) {
    if (of_packet) services_.clear_acquire(*child.acquire);  // so that the next packet asks again
    child.acquire.reset();
    if (comes_up_by_itself(child)) set_retry(child, now + vary(row.tunnel->ike_policy->retry.most));
    return;
  }
  // The state that the kernel's question left behind stays until it expires: meanwhile no packet asks again.
  child.acquire.reset();
  row.last_detail = detail;
  if (rest.request.remote.size() > 1)
    rest.singly = true;
  else
    rest.refused.emplace_back(rest.request.local.front(), rest.request.remote.front());
  if (!of_packet) return ask_for_rest(row, child, nullptr);
  report_rest(row, child, uncovered_of(child));
}

/// Once: nothing more is asked for.
void TunnelManager::report_rest(const TunnelRow& row, ChildRow& child, const std::vector<policy::TrafficPair>& left) {
  if (left.empty() || child.rest.refused.empty() || std::exchange(child.rest.reported, true)) return;
  event("tunnel/" + row.tunnel->name, Reason::kSelectorsUncovered,
        {field("child", child.config->name), field("selectors", policy::to_string(left, kPairsShown)),
         field("because", std::string(code(Reason::kTsUnacceptable))), field("detail", row.last_detail)});
}

/// One more SA of the child carries traffic.
void TunnelManager::on_part_up(Instant now, TunnelRow& row, ChildRow& child, const InstalledChild& installed) {
  const bool asked = std::exchange(child.rest.asked, false);
  const std::vector<policy::TrafficPair> before = std::exchange(child.rest.before, {});
  if (asked && uncovered_of(child) == before)  // the peer answers what it has answered before
    return rest_failed(now, row, child, Reason::kTsUnacceptable, "the peer took nothing new of it");
  const bool at_once = child.config->start == policy::StartMode::kNow ||
                       (child.config->start == policy::StartMode::kRespond && installed.spec->initiator);
  if (at_once) ask_for_rest(row, child, nullptr);
}

}  // namespace ipsec::agent
