#include "netlink/df_programs.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "netlink/limits.h"
#include "netlink/netns.h"

namespace ipsec::netlink {
namespace {

using policy::PacketRules;

/// Brings what stands in a map to what is wanted there.
template <typename Key>
Status settle_map(const UniqueFd& map, const std::set<Key>& wanted, std::set<Key>& standing) {
  for (auto it = standing.begin(); it != standing.end();) {
    if (wanted.contains(*it)) {
      ++it;
      continue;
    }
    TRY(remove_bpf_key(map, *it), "");
    it = standing.erase(it);
  }
  for (const Key& key : wanted) {
    if (standing.contains(key)) continue;
    TRY(put_bpf_key(map, key), "");
    standing.insert(key);
  }
  return {};
}

template <typename Key>
Result<std::set<Key>> read_map(const UniqueFd& map) {
  TRY_ASSIGN(const std::vector<Bytes> read, read_bpf_keys(map, sizeof(Key)), "");
  std::set<Key> keys;
  for (const Bytes& each : read) {
    Key key{};
    std::ranges::copy(each, key.begin());
    keys.insert(key);
  }
  return keys;
}

Error too_many(Error why, size_t most, const char* what) {
  if (why.os_errno() != E2BIG && why.os_errno() != ENOSPC) return why;
  return Error(Reason::kLimitReached, "at most " + std::to_string(most) + " " + what + " in one namespace",
               why.os_errno());
}

}  // namespace

Result<std::unique_ptr<DfPrograms>> DfPrograms::create(const std::string& netns, const PacketRules& rules) {
  TRY_ASSIGN(Socket news, Socket::open({.protocol = NETLINK_ROUTE, .netns = netns, .groups = {RTNLGRP_LINK}}), "");
  Maps maps;
  TRY_ASSIGN(maps.sas, make_bpf_map({BPF_MAP_TYPE_HASH, sizeof(DfSaKey), kDfSasMax}), "");
  TRY_ASSIGN(maps.destinations, make_bpf_map({BPF_MAP_TYPE_LPM_TRIE, sizeof(DfDestinationKey), kDfPlacesMax}), "");
  TRY_ASSIGN(maps.interfaces, make_bpf_map({BPF_MAP_TYPE_HASH, sizeof(DfInterfaceKey), kDfPlacesMax}), "");
  std::unique_ptr<DfPrograms> made(new DfPrograms(netns, std::move(news), std::move(maps)));
  TRY(made->read_devices(), "");
  policy::PacketRuleChange change;
  for (const auto& [key, header] : rules.outer) change.outer.emplace(key, header);
  for (const PacketRules::Clearing& each : rules.inner_df) change.inner_df.emplace(each, true);
  TRY(made->change(change), "");
  return made;
}

// ---- devices

Status DfPrograms::read_devices() {
  TRY_ASSIGN(Socket dumps, Socket::open({.protocol = NETLINK_ROUTE, .netns = netns_, .groups = {}, .strict = true}),
             "");
  TRY_ASSIGN(std::vector<LinkInfo> all, dump_links(dumps), "");
  devices_.clear();
  for (LinkInfo& each : all) devices_.insert_or_assign(each.index, std::move(each));
  return {};
}

void DfPrograms::take_news(const Received& message) {
  if (message.type != RTM_NEWLINK && message.type != RTM_DELLINK) return;
  const auto header = from_bytes<ifinfomsg>(message.payload);
  if (!header.ok() || header->ifi_family != AF_UNSPEC) return;  // a bridge tells of its ports, too
  if (message.type == RTM_DELLINK) {
    devices_.erase(header->ifi_index);
    return;
  }
  if (auto link = decode_link(message.payload); link.ok()) devices_.insert_or_assign(link->index, std::move(*link));
}

/// Whether there was anything.
bool DfPrograms::follow_devices() {
  bool any = false;
  while (news_.poll_event([&](const Received& message) { take_news(message); })) any = true;
  if (!news_.take_overrun()) return any;
  healthy_ = read_devices().ok() && healthy_;
  return true;
}

bool DfPrograms::take_disturbed() {
  if (!follow_devices()) return false;
  return !settle().ok();
}

const LinkInfo* DfPrograms::device(const std::string& name) const {
  const auto it = std::ranges::find_if(devices_, [&](const auto& each) { return each.second.name == name; });
  return it != devices_.end() ? &it->second : nullptr;
}

// ---- what is wanted

Status DfPrograms::change_sa(const policy::SaKey& key, const std::optional<policy::OuterHeader>& header) {
  const bool wanted = header && header->df_set && key.destination.is_v4();
  const auto there = wanted_.outer.find(key);
  if (there != wanted_.outer.end()) {
    if (wanted && there->second.udp_encapsulation == header->udp_encapsulation) return {};
    TRY(remove_bpf_key(maps_.sas, *df_key(key, there->second)), "");
    wanted_.outer.erase(there);
  }
  if (!wanted) return {};
  if (Status put = put_bpf_key(maps_.sas, *df_key(key, *header)); !put.ok())
    return too_many(std::move(put).error(), kDfSasMax, "SAs with `df` set");
  wanted_.outer.emplace(
      key, policy::OuterHeader{.df_set = true, .dscp = {}, .udp_encapsulation = header->udp_encapsulation});
  return {};
}

Status DfPrograms::change(const policy::PacketRuleChange& change) {
  healthy_ = false;  // until it is done
  for (const auto& [key, header] : change.outer) TRY(change_sa(key, header), "");
  for (const auto& [clearing, wanted] : change.inner_df) {
    if (wanted)
      wanted_.inner_df.insert(clearing);
    else
      wanted_.inner_df.erase(clearing);
  }
  follow_devices();
  return settle();
}

Status DfPrograms::settle() {
  healthy_ = false;
  TRY(settle_maps(), "");
  TRY(settle_spots(), "");
  healthy_ = true;
  return {};
}

/// Interfaces and VRFs that are not there yet have no index: they count from the moment at which they are.
Status DfPrograms::settle_maps() {
  std::map<std::string, int> indices;
  if (!wanted_.inner_df.empty())
    for (const auto& [index, each] : devices_) indices.emplace(each.name, index);
  std::set<DfDestinationKey> destinations;
  std::set<DfInterfaceKey> interfaces;
  for (const PacketRules::Clearing& each : wanted_.inner_df) {
    const auto interface = indices.find(each.interface), vrf = indices.find(each.vrf);
    if (interface == indices.end() || (!each.vrf.empty() && vrf == indices.end())) continue;
    interfaces.insert(df_key(interface->second));
    destinations.insert(df_key(each.vrf.empty() ? 0 : vrf->second, each.destination));
  }
  Status put = settle_map(maps_.destinations, destinations, destinations_);
  if (put.ok()) put = settle_map(maps_.interfaces, interfaces, interfaces_);
  if (!put.ok()) return too_many(std::move(put).error(), kDfPlacesMax, "destinations with `inner_df` clear");
  return {};
}

std::map<DfPrograms::Spot, DfPlace> DfPrograms::wanted_spots() const {
  std::set<int> scopes;
  for (const PacketRules::Clearing& each : wanted_.inner_df) {
    const LinkInfo* vrf = each.vrf.empty() ? nullptr : device(each.vrf);
    if (each.vrf.empty() || vrf != nullptr) scopes.insert(vrf != nullptr ? vrf->index : 0);
  }
  std::map<Spot, DfPlace> spots;
  for (const auto& [index, each] : devices_) {
    const auto place = df_place(each);
    if (!place) continue;
    // What is sent needs no scope: an SA's packets are the same in every VRF.
    if (!wanted_.outer.empty()) spots.emplace(Spot{BpfWay::kSent, index}, DfPlace{.link_header = place->link_header});
    if (scopes.contains(place->scope)) spots.emplace(Spot{BpfWay::kReceived, index}, *place);
  }
  return spots;
}

Status DfPrograms::settle_spots() {
  const std::map<Spot, DfPlace> wanted = wanted_spots();
  if (wanted.size() > kDfDevicesMax)
    return Error(Reason::kLimitReached, std::to_string(wanted.size()) +
                                            " devices would need a program that writes DF bits, at most " +
                                            std::to_string(kDfDevicesMax) + " have one in one namespace");
  std::erase_if(spots_, [&](const auto& each) {
    const auto it = wanted.find(each.first);
    return it == wanted.end() || it->second != each.second.place;
  });
  std::erase_if(programs_, [&](const auto& each) {
    return std::ranges::none_of(wanted,
                                [&](const auto& spot) { return each.first == std::pair(spot.first.way, spot.second); });
  });
  const bool all = std::ranges::all_of(wanted, [&](const auto& each) { return spots_.contains(each.first); });
  if (all) return {};
  return run_in_netns(netns_, [&]() -> Status {
    for (const auto& each : wanted)
      if (!spots_.contains(each.first)) TRY(attach(each.first, each.second), "");
    return {};
  });
}

Status DfPrograms::attach(const Spot& spot, const DfPlace& place) {
  TRY_ASSIGN(const UniqueFd* code, program(spot.way, place), "");
  auto link = attach_bpf_program(*code, spot.way, spot.interface);
  if (link.ok()) {
    spots_.emplace(spot, Standing{place, std::move(*link)});
    return {};
  }
  if (link.error().os_errno() == ENODEV) return {};  // gone, which is being told
  return std::move(link).error().context(devices_.at(spot.interface).name);
}

Result<const UniqueFd*> DfPrograms::program(BpfWay way, const DfPlace& place) {
  const auto known = programs_.find({way, place});
  if (known != programs_.end()) return &known->second;
  TRY_ASSIGN(
      UniqueFd loaded,
      load_bpf_program(way == BpfWay::kSent ? set_df_code(maps_.sas.get(), place.link_header)
                                            : clear_df_code(maps_.destinations.get(), maps_.interfaces.get(), place),
                       way),
      "");
  const UniqueFd* standing = &programs_.emplace(std::pair(way, place), std::move(loaded)).first->second;
  return standing;
}

// ---- what stands

Result<bool> DfPrograms::stands() {
  for (const auto& [spot, standing] : spots_) {
    TRY_ASSIGN(const int interface, interface_of_bpf_link(standing.link), "");
    if (interface != spot.interface) return false;
  }
  TRY_ASSIGN(const auto destinations, read_map<DfDestinationKey>(maps_.destinations), "");
  TRY_ASSIGN(const auto interfaces, read_map<DfInterfaceKey>(maps_.interfaces), "");
  return destinations == destinations_ && interfaces == interfaces_;
}

Result<PacketRules> DfPrograms::read() {
  if (follow_devices()) (void)settle();  // what it could not do shows
  PacketRules found{.inner_df = wanted_.inner_df};
  TRY_ASSIGN(const auto sas, read_map<DfSaKey>(maps_.sas), "");
  for (const DfSaKey& key : sas) {
    const auto sa = sa_of(key);
    if (sa) found.outer.insert(*sa);
    if (!sa) found.intact = false;
  }
  TRY_ASSIGN(const bool all, stands(), "");
  found.intact = found.intact && all && healthy_;
  return found;
}

}  // namespace ipsec::netlink
