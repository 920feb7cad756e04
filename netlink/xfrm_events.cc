#include "netlink/xfrm_events.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>

#include <algorithm>

#include "netlink/addresses.h"
#include "netlink/links.h"
#include "netlink/routes.h"
#include "netlink/rules.h"
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

namespace {

/// A filter of classic BPF, written down step by step. It reads the message as big-endian numbers, whereas netlink has
/// them in the order of the host.
class Filter {
 public:
  static constexpr uint32_t kDrop = 0, kPass = UINT32_MAX;

  void load_type() { add(BPF_LD | BPF_H | BPF_ABS, offsetof(nlmsghdr, nlmsg_type)); }
  void load_address_scope() { add(BPF_LD | BPF_B | BPF_ABS, NLMSG_HDRLEN + offsetof(ifaddrmsg, ifa_scope)); }
  void load_route_protocol() { add(BPF_LD | BPF_B | BPF_ABS, NLMSG_HDRLEN + offsetof(rtmsg, rtm_protocol)); }
  /// The value, of one byte, of an attribute behind a fixed structure of `header_bytes`; messages without it end here.
  void load_attribute(uint32_t attribute, size_t header_bytes) {
    add(BPF_LDX | BPF_IMM, attribute);
    add(BPF_LD | BPF_IMM, NLMSG_HDRLEN + aligned(header_bytes));
    add(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(SKF_AD_OFF + SKF_AD_NLATTR));  // where it is, or 0
    give_if(0, kDrop);
    add(BPF_MISC | BPF_TAX, 0);
    add(BPF_LD | BPF_B | BPF_IND, NLA_HDRLEN);
  }
  /// Drops what is told of requests of this socket.
  void drop_own(uint32_t port) {
    if (port == 0) return;  // the kernel's own messages come from there
    add(BPF_LD | BPF_W | BPF_ABS, offsetof(nlmsghdr, nlmsg_pid));
    give_if(htonl(port), kDrop);
  }
  void give(uint32_t verdict) { add(BPF_RET | BPF_K, verdict); }
  /// Ends with `verdict` when what was loaded equals `value`.
  void give_if(uint32_t value, uint32_t verdict) {
    program_.push_back({.code = BPF_JMP | BPF_JEQ | BPF_K, .jt = 0, .jf = 1, .k = value});
    give(verdict);
  }
  /// Ends with `verdict` unless what was loaded equals `value`.
  void give_unless(uint32_t value, uint32_t verdict) {
    program_.push_back({.code = BPF_JMP | BPF_JEQ | BPF_K, .jt = 1, .jf = 0, .k = value});
    give(verdict);
  }
  /// What `rest` adds ends the program, for those messages only whose loaded value equals `value`.
  template <typename Rest>
  void end_if(uint32_t value, Rest rest) {
    const size_t jump = program_.size();
    program_.push_back({.code = BPF_JMP | BPF_JEQ | BPF_K, .jt = 0, .jf = 0, .k = value});
    rest();
    program_[jump].jf = static_cast<uint8_t>(program_.size() - jump - 1);
  }
  std::span<const sock_filter> program() const { return program_; }

 private:
  void add(uint16_t code, size_t k) {
    program_.push_back({.code = code, .jt = 0, .jf = 0, .k = static_cast<uint32_t>(k)});
  }
  std::vector<sock_filter> program_;
};

/// XFRM_MSG_MIGRATE_STATE of newer kernels: one state, instead of a policy and its states.
constexpr uint16_t kMsgMigrateState = XFRM_MSG_MAPPING + 3;

/// What the kernel asks and tells of itself passes, and what others remove or overwrite. News of an SA that was made or
/// changed would carry its keys.
Filter xfrm_filter(uint32_t own_port) {
  Filter filter;
  filter.drop_own(own_port);
  filter.load_type();
  for (const uint16_t type : std::initializer_list<uint16_t>{
           XFRM_MSG_ACQUIRE, XFRM_MSG_EXPIRE, XFRM_MSG_MAPPING, XFRM_MSG_DELSA, XFRM_MSG_FLUSHSA, XFRM_MSG_DELPOLICY,
           XFRM_MSG_UPDPOLICY, XFRM_MSG_FLUSHPOLICY, XFRM_MSG_POLEXPIRE, XFRM_MSG_MIGRATE, kMsgMigrateState})
    filter.give_if(htons(type), Filter::kPass);
  filter.give(Filter::kDrop);
  return filter;
}

/// Links, addresses that come, those of ours that go, rules that go, and routes of these protocols that go. Each of our
/// interfaces gets an address of link scope, which nobody waits for.
Filter route_filter(uint32_t own_port, const std::set<uint8_t>& protocols) {
  Filter filter;
  filter.drop_own(own_port);
  filter.load_type();
  for (const uint16_t type : {RTM_NEWLINK, RTM_DELLINK, RTM_DELRULE}) filter.give_if(htons(type), Filter::kPass);
  filter.end_if(htons(RTM_NEWADDR), [&] {
    filter.load_address_scope();
    filter.give_if(RT_SCOPE_LINK, Filter::kDrop);
    filter.give(Filter::kPass);
  });
  filter.end_if(htons(RTM_DELADDR), [&] {
    filter.load_attribute(IFA_PROTO, sizeof(ifaddrmsg));
    filter.give_if(kRouteProtocol, Filter::kPass);
    filter.give(Filter::kDrop);
  });
  filter.give_unless(htons(RTM_DELROUTE), Filter::kDrop);
  filter.load_route_protocol();
  for (const uint8_t protocol : protocols) filter.give_if(protocol, Filter::kPass);
  filter.give(Filter::kDrop);
  return filter;
}

}  // namespace

Result<EventSource> EventSource::open(const Options& options) {
  TRY_ASSIGN(Socket xfrm,
             Socket::open({.protocol = NETLINK_XFRM,
                           .netns = options.netns,
                           .groups = {XFRMNLGRP_ACQUIRE, XFRMNLGRP_EXPIRE, XFRMNLGRP_MAPPING, XFRMNLGRP_SA,
                                      XFRMNLGRP_POLICY, XFRMNLGRP_MIGRATE},
                           .receive_buffer_bytes = options.receive_buffer_bytes,
                           .filter = xfrm_filter(options.own_xfrm_port).program()}),
             "watch");
  TRY_ASSIGN(Socket link,
             Socket::open({.protocol = NETLINK_ROUTE,
                           .netns = options.netns,
                           .groups = {RTNLGRP_LINK, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_IFADDR,
                                      RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE},
                           .receive_buffer_bytes = options.receive_buffer_bytes,
                           .filter = route_filter(options.own_route_port, {}).program()}),
             "watch");
  return EventSource(options, std::move(xfrm), std::move(link));
}

Status EventSource::follow_routes(const std::set<uint8_t>& protocols) {
  return link_.set_filter(route_filter(own_route_port_, protocols).program());
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
    case XFRM_MSG_DELSA:
    case XFRM_MSG_FLUSHSA: return on_removed_sa(message, queue);
    case XFRM_MSG_DELPOLICY:
    case XFRM_MSG_UPDPOLICY:
    case XFRM_MSG_FLUSHPOLICY: return on_disturbed_policy(message, queue);
    case XFRM_MSG_POLEXPIRE:
      // Ours have no lifetime, unless somebody has given them one.
      if (auto key = decode_policy_expired(message.payload); key.ok() && *key)
        queue.push(netns_, policy::PolicyDisturbed{.netns = netns_, .key = **key});
      return;
    // Somebody moves SAs to other addresses; what of ours is concerned shows in the kernel.
    case XFRM_MSG_MIGRATE:
    case kMsgMigrateState: return queue.resync(netns_);
    default: return;
  }
}

void EventSource::on_removed_sa(const Received& message, EventQueue& queue) {
  policy::SaRemoved event{.netns = netns_, .key = {}};
  if (message.type == XFRM_MSG_DELSA) {
    const auto key = decode_sa_removed(message.payload);
    if (!key.ok() || !*key || (*key)->spi == policy::ChildSpi(0)) return;
    event.key = **key;
  }
  queue.push(netns_, std::move(event));
}

void EventSource::on_disturbed_policy(const Received& message, EventQueue& queue) {
  policy::PolicyDisturbed event{.netns = netns_, .key = {}};
  if (message.type != XFRM_MSG_FLUSHPOLICY) {
    auto key = message.type == XFRM_MSG_DELPOLICY ? decode_policy_removed(message.payload)
                                                  : decode_policy_overwritten(message.payload);
    if (!key.ok()) return;
    event.key = *key;
  }
  queue.push(netns_, std::move(event));
}

void EventSource::on_link(const Received& message, EventQueue& queue) {
  if (message.type == RTM_DELROUTE) {
    if (const auto route = decode_route(message.payload); route.ok() && route->plain)
      queue.push(netns_,
                 policy::RouteRemoved{
                     .netns = netns_, .destination = route->config.destination, .metric = route->config.metric});
    return;
  }
  if (message.type == RTM_NEWADDR) {
    if (const auto added = decode_address(message.payload); added.ok() && added->usable)
      queue.push(netns_, policy::AddressAdded{.netns = netns_, .address = added->address});
    return;
  }
  if (message.type == RTM_DELADDR) {
    if (const auto gone = decode_address(message.payload); gone.ok() && gone->is_ours())
      queue.push(netns_, policy::AddressRemoved{.netns = netns_, .address = gone->address});
    return;
  }
  if (message.type == RTM_DELRULE) {
    if (const auto rule = decode_rule(message.payload);
        rule.ok() && rule->plain && rule->config.protocol == kRouteProtocol)
      queue.push(netns_, policy::RuleRemoved{netns_});
    return;
  }
  if (message.type != RTM_NEWLINK && message.type != RTM_DELLINK) return;
  const auto link = decode_link(message.payload);
  if (!link.ok()) return;
  queue.push(netns_, policy::LinkChanged{.netns = netns_,
                                         .name = link->name,
                                         .index = static_cast<uint32_t>(link->index),
                                         .up = message.type == RTM_NEWLINK && link->up,
                                         .gone = message.type == RTM_DELLINK,
                                         .admin_up = link->admin_up,
                                         .dormant = link->dormant,
                                         .enslaved = link->master != 0,
                                         .mtu = link->mtu});
}

}  // namespace ipsec::netlink
