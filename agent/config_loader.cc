#include "agent/config_loader.h"

#include <algorithm>
#include <deque>

#include "agent/config_places.h"
#include "policy/config_warnings.h"
#include "policy/limits.h"

namespace ipsec::agent {

using policy::ConfigError;
using policy::TunnelChange;

LoadOutcome load_config(const ConfigPaths& paths, const std::string& secrets_dir, FolderPresence before) {
  auto read = read_config_files(paths, before);
  if (auto* failed = std::get_if<ConfigError>(&read)) return {.loaded = {}, .errors = {std::move(*failed)}};
  return load_config(std::move(std::get<ConfigOnDisk>(read)), secrets_dir);
}

LoadOutcome load_config(ConfigOnDisk on_disk, const std::string& secrets_dir) {
  auto disk = std::make_shared<const ConfigOnDisk>(std::move(on_disk));
  policy::ConfigOutcome outcome = policy::parse_config(disk->files);
  if (!outcome.config) return {.loaded = {}, .errors = std::move(outcome.errors)};
  auto credentials = Credentials::load(*outcome.config, secrets_dir);
  return {.loaded = LoadedConfig{std::move(outcome.config), std::move(disk), std::move(credentials)}, .errors = {}};
}

namespace {

/// Of the credentials that cannot be loaded, those that must not be applied.
std::vector<ConfigError> refused_secrets(const LoadedConfig& loaded, const ConfigInForce& in_force) {
  std::vector<ConfigError> errors;
  ConfigPlaces places(loaded.disk->files);
  for (const auto& [name, error] : loaded.credentials->errors()) {
    const auto before = in_force.config->credentials.find(name);
    const bool failed_before = before != in_force.config->credentials.end() && !in_force.credentials->has(name);
    if (failed_before || errors.size() >= policy::kConfigErrorsMax) continue;
    const std::string pointer = "/credentials/" + name;
    const auto place = places.find(pointer).value_or(ConfigPlaces::Place{});
    errors.push_back({.reason = error.reason(),
                      .file = place.file.empty() ? loaded.disk->files.front().name : place.file,
                      .line = place.line,
                      .pointer = pointer,
                      .found = {},
                      .allowed = error.text()});
  }
  return errors;
}

void append(std::vector<std::string>& to, const std::vector<std::string>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

ReloadOutcome load_changes(const ConfigPaths& paths, const std::string& secrets_dir, const ConfigInForce& in_force) {
  ReloadOutcome found{
      .outcome = load_config(paths, secrets_dir, in_force.folder), .changes = {}, .carriers = {}, .warnings = {}};
  if (!found.outcome.loaded) return found;
  found.outcome.errors = refused_secrets(*found.outcome.loaded, in_force);
  if (!found.outcome.errors.empty()) {
    found.outcome.loaded.reset();
    return found;
  }
  LoadedConfig& loaded = *found.outcome.loaded;
  found.warnings = loaded.config->warnings;
  append(found.warnings, policy::start_only_changes(*in_force.config, *loaded.config));
  append(found.warnings, credential_warnings(*loaded.credentials));
  loaded.config = policy::with_start_settings(loaded.config, *in_force.config);
  found.changes = policy::tunnel_changes(*in_force.config, *loaded.config);
  found.carriers = policy::carrier_changes(*in_force.config, *loaded.config);
  note_key_changes(found.changes, *loaded.config, *in_force.credentials, *loaded.credentials);
  return found;
}

void note_key_changes(policy::TunnelChanges& changes, const policy::Config& config, const Credentials& before,
                      const Credentials& after) {
  std::map<const policy::Credential*, bool> differs;
  const auto changed = [&](const std::shared_ptr<const policy::Credential>& credential) {
    if (!credential) return false;
    const auto [it, fresh] = differs.try_emplace(credential.get(), false);
    if (fresh) it->second = after.differs(before, credential->name);
    return it->second;
  };
  for (const auto& [name, tunnel] : config.tunnels) {
    const auto known = changes.find(name);
    // Those that begin, or begin anew, do so with the present key in any case.
    if (known != changes.end() && known->second.kind >= TunnelChange::Kind::kRestart) continue;
    if (changed(tunnel->credential)) changes[name].settings.push_back("key of credential " + tunnel->credential->name);
    for (const policy::ChildConfig& child : tunnel->children) {
      if (!child.manual || !changed(child.manual->credential)) continue;
      TunnelChange& change = changes[name];
      if (std::ranges::find(change.children_removed, child.name) != change.children_removed.end()) continue;
      change.settings.push_back("child " + child.name + ": keys of credential " + child.manual->credential->name);
      change.kind = std::max(change.kind, TunnelChange::Kind::kRekey);
      if (std::ranges::find(change.children_rekeyed, child.name) == change.children_rekeyed.end())
        change.children_rekeyed.push_back(child.name);
    }
  }
}

std::vector<std::string> credential_warnings(const Credentials& credentials) {
  std::vector<std::string> warnings;
  policy::WarningGroup unusable("more credentials that cannot be used: ipsecctl list credentials");
  policy::WarningGroup unusual("more credentials whose files hold something that is seldom meant");
  for (const auto& [name, error] : credentials.errors()) unusable.add("credential " + name + ": " + error.text());
  for (const auto& [name, found] : credentials.unusual())
    for (const std::string& each : found)
      unusual.add("credential " + name + ": " + each + "; it is taken for a part of the key");
  unusable.finish(warnings);
  unusual.finish(warnings);
  return warnings;
}

// ---- the thread

/// What the thread and its owner share; the thread may outlive the owner.
struct DiskThread::Shared {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Task> tasks;
  bool ends = false, ended = false;
  Outlet outlet;
};

DiskThread::DiskThread(Outlet outlet, Duration grace) : shared_(std::make_shared<Shared>()), grace_(grace) {
  shared_->outlet = std::move(outlet);
  thread_ = std::thread([shared = shared_] { work(shared); });
}

DiskThread::~DiskThread() {
  std::unique_lock lock(shared_->mutex);
  shared_->ends = true;
  shared_->outlet = {};
  shared_->changed.notify_all();
  const bool ended = shared_->changed.wait_for(lock, grace_, [this] { return shared_->ended; });
  shared_->tasks.clear();
  lock.unlock();
  if (ended)
    thread_.join();
  else
    thread_.detach();  // in a call to the system that does not return
}

void DiskThread::run(Task task) {
  const std::lock_guard lock(shared_->mutex);
  shared_->tasks.push_back(std::move(task));
  shared_->changed.notify_all();
}

void DiskThread::work(const std::shared_ptr<Shared>& shared) {
  std::unique_lock lock(shared->mutex);
  while (true) {
    shared->changed.wait(lock, [&] { return shared->ends || !shared->tasks.empty(); });
    if (shared->tasks.empty()) break;
    Task task = std::move(shared->tasks.front());
    shared->tasks.pop_front();
    lock.unlock();
    std::function<void()> result = task();
    task = {};
    lock.lock();
    if (shared->outlet && result) shared->outlet(std::move(result));
  }
  shared->ended = true;
  shared->changed.notify_all();
}

}  // namespace ipsec::agent
