#include "agent/tunnel_manager.h"

#include <algorithm>

#include "agent/limits.h"
#include "agent/outcome.h"

namespace ipsec::agent {
namespace {

// Other programs count interface ids and reqids from 1 (kernel-xfrm facts in netlink/README.md): ours begin elsewhere.
// Only a hint; the journal proves what is ours.
constexpr uint32_t kFirstNumber = 0x1000000;

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

/// Why a tunnel cannot be used whose interface is not there.
Error no_interface(const TunnelRow& row) {
  const std::string what = "interface of tunnel " + row.tunnel->name + ": ";
  if (!row.tunnel->group->enabled) return Error(Reason::kDeviceMissing, what + "its group is disabled");
  if (row.last_reason == Reason::kNone) return Error(Reason::kDeviceMissing, what + "not made yet");
  return Error(row.last_reason, what + row.last_detail);
}

/// Owners of shared objects: a child SA by its SPI, a trap by its reqid in the upper half.
uint64_t trap_owner(const ChildRow& child) { return uint64_t{child.ids.reqid} << 32; }

}  // namespace

TunnelManager::TunnelManager(Services services)
    : services_(std::move(services)),
      queue_(services_.kernel),
      shared_(queue_),
      installer_(queue_, shared_, services_.devices),
      config_(std::make_shared<policy::Config>()),
      last_if_id_(kFirstNumber),
      last_reqid_(kFirstNumber) {}

TunnelRow* TunnelManager::find(const std::string& tunnel) {
  auto it = tunnels_.find(tunnel);
  return it == tunnels_.end() ? nullptr : &it->second;
}

ChildRow* TunnelManager::find(TunnelRow& row, const std::string& child) {
  auto it = row.children.find(child);
  return it == row.children.end() ? nullptr : &it->second;
}

std::string_view TunnelManager::state_of(const TunnelRow& row) {
  if (!row.tunnel->group->enabled) return "disabled";
  bool all_up = !row.children.empty(), some_up = false, busy = false, waits = false;
  for (const auto& [name, child] : row.children) {
    all_up = all_up && !child.up.empty();
    some_up = some_up || !child.up.empty();
    busy = busy || child.establishing || child.retry_at;
    waits = waits || child.trap;
  }
  if (row.held_down && !some_up) return "down";
  if (all_up) return "up";
  if (busy) return "establishing";
  if (some_up) return "up";
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

void TunnelManager::start(Instant now, std::shared_ptr<const policy::Config> config) {
  config_ = std::move(config);
  for (const auto& [name, tunnel] : config_->tunnels) start_tunnel(now, tunnel);
  run(now);
}

void TunnelManager::start_tunnel(Instant now, const std::shared_ptr<const policy::Tunnel>& tunnel) {
  TunnelRow& row = tunnels_[tunnel->name];
  row.tunnel = tunnel;
  row.if_id = ++last_if_id_;
  row.interface = policy::interface_name(row.if_id);
  row.since = services_.wall_clock();
  for (const policy::ChildConfig& child : tunnel->children) {
    ChildRow& made = row.children[child.name];
    made.config = &child;
    made.ids = {.reqid = ++last_reqid_, .if_id = row.if_id, .interface = row.interface};
    child_by_reqid_[made.ids.reqid] = {tunnel->name, child.name};
  }
  if (!tunnel->group->enabled) return;
  queue_.submit(
      tunnel->group->private_place.netns, policy::AddLink{policy::plan_link(*tunnel, row.children.begin()->second.ids)},
      [this, now, name = tunnel->name](Result<policy::KernelReply> result) {
        TunnelRow* made = find(name);
        if (made == nullptr) return;
        if (!result.ok()) {
          made->last_reason = result.error().reason();
          made->last_detail = result.error().text();
          return event("tunnel/" + name, made->last_reason, {field("detail", made->last_detail)});
        }
        if (stopping_)
          return queue_.submit(made->tunnel->group->private_place.netns, policy::DeleteLink{made->interface}, {});
        made->link_ready = true;
        start_children(now, *made);
      });
}

void TunnelManager::start_children(Instant now, TunnelRow& row) {
  for (auto& [name, child] : row.children) {
    if (child.config->start == policy::StartMode::kTraffic) set_trap(row, child);
    if (child.config->start == policy::StartMode::kNow) begin(now, row, child, nullptr);
  }
}

void TunnelManager::set_trap(TunnelRow& row, ChildRow& child) {
  auto plan = policy::plan_trap(*row.tunnel, *child.config, child.ids);
  const std::string object = "tunnel/" + row.tunnel->name;
  if (!plan.ok()) return event(object, plan.error().reason(), {field("detail", plan.error().text())});
  child.trap = true;
  auto complain = [this, object](Status status) {
    if (!status.ok()) event(object, status.error().reason(), {field("detail", status.error().text())});
  };
  for (const auto& each : plan->policies)
    shared_.hold(trap_owner(child), row.tunnel->group->public_place.netns, each, complain);
  for (const auto& each : plan->routes)
    shared_.hold(trap_owner(child), row.tunnel->group->private_place.netns, each, complain);
}

void TunnelManager::begin(Instant now, TunnelRow& row, ChildRow& child, const policy::Acquire* acquire) {
  if (stopping_ || child.establishing || !child.up.empty()) return;
  child.establishing = true;
  child.retry_at.reset();
  child.attempt.reset();
  WorkerPort::Initiation initiation{.tunnel = row.tunnel, .child = child.config->name, .trigger = {}};
  if (acquire != nullptr) {
    child.acquire = *acquire;
    initiation.trigger.emplace(acquire->packet_source, acquire->packet_destination);
    event("tunnel/" + row.tunnel->name, Reason::kTrafficStart,
          {field("selectors",
                 policy::to_string(acquire->packet_source) + " " + policy::to_string(acquire->packet_destination))});
  }
  (void)now;
  services_.workers.initiate(next_worker_++ % services_.workers.workers(), std::move(initiation));
}

void TunnelManager::on_initiated(Instant now, size_t worker, const std::string& tunnel, const std::string& child,
                                 Result<ike::IkeSaId> outcome) {
  TunnelRow* row = find(tunnel);
  ChildRow* wanted = row != nullptr ? find(*row, child) : nullptr;
  if (wanted == nullptr) return;
  if (!outcome.ok()) return attempt_failed(now, *row, *wanted, outcome.error().reason(), outcome.error().text());
  wanted->attempt = *outcome;
  IkeRow& ike = ikes_[*outcome];
  ike.id = *outcome;
  ike.worker = worker;
  ike.tunnel = tunnel;
  ike.wanted_child = child;
  ike.initiator = true;
  // Nobody could name it when everything, or this tunnel, was taken down.
  if (stopping_ || row->held_down)
    services_.workers.close_ike(worker, *outcome, stopping_ ? Reason::kShutdown : Reason::kDeletedByOperator,
                                ike::CloseMode::kTellPeer);
}

void TunnelManager::attempt_failed(Instant now, TunnelRow& row, ChildRow& child, Reason reason,
                                   const std::string& detail) {
  child.establishing = false;
  child.attempt.reset();
  row.last_reason = reason;
  row.last_detail = detail;
  if (child.acquire) {
    // The state that the kernel's question left behind would keep it from asking again.
    services_.clear_acquire(*child.acquire);
    child.acquire.reset();
  }
  settle_waiters(row.tunnel->name, child.config->name, true, Error(reason, detail));
  if (stopping_ || row.held_down || child.config->start != policy::StartMode::kNow || !child.up.empty()) return;
  child.pause = child.pause == Duration{0} ? kRetryFirst : std::min(child.pause * 2, kRetryMost);
  child.retry_at = now + child.pause;
  event("tunnel/" + row.tunnel->name, Reason::kNegotiationRetry,
        {field("after", std::to_string(child.pause / 1s) + "s"), field("detail", detail)});
}

void TunnelManager::on_action(Instant now, size_t worker, ike::Action action) {
  if (auto* install = std::get_if<ike::InstallInbound>(&action))
    on_install_inbound(worker, std::move(*install));
  else if (auto* outbound = std::get_if<ike::InstallOutbound>(&action))
    on_install_outbound(now, worker, std::move(*outbound));
  else if (const auto* remove = std::get_if<ike::RemoveChild>(&action))
    on_remove_child(now, *remove);
  else if (const auto* report = std::get_if<ike::Report>(&action))
    on_report(now, worker, *report);
  else if (const auto* identity = std::get_if<ike::IdentityEstablished>(&action))
    on_identity(now, *identity);
  else if (const auto* snapshot = std::get_if<ike::SnapshotChanged>(&action); snapshot != nullptr && snapshot->gone)
    on_gone(now, snapshot->ike);
}

void TunnelManager::on_install_inbound(size_t worker, ike::InstallInbound action) {
  const ike::AskId ask = action.id;
  const ike::IkeSaId ike = action.ike;
  auto reply = [this, worker, ask, ike](Status status) {
    if (status.ok())
      services_.workers.answer(worker, {ask, ike, ike::Installed{}});
    else
      services_.workers.answer(worker, {ask, ike, ike::Refused{std::move(status).error()}});
  };
  TunnelRow* row = find(action.spec->tunnel->name);
  ChildRow* child = row != nullptr ? find(*row, action.spec->child) : nullptr;
  if (child == nullptr) return reply(Error(Reason::kNotFound, "tunnel " + action.spec->tunnel->name));
  if (!row->link_ready) return reply(no_interface(*row));
  installer_.install_inbound(action.child, action.spec, child->ids, std::move(action.keys), reply);
}

void TunnelManager::on_install_outbound(Instant now, size_t worker, ike::InstallOutbound action) {
  const ike::ChildId id = action.child;
  const ike::IkeSaId ike = action.ike;
  installer_.install_outbound(id, std::move(action.keys), [this, now, worker, id, ike](Status status) {
    // IKE has agreed and the kernel will not: the child must go on both sides.
    if (!status.ok()) services_.workers.close_child(worker, ike, id, status.error().reason());
    on_child_up(now, id, status);
  });
}

void TunnelManager::on_child_up(Instant now, ike::ChildId id, const Status& status) {
  auto it = installer_.children().find(id);
  if (it == installer_.children().end()) return;
  const InstalledChild& installed = *it->second;
  TunnelRow* row = find(installed.spec->tunnel->name);
  ChildRow* child = row != nullptr ? find(*row, installed.spec->child) : nullptr;
  if (child == nullptr) return;
  const std::string object = "tunnel/" + row->tunnel->name;
  if (!status.ok()) {
    event(object, status.error().reason(),
          {field("child", child->config->name), field("detail", status.error().text())});
    return attempt_failed(now, *row, *child, status.error().reason(), status.error().text());
  }
  child->establishing = false;
  child->acquire.reset();
  child->pause = Duration{0};
  child->retry_at.reset();
  child->up.push_back(id);
  row->held_down = false;
  row->last_reason = Reason::kTunnelUp;
  row->last_detail.clear();
  row->since = services_.wall_clock();
  event(object, Reason::kTunnelUp, {field("child", child->config->name)});
  for (const auto& [direction, effective] :
       {std::pair("in", &installed.inbound), std::pair("out", &installed.outbound)}) {
    if (effective->requested == policy::OffloadMode::kNone) continue;
    event(object, effective->reason,
          {field("direction", std::string(direction)),
           field("effective", std::string(policy::to_string(effective->kind))), field("device", effective->device),
           field("detail", effective->detail)});
  }
  settle_waiters(row->tunnel->name, child->config->name, true, {});
}

void TunnelManager::on_remove_child(Instant now, const ike::RemoveChild& action) {
  installer_.remove(action.child);
  TunnelRow* row = find(action.spec->tunnel->name);
  ChildRow* child = row != nullptr ? find(*row, action.spec->child) : nullptr;
  if (child == nullptr || std::erase(child->up, action.child) == 0 || !child->up.empty()) return;
  row->last_reason = action.reason;
  row->since = services_.wall_clock();
  event("tunnel/" + row->tunnel->name, Reason::kTunnelDown,
        {field("child", child->config->name), field("because", std::string(code(action.reason)))});
  settle_waiters(row->tunnel->name, child->config->name, false, {});
  if (stopping_ || row->held_down || child->config->start != policy::StartMode::kNow) return;
  child->pause = kRetryFirst;
  child->retry_at = now + child->pause;
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

void TunnelManager::on_report(Instant now, size_t worker, const ike::Report& report) {
  if (!report.tunnel.empty())
    announce("tunnel/" + report.tunnel, report.reason, report.fields);
  else if (may_log_stranger(now))
    announce(ike_name(report.ike), report.reason, report.fields);
  IkeRow& ike = ikes_[report.ike];
  ike.id = report.ike;
  ike.worker = worker;
  if (!report.tunnel.empty()) ike.tunnel = report.tunnel;
  if (is_progress(report.reason)) return;
  ike.last_reason = report.reason;
  ike.last_detail = detail_of(report.fields);
}

void TunnelManager::on_identity(Instant now, const ike::IdentityEstablished& action) {
  auto it = ikes_.find(action.ike);
  TunnelRow* row = find(action.tunnel->name);
  if (it != ikes_.end() && row != nullptr && it->second.initiator && !action.has_child) {
    // An IKE SA without the child that it was made for serves nobody: the attempt has failed, for the reason reported
    // before.
    const IkeRow& ike = it->second;
    if (ChildRow* child = find(*row, ike.wanted_child); child != nullptr && child->attempt == action.ike)
      attempt_failed(now, *row, *child, ike.last_reason, ike.last_detail);
    services_.workers.close_ike(ike.worker, action.ike, ike.last_reason, ike::CloseMode::kTellPeer);
  }
  if (!action.initial_contact) return;
  for (const auto& [id, other] : ikes_)
    if (id != action.ike && other.tunnel == action.tunnel->name)
      services_.workers.close_ike(other.worker, id, Reason::kPeerRestarted, ike::CloseMode::kSilently);
}

void TunnelManager::on_view(ike::IkeSaView view) {
  IkeRow& row = ikes_[view.id];
  row.id = view.id;
  row.tunnel = view.tunnel;
  row.initiator = view.initiator;
  row.view = std::move(view);
}

void TunnelManager::on_gone(Instant now, ike::IkeSaId id) {
  auto it = ikes_.find(id);
  if (it == ikes_.end()) return;
  const IkeRow gone = std::move(it->second);
  ikes_.erase(it);
  TunnelRow* row = find(gone.tunnel);
  if (row == nullptr) return;
  for (auto& [name, child] : row->children)
    if (child.attempt == id && child.establishing) attempt_failed(now, *row, child, gone.last_reason, gone.last_detail);
}

void TunnelManager::on_acquire(Instant now, const policy::Acquire& acquire) {
  auto known = child_by_reqid_.find(acquire.reqid);
  TunnelRow* row = known != child_by_reqid_.end() ? find(known->second.first) : nullptr;
  if (row == nullptr || row->if_id != acquire.policy.if_id) {
    services_.counters.add(Reason::kAcquireForeign);
    return;
  }
  ChildRow& child = *find(*row, known->second.second);
  if (child.establishing || !child.up.empty() || row->held_down) return;
  begin(now, *row, child, &acquire);
}

void TunnelManager::on_expired(const policy::SaExpired& expired) {
  if (!expired.hard) return;
  for (const auto& [id, child] : installer_.children()) {
    if (child->plan.inbound.key != expired.key && child->plan.outbound.key != expired.key) continue;
    for (const auto& [ike, row] : ikes_)
      if (row.tunnel == child->spec->tunnel->name)
        services_.workers.close_child(row.worker, ike, id, Reason::kKernelExpired);
    return;
  }
}

void TunnelManager::on_kernel_event(Instant now, policy::KernelEvent kernel_event) {
  if (const auto* acquire = std::get_if<policy::Acquire>(&kernel_event)) return on_acquire(now, *acquire);
  if (const auto* expired = std::get_if<policy::SaExpired>(&kernel_event)) return on_expired(*expired);
  if (const auto* resync = std::get_if<policy::ResyncNeeded>(&kernel_event))
    services_.log.debug("the kernel's state is read anew", {field("netns", resync->netns)});
}

void TunnelManager::run(Instant now) {
  queue_.drain();
  while (auto kernel_event = services_.kernel.poll_event()) on_kernel_event(now, std::move(*kernel_event));
  for (auto& [name, row] : tunnels_)
    for (auto& [child_name, child] : row.children)
      if (child.retry_at && *child.retry_at <= now) begin(now, row, child, nullptr);
  for (size_t i = 0; i < waiters_.size();) {
    if (waiters_[i].deadline > now) {
      ++i;
      continue;
    }
    Waiter late = std::move(waiters_[i]);
    waiters_.erase(waiters_.begin() + static_cast<std::ptrdiff_t>(i));
    late.done(Error(Reason::kTimeout, "tunnel " + late.tunnel));
  }
  queue_.drain();
}

std::optional<Instant> TunnelManager::next_deadline() const {
  std::optional<Instant> next;
  auto consider = [&](Instant when) { next = next ? std::min(*next, when) : when; };
  for (const auto& [name, row] : tunnels_)
    for (const auto& [child_name, child] : row.children)
      if (child.retry_at) consider(*child.retry_at);
  for (const Waiter& each : waiters_) consider(each.deadline);
  return next;
}

void TunnelManager::settle_waiters(const std::string& tunnel, const std::string& child, bool for_up,
                                   const Status& outcome) {
  std::vector<Done> settled;
  std::erase_if(waiters_, [&](Waiter& each) {
    if (each.tunnel != tunnel || each.child != child || each.for_up != for_up) return false;
    settled.push_back(std::move(each.done));
    return true;
  });
  for (Done& done : settled) done(outcome);
}

void TunnelManager::up(Instant now, const std::string& tunnel, const std::string& child, Done done) {
  TunnelRow* row = find(tunnel);
  if (row == nullptr) return done(Error(Reason::kNotFound, "tunnel " + tunnel));
  if (!row->link_ready) return done(no_interface(*row));
  if (!child.empty() && find(*row, child) == nullptr) return done(Error(Reason::kNotFound, "child " + child));
  row->held_down = false;
  std::vector<ChildRow*> wanted;
  for (auto& [name, each] : row->children)
    if ((child.empty() || name == child) && each.up.empty()) wanted.push_back(&each);
  Done one = gather_outcomes(wanted.size(), std::move(done));
  for (ChildRow* each : wanted) {
    const Instant deadline = now + row->tunnel->ike_policy->setup_timeout + kRetryFirst;
    waiters_.push_back({tunnel, each->config->name, true, deadline, one});
    begin(now, *row, *each, nullptr);
  }
}

void TunnelManager::down(Instant now, const std::string& tunnel, const std::string& child, Done done) {
  TunnelRow* row = find(tunnel);
  if (row == nullptr) return done(Error(Reason::kNotFound, "tunnel " + tunnel));
  if (!child.empty() && find(*row, child) == nullptr) return done(Error(Reason::kNotFound, "child " + child));
  row->held_down = true;
  std::vector<const ChildRow*> leaving;
  for (auto& [name, each] : row->children) {
    if (!child.empty() && name != child) continue;
    each.retry_at.reset();
    if (!each.up.empty()) leaving.push_back(&each);
  }
  Done one = gather_outcomes(leaving.size(), std::move(done));
  for (const ChildRow* each : leaving) waiters_.push_back({tunnel, each->config->name, false, now + kDownTimeout, one});
  for (const auto& [id, ike] : ikes_) {
    if (ike.tunnel != tunnel) continue;
    if (child.empty()) {
      services_.workers.close_ike(ike.worker, id, Reason::kDeletedByOperator, ike::CloseMode::kTellPeer);
      continue;
    }
    for (ike::ChildId up_id : find(*row, child)->up)
      services_.workers.close_child(ike.worker, id, up_id, Reason::kDeletedByOperator);
  }
}

void TunnelManager::offload_not_counting(ike::ChildId id) {
  auto it = installer_.children().find(id);
  if (it == installer_.children().end() || it->second->outbound.reason == Reason::kOffloadNotCounting) return;
  installer_.mark_not_counting(id);
  const hwoffload::Effective& effective = it->second->outbound;
  event("tunnel/" + it->second->spec->tunnel->name, effective.reason,
        {field("device", effective.device), field("detail", effective.detail)});
}

void TunnelManager::begin_shutdown() {
  stopping_ = true;
  for (const auto& [id, ike] : ikes_)
    services_.workers.close_ike(ike.worker, id, Reason::kShutdown, ike::CloseMode::kTellPeer);
}

void TunnelManager::remove_all() {
  while (!installer_.children().empty()) installer_.remove(installer_.children().begin()->first);
  for (auto& [name, row] : tunnels_) {
    for (auto& [child_name, child] : row.children) {
      if (!child.trap) continue;
      if (auto plan = policy::plan_trap(*row.tunnel, *child.config, child.ids); plan.ok()) {
        for (const auto& each : plan->routes)
          shared_.release(trap_owner(child), row.tunnel->group->private_place.netns, each);
        for (const auto& each : plan->policies)
          shared_.release(trap_owner(child), row.tunnel->group->public_place.netns, each.key);
      }
      if (child.acquire) services_.clear_acquire(*child.acquire);
      child.trap = false;
    }
    if (row.link_ready) queue_.submit(row.tunnel->group->private_place.netns, policy::DeleteLink{row.interface}, {});
    row.link_ready = false;
  }
  queue_.drain();
}

}  // namespace ipsec::agent
