#include "agent/agent.h"

#include <algorithm>
#include <map>
#include <set>

#include "agent/leftovers.h"
#include "agent/limits.h"
#include "ike/sa/admission.h"
#include "netlink/devlink.h"
#include "netlink/xfrm_stat.h"
#include "policy/policy_hash.h"

namespace ipsec::agent {

Agent::Agent(Options options, Start start, Log& log)
    : options_(std::move(options)),
      config_(std::move(start.config.config)),
      config_on_disk_(std::move(start.config.disk)),
      last_applied_because_(std::move(start.last_applied_because)),
      log_(log),
      events_(kEventsKept),
      negotiations_(config_),
      started_at_(wall_now()),
      credentials_(std::move(start.config.credentials)),
      journal_watch_(options_.run_dir + "/journal", announce_by(log_, events_, counters_)) {}

Agent::~Agent() {
  for (auto& worker : workers_) worker->stop();
  for (auto& worker : workers_) worker->join();
}

void Agent::warn(std::string text) {
  log_.warning(text);
  warnings_.push_back(std::move(text));
}

Result<std::unique_ptr<Agent>> Agent::create(Options options, Start start, Log& log) {
  std::unique_ptr<Agent> agent(new Agent(std::move(options), std::move(start), log));
  TRY(agent->open(), "");
  return agent;
}

Status Agent::open() {
  TRY_ASSIGN(loop_, EventLoop::create(), "main thread");
  TRY_ASSIGN(kernel_, netlink::XfrmKernel::create({.journal_path = options_.run_dir + "/journal", .boot_id = {}}),
             "kernel");
  const auto post = [this](std::function<void()> result) { loop_->post(std::move(result)); };
  disk_ = std::make_unique<DiskThread>(post);
  comparisons_ = std::make_unique<DiskThread>(post);
  take_over_leftovers();
  report_files();
  report_last_applied();
  for (const std::string& warning : config_->warnings) warn(warning);
  report_secrets();
  const WorkerView view = make_view();
  mailbox_ = std::make_unique<Mailbox>([this] { loop_->post([this] { open_letters(); }); });
  for (size_t i = 0; i < options_.workers; ++i) {
    TRY_ASSIGN(auto worker,
               Worker::create(
                   i, {.node = config_->node_id,
                       .admission = ike::share_of_worker(config_->admission, options_.workers),
                       .view = view,
                       .own_spis = own_spis_,
                       .mailbox = *mailbox_,
                       .outlet = [this](size_t index,
                                        ike::Action action) { return on_worker_action(index, std::move(action)); }}),
               "worker");
    workers_.push_back(std::move(worker));
  }
  claim_spis();
  manager_ = std::make_unique<TunnelManager>(TunnelManager::Services{
      .kernel = *kernel_,
      .workers = *this,
      .random = random_,
      .log = log_,
      .events = events_,
      .counters = counters_,
      .wall_clock = &wall_now,
      .monotonic_clock = &monotonic_now,
      .offload = {.read_device = [this](const std::string& netns,
                                        const std::string& name) { return read_device(netns, name); },
                  .kernel_facts = [this](const std::string& netns) { return kernel_facts(netns); }},
      .aside =
          [this](std::function<void()> work, std::function<void()> then) {
            comparisons_->run([work = std::move(work), then = std::move(then)]() mutable -> std::function<void()> {
              work();
              work = nullptr;  // what it holds ends here, and not on the main thread
              return std::move(then);
            });
          },
      .out_drops = [](const std::string& netns) -> Result<uint64_t> {
        TRY_ASSIGN(auto statistics, netlink::read_xfrm_stat(netns), "");
        return statistics["XfrmOutNoStates"] + statistics["XfrmOutPolError"];
      },
      .sent_packets = [this](const std::string& netns,
                             const std::string& interface) { return kernel_->sent_packets(netns, interface); },
      .clear_acquire =
          [this](const policy::Acquire& acquire) {
            if (Status cleared = kernel_->clear_acquire(acquire); !cleared.ok())
              log_.debug("a pending acquire could not be cleared", {field("detail", cleared.error().text())});
          },
      .namespace_changed = [this](const std::string& netns, bool present) { on_namespace_changed(netns, present); },
      .underlay_gone = [this](const policy::RoutingPlace& underlay) { on_underlay_gone(underlay); },
      .manual_keys = [this](const policy::ChildConfig& child) { return credentials_->manual_keys(child); }});
  watch_namespaces();
  adapt_policy_hash();
  open_sockets();
  return {};
}

void Agent::take_over_leftovers() {
  Leftovers leftovers = take_over(*kernel_, *config_);
  if (leftovers.removed != 0) {
    counters_.add(Reason::kOrphansUnfit);
    log_.notice("removed what an earlier run left behind", {field("objects", uint64_t{leftovers.removed})});
    events_.append({.time = wall_now(),
                    .object = {},
                    .reason = Reason::kOrphansUnfit,
                    .fields = {field("objects", uint64_t{leftovers.removed})}});
  }
  for (const Error& error : leftovers.failed) warn("a leftover of an earlier run stays: " + error.text());
  if (leftovers.unclaimed != 0) journal_watch_.report_loss(leftovers.unclaimed);
  adoption_ = std::move(leftovers.adoption);
}

/// A fresh SA must not get the key of one that stands, or is to.
void Agent::claim_spis() {
  for (const policy::ChildSpi spi : policy::manual_spis(*config_))
    if (const size_t owner = ike::worker_of(spi); owner < workers_.size()) workers_[owner]->claim(spi);
  for (const OrphanedChild& child : adoption_.children)
    for (const auto& [key, state] : child.inbound)
      if (const size_t owner = ike::worker_of(key.spi); owner < workers_.size()) workers_[owner]->claim(key.spi);
}

/// Credentials and peers of the present configuration.
WorkerView Agent::make_view() {
  assign_contexts();
  return {std::make_shared<PeerDirectory>(*config_, contexts_), credentials_};
}

/// Groups that share a public namespace and VRF share sockets.
void Agent::assign_contexts() {
  drop_unused_contexts();
  std::set<ike::SocketContext> taken;
  for (const auto& [place, context] : contexts_by_place_) taken.insert(context);
  uint16_t next = 0;
  contexts_.clear();
  for (const auto& [name, group] : config_->groups) {
    while (taken.contains(ike::SocketContext(next)) && next < UINT16_MAX) ++next;
    const auto [it, fresh] = contexts_by_place_.try_emplace(group->public_place, ike::SocketContext(next));
    if (fresh) taken.insert(it->second);
    contexts_[name] = it->second;
  }
}

/// However many reloads there are, the numbers of contexts must not run out: those of places that no group, socket or
/// tunnel names any more are free again.
void Agent::drop_unused_contexts() {
  std::set<policy::RoutingPlace> used;
  for (const auto& [name, group] : config_->groups) used.insert(group->public_place);
  if (manager_)
    for (const auto& [name, row] : manager_->tunnels()) used.insert(row.tunnel->group->public_place);
  std::erase_if(contexts_by_place_, [&](const auto& each) {
    const auto has_socket = [&](const SocketPlaces& sockets) {
      return std::ranges::any_of(sockets, [&](const auto& socket) { return socket.first == each.second; });
    };
    return !used.contains(each.first) && !has_socket(opened_) && !has_socket(closing_);
  });
}

void Agent::open_sockets() {
  for (const auto& [name, group] : config_->groups)
    if (group->enabled && !gone_namespaces_.contains(group->public_place.netns)) open_group_sockets(*group);
}

void Agent::open_group_sockets(const policy::TunnelGroup& group) {
  for (const IpAddress& address : group.public_addresses)
    for (uint16_t port : {kIkePort, kNatPort}) open_socket(group, {address, port});
}

/// Groups that share a public side share its sockets: a second set would join the first one's and break its steering.
void Agent::open_socket(const policy::TunnelGroup& group, const Endpoint& local) {
  const std::pair place(contexts_by_place_.at(group.public_place), local);  // of the present configuration
  if (opened_.contains(place)) return;
  auto opened = UdpSocket::open_group(group.public_place, place.first, local, workers_.size());
  if (!opened.ok()) {
    counters_.add(opened.error().reason());
    std::string text = "group " + group.name + ": " + opened.error().text();
    Unopened& known = unopened_[place];
    if (known.warning != text) warn(text);  // each thing that comes lets us try again
    known = {group.public_place.netns, std::move(text)};
    return;
  }
  opened_.insert(place);
  if (const auto waited = unopened_.extract(place)) std::erase(warnings_, waited.mapped().warning);
  for (size_t i = 0; i < workers_.size(); ++i) {
    // A post takes what can be copied.
    auto socket = std::make_shared<UdpSocket>(std::move((*opened)[i]));
    if (running_)
      workers_[i]->post([socket](Worker& self) { self.add_socket(std::move(*socket)); });
    else
      workers_[i]->add_socket(std::move(*socket));
  }
}

/// What is missing now is watched as soon as it is there.
void Agent::watch_namespaces() {
  std::set<std::string> seen;
  const auto look_at = [&](const std::string& object, const std::string& netns) {
    if (!seen.insert(netns).second) return;
    namespaces_.insert(netns);
    Status watched = kernel_->watch(netns);
    if (watched.ok()) {
      gone_namespaces_.erase(netns);
      return;
    }
    std::string text = object + ": " + watched.error().text();
    warn(text);
    if (watched.error().reason() == Reason::kNamespaceMissing)
      gone_namespaces_.insert_or_assign(netns, std::move(text));
  };
  for (const auto& [name, group] : config_->groups)
    if (group->enabled)
      for (const std::string& netns : {group->public_place.netns, group->private_place.netns})
        look_at("group " + name, netns);
  for (const auto& [name, carrier] : config_->carriers)
    if (Carriers::is_enabled(*carrier)) look_at("carrier " + name, carrier->private_place.netns);
}

/// A help only: where it cannot be set, policies are found all the same.
void Agent::adapt_policy_hash() {
  const auto hashes =
      config_->adapt_policy_hash ? policy::plan_policy_hashes(*config_) : std::map<std::string, policy::PolicyHash>{};
  for (const std::string& netns : namespaces_) {
    if (gone_namespaces_.contains(netns)) continue;
    const auto wanted = hashes.find(netns);
    const Status status =
        wanted != hashes.end() ? kernel_->set_policy_hash(netns, wanted->second) : kernel_->restore_policy_hash(netns);
    if (!status.ok()) log_.debug("the policy hash stays as it is", {field("detail", status.error().text())});
  }
}

void Agent::restore_policy_hash() {
  for (const std::string& netns : namespaces_)
    if (const Status status = kernel_->restore_policy_hash(netns); !status.ok() && !gone_namespaces_.contains(netns))
      warn("the policy hash stays as it is: " + status.error().text());
}

/// By devlink, which has its instances in the namespace where the hardware was found, not in that of the device.
/// Whether it answered.
bool Agent::read_settings(const std::string& netns, hwoffload::DeviceFacts& facts) {
  bool answered = true;
  if (facts.bus.empty()) return answered;
  for (const std::string& place : std::set<std::string>{netns, ""}) {
    const auto found = netlink::read_devlink(place, facts.bus);
    if (!found.ok()) log_.debug("devlink could not be asked", {field("detail", found.error().text())});
    answered = answered && found.ok();
    if (!found.ok() || found->handle.empty()) continue;
    facts.devlink = found->handle;
    facts.eswitch = found->eswitch;
    facts.flow_steering = found->flow_steering;
    return true;
  }
  return answered;
}

OffloadBook::DeviceLook Agent::read_device(const std::string& netns, const std::string& name) {
  OffloadBook::DeviceLook look{.facts = {.name = name}};
  hwoffload::DeviceFacts& facts = look.facts;
  const auto reading = kernel_->read_device(netns, name);
  if (!reading.ok()) {
    const Reason why = reading.error().reason();
    look.device_read = why == Reason::kDeviceMissing || why == Reason::kNamespaceMissing;
    if (!look.device_read) log_.debug("a device could not be read", {field("detail", reading.error().text())});
    return look;
  }
  facts.present = true;
  facts.up = reading->up;
  facts.driver = reading->driver;
  facts.bus = reading->bus;
  facts.firmware = reading->firmware;
  look.settings_read = read_settings(netns, facts);
  if (reading->esp_offload) facts.esp_offload = *reading->esp_offload ? hwoffload::Known::kYes : hwoffload::Known::kNo;
  if (reading->kind == "bond") facts.worker = reading->lower;
  if (reading->kind == "bond" && reading->lower.empty())
    facts.cannot_because = "bond " + name + " has no active member";
  if (reading->kind == "vlan" || reading->kind == "macvlan")
    facts.cannot_because = reading->kind + " device " + name + " does not pass IPsec offload on to " + reading->lower;
  if (reading->representor)
    facts.cannot_because = name + " is a representor: SAs belong onto the function's own device or the uplink";
  return look;
}

hwoffload::KernelFacts Agent::kernel_facts(const std::string& netns) {
  const auto takes = kernel_->takes_inbound_if_id(netns);
  if (!takes.ok()) log_.debug("inbound offload could not be asked for", {field("detail", takes.error().text())});
  if (!takes.ok() || !*takes) return {};
  return {.inbound_if_id = **takes ? hwoffload::Known::kYes : hwoffload::Known::kNo};
}

void Agent::start() {
  follow_kernel_descriptors();
  loop_->set_deadline_source([this] {
    std::optional<Instant> next = manager_->next_deadline();
    if (const auto look = journal_watch_.next_deadline()) next = next ? std::min(*next, *look) : *look;
    if (shutdown_deadline_) next = next ? std::min(*next, *shutdown_deadline_) : *shutdown_deadline_;
    if (!manager_->kernel_idle()) {
      const Instant soon = monotonic_now() + 1s;  // the kernel's answers have a time limit of their own
      next = next ? std::min(*next, soon) : soon;
    }
    return next;
  });
  loop_->set_after_round([this] { after_round(); });
  for (auto& worker : workers_) worker->start();
  running_ = true;
  manager_->start(monotonic_now(), config_, std::exchange(adoption_, {}));
  manager_->look_after(monotonic_now(), namespaces_);
  if (!last_applied_because_) keep_config();
}

void Agent::follow_kernel_descriptors() {
  if (!kernel_->fds_changed() && !kernel_fds_.empty()) return;
  const std::vector<int> now = kernel_->poll_fds();
  // All of them: a number that was there before may be that of another socket by now.
  for (int fd : kernel_fds_) loop_->forget(fd);
  for (int fd : now) {
    if (Status watched = loop_->watch(fd, EventLoop::Interest::kRead, [] {}); !watched.ok())
      log_.error("a netlink socket cannot be watched", {field("detail", watched.error().text())});
  }
  kernel_fds_ = now;
}

void Agent::after_round() {
  kernel_->process();
  manager_->run(monotonic_now());
  netlink::Journal& journal = kernel_->journal();
  journal_watch_.run(monotonic_now(), journal.growths(), [&journal] { return journal.check(); });
  finish_reload();
  close_unused_sockets();
  follow_kernel_descriptors();
  if (after_round_) after_round_();
  if (shutdown_deadline_) finish_shutdown_when_quiet();
}

void Agent::stop() {
  loop_->post([this] {
    if (shutdown_deadline_) return;
    log_.notice("stopping");
    shutdown_deadline_ = monotonic_now() + kShutdownGrace;
    const bool applying = std::exchange(reloaded_, {}).has_value();
    for (const Reload& each : std::exchange(reloads_, {}))
      each.done(Error(Reason::kShutdown,
                      applying ? "the daemon is stopping" : "the daemon is stopping; nothing was changed"));
    manager_->begin_shutdown();
  });
}

void Agent::finish_shutdown_when_quiet() {
  const bool late = monotonic_now() >= *shutdown_deadline_;
  if (!removed_ && (manager_->ike_sas().empty() || late)) {
    removed_ = true;
    manager_->remove_all();
    shutdown_deadline_ = monotonic_now() + kKernelTimeout;
  }
  if (!removed_ || (!manager_->kernel_idle() && monotonic_now() < *shutdown_deadline_)) return;
  restore_policy_hash();
  if (const Status closed = kernel_->journal().close(); !closed.ok()) log_.warning(closed.error().text());
  loop_->stop();
}

void Agent::ask_worker(size_t worker, std::function<void()> task) {
  workers_[worker]->post([task = std::move(task)](Worker&) { task(); });
}

void Agent::note_dropped_lines(uint64_t count) {
  counters_.add(Reason::kLogLinesDropped, count);
  events_.append(
      {.time = wall_now(), .object = {}, .reason = Reason::kLogLinesDropped, .fields = {field("count", count)}});
}

uint64_t Agent::count(Reason reason) const {
  uint64_t sum = counters_.get(reason);
  for (const auto& worker : workers_) sum += worker->counters().get(reason);
  return sum;
}

WorkerTotals Agent::worker_totals() const {
  WorkerTotals totals{.workers = workers_.size()};
  for (const auto& worker : workers_) {
    const WorkerNumbers& numbers = worker->numbers();
    totals.received += numbers.received.load(std::memory_order_relaxed);
    totals.sent += numbers.sent.load(std::memory_order_relaxed);
    totals.half_open += numbers.half_open.load(std::memory_order_relaxed);
    totals.asking_for_cookies += numbers.asks_for_cookies.load(std::memory_order_relaxed) ? 1 : 0;
  }
  return totals;
}

/// Some at a time: the kernel and people have their turn between them.
void Agent::open_letters() {
  if (mailbox_->open_some(kLettersPerTurn)) loop_->post([this] { open_letters(); });
}

/// On the worker's thread: what the main thread does about it.
std::function<void()> Agent::on_worker_action(size_t worker, ike::Action action) {
  // std::function wants copies; actions carry keys and are moved only.
  auto carried = std::make_shared<ike::Action>(std::move(action));
  std::optional<ike::IkeSaView> view;
  if (const auto* identity = std::get_if<ike::IdentityEstablished>(&*carried))
    view = workers_[worker]->engine().view(identity->ike);
  else if (const auto* rekeyed = std::get_if<ike::IkeRekeyed>(&*carried))
    view = workers_[worker]->engine().view(rekeyed->fresh);
  return [this, worker, carried, view = std::move(view)] {
    if (const auto* report = std::get_if<ike::Report>(&*carried)) negotiations_.note(wall_now(), *report);
    if (view) manager_->on_view(*view);
    manager_->on_action(monotonic_now(), worker, std::move(*carried));
  };
}

void Agent::initiate(size_t worker, Initiation initiation) {
  // By its place: a reload may have removed the group since.
  const auto place = contexts_by_place_.find(initiation.tunnel->group->public_place);
  if (place == contexts_by_place_.end()) {
    const Error gone(Reason::kConfigNotInForce, "group " + initiation.tunnel->group->name);
    return loop_->post([this, worker, name = initiation.tunnel->name, child = initiation.child, gone] {
      manager_->on_initiated(monotonic_now(), worker, name, child, gone);
    });
  }
  workers_[worker]->post([this, context = place->second, initiation = std::move(initiation)](Worker& self) {
    const policy::Tunnel& tunnel = *initiation.tunnel;
    const auto local = tunnel.local_address();
    Result<ike::IkeSaId> outcome = Error(Reason::kConfigConflict, "tunnel " + tunnel.name + " has no remote address");
    if (local && tunnel.remote)
      outcome = self.engine().initiate(
          monotonic_now(), initiation.tunnel, initiation.child,
          // RFC 7296 2.23: who begins at port 4500 does so from 4500, and with the non-ESP marker.
          {.context = context,
           .local = {*local, tunnel.remote_port == kNatPort ? kNatPort : kIkePort},
           .remote = {*tunnel.remote, tunnel.remote_port}},
          initiation.trigger, initiation.contact);
    auto tell = [this, index = self.index(), name = tunnel.name, child = initiation.child, outcome] {
      manager_->on_initiated(monotonic_now(), index, name, child, outcome);
    };
    return outcome.ok() ? self.tell_main_of(*outcome, std::move(tell)) : self.tell_main(std::move(tell));
  });
}

void Agent::create_child(size_t worker, Creation creation) {
  workers_[worker]->post([this, creation = std::move(creation)](Worker& self) {
    const Status status =
        self.engine().create_child(monotonic_now(), creation.ike, creation.child, creation.trigger, creation.only);
    self.tell_main([this, creation, status] {
      manager_->on_creating(monotonic_now(), creation.ike, creation.tunnel, creation.child, status);
    });
  });
}

void Agent::answer(size_t worker, ike::Answer answer) {
  workers_[worker]->post([answer = std::move(answer)](Worker& self) { self.engine().answer(monotonic_now(), answer); });
}

void Agent::close_ike(size_t worker, ike::IkeSaId ike, Reason reason, ike::CloseMode mode) {
  workers_[worker]->post([=](Worker& self) { self.engine().close_ike(monotonic_now(), ike, reason, mode); });
}

void Agent::close_child(size_t worker, ike::IkeSaId ike, ike::ChildId child, Reason reason) {
  workers_[worker]->post([=](Worker& self) { self.engine().close_child(monotonic_now(), ike, child, reason); });
}

void Agent::rekey_child(size_t worker, ike::IkeSaId ike, ike::ChildId child, Reason reason) {
  workers_[worker]->post([=](Worker& self) { self.engine().rekey_child(monotonic_now(), ike, child, reason); });
}

void Agent::rekey_ike(size_t worker, ike::IkeSaId ike, Reason reason) {
  workers_[worker]->post([=](Worker& self) { self.engine().rekey_ike(monotonic_now(), ike, reason); });
}

void Agent::inbound_used(size_t worker, ike::IkeSaId ike, ike::ChildId child) {
  workers_[worker]->post([=](Worker& self) { self.engine().inbound_used(monotonic_now(), ike, child); });
}

void Agent::check_liveness(size_t worker, ike::IkeSaId ike) {
  workers_[worker]->post([=](Worker& self) { self.engine().check_liveness(monotonic_now(), ike); });
}

void Agent::child_used(size_t worker, ike::IkeSaId ike, ike::ChildId child) {
  workers_[worker]->post([=](Worker& self) { self.engine().child_used(monotonic_now(), ike, child); });
}

}  // namespace ipsec::agent
