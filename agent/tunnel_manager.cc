#include "agent/tunnel_manager.h"

#include <algorithm>

#include "agent/limits.h"
#include "agent/owners.h"
#include "policy/marks.h"

namespace ipsec::agent {

using Step = ChildRow::Step;

namespace {

std::string detail_of(const std::vector<Field>& fields) {
  std::string text;
  for (const Field& each : fields) {
    if (!text.empty()) text.append(", ");
    text.append(each.name == "detail" ? each.value : each.name + " " + each.value);
  }
  return text;
}

std::string ike_name(ike::IkeSaId id) {
  ByteWriter out(8);
  out.u64(id.value());
  return "ike/" + to_hex(out.view());
}

/// Reports of steps on the way, as opposed to what went wrong.
bool is_progress(Reason reason) {
  return reason == Reason::kIkeEstablished || reason == Reason::kIkeInitiating || reason == Reason::kNatDetected ||
         reason == Reason::kInvalidKe || reason == Reason::kChildEstablished;
}

}  // namespace

/// Why a tunnel cannot be used whose interface is not there.
std::vector<uint32_t> reqids_of(const ChildRow& child) {
  std::vector<uint32_t> all = child.parts.reqids();
  all.push_back(child.ids.reqid);
  return all;
}

Error no_interface(const TunnelRow& row) {
  const std::string what = "interface of tunnel " + row.tunnel->name + ": ";
  if (!row.tunnel->group->enabled) return Error(Reason::kDeviceMissing, what + "its group is disabled");
  if (row.last_reason == Reason::kNone) return Error(Reason::kDeviceMissing, what + "not made yet");
  return Error(row.last_reason, what + row.last_detail);
}

TunnelManager::TunnelManager(Services services)
    : services_(std::move(services)),
      queue_(services_.kernel),
      shared_(
          queue_, [this](uint32_t number) { return name_of(number); },
          [this](const SharedObjects::RouteConflict& conflict) { on_route_conflict(conflict); }),
      packet_rules_(queue_,
                    [this](const std::string& netns, const Error& why) {
                      event(netns_object(netns), why.reason(), {field("detail", why.text())});
                    }),
      offload_(services_.offload),
      installer_(queue_, shared_, packet_rules_, offload_, services_.random),
      orphans_(queue_, shared_, packet_rules_,
               [this](const std::string& object, Reason reason, std::vector<Field> fields) {
                 constexpr std::string_view kTunnel = "tunnel/";
                 if (object.starts_with(kTunnel)) unsettled_links_.insert(object.substr(kTunnel.size()));
                 event(object, reason, std::move(fields));
                 carriers_.touch_all();
               }),
      carriers_(queue_, shared_, packet_rules_, carrier_hooks()),
      watch_(queue_, {.inbound_used =
                          [this](ike::ChildId id) {
                            if (const Home* home = home_of(id); home != nullptr)
                              services_.workers.inbound_used(home->worker, home->ike, id);
                          },
                      .sequence_due = [this](ike::ChildId id, uint64_t sequence) { on_sequence_due(id, sequence); },
                      .carried =
                          [this](ike::ChildId id) {
                            if (const Home* home = home_of(id); home != nullptr)
                              services_.workers.child_used(home->worker, home->ike, id);
                          }}),
      reconciliation_(queue_, shared_, services_.random, reconciliation_hooks()),
      config_(std::make_shared<policy::Config>()),
      last_if_id_(policy::kNumbersBegin),
      last_reqid_(policy::kNumbersBegin) {}

std::string TunnelManager::tunnel_of(uint32_t number) const {
  const auto tunnel = tunnel_by_number_.find(number);
  return tunnel != tunnel_by_number_.end() ? tunnel->second : std::string();
}

std::string TunnelManager::object_of(uint32_t number) const {
  if (std::string tunnel = tunnel_of(number); !tunnel.empty()) return "tunnel/" + tunnel;
  const std::string carrier = carriers_.name_of(number);
  return carrier.empty() ? carrier : "carrier/" + carrier;
}

std::string TunnelManager::name_of(uint32_t number) const {
  std::string object = object_of(number);
  if (object.empty()) return "an exception of the group";
  return object.replace(object.find('/'), 1, " ");
}

/// Whoever asks for a tunnel that has still to start makes it start now.
TunnelRow* TunnelManager::find(const std::string& tunnel) {
  auto it = tunnels_.find(tunnel);
  if (it == tunnels_.end() && rollout_.active && !stopping_ && config_->tunnels.contains(tunnel)) {
    follow(now_, tunnel);
    if (tunnel > rollout_.last) rollout_.early.insert(tunnel);
    it = tunnels_.find(tunnel);
  }
  return it == tunnels_.end() ? nullptr : &it->second;
}

ChildRow* TunnelManager::find(TunnelRow& row, const std::string& child) {
  auto it = row.children.find(child);
  return it == row.children.end() ? nullptr : &it->second;
}

std::string_view TunnelManager::state_of(const TunnelRow& row) {
  if (!row.tunnel->group->enabled) return "disabled";
  bool all_up = !row.children.empty(), some_up = false, busy = false, waits = false, failed = false, all_held = true;
  for (const auto& [name, child] : row.children) {
    all_up = all_up && !child.up.empty();
    some_up = some_up || !child.up.empty();
    busy = busy || child.step != Step::kNone || child.retry_at;
    waits = waits || child.trap;
    failed = failed || child.given_up;
    all_held = all_held && child.held_down;
  }
  if (all_held && !some_up) return "down";
  if (all_up) return "up";
  if (busy) return "establishing";
  if (some_up) return "up";
  if (failed) return "failed";
  return waits ? "idle" : "down";
}

void TunnelManager::event(const std::string& object, Reason reason, std::vector<Field> fields) {
  services_.counters.add(reason);
  announce(object, reason, std::move(fields));
}

void TunnelManager::announce(const std::string& object, Reason reason, std::vector<Field> fields) {
  services_.log.info(info(reason).text, [&] {
    std::vector<Field> all{field("code", std::string(code(reason))), field("object", object)};
    all.insert(all.end(), fields.begin(), fields.end());
    return all;
  }());
  services_.events.append(
      {.time = services_.wall_clock(), .object = object, .reason = reason, .fields = std::move(fields)});
}

void TunnelManager::start(Instant now, std::shared_ptr<const policy::Config> config, Adoption adoption) {
  config_ = std::move(config);
  offload_.configure(now, *config_);
  last_if_id_ = std::max(last_if_id_, adoption.last_number);
  last_number_ = std::max(last_number_, last_if_id_);
  last_reqid_ = std::max(last_reqid_, adoption.last_reqid);
  adopted_ = std::move(adoption.numbers);
  adopt_headers(adoption.children);
  orphans_.adopt(now, std::move(adoption.children), config_->orphan_grace);
  probe_devices();
  set_exceptions();
  set_group_objects();
  adopted_carriers_ = std::move(adoption.carriers);
  rollout_.begin(nullptr);
  reconciliation_.hold();
  run(now);
}

uint32_t TunnelManager::number_for(const std::string& tunnel) {
  const auto adopted = adopted_.find(tunnel);
  return adopted != adopted_.end() ? adopted->second.number : ++last_number_;
}

uint32_t TunnelManager::if_id_for(const std::string& tunnel) {
  const auto adopted = adopted_.find(tunnel);
  return adopted != adopted_.end() ? adopted->second.if_id : ++last_if_id_;
}

uint32_t TunnelManager::reqid_for(const std::string& tunnel, const std::string& child) {
  const auto adopted = adopted_.find(tunnel);
  if (adopted == adopted_.end()) return ++last_reqid_;
  const auto reqid = adopted->second.reqids.find(child);
  return reqid != adopted->second.reqids.end() ? reqid->second : ++last_reqid_;
}

void TunnelManager::start_tunnel(Instant now, const std::shared_ptr<const policy::Tunnel>& tunnel, uint32_t number) {
  TunnelRow& row = tunnels_[tunnel->name];
  row.tunnel = tunnel;
  if (!tunnel->is_manual()) list_peer(*tunnel);
  row.number = number != 0 ? number : number_for(tunnel->name);
  tunnel_by_number_[row.number] = tunnel->name;
  if (tunnel->group->attached == policy::Attachment::kInterface) {
    row.if_id = if_id_for(tunnel->name);
    name_link(row);
  }
  row.since = services_.wall_clock();
  for (const policy::ChildConfig& child : tunnel->children) add_child(row, child);
  if (!tunnel->group->enabled) return;
  settle_packets(row);
  if (!row.interface.empty()) return make_link(now, row);
  row.link_ready = true;
  start_children(now, row);
}

void TunnelManager::add_child(TunnelRow& row, const policy::ChildConfig& child) {
  ChildRow& made = row.children[child.name];
  made.tunnel = row.tunnel;
  made.config = &child;
  made.ids = {.reqid = reqid_for(row.tunnel->name, child.name),
              .if_id = row.if_id,
              .interface = row.interface,
              .tunnel = row.number};
  if (const auto adopted = adopted_.find(row.tunnel->name); adopted != adopted_.end())
    if (const auto parts = adopted->second.parts.find(child.name); parts != adopted->second.parts.end())
      for (const auto& [reqid, keys] : parts->second) made.parts.adopt(reqid, keys);
  for (const uint32_t reqid : reqids_of(made)) child_by_reqid_[reqid] = {row.tunnel->name, child.name};
  set_block(row, made);
}

void TunnelManager::start_children(Instant now, TunnelRow& row) {
  for (auto& [name, child] : row.children)
    if (!child.leaving) start_child(now, row, child);
}

void TunnelManager::start_child(Instant now, TunnelRow& row, ChildRow& child) {
  if (child.config->start == policy::StartMode::kTraffic) set_trap(row, child);
  if (comes_up_by_itself(child)) begin(now, row, child, nullptr);
}

/// While orphans carry its traffic, no packet asks for the tunnel.
bool TunnelManager::comes_up_by_itself(const ChildRow& child) const {
  return child.config->start == policy::StartMode::kNow ||
         (child.config->start == policy::StartMode::kTraffic && orphans_.carry(child.ids.reqid));
}

void TunnelManager::set_trap(TunnelRow& row, ChildRow& child) {
  auto plan = policy::plan_trap(*child.tunnel, *child.config, child.ids);
  const std::string object = "tunnel/" + row.tunnel->name;
  if (!plan.ok()) return event(object, plan.error().reason(), {field("detail", plan.error().text())});
  child.trap = true;
  child.trap_dropped = false;
  auto complain = [this, object](const Status& status) {
    if (!status.ok()) event(object, status.error().reason(), {field("detail", status.error().text())});
  };
  for (const auto& each : plan->policies)
    shared_.hold(trap_owner(child), row.tunnel->group->public_place.netns, each, complain);
  for (const auto& each : plan->routes)
    shared_.hold(trap_owner(child), row.tunnel->group->private_place.netns, each, complain);
  set_routes(row);
}

void TunnelManager::drop_trap(TunnelRow& row, ChildRow& child) {
  auto plan = policy::plan_trap(*child.tunnel, *child.config, child.ids);
  if (!plan.ok()) return;
  child.trap = false;
  set_routes(row);
  for (const auto& each : plan->routes)
    shared_.release(trap_owner(child).id, row.tunnel->group->private_place.netns, each);
  for (const auto& each : plan->policies)
    shared_.release(trap_owner(child).id, row.tunnel->group->public_place.netns, each.key);
  child.trap_dropped = child.config->start == policy::StartMode::kTraffic;
}

void TunnelManager::on_action(Instant now, size_t worker, ike::Action action) {
  if (auto* install = std::get_if<ike::InstallInbound>(&action))
    on_install_inbound(worker, std::move(*install));
  else if (auto* outbound = std::get_if<ike::InstallOutbound>(&action))
    on_install_outbound(now, worker, std::move(*outbound));
  else if (const auto* watch = std::get_if<ike::WatchInbound>(&action))
    on_watch_inbound(now, *watch);
  else if (const auto* stop = std::get_if<ike::StopOutbound>(&action))
    on_stop_outbound(*stop);
  else if (const auto* remove = std::get_if<ike::RemoveChild>(&action))
    on_remove_child(now, *remove);
  else if (const auto* rekeyed = std::get_if<ike::IkeRekeyed>(&action))
    on_ike_rekeyed(now, worker, *rekeyed);
  else if (const auto* failed = std::get_if<ike::ChildFailed>(&action))
    on_child_failed(now, *failed);
  else if (const auto* report = std::get_if<ike::Report>(&action))
    on_report(now, *report);
  else if (const auto* identity = std::get_if<ike::IdentityEstablished>(&action))
    on_identity(now, worker, *identity);
  else if (const auto* snapshot = std::get_if<ike::SnapshotChanged>(&action); snapshot != nullptr && snapshot->gone)
    on_gone(now, snapshot->ike);
}

/// Anybody can make us report: without a limit a flood of requests would become a flood of log lines and wash real
/// events away.
bool TunnelManager::may_log_stranger(Instant now) {
  if (now - stranger_second_ >= 1s) {
    stranger_second_ = now;
    stranger_reports_ = 0;
  }
  return ++stranger_reports_ <= kStrangerReportsPerSecond;
}

void TunnelManager::on_report(Instant now, const ike::Report& report) {
  if (!report.tunnel.empty())
    announce("tunnel/" + report.tunnel, report.reason, report.fields);
  else if (may_log_stranger(now))
    announce(ike_name(report.ike), report.reason, report.fields);
  if (report.reason == Reason::kRekeyFailed) fail_rekeys(report);
  // Of one that has no row nothing depends on it: it is not authenticated yet, or has ended.
  const auto ike = ikes_.find(report.ike);
  if (ike == ikes_.end() || is_progress(report.reason)) return;
  ike->second.last_reason = report.reason;
  ike->second.last_detail = detail_of(report.fields);
}

/// The interface id tells a question about our policies from one about another daemon's that counts reqids as we do;
/// without an interface the policy itself does.
bool TunnelManager::is_of(const TunnelRow& row, const policy::Acquire& acquire) const {
  if (row.if_id != acquire.policy.if_id) return false;
  return row.if_id != 0 || shared_.holds(acquire.netns, acquire.policy);
}

void TunnelManager::on_acquire(Instant now, const policy::Acquire& acquire) {
  auto known = child_by_reqid_.find(acquire.reqid);
  TunnelRow* row = known != child_by_reqid_.end() ? find(known->second.first) : nullptr;
  if (row == nullptr || !is_of(*row, acquire)) {
    services_.counters.add(Reason::kAcquireForeign);
    return;
  }
  ChildRow* const asked = find(*row, known->second.second);
  if (asked == nullptr) return;
  ChildRow& child = *asked;
  // A policy asks for no SA that is there: somebody has taken it out.
  const policy::TrafficPair packet{acquire.packet_source, acquire.packet_destination};
  if (!child.up.empty() && !policy::next_request(uncovered_of(child), packet))
    return reconciliation_.suspect(now, acquire.netns);
  if (child.step != Step::kNone || child.held_down) return;
  begin(now, *row, child, &acquire);
}

void TunnelManager::on_kernel_event(Instant now, policy::KernelEvent kernel_event) {
  if (const auto* acquire = std::get_if<policy::Acquire>(&kernel_event)) return on_acquire(now, *acquire);
  if (const auto* expired = std::get_if<policy::SaExpired>(&kernel_event)) return on_expired(*expired);
  if (const auto* gone = std::get_if<policy::NamespaceGone>(&kernel_event)) on_namespace_gone(gone->netns);
  if (const auto* gone = std::get_if<policy::NamespaceGone>(&kernel_event)) carriers_.on_namespace_gone(gone->netns);
  if (const auto* link = std::get_if<policy::LinkChanged>(&kernel_event)) {
    on_device(*link);
    on_link_changed(*link);
    on_offload_link(now, *link);
  }
  if (const auto* routes = std::get_if<policy::RoutesChanged>(&kernel_event))
    paths_due_.try_emplace(routes->netns, std::max(now + kPathLookPause, paths_rest_[routes->netns]));
  if (const auto* met = std::get_if<policy::ResyncNeeded>(&kernel_event)) {
    services_.namespace_changed(met->netns, true);
    paths_due_.try_emplace(met->netns, now);
    wake_manual_in(met->netns);
  }
  if (const auto* added = std::get_if<policy::AddressAdded>(&kernel_event))
    services_.namespace_changed(added->netns, true);
  // It may be the VRF of sockets.
  if (const auto* link = std::get_if<policy::LinkChanged>(&kernel_event); link != nullptr && link->up)
    services_.namespace_changed(link->netns, true);
  reconciliation_.on_event(now, kernel_event);
}

/// With the public side of a group its SAs are gone, and nothing can be said to the peers from there. What is
/// configured to come up does so when the namespace is back.
void TunnelManager::on_namespace_gone(const std::string& netns) {
  services_.namespace_changed(netns, false);
  packet_rules_.forget(netns);
  for (auto& [id, ike] : ikes_)
    if (const TunnelRow* row = find(ike.tunnel); row != nullptr && row->tunnel->group->public_place.netns == netns)
      close(ike, Reason::kNamespaceMissing, ike::CloseMode::kSilently);
  end_manual_in(netns);
}

/// With the underlay's VRF nothing can be said to the peers.
void TunnelManager::on_link_changed(const policy::LinkChanged& change) {
  if (!change.gone) return;
  const policy::RoutingPlace place{change.netns, change.name};
  const bool concerns =
      std::ranges::any_of(config_->groups, [&](const auto& each) { return each.second->public_place == place; });
  if (!concerns) return;
  services_.underlay_gone(place);
  for (auto& [id, ike] : ikes_)
    if (const TunnelRow* row = find(ike.tunnel); row != nullptr && row->tunnel->group->public_place == place)
      close(ike, Reason::kVrfMissing, ike::CloseMode::kSilently);
}

void TunnelManager::run(Instant now) {
  now_ = now;
  installer_.set_now(now);
  queue_.drain_some(kCompletionsPerTurn, services_.monotonic_clock, kDrainTurnMax);
  take_kernel_events(now);
  if (rollout_.active && !stopping_) roll_out(now);
  run_retries(now);
  run_crossings(now);
  watch_.run(now);
  orphans_.run(now);
  expire_waiters(now);
  sweep(now);
  carriers_.run(now);
  packet_rules_.apply();
  run_paths(now);
  settle_links();
  run_offload(now);
  settle_rollout(now);
  reconciliation_.run(now);
  queue_.drain_some(kCompletionsPerTurn, services_.monotonic_clock, kDrainTurnMax);
}

/// Some of them: each may cost a look at many objects.
void TunnelManager::take_kernel_events(Instant now) {
  events_left_ = true;
  for (size_t count = 0; count < kEventsPerTurn; ++count) {
    auto kernel_event = services_.kernel.poll_event();
    events_left_ = kernel_event.has_value();
    if (!events_left_) return;
    on_kernel_event(now, std::move(*kernel_event));
  }
}

std::optional<Instant> TunnelManager::next_deadline() const {
  if (queue_.has_more() || events_left_ || (rollout_.active && !stopping_) || !to_sweep_.empty() ||
      !unsettled_links_.empty())
    return now_;
  std::optional<Instant> next = watch_.next_deadline();
  auto consider = [&](Instant when) { next = next ? std::min(*next, when) : when; };
  for (const auto& each :
       {retries_.next(), childless_.next(), crossings_.next(), reconciliation_.next_deadline(),
        orphans_.next_deadline(), carriers_.next_deadline(), offload_deadline(), rollout_.settles_by})
    if (each) consider(*each);
  for (const Waiter& each : waiters_) consider(each.deadline);
  for (const auto& [netns, due] : paths_due_) consider(due);
  return next;
}

void TunnelManager::begin_shutdown() {
  stopping_ = true;
  rollout_ = {};
  reconciliation_.stop();
  carriers_.begin_shutdown();
  for (auto& [id, ike] : ikes_) close(ike, Reason::kShutdown, ike::CloseMode::kTellPeer);
}

void TunnelManager::remove_all() {
  renewals_.clear();
  manual_.clear();
  carriers_.remove_all();
  orphans_.end_all(now_, Reason::kShutdown);
  while (!installer_.children().empty()) {
    const ike::ChildId id = installer_.children().begin()->first;
    installer_.remove(id);
    watch_.forget(id);
  }
  for (auto& [name, row] : tunnels_) {
    hold_routes(row, {});
    for (auto& [child_name, child] : row.children) {
      drop_block(child);
      if (!child.trap) continue;
      drop_trap(row, child);
      if (child.acquire) services_.clear_acquire(*child.acquire);
    }
  }
  // All in a row, so that they can go at once.
  for (auto& [name, row] : tunnels_) {
    if (row.link_ready) remove_link(row);
  }
  hold_gateway_routes({});
  drop_group_objects(vrfs_, rules_);
  drop_exceptions();
  queue_.drain();  // pairs of gateways are sealed until the interfaces between them have gone
  packet_rules_.remove_all();
  queue_.drain();
}

}  // namespace ipsec::agent
