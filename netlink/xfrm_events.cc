#include "netlink/xfrm_events.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>

#include <algorithm>

#include "netlink/links.h"
#include "netlink/xfrm_codec.h"

namespace ipsec::netlink {

void EventQueue::push(const std::string& netns, policy::KernelEvent event) {
  if (events_.size() >= kEventsMax) return resync(netns);
  events_.push_back(std::move(event));
}

void EventQueue::resync(const std::string& netns) {
  const auto same = [&](const policy::KernelEvent& event) {
    const auto* waiting = std::get_if<policy::ResyncNeeded>(&event);
    return waiting != nullptr && waiting->netns == netns;
  };
  if (std::ranges::none_of(events_, same)) events_.emplace_back(policy::ResyncNeeded{netns});
}

std::optional<policy::KernelEvent> EventQueue::pop() {
  if (events_.empty()) return std::nullopt;
  policy::KernelEvent event = std::move(events_.front());
  events_.pop_front();
  return event;
}

Result<EventSource> EventSource::open(const std::string& netns, int receive_buffer_bytes) {
  TRY_ASSIGN(Socket xfrm,
             Socket::open({.protocol = NETLINK_XFRM,
                           .netns = netns,
                           .groups = {XFRMNLGRP_ACQUIRE, XFRMNLGRP_EXPIRE, XFRMNLGRP_MAPPING},
                           .receive_buffer_bytes = receive_buffer_bytes}),
             "watch");
  TRY_ASSIGN(Socket link,
             Socket::open({.protocol = NETLINK_ROUTE,
                           .netns = netns,
                           .groups = {RTNLGRP_LINK},
                           .receive_buffer_bytes = receive_buffer_bytes}),
             "watch");
  return EventSource(netns, std::move(xfrm), std::move(link));
}

void EventSource::drain(EventQueue& queue) {
  while (xfrm_.poll_event([&](const Received& message) { on_xfrm(message, queue); })) continue;
  while (link_.poll_event([&](const Received& message) { on_link(message, queue); })) continue;
  const bool lost_xfrm = xfrm_.take_overrun(), lost_link = link_.take_overrun();
  if (lost_xfrm || lost_link) queue.resync(netns_);
}

void EventSource::on_xfrm(const Received& message, EventQueue& queue) {
  const auto pass = [&](auto event) {
    event.netns = netns_;
    queue.push(netns_, std::move(event));
  };
  switch (message.type) {
    case XFRM_MSG_ACQUIRE:
      if (auto acquire = decode_acquire(message.payload); acquire.ok()) pass(std::move(*acquire));
      return;
    case XFRM_MSG_EXPIRE:
      // States without SPI expire too: acquires that nobody answered.
      if (auto expire = decode_expire(message.payload); expire.ok() && expire->is_esp && expire->event.key.spi)
        pass(std::move(expire->event));
      return;
    case XFRM_MSG_MAPPING:
      if (auto mapping = decode_mapping(message.payload); mapping.ok()) pass(std::move(*mapping));
      return;
    default: return;
  }
}

void EventSource::on_link(const Received& message, EventQueue& queue) {
  if (message.type != RTM_NEWLINK && message.type != RTM_DELLINK) return;
  const auto link = decode_link(message.payload);
  if (!link.ok()) return;
  queue.push(netns_, policy::LinkChanged{.netns = netns_,
                                         .name = link->name,
                                         .index = static_cast<uint32_t>(link->index),
                                         .up = message.type == RTM_NEWLINK && link->up,
                                         .gone = message.type == RTM_DELLINK});
}

}  // namespace ipsec::netlink
