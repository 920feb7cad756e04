#include "tests/support/fake_kernel.h"

#include <algorithm>
#include <cerrno>

#include "policy/drift.h"

namespace ipsec::testing {

using namespace ipsec::policy;

namespace {

Error refused(int os_errno, std::string kernel_words) {
  return Error(Reason::kKernelRefused, std::move(kernel_words), os_errno);
}
Error conflict(const std::string& object) {
  return Error(Reason::kKernelConflict, object + " is there already", EEXIST);
}
Error not_ours(const std::string& object) {
  return Error(Reason::kKernelConflict, object + " was not made by this daemon");
}

FakeKernel::RouteKey key_of(const RouteConfig& route) { return {route.vrf, route.destination, route.metric}; }

SaState shown(const SaConfig& sa, OffloadKind kind) {
  SaState state;
  state.key = sa.key;
  state.source = sa.source;
  state.reqid = sa.reqid;
  state.if_id = sa.if_id;
  state.mode = sa.mode;
  state.direction = sa.direction;
  state.suite = sa.suite;
  state.replay_window = sa.replay_window;
  state.offload = kind;
  if (kind != OffloadKind::kNone) state.offload_device = sa.offload.device;
  return state;
}

}  // namespace

// ---- SAs

Result<OffloadKind> FakeKernel::place(const Namespace& space, const SaConfig& sa) const {
  if (sa.offload.kind == OffloadKind::kNone) return OffloadKind::kNone;
  if (sa.direction == Direction::kOut && sa.replay_window != 0)
    return refused(EINVAL, "Replay window should be 0 for output SA.");
  if (sa.direction == Direction::kIn && sa.if_id != 0 && refuses_inbound_if_id_)
    return refused(EINVAL, "XFRM if_id is not supported in RX path.");
  const auto device = space.devices.find(sa.offload.device);
  if (device == space.devices.end())
    return Error(Reason::kDeviceMissing, "there is no device " + sa.offload.device, ENODEV);
  const Capability capability = device->second.capability;
  if (sa.offload.kind == OffloadKind::kPacket && capability != Capability::kPacket)
    return refused(EOPNOTSUPP, "Device doesn't support offload");
  // What the kernel does for crypto offload: a device that cannot is no error, the SA just stays in software.
  if (capability == Capability::kIncapable) return OffloadKind::kNone;
  const auto used = std::count_if(space.sas.begin(), space.sas.end(), [&](const auto& each) {
    return each.second.state.offload_device == sa.offload.device;
  });
  if (static_cast<size_t>(used) >= device->second.table_size)
    return refused(ENOSPC, "Device failed to offload this state");
  return sa.offload.kind;
}

Status FakeKernel::check_sa(const Namespace& space, const SaConfig& sa) const {
  const std::string object = "SA " + hex(sa.key.spi.value());
  if (sa.keys.size() != sa.suite.key_material_bytes()) return refused(EINVAL, "Invalid key length");
  if (auto there = space.sas.find(sa.key); there != space.sas.end()) {
    if (there->second.maker == Maker::kForeign) return conflict(object);
    return Error(Reason::kExists, object + ": this daemon has installed it already", EEXIST);
  }
  return {};
}

FakeKernel::Outcome FakeKernel::change(Namespace& space, AddSa& add) {
  TRY(check_sa(space, add.sa), "install");
  TRY_ASSIGN(const OffloadKind kind, place(space, add.sa), "install");
  Sa made{.state = shown(add.sa, kind), .config = std::move(add.sa)};
  const SaState state = made.state;
  space.sas.emplace(state.key, std::move(made));
  return KernelReply(state);
}

FakeKernel::Outcome FakeKernel::change(Namespace& space, DeleteSa& remove) {
  auto there = space.sas.find(remove.key);
  if (there == space.sas.end()) return KernelReply{};
  if (there->second.maker == Maker::kForeign) return not_ours("SA " + hex(remove.key.spi.value()));
  space.sas.erase(there);
  return KernelReply{};
}

FakeKernel::Outcome FakeKernel::change(Namespace& space, ReadSa& read) {
  auto there = space.sas.find(read.key);
  if (there == space.sas.end()) return Error(Reason::kNotFound, "SA " + hex(read.key.spi.value()), ESRCH);
  return KernelReply(there->second.state);
}

// ---- policies

Status FakeKernel::check_policy(const Namespace& space, const PolicyConfig& wanted) {
  if (wanted.offload.kind == OffloadKind::kNone) return {};
  const auto device = space.devices.find(wanted.offload.device);
  if (device == space.devices.end()) return Error(Reason::kDeviceMissing, wanted.offload.device, ENODEV);
  if (device->second.capability != Capability::kPacket) return refused(EINVAL, "Policy offload is not supported");
  const auto on_it = std::ranges::count_if(
      space.policies, [&](const auto& each) { return each.second.config.offload.device == wanted.offload.device; });
  if (static_cast<size_t>(on_it) >= device->second.policies_size) return refused(ENOSPC, "No space for policy");
  return {};
}

FakeKernel::Outcome FakeKernel::change(Namespace& space, AddPolicy& add) {
  const PolicyConfig& wanted = add.policy;
  TRY(check_policy(space, wanted), "");
  auto [there, fresh] = space.policies.try_emplace(wanted.key, Policy{.config = wanted});
  if (!fresh && there->second.maker == Maker::kForeign) return conflict("policy " + selector(wanted.key));
  there->second.config = wanted;  // one of ours is brought to what is wanted now
  return KernelReply{};
}

FakeKernel::Outcome FakeKernel::change(Namespace& space, UpdatePolicy& update) {
  TRY(check_policy(space, update.policy), "");
  auto there = space.policies.try_emplace(update.policy.key, Policy{.config = update.policy}).first;
  if (there->second.maker == Maker::kForeign) return not_ours("policy " + selector(update.policy.key));
  there->second.config = update.policy;
  return KernelReply{};
}

FakeKernel::Outcome FakeKernel::change(Namespace& space, DeletePolicy& remove) {
  auto there = space.policies.find(remove.key);
  if (there == space.policies.end()) return KernelReply{};
  if (there->second.maker == Maker::kForeign) return not_ours("policy " + selector(remove.key));
  space.policies.erase(there);
  return KernelReply{};
}

// ---- links and routes

FakeKernel::Outcome FakeKernel::change(Namespace& space, AddLink& add) {
  const LinkConfig& wanted = add.link;
  if (wanted.kind == LinkKind::kVrf) return add_vrf(space, wanted);
  const auto outside = namespaces_.find(wanted.public_netns);
  if (outside == namespaces_.end()) return Error(Reason::kNamespaceMissing, "\"" + wanted.public_netns + "\"", ENOENT);
  if (!wanted.public_device.empty() &&
      outside->second.devices.count(wanted.public_device) + outside->second.vrfs.count(wanted.public_device) == 0)
    return Error(Reason::kDeviceMissing, "there is no device " + wanted.public_device, ENODEV);
  if (!wanted.vrf.empty() && space.vrfs.count(wanted.vrf) == 0)
    return Error(Reason::kVrfMissing, "there is no VRF " + wanted.vrf);
  for (auto& [name, there] : space.links) {
    if (there.config.kind == LinkKind::kVrf) continue;
    const bool same_ends = there.config.kind == wanted.kind && there.config.tunnel_local == wanted.tunnel_local &&
                           there.config.tunnel_remote == wanted.tunnel_remote &&
                           there.config.tunnel_key == wanted.tunnel_key;
    const bool tunnels = is_tunnel(wanted.kind) || is_tunnel(there.config.kind);
    const bool same_id = (tunnels ? same_ends : there.config.if_id == wanted.if_id) &&  // 0: both external
                         there.config.public_netns == wanted.public_netns;
    if (name != wanted.name && !same_id) continue;
    const bool same = there.maker == Maker::kOurs && name == wanted.name && there.config.if_id == wanted.if_id;
    if (same) {  // made before a restart of the daemon
      there.config = wanted;
      return KernelReply{};
    }
    return conflict("interface " + name);
  }
  space.links.emplace(wanted.name, Link{.config = wanted});
  return KernelReply{};
}

FakeKernel::Outcome FakeKernel::change(Namespace& space, UpdateLink& update) {
  auto there = space.links.find(update.link.name);
  if (there == space.links.end()) return Error(Reason::kNotFound, "interface " + update.link.name);
  LinkConfig& link = there->second.config;
  if (there->second.maker == Maker::kForeign || link.if_id != update.link.if_id || link.kind != update.link.kind)
    return not_ours("interface " + update.link.name);
  if (!update.link.vrf.empty() && space.vrfs.count(update.link.vrf) == 0) {
    link.up = false;
    return Error(Reason::kVrfMissing, "there is no VRF " + update.link.vrf);
  }
  if (link.vrf != update.link.vrf)  // the kernel takes it down and up for that
    std::erase_if(space.routes, [&](const auto& each) { return each.second.config.device == link.name; });
  link.vrf = update.link.vrf;
  link.tunnel_remote = update.link.tunnel_remote;
  link.tunnel_key = update.link.tunnel_key;
  link.addresses = update.link.addresses;
  link.dormant = update.link.dormant;
  link.altname = update.link.altname;
  link.mtu = update.link.mtu;
  link.group = update.link.group;
  link.up = update.link.up;
  link.dormant = update.link.dormant;
  link.addresses = update.link.addresses;
  return KernelReply{};
}

FakeKernel::Outcome FakeKernel::change(Namespace& space, DeleteLink& remove) {
  auto there = space.links.find(remove.name);
  if (there == space.links.end()) return KernelReply{};
  if (there->second.maker == Maker::kForeign) return not_ours("interface " + remove.name);
  if (there->second.config.kind == LinkKind::kVrf) return delete_vrf(space, remove.name);
  space.links.erase(there);
  std::erase_if(space.routes, [&](const auto& each) { return each.second.config.device == remove.name; });
  return KernelReply{};
}

FakeKernel::Outcome FakeKernel::change(Namespace& space, AddRoute& add) {
  const RouteConfig& wanted = add.route;
  if (!wanted.vrf.empty() && space.vrfs.count(wanted.vrf) == 0)
    return Error(Reason::kVrfMissing, "there is no VRF " + wanted.vrf);
  if (wanted.kind == RouteKind::kDevice && space.links.count(wanted.device) + space.devices.count(wanted.device) == 0)
    return Error(Reason::kDeviceMissing, "there is no device " + wanted.device, ENODEV);
  auto [there, fresh] = space.routes.try_emplace(key_of(wanted), Route{.config = wanted});
  if (!fresh && (there->second.maker == Maker::kForeign || there->second.config != wanted))
    return conflict("a route to " + to_string(wanted.destination));
  return KernelReply{};
}

FakeKernel::Outcome FakeKernel::change(Namespace& space, DeleteRoute& remove) {
  auto there = space.routes.find(key_of(remove.route));
  // A route that the journal does not know is none of ours: nothing to remove, and no error.
  if (there == space.routes.end() || there->second.maker == Maker::kForeign || there->second.config != remove.route)
    return KernelReply{};
  space.routes.erase(there);
  return KernelReply{};
}

// ---- packet rules

FakeKernel::Outcome FakeKernel::change(Namespace& space, SetPacketRules& set) {
  if (space.rules_maker == Maker::kForeign && !space.packet_rules.empty()) {
    if (set.rules.empty()) return KernelReply{};
    return conflict("a table inet ipsecd");
  }
  space.packet_rules = set.rules;
  space.rules_maker = Maker::kOurs;
  return KernelReply{};
}

FakeKernel::Outcome FakeKernel::change(Namespace& space, ChangePacketRules& change) {
  if (space.packet_rules.empty() || space.rules_maker == Maker::kForeign)
    return Error(Reason::kNotFound, "there are no packet rules of this run to be changed");
  change.change.apply_to(space.packet_rules);
  return KernelReply{};
}

// ---- VRFs and rules

FakeKernel::Outcome FakeKernel::add_vrf(Namespace& space, const LinkConfig& wanted) {
  const auto there = space.links.find(wanted.name);
  if (there != space.links.end() && there->second.config.kind != LinkKind::kVrf)
    return conflict("interface " + wanted.name);
  if (space.vrfs.count(wanted.name) != 0) return KernelReply{};  // ours, or an operator's that serves as it is
  for (const auto& [name, link] : space.links)
    if (link.config.kind == LinkKind::kVrf && link.config.vrf_table == wanted.vrf_table)
      return conflict("table " + std::to_string(wanted.vrf_table));
  space.vrfs.insert(wanted.name);
  space.links.emplace(wanted.name, Link{.config = wanted});
  return KernelReply{};
}

FakeKernel::Outcome FakeKernel::delete_vrf(Namespace& space, const std::string& name) {
  for (const auto& [member, link] : space.links)
    if (link.config.vrf == name && link.maker == Maker::kForeign)
      return conflict(std::string(member).append(" in VRF ").append(name));
  space.links.erase(name);
  space.vrfs.erase(name);
  for (auto& [member, link] : space.links)
    if (link.config.vrf == name) link.config.vrf.clear();
  std::erase_if(space.routes, [&](const auto& each) { return each.second.config.vrf == name; });
  return KernelReply{};
}

FakeKernel::Outcome FakeKernel::change(Namespace& space, AddRule& add) {
  if (!add.rule.vrf.empty() && space.vrfs.count(add.rule.vrf) == 0)
    return Error(Reason::kVrfMissing, "there is no VRF " + add.rule.vrf);
  const auto [there, fresh] = space.rules.try_emplace(add.rule, Maker::kOurs);
  if (!fresh && there->second == Maker::kForeign) return conflict("rule for VRF " + add.rule.vrf);
  return KernelReply{};
}

FakeKernel::Outcome FakeKernel::change(Namespace& space, DeleteRule& remove) {
  const auto there = space.rules.find(remove.rule);
  if (there != space.rules.end() && there->second == Maker::kOurs) space.rules.erase(there);
  return KernelReply{};
}

// ---- the port

FakeKernel::Outcome FakeKernel::carry_out(KernelOperation& operation) {
  auto space = namespaces_.find(operation.netns);
  if (space == namespaces_.end())
    return Error(Reason::kNamespaceMissing, "there is no namespace \"" + operation.netns + "\"", ENOENT);
  const auto fault = faults_.find(done_);
  if (fault == faults_.end() || fault->second.os_errno == 0)
    return std::visit([&](auto& each) { return change(space->second, each); }, operation.change);
  const int os_errno = fault->second.os_errno;
  const std::string doing = describe(operation.change);
  if (doing.starts_with("add-") && os_errno == EEXIST) return conflict(doing);
  if (doing.starts_with("delete-") && os_errno == ESRCH)  // gone already is what was wanted
    return std::visit([&](auto& each) { return change(space->second, each); }, operation.change);
  return refused(os_errno, doing);
}

void FakeKernel::flush() {
  std::stable_partition(queued_.begin(), queued_.end(),
                        [this](const KernelOperation& each) { return each.netns == hurried_; });
  for (size_t count = 0; count < flush_most_ && !queued_.empty(); ++count) {
    KernelOperation operation = std::move(queued_.front());
    queued_.pop_front();
    if (dead()) continue;
    ++done_;
    ++counts_[operation.change.index()];
    std::string text = describe(operation.change);
    Outcome outcome = carry_out(operation);
    texts_.push_back(outcome.ok() ? std::move(text) : text + " REFUSED");
    const auto fault = faults_.find(done_);
    if (dead() || (fault != faults_.end() && fault->second.unanswered)) continue;
    if (fault != faults_.end() && fault->second.lost) outcome = Error(Reason::kKernelTimeout, "no answer came");
    (holding_ ? held_ : completions_).push_back({.id = operation.id, .result = std::move(outcome)});
  }
}

std::optional<KernelCompletion> FakeKernel::poll_completion() {
  if (completions_.empty()) return std::nullopt;
  KernelCompletion next = std::move(completions_.front());
  completions_.pop_front();
  return next;
}

std::optional<KernelEvent> FakeKernel::poll_event() {
  if (events_.empty()) return std::nullopt;
  KernelEvent next = std::move(events_.front());
  events_.pop_front();
  return next;
}

void FakeKernel::restart() {
  dies_at_.reset();
  queued_.clear(), completions_.clear(), held_.clear(), events_.clear();
}

void FakeKernel::release(size_t count) {
  for (; count > 0 && !held_.empty(); --count) {
    completions_.push_back(std::move(held_.front()));
    held_.pop_front();
  }
}

void FakeKernel::release_all() {
  release(held_.size());
  holding_ = false;
}

namespace {

Error no_namespace(const std::string& netns) {
  return Error(Reason::kNamespaceMissing, "there is no namespace \"" + netns + "\"", ENOENT);
}

template <typename Object, typename Map, typename Member>
std::vector<Object> all_of(const Map& map, Member member) {
  std::vector<Object> all;
  for (const auto& [key, each] : map) all.push_back(each.*member);
  return all;
}

/// Ours, and still what we made.
template <typename Map>
bool is_ours(const Map& map, const typename Map::key_type& key) {
  const auto there = map.find(key);
  return there != map.end() && there->second.maker == Maker::kOurs;
}

}  // namespace

Result<std::vector<SaState>> FakeKernel::dump_sas(const std::string& netns) {
  flush();
  ++reads_;
  if (!namespaces_.contains(netns)) return no_namespace(netns);
  return all_of<SaState>(in(netns).sas, &Sa::state);
}

Result<std::vector<PolicyConfig>> FakeKernel::dump_policies(const std::string& netns) {
  flush();
  if (!namespaces_.contains(netns)) return no_namespace(netns);
  return all_of<PolicyConfig>(in(netns).policies, &Policy::config);
}

Result<std::vector<LinkConfig>> FakeKernel::dump_links(const std::string& netns) {
  flush();
  if (!namespaces_.contains(netns)) return no_namespace(netns);
  return all_of<LinkConfig>(in(netns).links, &Link::config);
}

Result<std::vector<RouteConfig>> FakeKernel::dump_routes(const std::string& netns) {
  flush();
  if (!namespaces_.contains(netns)) return no_namespace(netns);
  return all_of<RouteConfig>(in(netns).routes, &Route::config);
}

Result<PacketRules> FakeKernel::dump_packet_rules(const std::string& netns) {
  flush();
  if (!namespaces_.contains(netns)) return no_namespace(netns);
  return owns(netns, in(netns).packet_rules) ? in(netns).packet_rules : PacketRules{};
}

Result<PathFacts> FakeKernel::path_to(const RoutingPlace& place, const IpAddress& /*destination*/) {
  if (!namespaces_.contains(place.netns)) return no_namespace(place.netns);
  return in(place.netns).path;
}

Result<bool> FakeKernel::is_on_link(const RoutingPlace& place, const IpAddress& destination) {
  if (!namespaces_.contains(place.netns)) return no_namespace(place.netns);
  return in(place.netns).neighbours.contains(destination);
}

Result<std::vector<RuleConfig>> FakeKernel::dump_rules(const std::string& netns) {
  flush();
  if (!namespaces_.contains(netns)) return no_namespace(netns);
  std::vector<RuleConfig> all;
  for (const auto& [rule, maker] : in(netns).rules) all.push_back(rule);
  return all;
}

Status FakeKernel::watch(const std::string& netns) {
  if (!namespaces_.contains(netns)) return no_namespace(netns);
  return {};
}

bool FakeKernel::owns(const std::string& netns, const SaState& sa) const { return is_ours(in(netns).sas, sa.key); }
bool FakeKernel::owns(const std::string& netns, const PolicyConfig& policy) const {
  return is_ours(in(netns).policies, policy.key);
}
bool FakeKernel::owns(const std::string& netns, const LinkConfig& link) const {
  return is_ours(in(netns).links, link.name);
}
bool FakeKernel::owns(const std::string& netns, const RouteConfig& route) const {
  return is_ours(in(netns).routes, key_of(route));
}
bool FakeKernel::owns(const std::string& netns, const RuleConfig& rule) const {
  const auto there = in(netns).rules.find(rule);
  return there != in(netns).rules.end() && there->second == Maker::kOurs;
}

bool FakeKernel::owns(const std::string& netns, const PacketRules& /*rules*/) const {
  return in(netns).rules_maker == Maker::kOurs;
}

Status FakeKernel::claim(const std::string& netns, const NamespaceState& objects) {
  Namespace& space = in(netns);
  const auto take = [](auto& there, const auto& key) {
    if (const auto it = there.find(key); it != there.end()) it->second.maker = Maker::kOurs;
  };
  for (const auto& [key, sa] : objects.sas) take(space.sas, key);
  for (const auto& [key, policy] : objects.policies) take(space.policies, key);
  for (const auto& [name, link] : objects.links) take(space.links, name);
  for (const auto& [key, route] : objects.routes) take(space.routes, key_of(route));
  for (const auto& [key, rule] : objects.rules)
    if (const auto it = space.rules.find(rule); it != space.rules.end()) it->second = Maker::kOurs;
  if (!objects.packet_rules.empty()) space.rules_maker = Maker::kOurs;
  return {};
}

void FakeKernel::lose_journal() {
  for (auto& [netns, space] : namespaces_) {
    for (auto& [key, each] : space.sas) each.maker = Maker::kForeign;
    for (auto& [key, each] : space.policies) each.maker = Maker::kForeign;
    for (auto& [key, each] : space.links) each.maker = Maker::kForeign;
    for (auto& [key, each] : space.routes) each.maker = Maker::kForeign;
    for (auto& [rule, maker] : space.rules) maker = Maker::kForeign;
    if (!space.packet_rules.empty()) space.rules_maker = Maker::kForeign;
  }
}

void FakeKernel::remove_namespace(const std::string& name) {
  namespaces_.erase(name);
  for (auto& [other, space] : namespaces_)
    std::erase_if(space.links, [&](const auto& each) { return each.second.config.public_netns == name; });
}

void FakeKernel::remove_vrf(const std::string& netns, const std::string& vrf) {
  Namespace& space = in(netns);
  space.vrfs.erase(vrf);
  if (const auto made = space.links.find(vrf); made != space.links.end()) space.links.erase(made);
  for (auto& [name, link] : space.links)
    if (link.config.vrf == vrf) link.config.vrf.clear();
  std::erase_if(space.routes, [&](const auto& each) { return each.second.config.vrf == vrf; });
}

void FakeKernel::put_foreign(const std::string& netns, const SaKey& key) {
  Sa sa{.state = {}, .config = {}, .maker = Maker::kForeign};
  sa.state.key = sa.config.key = key;
  in(netns).sas.insert_or_assign(key, std::move(sa));
}
void FakeKernel::put_foreign(const std::string& netns, const PolicyConfig& policy) {
  in(netns).policies.insert_or_assign(policy.key, Policy{policy, Maker::kForeign});
}
void FakeKernel::put_foreign(const std::string& netns, const LinkConfig& link) {
  in(netns).links.insert_or_assign(link.name, Link{link, Maker::kForeign});
}
void FakeKernel::put_foreign(const std::string& netns, const RouteConfig& route) {
  in(netns).routes.insert_or_assign(key_of(route), Route{route, Maker::kForeign});
}

void FakeKernel::put_foreign(const std::string& netns, const PacketRules& rules) {
  in(netns).packet_rules = rules;
  in(netns).rules_maker = Maker::kForeign;
}

std::vector<std::string> FakeKernel::list(Maker maker) const {
  std::vector<std::string> lines;
  for (const auto& [name, space] : namespaces_) {
    const std::string where = name.empty() ? "" : name + ": ";
    const auto add = [&](Maker made_by, std::string_view kind, std::string_view object) {
      if (made_by == maker) lines.push_back(std::string(where).append(kind).append(" ").append(object));
    };
    for (const auto& [key, each] : space.links) add(each.maker, "link", key);
    for (const auto& [key, each] : space.sas) add(each.maker, "sa", text_of(each.config));
    for (const auto& [key, each] : space.policies) add(each.maker, "policy", text_of(each.config));
    for (const auto& [key, each] : space.routes) add(each.maker, "route", text_of(each.config));
    if (!space.packet_rules.empty()) add(space.rules_maker, "rules", to_string(space.packet_rules));
    for (const auto& [rule, made_by] : space.rules) add(made_by, "rule", object_text(rule));
  }
  return lines;
}

}  // namespace ipsec::testing
