#pragma once

#include <deque>
#include <set>
#include <string>

#include "netlink/limits.h"
#include "netlink/socket.h"
#include "policy/kernel_port.h"

namespace ipsec::netlink {

/// Events read and not yet taken; bounded: when it is full, a namespace's newest events give way to one ResyncNeeded.
class EventQueue {
 public:
  void push(const std::string& netns, policy::KernelEvent event);
  /// One ResyncNeeded for the namespace, unless one is waiting already.
  void resync(const std::string& netns);
  std::optional<policy::KernelEvent> pop();
  size_t size() const { return events_.size(); }

 private:
  std::deque<policy::KernelEvent> events_;
};

/// The two multicast sockets of one namespace. What we have done ourselves, what carries keys without need, and routes
/// of others are dropped by filters in the kernel, so that a busy routing daemon cannot push our own events out.
class EventSource {
 public:
  struct Options {
    std::string netns;
    int receive_buffer_bytes = kReceiveBufferBytes;
    uint32_t own_xfrm_port = 0, own_route_port = 0;  ///< Socket::port_id() of those that make our changes.
  };
  static Result<EventSource> open(const Options& options);
  /// Of which protocols routes are told when they go.
  Status follow_routes(const std::set<uint8_t>& protocols);
  /// Reads everything that is there into the queue.
  void drain(EventQueue& queue);
  int xfrm_fd() const { return xfrm_.fd(); }
  int link_fd() const { return link_.fd(); }

 private:
  EventSource(const Options& options, Socket xfrm, Socket link)
      : netns_(options.netns),
        own_route_port_(options.own_route_port),
        xfrm_(std::move(xfrm)),
        link_(std::move(link)) {}
  void on_xfrm(const Received& message, EventQueue& queue);
  void on_removed_sa(const Received& message, EventQueue& queue);
  void on_disturbed_policy(const Received& message, EventQueue& queue);
  void on_link(const Received& message, EventQueue& queue);

  std::string netns_;
  uint32_t own_route_port_ = 0;
  Socket xfrm_, link_;
};

}  // namespace ipsec::netlink
