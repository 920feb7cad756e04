#include "agent/start_config.h"

#include <utility>

namespace ipsec::agent {

StartConfig load_at_start(const ConfigPaths& paths, const std::string& secrets_dir, const LastApplied& kept) {
  auto before = kept.load(paths);
  // A folder that was there and is gone is an error also when the daemon was started anew meanwhile.
  LoadOutcome found = load_config(paths, secrets_dir, before.ok() ? before->folder : FolderPresence::kAbsent);
  StartConfig start{.loaded = std::move(found.loaded), .errors = std::move(found.errors), .last_applied = {}};
  if (start.loaded) return start;
  const std::string first = start.errors.empty() ? std::string() : start.errors.front().text();
  if (!before.ok()) {
    start.last_applied = "no configuration applied earlier can take its place: " + before.error().text();
    return start;
  }
  LoadOutcome last = load_config(std::move(*before), secrets_dir);
  start.loaded = std::move(last.loaded);
  start.last_applied = start.loaded ? first
                                    : "the configuration applied last (" + kept.path() + ") is refused, too: " +
                                          (last.errors.empty() ? std::string() : last.errors.front().text());
  return start;
}

}  // namespace ipsec::agent
