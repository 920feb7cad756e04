#pragma once

#include "netlink/unique_fd.h"

namespace ipsec::netlink {

/// Tells that names of network namespaces came or went (/run/netns, inotify): the kernel itself tells nothing, and a
/// namespace lives on without its name as long as anybody has a socket in it.
class NetnsWatch {
 public:
  /// Without effect while there is no /run/netns (nobody has made a named namespace yet); called again it looks again.
  void open();
  /// -1: nothing to wait on.
  int fd() const { return inotify_.get(); }
  /// Whether something changed since the last call.
  bool drain();

 private:
  UniqueFd inotify_;
};

}  // namespace ipsec::netlink
