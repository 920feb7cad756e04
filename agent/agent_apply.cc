#include <algorithm>
#include <atomic>

#include "agent/agent.h"
#include "agent/config_files.h"

// Another configuration while the daemon runs.
namespace ipsec::agent {

using Kind = policy::TunnelChange::Kind;

Result<Agent::Reloaded> Agent::reload(Extent extent) {
  if (shutdown_deadline_) return Error(Reason::kShutdown, "the daemon is stopping");
  TRY_ASSIGN(auto files, read_config_files(options_.config_path, options_.config_dir), "");
  policy::ConfigOutcome outcome = policy::parse_config(files);
  Reloaded reloaded{.errors = std::move(outcome.errors), .changes = {}, .carriers = {}, .warnings = {}};
  if (!outcome.config) {
    if (extent == Extent::kApply) tell_refused(reloaded.errors);
    return reloaded;
  }
  reloaded.changes = policy::tunnel_changes(*config_, *outcome.config);
  reloaded.carriers = policy::carrier_changes(*config_, *outcome.config);
  reloaded.warnings = outcome.config->warnings;
  if (outcome.config->node_id != config_->node_id || !(outcome.config->admission == config_->admission) ||
      outcome.config->orphan_grace != config_->orphan_grace)
    reloaded.warnings.emplace_back("`node` has changed: it is read when the daemon starts, and not before");
  if (extent == Extent::kLook) return reloaded;
  apply(outcome.config, std::move(files), reloaded.changes);
  reloaded.warnings.insert(reloaded.warnings.end(), warnings_.begin(), warnings_.end());
  warnings_ = reloaded.warnings;
  return reloaded;
}

/// Whoever asked is told by the answer; who reads the log later learns of it, too. The first errors are enough there.
void Agent::tell_refused(const std::vector<policy::ConfigError>& errors) {
  constexpr size_t kToldAtMost = 10;
  for (size_t i = 0; i < std::min(errors.size(), kToldAtMost); ++i)
    log_.error("the configuration is not valid; nothing was changed", {field("detail", errors[i].text())});
  if (errors.size() > kToldAtMost)
    log_.error("the configuration has more errors", {field("count", uint64_t{errors.size() - kToldAtMost})});
}

void Agent::apply(const std::shared_ptr<const policy::Config>& config, std::vector<policy::ConfigFile> files,
                  const policy::TunnelChanges& changes) {
  warnings_.clear();  // those of the configuration that is no more
  unopened_.clear();
  config_ = config;
  options_.config_files = std::move(files);
  negotiations_.set_config(config_);
  const WorkerView view = make_view();
  watch_namespaces();
  adapt_policy_hash();
  open_sockets();
  note_unused_sockets();
  for (auto& worker : workers_)
    worker->post([view, changes, spis = policy::manual_spis(*config_)](Worker& self) {
      self.set_view(view);
      for (const policy::ChildSpi spi : spis)
        if (ike::worker_of(spi) == self.index()) self.claim(spi);
      // What is to end does so as it was: its ends and names may be others now.
      self.engine().adopt([&](const std::string& name) {
        const auto change = changes.find(name);
        const bool ends = change != changes.end() && change->second.kind >= Kind::kRestart;
        return ends ? nullptr : view.peers->by_name(name);
      });
    });
  manager_->reconfigure(monotonic_now(), config_, changes);
  manager_->look_after(monotonic_now(), namespaces_);
  log_.notice("a configuration was applied", {field("tunnels changed", uint64_t{changes.size()})});
}

/// Sockets that nothing in the configuration names any more. They still carry Deletes.
void Agent::note_unused_sockets() {
  SocketPlaces used;
  for (const auto& [name, group] : config_->groups)
    for (const IpAddress& address : group->public_addresses)
      for (const uint16_t port : {kIkePort, kNatPort})
        if (group->enabled) used.emplace(contexts_.at(name), Endpoint{address, port});
  used.insert(closing_.begin(), closing_.end());
  unused_.clear();
  std::ranges::set_difference(opened_, used, std::inserter(unused_, unused_.end()));
}

void Agent::close_unused_sockets() {
  if (unused_.empty() || manager_->has_leaving()) return;
  close_sockets(std::exchange(unused_, {}));
}

void Agent::close_sockets(SocketPlaces which) {
  closing_.insert(which.begin(), which.end());
  const auto places = std::make_shared<const SocketPlaces>(std::move(which));
  const auto left = std::make_shared<std::atomic<size_t>>(workers_.size());
  for (auto& worker : workers_)
    worker->post([this, places, left](Worker& self) {
      self.close_sockets(*places);
      if (--*left == 0) loop_->post([this, places] { on_closed(*places); });
    });
}

/// No worker has them any more. Not before that they may be opened again, as a configuration that came meanwhile may
/// want: fresh ones beside old ones would join their group and break its steering.
void Agent::on_closed(const SocketPlaces& places) {
  for (const auto& place : places) {
    closing_.erase(place);
    opened_.erase(place);
  }
  if (!shutdown_deadline_) open_sockets();
}

/// Our own sockets would keep a namespace alive whose name is gone, and would not be in the one that has the name next.
void Agent::on_namespace_changed(const std::string& netns, bool present) {
  if (present) {
    if (shutdown_deadline_) return;
    // Its name comes a moment before it does; there will be another event then.
    const bool returned = gone_namespaces_.contains(netns);
    if (returned && !kernel_->watch(netns).ok()) return;
    if (const auto gone = gone_namespaces_.extract(netns)) std::erase(warnings_, gone.mapped());
    const auto is_there = [&](const auto& waiting) { return waiting.second.netns == netns; };
    if (returned) adapt_policy_hash();
    if (returned || std::ranges::any_of(unopened_, is_there)) open_sockets();
    return;
  }
  gone_namespaces_.try_emplace(netns);
  SocketPlaces there;
  for (const auto& [place, context] : contexts_by_place_)
    for (const auto& each : opened_)
      if (place.netns == netns && each.first == context && !closing_.contains(each)) there.insert(each);
  if (!there.empty()) close_sockets(std::move(there));
}

/// A VRF that others make anew is another one: what is bound to the one before hears nothing. Sockets are opened again
/// when something comes there.
void Agent::on_underlay_gone(const policy::RoutingPlace& underlay) {
  const auto context = contexts_by_place_.find(underlay);
  if (context == contexts_by_place_.end()) return;
  SocketPlaces there;
  for (const auto& each : opened_)
    if (each.first == context->second && !closing_.contains(each)) there.insert(each);
  if (!there.empty()) close_sockets(std::move(there));
}

}  // namespace ipsec::agent
