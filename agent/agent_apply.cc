#include <algorithm>

#include "agent/agent.h"
#include "agent/config_files.h"

// Another configuration while the daemon runs.
namespace ipsec::agent {

using Kind = policy::TunnelChange::Kind;

Result<Agent::Reloaded> Agent::reload(Extent extent) {
  TRY_ASSIGN(auto files, read_config_files(options_.config_path, options_.config_dir), "");
  policy::ConfigOutcome outcome = policy::parse_config(files);
  Reloaded reloaded{.errors = std::move(outcome.errors), .changes = {}, .warnings = {}};
  if (!outcome.config) return reloaded;
  reloaded.changes = policy::tunnel_changes(*config_, *outcome.config);
  reloaded.warnings = outcome.config->warnings;
  if (outcome.config->node_id != config_->node_id || !(outcome.config->admission == config_->admission))
    reloaded.warnings.emplace_back("`node` has changed: it is read when the daemon starts, and not before");
  if (extent == Extent::kLook || shutdown_deadline_) return reloaded;
  apply(outcome.config, std::move(files));
  reloaded.warnings.insert(reloaded.warnings.end(), warnings_.begin(), warnings_.end());
  warnings_ = reloaded.warnings;
  return reloaded;
}

void Agent::apply(const std::shared_ptr<const policy::Config>& config, std::vector<policy::ConfigFile> files) {
  const auto changes = policy::tunnel_changes(*config_, *config);
  warnings_.clear();  // those of the configuration that is no more
  config_ = config;
  options_.config_files = std::move(files);
  negotiations_.set_config(config_);
  const WorkerView view = make_view();
  for (const auto& [name, group] : config_->groups)
    if (group->enabled) open_group_sockets(*group);
  watch_namespaces();
  note_unused_sockets();
  for (auto& worker : workers_)
    worker->post([view, changes](Worker& self) {
      self.set_view(view);
      // What is to end does so as it was: its ends and names may be others now.
      self.engine().adopt([&](const std::string& name) {
        const auto change = changes.find(name);
        const bool ends = change != changes.end() && change->second.kind >= Kind::kRestart;
        return ends ? nullptr : view.peers->by_name(name);
      });
    });
  manager_->reconfigure(monotonic_now(), config_);
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
  unused_.clear();
  std::ranges::set_difference(opened_, used, std::inserter(unused_, unused_.end()));
}

void Agent::close_unused_sockets() {
  if (unused_.empty() || manager_->has_leaving()) return;
  for (auto& worker : workers_) worker->post([places = unused_](Worker& self) { self.close_sockets(places); });
  for (const auto& place : std::exchange(unused_, {})) opened_.erase(place);
}

}  // namespace ipsec::agent
