#pragma once

#include <string>

#include "netlink/unique_fd.h"
#include "policy/base/result.h"

namespace ipsec::netlink {

/// Whether any route of a namespace has changed, told once: a full table that comes by BGP must not keep the daemon
/// busy. Nothing is read of what changed; after a sign the socket leaves its groups until it is armed again.
class RouteWatch {
 public:
  static Result<RouteWatch> open(const std::string& netns);
  /// From now on the next change is told.
  Status arm();
  /// Whether there was a change since it was armed; then it is not armed any more.
  bool take();
  int fd() const { return fd_.get(); }

 private:
  explicit RouteWatch(UniqueFd fd) : fd_(std::move(fd)) {}
  Status join(int option);
  UniqueFd fd_;
  bool armed_ = false;
};

}  // namespace ipsec::netlink
