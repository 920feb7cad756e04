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
  devices_.clear(), indices_.clear();
  for (LinkInfo& each : all) note_device(std::move(each));
  return {};
}

/// Whether anything has changed that matters here; most news are of other things.
bool DfPrograms::note_device(LinkInfo link) {
  const int index = link.index;
  Device device{.name = std::move(link.name), .place = df_place(link)};
  if (const auto there = devices_.find(index); there != devices_.end() && there->second == device) return false;
  forget_device(index);
  indices_.insert_or_assign(device.name, index);
  devices_.emplace(index, std::move(device));
  return true;
}

bool DfPrograms::forget_device(int index) {
  const auto there = devices_.find(index);
  if (there == devices_.end()) return false;
  // Another one may have taken its name.
  if (const auto name = indices_.find(there->second.name); name != indices_.end() && name->second == index)
    indices_.erase(name);
  devices_.erase(there);
  return true;
}

bool DfPrograms::take_news(const Received& message) {
  if (message.type != RTM_NEWLINK && message.type != RTM_DELLINK) return false;
  const auto header = from_bytes<ifinfomsg>(message.payload);
  if (!header.ok() || header->ifi_family != AF_UNSPEC) return false;  // a bridge tells of its ports, too
  if (message.type == RTM_DELLINK) {
    // Even if another device has its number by now.
    for (const BpfWay way : {BpfWay::kSent, BpfWay::kReceived}) spots_.erase({way, header->ifi_index});
    return forget_device(header->ifi_index);
  }
  auto link = decode_link(message.payload);
  return link.ok() && note_device(std::move(*link));
}

/// Whether anything has changed that matters here.
bool DfPrograms::follow_devices() {
  bool any = false;
  const auto take = [&](const Received& message) { any = take_news(message) || any; };
  while (news_.poll_event(take)) continue;
  if (!news_.take_overrun()) return any;
  healthy_ = read_devices().ok() && healthy_;
  return true;
}

bool DfPrograms::take_disturbed() {
  if (!follow_devices()) return false;
  return !settle().ok();
}

/// Nothing as long as there is no such VRF.
std::optional<int> DfPrograms::scope_of(const std::string& vrf) const {
  if (vrf.empty()) return 0;
  const auto it = indices_.find(vrf);
  return it != indices_.end() ? std::optional(it->second) : std::nullopt;
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
  std::set<DfDestinationKey> destinations;
  std::set<DfInterfaceKey> interfaces;
  for (const PacketRules::Clearing& each : wanted_.inner_df) {
    const auto interface = indices_.find(each.interface);
    const auto scope = scope_of(each.vrf);
    if (interface == indices_.end() || !scope) continue;
    interfaces.insert(df_key(interface->second));
    destinations.insert(df_key(*scope, each.destination));
  }
  Status put = settle_map(maps_.destinations, destinations, destinations_);
  if (put.ok()) put = settle_map(maps_.interfaces, interfaces, interfaces_);
  if (!put.ok()) return too_many(std::move(put).error(), kDfPlacesMax, "destinations with `inner_df` clear");
  return {};
}

std::map<DfPrograms::Spot, DfPlace> DfPrograms::wanted_spots() const {
  std::set<int> scopes;
  for (const PacketRules::Clearing& each : wanted_.inner_df)
    if (const auto scope = scope_of(each.vrf)) scopes.insert(*scope);
  std::map<Spot, DfPlace> spots;
  for (const auto& [index, each] : devices_) {
    const std::optional<DfPlace>& place = each.place;
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
