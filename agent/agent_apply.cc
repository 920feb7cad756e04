#include <algorithm>
#include <atomic>

#include "agent/agent.h"
#include "agent/last_applied.h"
#include "agent/limits.h"

// Another configuration while the daemon runs.
namespace ipsec::agent {

using Kind = policy::TunnelChange::Kind;

void Agent::reload(Extent extent, ReloadDone done) {
  if (shutdown_deadline_) return done(Error(Reason::kShutdown, "the daemon is stopping"));
  if (reloads_.size() > kReloadsWaitingMax)
    return done(Error(Reason::kControlLimit, std::to_string(kReloadsWaitingMax) + " reloads wait already"));
  reloads_.push_back({extent, std::move(done)});
  begin_reload();
}

/// Compared with what is in force now, and nothing changes that before the end of it. Waits for the reload before it,
/// and for the start: the tunnels follow one configuration after the other.
void Agent::begin_reload() {
  if (reloading_ || reloads_.empty() || manager_->is_rolling_out()) return;
  reloading_ = true;
  disk_->run([this, paths = options_.config, secrets_dir = options_.secrets_dir,
              in_force = ConfigInForce{config_, credentials_, config_on_disk_->folder}]() -> std::function<void()> {
    auto found = std::make_shared<ReloadOutcome>(load_changes(paths, secrets_dir, in_force));
    return [this, found] { end_reload(std::move(*found)); };
  });
}

void Agent::end_reload(ReloadOutcome found) {
  if (reloads_.empty()) return;  // the daemon ends
  const Reload& reload = reloads_.front();
  Reloaded reloaded{.errors = std::move(found.outcome.errors),
                    .changes = std::make_shared<const policy::TunnelChanges>(std::move(found.changes)),
                    .carriers = std::move(found.carriers),
                    .warnings = std::move(found.warnings)};
  if (!found.outcome.loaded) {
    if (reload.extent == Extent::kApply) report_refused(reloaded.errors);
  } else if (reload.extent == Extent::kApply) {
    warnings_.clear();  // those of the configuration that is no more
    apply(std::move(*found.outcome.loaded), reloaded.changes);
    const std::set<std::string> known(reloaded.warnings.begin(), reloaded.warnings.end());
    for (const std::string& each : warnings_)
      if (!known.contains(each)) reloaded.warnings.push_back(each);
    warnings_ = reloaded.warnings;
  }
  reloaded_ = std::move(reloaded);
  finish_reload();
}

/// Once all tunnels follow it.
void Agent::finish_reload() {
  if (!reloaded_ || manager_->is_rolling_out()) return begin_reload();
  const Reload reload = std::move(reloads_.front());
  const Reloaded reloaded = *std::exchange(reloaded_, {});
  reloads_.pop_front();
  reloading_ = false;
  begin_reload();
  reload.done(reloaded);
}

/// Whoever asked learns it from the answer; who reads the log later learns of it, too. The first errors are enough
/// there.
void Agent::report_refused(const std::vector<policy::ConfigError>& errors) {
  constexpr size_t kNamedMax = 10;
  for (const policy::ConfigError& each : errors) counters_.add(each.reason);
  for (size_t i = 0; i < std::min(errors.size(), kNamedMax); ++i)
    log_.error("the configuration is not valid; nothing was changed",
               {field("code", std::string(code(errors[i].reason))), field("detail", errors[i].text())});
  if (errors.size() > kNamedMax)
    log_.error("the configuration has more errors", {field("count", uint64_t{errors.size() - kNamedMax})});
}

/// Which files the configuration is made of, in their order, and which ones of its folder are not a part of it.
void Agent::report_files() const {
  const auto report = [this](std::string_view what, size_t count, const auto& name_of) {
    for (size_t i = 0; i < std::min(count, kFilesNamedMax); ++i)
      log_.info(what, {field("file", printable(as_bytes(name_of(i))))});
    if (count > kFilesNamedMax) log_.info(what, {field("more files", uint64_t{count - kFilesNamedMax})});
  };
  const ConfigOnDisk& disk = *config_on_disk_;
  report("configuration file read", disk.files.size(), [&](size_t i) { return disk.files[i].name; });
  report("not a configuration file, not read", disk.passed_over.size(),
         [&](size_t i) { return options_.config.folder + "/" + disk.passed_over[i]; });
}

/// What could not be loaded concerns its tunnels only, which cannot authenticate.
void Agent::report_secrets() {
  for (std::string& warning : credential_warnings(*credentials_)) warn(std::move(warning));
  const auto report = [this](const std::string& credential, Reason reason, const std::string& detail) {
    counters_.add(reason);
    events_.append({.time = wall_now(),
                    .object = "credential/" + credential,
                    .reason = reason,
                    .fields = {field("detail", detail)}});
  };
  for (const auto& [name, error] : credentials_->errors()) report(name, error.reason(), error.text());
  for (const auto& [name, found] : credentials_->unusual())
    for (const std::string& each : found) report(name, Reason::kConfigSecretUnusual, each);
}

void Agent::report_last_applied() {
  if (!last_applied_because_) return;
  warn(std::string(info(Reason::kConfigLastApplied).text) + ": " + *last_applied_because_);
  counters_.add(Reason::kConfigLastApplied);
  events_.append({.time = wall_now(),
                  .object = {},
                  .reason = Reason::kConfigLastApplied,
                  .fields = {field("detail", *last_applied_because_)}});
}

void Agent::apply(LoadedConfig loaded, const std::shared_ptr<const policy::TunnelChanges>& changes) {
  unopened_.clear();
  last_applied_because_.reset();
  config_ = std::move(loaded.config);
  config_on_disk_ = std::move(loaded.disk);
  credentials_ = std::move(loaded.credentials);
  negotiations_.set_config(config_);
  report_files();
  report_secrets();
  const WorkerView view = make_view();
  watch_namespaces();
  adapt_policy_hash();
  open_sockets();
  note_unused_sockets();
  // What is to end does so as it was: its ends and names may be others now, also those of one that follows it.
  const auto ending = std::make_shared<std::set<std::string>>();
  for (const auto& [name, change] : *changes)
    if (change.kind >= Kind::kRestart) ending->insert(name);
  for (const auto& [name, row] : manager_->tunnels())
    if (row.leaving) ending->insert(name);
  for (auto& worker : workers_)
    worker->post([view, ending, spis = policy::manual_spis(*config_)](Worker& self) {
      self.set_view(view);
      for (const policy::ChildSpi spi : spis)
        if (ike::worker_of(spi) == self.index()) self.claim(spi);
      self.engine().adopt(
          [&](const std::string& name) { return ending->contains(name) ? nullptr : view.peers->by_name(name); });
    });
  manager_->reconfigure(monotonic_now(), config_, changes);
  manager_->look_after(monotonic_now(), namespaces_);
  log_.notice("a configuration was applied", {field("tunnels changed", uint64_t{changes->size()})});
  keep_config();
}

/// For a start at which the configuration on disk is refused. A failure concerns that start only.
void Agent::keep_config() {
  std::set<std::string> unusable;
  for (const auto& [name, error] : credentials_->errors()) unusable.insert(name);
  disk_->run([this, kept = LastApplied(options_.state_dir), paths = options_.config, disk = config_on_disk_,
              unusable = std::move(unusable)]() -> std::function<void()> {
    const Status saved = kept.save(paths, *disk, unusable);
    return [this, saved] {
      if (!keeping_failed_.empty()) std::erase(warnings_, keeping_failed_);
      keeping_failed_.clear();
      if (saved.ok()) return;
      keeping_failed_ = "the configuration is not kept for the next start: " + saved.error().text();
      counters_.add(saved.error().reason());
      warn(keeping_failed_);
    };
  });
}

/// Sockets that nothing in the configuration names any more. They still carry Deletes.
void Agent::note_unused_sockets() {
  SocketPlaces used;
  for (const auto& [name, group] : config_->groups)
    for (const IpAddress& address : group->public_addresses)
      for (const uint16_t port : {kIkePort, kNatPort})
        if (group->enabled) used.emplace(contexts_by_place_.at(group->public_place), Endpoint{address, port});
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
