#pragma once

#include <deque>
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

/// The two multicast sockets of one namespace.
class EventSource {
 public:
  static Result<EventSource> open(const std::string& netns, int receive_buffer_bytes);
  /// Reads everything that is there into the queue.
  void drain(EventQueue& queue);
  int xfrm_fd() const { return xfrm_.fd(); }
  int link_fd() const { return link_.fd(); }

 private:
  EventSource(std::string netns, Socket xfrm, Socket link)
      : netns_(std::move(netns)), xfrm_(std::move(xfrm)), link_(std::move(link)) {}
  void on_xfrm(const Received& message, EventQueue& queue);
  void on_link(const Received& message, EventQueue& queue);

  std::string netns_;
  Socket xfrm_, link_;
};

}  // namespace ipsec::netlink
