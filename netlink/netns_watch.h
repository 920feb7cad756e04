#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "netlink/unique_fd.h"

namespace ipsec::netlink {

/// Tells that names of network namespaces came or went: the kernel itself tells nothing, and a namespace lives on
/// without its name as long as anybody has a socket in it. Names in /run/netns, "pid:N" and paths alike (inotify, and
/// descriptors of processes).
class NetnsWatch {
 public:
  /// From now on this name is watched, too. Without effect while its folder or process is not there; called again it
  /// looks again. Whether there is another descriptor to wait on.
  bool follow(const std::string& netns);
  std::vector<int> fds() const;
  /// Whether something changed since the last call.
  bool drain();

 private:
  bool follow_folder(const std::string& folder);
  bool follow_process(const std::string& pid);

  UniqueFd inotify_;
  std::set<std::string> folders_;
  std::map<std::string, UniqueFd> processes_;  // by number
};

}  // namespace ipsec::netlink
