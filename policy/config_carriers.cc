#include "policy/config_carriers.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "policy/config_addresses.h"
#include "policy/config_routes.h"
#include "policy/config_rules.h"
#include "policy/limits.h"
#include "policy/mtu.h"
#include "policy/plan_carriers.h"

namespace ipsec::policy {
namespace {

bool is_in_subnet(const IpAddress& address, const InterfaceAddress& of) {
  if (address.family() != of.address.family()) return false;
  for (uint8_t i = 0; i < of.length; ++i)
    if (address.bit(i) != of.address.bit(i)) return false;
  return true;
}

std::string protocol_text(uint8_t protocol) { return "IP protocol " + std::to_string(protocol); }

/// All carriers of one configuration.
class Carriers {
 public:
  Carriers(Config& config, const std::map<std::string, const JsonNode*>& tunnel_nodes, ErrorList& errors)
      : config_(config), tunnel_nodes_(tunnel_nodes), errors_(errors), sound_(errors.empty()) {}
  void read(const std::string& name, const JsonNode& node);

 private:
  void read_peers(ObjectReader& reader, Carrier& carrier);
  void read_routes(ObjectReader& reader, Carrier& carrier);
  void read_sizes(ObjectReader& reader, Carrier& carrier);
  std::shared_ptr<const Tunnel> tunnel_of(ObjectReader& reader, const JsonNode& node);
  bool add_path(ObjectReader& reader, const JsonNode& node, Carrier& carrier);
  bool check_tunnel(ObjectReader& reader, const JsonNode& node, const Tunnel& tunnel);
  bool check_second(ObjectReader& reader, const JsonNode& node, const Tunnel& first, const Tunnel& second);
  bool choose_children(ObjectReader& reader, const JsonNode& node, const Carrier& carrier, CarrierPath& path);
  void check_names(ObjectReader& reader, const Carrier& carrier);
  void check_loops(ObjectReader& reader, const Carrier& carrier);
  void claim_ends(ObjectReader& reader, const Carrier& carrier);

  Config& config_;
  const std::map<std::string, const JsonNode*>& tunnel_nodes_;
  ErrorList& errors_;
  bool sound_;
  std::map<std::string, std::string> interfaces_;  // carriers, by the names of their interfaces
  /// Carriers, by what the kernel tells such interfaces apart by: public namespace, kind, ends, key.
  std::map<std::tuple<std::string, CarrierKind, IpAddress, IpAddress, uint32_t>, std::string> ends_;
};

void Carriers::read_peers(ObjectReader& reader, Carrier& carrier) {
  for (const JsonNode* each : reader.texts("peers")) {
    const auto peer = IpAddress::parse(each->text);
    if (!peer.ok() || !check_unicast(*peer).ok()) {
      reader.error(*each, "peers", Reason::kConfigBadValue, "the IP address of one machine");
      continue;
    }
    const auto is_ours = [&](const InterfaceAddress& own) { return own.address == *peer; };
    const auto reaches = [&](const InterfaceAddress& own) { return is_in_subnet(*peer, own); };
    if (std::ranges::any_of(carrier.addresses, is_ours))
      reader.error(*each, "peers", Reason::kConfigConflict, "an address of the other end; this one is our own");
    else if (std::ranges::none_of(carrier.addresses, reaches))
      reader.error(*each, "peers", Reason::kConfigConflict,
                   "an address in the subnet of one of `addresses`: no route leads to it otherwise");
    carrier.peers.push_back(*peer);
  }
}

void Carriers::read_routes(ObjectReader& reader, Carrier& carrier) {
  for (ObjectReader& each : reader.objects("routes")) {
    std::string text;
    each.text("prefix", text);
    const JsonNode* node = each.find("prefix");
    if (node == nullptr || node->kind != JsonNode::Kind::kText) continue;  // reported
    StaticRoute route;
    if (each.find("metric") != nullptr) each.number("metric", route.metric.emplace());
    const auto prefix = IpPrefix::parse(text);
    if (!prefix.ok()) {
      each.error(*node, "prefix", Reason::kConfigBadValue, prefix.error().detail());
      continue;
    }
    route.prefix = *prefix;
    if (std::ranges::find(carrier.routes, route.prefix, &StaticRoute::prefix) != carrier.routes.end())
      each.error("prefix", Reason::kConfigConflict, node->shown(), "a prefix that is not in the list already");
    carrier.routes.push_back(route);
  }
}

void Carriers::read_sizes(ObjectReader& reader, Carrier& carrier) {
  reader.number("mtu", carrier.mtu);
  if (carrier.mtu == 0) return;
  const auto is_v6 = [](const InterfaceAddress& each) { return !each.address.is_v4(); };
  const uint32_t least = std::ranges::any_of(carrier.addresses, is_v6) ? kIpv6MtuMin : kMtuMin;
  if (carrier.mtu < least)
    reader.error("mtu", Reason::kConfigBadValue, std::to_string(carrier.mtu),
                 "0, or " + std::to_string(least) + " to " + std::to_string(kMtuMax));
}

/// Nothing where there is none; that one which has errors of its own is not known is not told.
std::shared_ptr<const Tunnel> Carriers::tunnel_of(ObjectReader& reader, const JsonNode& node) {
  if (const auto found = config_.tunnels.find(node.text); found != config_.tunnels.end()) return found->second;
  if (tunnel_nodes_.contains(node.text)) return nullptr;
  reader.error(node, "protected_by", Reason::kConfigBadReference,
               "the name of a tunnel" + errors_.did_you_mean(node.text, config_.tunnels, kNameOfEntry));
  return nullptr;
}

/// Transport mode is what makes the tunnel's gateways the ends of the carrier.
bool Carriers::check_tunnel(ObjectReader& reader, const JsonNode& node, const Tunnel& tunnel) {
  if (tunnel.group->attached != Attachment::kPolicy) {
    reader.error(node, "protected_by", Reason::kConfigConflict,
                 "a tunnel of a group that is attached by policy, for its children must be in transport mode; group " +
                     tunnel.group->name + " is attached by interface");
    return false;
  }
  if (tunnel.remote && tunnel.local_address()) return true;
  reader.error(node, "protected_by", Reason::kConfigConflict,
               "a tunnel whose `remote` is an address: that is the other end of the carrier");
  return false;
}

/// One end of ours, from which either remote is reached: only the other end of the interface moves.
bool Carriers::check_second(ObjectReader& reader, const JsonNode& node, const Tunnel& first, const Tunnel& second) {
  const auto refuse = [&](const std::string& allowed) {
    reader.error(node, "protected_by", Reason::kConfigConflict, allowed);
    return false;
  };
  if (first.name == second.name) return refuse("another tunnel than the first one");
  if (first.group->public_place != second.group->public_place)
    return refuse("a tunnel whose group has the same public namespace and VRF as group " + first.group->name);
  if (first.local_address() != second.local_address())
    return refuse("a tunnel of the same local address as the first one, " + to_string(*first.local_address()) +
                  "; this one has " + to_string(*second.local_address()));
  return true;
}

/// For each protocol that is to be sent the child that takes it.
bool Carriers::choose_children(ObjectReader& reader, const JsonNode& node, const Carrier& carrier, CarrierPath& path) {
  const Tunnel& tunnel = *path.tunnel;
  std::set<std::string> chosen;
  for (const uint8_t protocol : needed_protocols(carrier)) {
    const auto takes = [&](const ChildConfig& child) {
      return child.policy->mode == EspMode::kTransport && takes_protocol(tunnel, child.local, child.remote, protocol);
    };
    const auto child = std::ranges::find_if(tunnel.children, takes);
    if (child == tunnel.children.end()) {
      const std::string number = "[" + std::to_string(protocol) + "]";
      reader.error(node, "protected_by", Reason::kConfigConflict,
                   "a tunnel with a child in transport mode that takes " + protocol_text(protocol) +
                       " between its gateways, as local \"" + to_string(*tunnel.local_address()) + number +
                       "\", remote \"" + to_string(*tunnel.remote) + number + "\"; no child of this one does");
      return false;
    }
    chosen.insert(child->name);
  }
  path.children.assign(chosen.begin(), chosen.end());
  return true;
}

/// Whether the tunnel can be a path of the carrier.
bool Carriers::add_path(ObjectReader& reader, const JsonNode& node, Carrier& carrier) {
  CarrierPath path{.tunnel = tunnel_of(reader, node), .children = {}};
  if (!path.tunnel || !sound_ || !check_tunnel(reader, node, *path.tunnel)) return false;
  if (!carrier.paths.empty() && !check_second(reader, node, *carrier.paths.front().tunnel, *path.tunnel)) return false;
  if (!choose_children(reader, node, carrier, path)) return false;
  carrier.paths.push_back(std::move(path));
  return true;
}

/// Alternative names of interfaces are those of tunnels and carriers alike.
void Carriers::check_names(ObjectReader& reader, const Carrier& carrier) {
  if (config_.tunnels.contains(carrier.name))
    errors_.add(*reader.find("protected_by"), reader.pointer(), Reason::kConfigConflict, "the name of a tunnel",
                "another name for the carrier");
  const auto [other, fresh] = interfaces_.try_emplace(carrier_interface_name(carrier.name), carrier.name);
  if (!fresh)
    errors_.add(*reader.find("protected_by"), reader.pointer(), Reason::kConfigConflict,
                "a name whose interface would be " + other->first + ", as that of carrier " + other->second,
                "another name for the carrier");
}

/// What leads the carrier's own packets into the carrier leads them nowhere.
void Carriers::check_loops(ObjectReader& reader, const Carrier& carrier) {
  if (carrier.private_place != carrier.group().public_place) return;
  for (const StaticRoute& route : carrier.routes) {
    const auto covered = [&](const CarrierPath& path) { return route.prefix.contains(*path.tunnel->remote); };
    const auto path = std::ranges::find_if(carrier.paths, covered);
    if (path == carrier.paths.end()) continue;
    reader.error("routes", Reason::kConfigConflict, to_string(route.prefix),
                 "no prefix with " + to_string(*path->tunnel->remote) + ", the remote of tunnel " + path->tunnel->name +
                     ": the carrier's own packets would be led into the carrier");
  }
}

void Carriers::claim_ends(ObjectReader& reader, const Carrier& carrier) {
  for (const CarrierPath& path : carrier.paths) {
    const Tunnel& tunnel = *path.tunnel;
    const auto [other, fresh] = ends_.try_emplace(
        {tunnel.group->public_place.netns, carrier.kind, *tunnel.local_address(), *tunnel.remote, carrier.key},
        carrier.name);
    if (!fresh)
      reader.error("protected_by", Reason::kConfigConflict, "tunnel " + tunnel.name,
                   "ends that no other carrier has, or a `key` of its own with kind gre; carrier " + other->second +
                       " has the same");
  }
}

void Carriers::read(const std::string& name, const JsonNode& node) {
  ObjectReader reader(errors_, node, "/carriers/" + name, config_keys("carriers"));
  if (!reader.is_object()) return;
  auto carrier = std::make_shared<Carrier>();
  carrier->name = name;
  if (auto word = reader.word("kind")) carrier->kind = static_cast<CarrierKind>(*word);
  reader.number("key", carrier->key);
  if (carrier->key != 0 && carrier->kind != CarrierKind::kGre)
    reader.error("key", Reason::kConfigConflict, std::to_string(carrier->key), "0 or nothing: only GRE has a key");
  read_interface_addresses(reader, carrier->addresses);
  read_peers(reader, *carrier);
  read_routes(reader, *carrier);
  read_sizes(reader, *carrier);
  reader.duration("hold_down", carrier->hold_down);
  reader.flag("enabled", carrier->enabled);
  bool whole = true;
  for (const JsonNode* each : reader.texts("protected_by")) whole = add_path(reader, *each, *carrier) && whole;
  const bool placed = !carrier->paths.empty();
  if (placed) carrier->private_place = carrier->group().private_place;
  if (auto place = reader.object("private")) {
    carrier->private_place = {};
    read_place(*place, carrier->private_place);
  }
  if (!placed || !whole) return;  // reported
  check_names(reader, *carrier);
  check_loops(reader, *carrier);
  claim_ends(reader, *carrier);
  config_.carriers.emplace(name, std::move(carrier));
}

}  // namespace

void read_carriers(Config& config, const std::map<std::string, const JsonNode*>& nodes,
                   const std::map<std::string, const JsonNode*>& tunnel_nodes, ErrorList& errors) {
  if (nodes.size() > kCarriersMax)
    return errors.add(*nodes.begin()->second, "/carriers", Reason::kLimitReached,
                      std::to_string(nodes.size()) + " carriers", "at most " + std::to_string(kCarriersMax));
  Carriers carriers(config, tunnel_nodes, errors);
  for (const auto& [name, node] : nodes) carriers.read(name, *node);
}

}  // namespace ipsec::policy
