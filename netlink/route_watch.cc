#include "netlink/route_watch.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "netlink/netns.h"

namespace ipsec::netlink {
namespace {

constexpr int kSmallestBuffer = 1;  // the kernel makes its own least of it: what does not fit is a sign as well
constexpr std::array kGroups = {int{RTNLGRP_IPV4_ROUTE}, int{RTNLGRP_IPV6_ROUTE}, int{RTNLGRP_IPV4_RULE},
                                int{RTNLGRP_IPV6_RULE}};

}  // namespace

Result<RouteWatch> RouteWatch::open(const std::string& netns) {
  TRY_ASSIGN(UniqueFd fd, socket_in_netns(netns, AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE), "watch routes");
  if (setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &kSmallestBuffer, sizeof(kSmallestBuffer)) != 0)
    return Error(Reason::kSystemCall, "watch routes", errno);
  // A socket without a port number is passed over: the kernel leaves out whoever has the sender's, and its own is 0.
  sockaddr_nl any{};
  any.nl_family = AF_NETLINK;
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&any), sizeof(any)) != 0)
    return Error(Reason::kSystemCall, "watch routes", errno);
  return RouteWatch(std::move(fd));
}

Status RouteWatch::join(int option) {
  for (const int group : kGroups)
    if (setsockopt(fd_.get(), SOL_NETLINK, option, &group, sizeof(group)) != 0)
      return Error(Reason::kSystemCall, "watch routes", errno);
  return {};
}

Status RouteWatch::arm() {
  if (armed_) return {};
  TRY(join(NETLINK_ADD_MEMBERSHIP), "");
  armed_ = true;
  return {};
}

bool RouteWatch::take() {
  std::array<char, 4096> ignored;
  bool changed = false;
  for (;;) {
    const ssize_t got = recv(fd_.get(), ignored.data(), ignored.size(), 0);
    if (got < 0 && errno != ENOBUFS && errno != EINTR) break;
    changed = true;
    // A change that comes between the two is seen by the look that follows.
    if (armed_ && join(NETLINK_DROP_MEMBERSHIP).ok()) armed_ = false;
  }
  return changed;
}

}  // namespace ipsec::netlink
