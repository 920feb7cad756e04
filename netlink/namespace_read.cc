#include "netlink/namespace_read.h"

#include <linux/netlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <iterator>

#include "netlink/family_dump.h"
#include "netlink/rules.h"
#include "netlink/xfrm_codec.h"

namespace ipsec::netlink {

using policy::StandingObject;

Result<std::unique_ptr<KernelRead>> KernelRead::begin(const std::string& netns, const std::set<uint8_t>& protocols,
                                                      PortNow port) {
  const auto socket = [&](int protocol) {
    return Socket::open({.protocol = protocol, .netns = netns, .groups = {}, .strict = true});
  };
  TRY_ASSIGN(Socket xfrm, socket(NETLINK_XFRM), "");
  TRY_ASSIGN(Socket route, socket(NETLINK_ROUTE), "");
  return std::unique_ptr<KernelRead>(new KernelRead(std::move(xfrm), std::move(route), protocols, std::move(port)));
}

KernelRead::KernelRead(Socket xfrm, Socket route, const std::set<uint8_t>& protocols, PortNow port)
    : xfrm_(std::move(xfrm)), route_(std::move(route)), port_(std::move(port)) {
  for (const uint8_t protocol : protocols)
    for (const uint8_t family : {AF_INET6, AF_INET}) routes_left_.emplace_back(family, protocol);
}

Result<policy::NamespaceRead::More> KernelRead::next(std::vector<StandingObject>& objects, size_t most) {
  TRY_ASSIGN(NamespacePort * port, port_(), "");
  TRY(step(*port, objects, most), "");
  return phase_ == Phase::kEnd ? More::kNo : More::kYes;
}

Status KernelRead::step(NamespacePort& port, std::vector<StandingObject>& objects, size_t most) {
  switch (phase_) {
    case Phase::kReadLinks: return read_links(port);
    case Phase::kReadAddresses: return read_addresses();
    case Phase::kShowLinks: return show_links(port, objects, most);
    case Phase::kReadPolicies: return read_policies();
    case Phase::kShowPolicies: return show_policies(objects, most);
    case Phase::kReadRoutes: return read_routes();
    case Phase::kShowRoutes: show_routes(objects, most); return {};
    case Phase::kPacketRules: return show_packet_rules(port, objects);
    case Phase::kRules: return show_rules(objects);
    case Phase::kReadSas: return read_sas();
    case Phase::kShowSas: return show_sas(objects, most);
    case Phase::kEnd: return {};
  }
  return {};
}

Result<KernelRead::Dumped> KernelRead::dump(Socket& socket, const std::function<Message()>& request,
                                            const std::function<Status(const Received&)>& each,
                                            const std::function<void()>& restart) {
  if (!std::exchange(dumping_, true)) TRY(socket.begin_dump(request()), "");
  TRY_ASSIGN(const Socket::Dump state, socket.dump_some(each), "");
  if (state == Socket::Dump::kGoesOn) return Dumped::kInPart;
  dumping_ = false;
  if (state == Socket::Dump::kDone) {
    tries_ = 0;
    return Dumped::kWhole;
  }
  if (++tries_ == kDumpTriesMax)
    return Error(Reason::kKernelLost, "the table changed during " + std::to_string(kDumpTriesMax) + " dumps");
  restart();
  return Dumped::kInPart;
}

Status KernelRead::read_links(NamespacePort& port) {
  const auto each = [&](const Received& message) -> Status {
    const size_t before = links_.objects.size();
    TRY(take_link(message, links_.objects), "");
    for (size_t i = before; i < links_.objects.size(); ++i) {
      const LinkInfo& link = links_.objects[i];
      names_.add(link);
      some_ours_ = some_ours_ || (link.kind != "vrf" && port.is_ours(link));
    }
    return {};
  };
  TRY_ASSIGN(const Dumped dumped, dump(route_, encode_dump_links, each, [&] { links_.restart(), names_ = {}; }),
             "read all links");
  if (dumped == Dumped::kWhole) phase_ = some_ours_ ? Phase::kReadAddresses : Phase::kShowLinks;
  return {};
}

Status KernelRead::read_addresses() {
  const auto each = [&](const Received& message) -> Status {
    std::vector<AddressInfo> found;
    TRY(take_address(message, 0, found), "");
    for (AddressInfo& address : found) addresses_[address.device].push_back(std::move(address));
    return {};
  };
  TRY_ASSIGN(const Dumped dumped,
             dump(
                 route_, [] { return encode_dump_addresses(0); }, each, [&] { addresses_ = {}; }),
             "read the addresses");
  if (dumped == Dumped::kWhole) phase_ = Phase::kShowLinks;
  return {};
}

Status KernelRead::show_links(NamespacePort& port, std::vector<StandingObject>& objects, size_t most) {
  for (size_t looked = 0; links_.left() > 0 && looked < most; ++looked)
    if (auto config = port.shown(links_.objects[links_.shown++], names_, addresses_))
      objects.emplace_back(std::move(*config));
  port.end_of_reading();
  if (links_.left() == 0) phase_ = Phase::kReadPolicies;
  return {};
}

Status KernelRead::read_policies() {
  const auto each = [&](const Received& message) -> Status {
    auto entry = decode_policy(message.payload);
    if (!entry.ok()) return std::move(entry).error();
    if (entry->ordinary) policies_.objects.push_back({std::move(entry->config), entry->offload_ifindex});
    return {};
  };
  TRY_ASSIGN(const Dumped dumped, dump(xfrm_, encode_dump_policies, each, [&] { policies_.restart(); }),
             "read all policies");
  if (dumped == Dumped::kWhole) phase_ = Phase::kShowPolicies;
  return {};
}

/// Devices of offload are asked for by their numbers, each once.
Result<std::string> KernelRead::device_name(int index) {
  std::string& name = offload_devices_[index];
  if (!name.empty()) return name;
  TRY_ASSIGN(const auto link, find_link(route_, index), "");
  name = link ? link->name : "#" + std::to_string(index);
  return name;
}

Status KernelRead::show_policies(std::vector<StandingObject>& objects, size_t most) {
  for (size_t looked = 0; policies_.left() > 0 && looked < most; ++looked) {
    Policy& each = policies_.objects[policies_.shown++];
    if (each.device != 0) {
      TRY_ASSIGN(each.config.offload.device, device_name(each.device), "");
    }
    objects.emplace_back(std::move(each.config));
  }
  if (policies_.left() == 0) phase_ = Phase::kReadRoutes;
  return {};
}

/// One family and protocol after the other.
Status KernelRead::read_routes() {
  if (routes_left_.empty()) {
    phase_ = Phase::kShowRoutes;
    return {};
  }
  const auto [family, protocol] = routes_left_.back();
  auto dumped = dump(
      route_, [family = family, protocol = protocol] { return encode_dump_routes(family, protocol); },
      [&, protocol = protocol](const Received& message) { return take_route(message, protocol, routes_of_dump_); },
      [&] { routes_of_dump_.clear(); });
  const bool missing = !dumped.ok() && is_missing_family(dumped.error());
  if (!dumped.ok() && !missing) return std::move(dumped).error().context("read all routes");
  if (missing) dumping_ = false;
  if (!missing && *dumped == Dumped::kInPart) return {};
  std::ranges::move(routes_of_dump_, std::back_inserter(routes_.objects));
  routes_of_dump_.clear();
  routes_left_.pop_back();
  return {};
}

void KernelRead::show_routes(std::vector<StandingObject>& objects, size_t most) {
  for (size_t looked = 0; routes_.left() > 0 && looked < most; ++looked)
    objects.emplace_back(names_.named(std::move(routes_.objects[routes_.shown++])));
  if (routes_.left() == 0) phase_ = Phase::kPacketRules;
}

Status KernelRead::show_packet_rules(NamespacePort& port, std::vector<StandingObject>& objects) {
  TRY_ASSIGN(auto rules, port.dump_packet_rules(), "");
  objects.emplace_back(std::move(rules));
  phase_ = Phase::kRules;
  return {};
}

Status KernelRead::show_rules(std::vector<StandingObject>& objects) {
  TRY_ASSIGN(std::vector<DecodedRule> rules, dump_rules(route_, kRouteProtocol), "");
  for (DecodedRule& each : rules) {
    each.config.vrf = names_.vrf(each.table);
    objects.emplace_back(std::move(each.config));
  }
  phase_ = Phase::kReadSas;
  return {};
}

Status KernelRead::read_sas() {
  const auto each = [&](const Received& message) -> Status {
    auto sa = decode_sa(message.payload);
    if (!sa.ok()) return std::move(sa).error();
    if (sa->is_esp) sas_.objects.push_back({std::move(sa->state), sa->offload_ifindex});
    return {};
  };
  TRY_ASSIGN(const Dumped dumped, dump(xfrm_, encode_dump_sas, each, [&] { sas_.restart(); }), "read all SAs");
  if (dumped == Dumped::kWhole) phase_ = Phase::kShowSas;
  return {};
}

Status KernelRead::show_sas(std::vector<StandingObject>& objects, size_t most) {
  for (size_t looked = 0; sas_.left() > 0 && looked < most; ++looked) {
    Sa& each = sas_.objects[sas_.shown++];
    if (each.device != 0) {
      TRY_ASSIGN(each.state.offload_device, device_name(each.device), "");
    }
    objects.emplace_back(std::move(each.state));
  }
  if (sas_.left() == 0) phase_ = Phase::kEnd;
  return {};
}

}  // namespace ipsec::netlink
