#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "agent/credentials.h"
#include "agent/files/config_files.h"
#include "agent/limits.h"
#include "policy/config_changes.h"

namespace ipsec::agent {

/// A configuration with its secrets, ready to be applied.
struct LoadedConfig {
  std::shared_ptr<const policy::Config> config;
  std::shared_ptr<const ConfigOnDisk> disk;
  std::shared_ptr<const Credentials> credentials;
};

/// A configuration, or all that is wrong with it.
struct LoadOutcome {
  std::optional<LoadedConfig> loaded;
  std::vector<policy::ConfigError> errors;  ///< Empty when there is one.
};

/// Reads the files, checks them and reads the secrets. Waits for the disk: not for the main thread of a running daemon.
LoadOutcome load_config(const ConfigPaths& paths, const std::string& secrets_dir, FolderPresence before);

/// The same of files that have been read already.
LoadOutcome load_config(ConfigOnDisk on_disk, const std::string& secrets_dir);

/// The configuration that is in force while another one is loaded.
struct ConfigInForce {
  std::shared_ptr<const policy::Config> config;
  std::shared_ptr<const Credentials> credentials;
  FolderPresence folder = FolderPresence::kAbsent;
};

/// What a reload found.
struct ReloadOutcome {
  LoadOutcome outcome;  ///< `node` is as it is in force, where it counts from the start of the daemon only.
  policy::TunnelChanges changes;
  policy::CarrierChanges carriers;
  std::vector<std::string> warnings;  ///< Of the configuration; about what needs a restart; about secrets.
};

/// As load_config(), compared with what is in force. A secret that is in force, or that is new, and cannot be loaded is
/// an error: applying the rest would take a tunnel's key away. One that could not be loaded before stays a warning.
ReloadOutcome load_changes(const ConfigPaths& paths, const std::string& secrets_dir, const ConfigInForce& in_force);

/// Adds the tunnels whose key has changed although their configuration has not.
void note_key_changes(policy::TunnelChanges& changes, const policy::Config& config, const Credentials& before,
                      const Credentials& after);

/// Sentences about credentials that cannot be used, and about those in which something stands out.
std::vector<std::string> credential_warnings(const Credentials& credentials);

/// A thread for what waits for the disk: configurations, secrets, the copy of the configuration applied last. Tasks run
/// one after the other; those that wait at the end of this object are still done. A disk that does not answer holds
/// nobody up: the end of this object leaves such a thread behind after `grace`, and that touches nothing of ours any
/// more.
class DiskThread {
 public:
  using Task = std::function<std::function<void()>()>;  ///< On the thread; what it returns is for `outlet`.
  using Outlet = std::function<void(std::function<void()>)>;

  /// `outlet` hands a function to the main thread; it is not called after the end of this object.
  explicit DiskThread(Outlet outlet, Duration grace = kDiskThreadGrace);
  ~DiskThread();
  DiskThread(const DiskThread&) = delete;
  DiskThread& operator=(const DiskThread&) = delete;

  void run(Task task);

 private:
  struct Shared;
  static void work(const std::shared_ptr<Shared>& shared);
  std::shared_ptr<Shared> shared_;
  std::thread thread_;
  Duration grace_;
};

}  // namespace ipsec::agent
