#include "policy/config_rules.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "policy/config_warnings.h"
#include "policy/limits.h"
#include "policy/plan.h"

namespace ipsec::policy {
namespace {

constexpr int kLifetimeRatio = 3;

/// One remote selector, and the tunnels that have it, for finding overlaps in one pass over sorted ranges.
struct Reach {
  const TrafficSelector* selector;
  std::vector<std::string_view> tunnels;  // sorted, each once
};

/// Tunnels that share one selector are one reach: they are one thing to know, however many they are.
std::vector<Reach> merged(std::vector<std::pair<const TrafficSelector*, std::string_view>> selectors) {
  std::sort(selectors.begin(), selectors.end(),
            [](const auto& a, const auto& b) { return std::tie(*a.first, a.second) < std::tie(*b.first, b.second); });
  std::vector<Reach> reaches;
  for (const auto& [selector, tunnel] : selectors) {
    if (reaches.empty() || *reaches.back().selector != *selector) reaches.push_back({selector, {}});
    auto& tunnels = reaches.back().tunnels;
    if (tunnels.empty() || tunnels.back() != tunnel) tunnels.push_back(tunnel);
  }
  return reaches;
}

/// Neighbours in the order of their first addresses are compared as long as they can overlap; `budget` bounds the whole
/// for configurations in which everything overlaps everything.
void warn_of_overlaps(const std::vector<Reach>& reaches, size_t& budget, WarningGroup& warnings) {
  std::set<std::pair<std::string_view, std::string_view>> known;
  for (size_t i = 0; i < reaches.size(); ++i) {
    const auto& [selector, tunnels] = reaches[i];
    if (tunnels.size() > 1) {
      warnings.add("tunnels " + named(tunnels) + (tunnels.size() == 2 ? " both" : " all") + " lead to " +
                   to_string(*selector));
      known.emplace(tunnels[0], tunnels[1]);
    }
    for (size_t j = i + 1; j < reaches.size() && reaches[j].selector->addresses.first <= selector->addresses.last;
         ++j) {
      if (budget == 0 || known.size() >= kConfigWarningsMax) return;
      --budget;
      std::string_view first = tunnels.front(), second = reaches[j].tunnels.front();
      if (first == second) continue;
      const auto both = intersect(*selector, *reaches[j].selector);
      if (second < first) std::swap(first, second);
      if (!both || !known.emplace(first, second).second) continue;
      warnings.add("tunnels " + std::string(first) + " and " + std::string(second) + " both lead to " +
                   to_string(*both));
    }
  }
}

/// What a responder chooses a tunnel by. A tunnel without `remote_id` expects the remote address.
using Appearance =
    std::tuple<RoutingPlace, std::optional<IpAddress>, std::optional<IpAddress>, std::string, std::string>;

/// Empty: anybody.
std::string expected_key(const Tunnel& tunnel) {
  if (tunnel.remote_id) return tunnel.remote_id->index_key();
  if (tunnel.remote) return Identity::parse(to_string(*tunnel.remote)).value().index_key();
  return {};
}

Appearance appearance_of(const Tunnel& tunnel) {
  return {tunnel.group->public_place, tunnel.local_address(), tunnel.remote, expected_key(tunnel),
          tunnel.local_id.index_key()};
}

void warn_of_twins(const Config& config, std::vector<std::string>& warnings) {
  std::map<Appearance, std::vector<std::string_view>> alike;
  for (const auto& [name, tunnel] : config.tunnels)
    if (tunnel->ike_policy->role != Role::kInitiate && !tunnel->is_manual())
      alike[appearance_of(*tunnel)].push_back(name);
  WarningGroup group("more sets of tunnels with the same addresses and identities");
  for (const auto& [appearance, names] : alike)
    if (names.size() > 1)
      group.add("tunnels " + named(names) + " have the same addresses and identities: when the peer begins, " +
                std::string(names.front()) + " answers");
  group.finish(warnings);
}

/// What an IKE_SA_INIT request shows of the tunnel that its sender means; nothing as remote: any.
using FirstSight = std::tuple<RoutingPlace, std::optional<IpAddress>, std::optional<IpAddress>>;

/// Of tunnels that differ in it, IKE_SA_INIT may choose for another one than the peer turns out to mean in IKE_AUTH.
void warn_of_first_choices(const Config& config, std::vector<std::string>& warnings) {
  std::map<FirstSight, std::vector<const Tunnel*>> alike;
  for (const auto& [name, tunnel] : config.tunnels)
    if (tunnel->ike_policy->role != Role::kInitiate && !tunnel->is_manual())
      alike[{tunnel->group->public_place, tunnel->local_address(), tunnel->remote}].push_back(tunnel.get());
  WarningGroup group("more sets of tunnels that cannot be told apart in IKE_SA_INIT and differ");
  for (const auto& [sight, tunnels] : alike) {
    const Tunnel& first = *tunnels.front();
    std::vector<std::string_view> proposals{first.name}, childless{first.name};
    for (const Tunnel* each : tunnels) {
      if (each->ike_policy->proposals != first.ike_policy->proposals) proposals.push_back(each->name);
      if (each->ike_policy->childless != first.ike_policy->childless) childless.push_back(each->name);
    }
    const std::string where = std::get<2>(sight) ? " (remote " + to_string(*std::get<2>(sight)) + ")" : " (remote any)";
    if (proposals.size() > 1)
      group.add("tunnels " + named(proposals) + where +
                " cannot be told apart in IKE_SA_INIT and have different IKE proposals: a proposal that the peer "
                "prefers may be taken although its own tunnel does not have it; use one IKE policy for them");
    if (childless.size() > 1)
      group.add("tunnels " + named(childless) + where +
                " cannot be told apart in IKE_SA_INIT and have different values of childless; use one IKE policy for "
                "them");
  }
  group.finish(warnings);
}

/// NICs take AES-GCM with its whole tag; what has no such proposal never gets there.
void warn_of_offload(const Config& config, std::vector<std::string>& warnings) {
  std::set<std::pair<std::string_view, std::string_view>> known;
  WarningGroup group("more child policies whose algorithms NICs do not take although offload is configured");
  for (const auto& [name, tunnel] : config.tunnels) {
    if (tunnel->offload_mode() == OffloadMode::kNone) continue;
    for (const ChildConfig& child : tunnel->children) {
      const auto is_gcm = [](const Transform& each) {
        return each.type == TransformType::kEncryption && each.id == kEncrAesGcm16;
      };
      const bool has_gcm = std::ranges::any_of(
          child.policy->proposals, [&](const Proposal& each) { return std::ranges::any_of(each.transforms, is_gcm); });
      if (has_gcm || !known.emplace(tunnel->group->name, child.policy->name).second) continue;
      group.add("child policy " + child.policy->name + " (tunnel " + name + ") has no AES-GCM, as aes256gcm16, while " +
                "offload is " + std::string(to_string(tunnel->offload_mode())) +
                ": most NICs take nothing else, and its SAs will stay in software where they do not take " +
                to_string(child.policy->proposals.front()));
    }
  }
  group.finish(warnings);
}

/// An IKE SA that is replaced about as often as its children costs key exchanges that collide: three times as long
/// keeps them apart.
void warn_of_lifetimes(const Config& config, std::vector<std::string>& warnings) {
  std::set<std::pair<std::string_view, std::string_view>> known;
  WarningGroup group("more pairs of policies whose rekeys will often meet");
  for (const auto& [name, tunnel] : config.tunnels) {
    if (tunnel->is_manual()) continue;
    for (const ChildConfig& child : tunnel->children) {
      if (child.policy->lifetime * kLifetimeRatio <= tunnel->ike_policy->lifetime) continue;
      if (!known.emplace(tunnel->ike_policy->name, child.policy->name).second) continue;
      group.add("IKE policy " + tunnel->ike_policy->name + " lives less than three times as long as child policy " +
                child.policy->name + " (tunnel " + name + "): their rekeys will often meet");
    }
  }
  group.finish(warnings);
}

}  // namespace

bool is_object_name(std::string_view name) {
  constexpr std::string_view kAllowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  return !name.empty() && name.size() <= kObjectNameMax && name.find_first_not_of(kAllowed) == std::string_view::npos;
}

bool is_place_name(std::string_view name) {
  return name.empty() || (is_object_name(name) && name != "." && name != "..");
}

bool is_device_name(std::string_view name) {
  constexpr size_t kNameMax = 15;  // IFNAMSIZ without the final NUL
  return !name.empty() && name.size() <= kNameMax && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(),
                     [](char each) { return each > ' ' && each <= '~' && each != '/' && each != ':'; });
}

Status check_unicast(const IpAddress& address) {
  const Error bad(Reason::kConfigBadValue, "the address of one machine");
  const uint8_t first = address.bytes()[0];
  if (address.is_any()) return bad;
  if (address.is_v4() ? first >= 224 : first == 0xff) return bad;  // 224/4, 240/4 with the broadcast address, ff00::/8
  return {};
}

Status check_gateway(const IpAddress& address) {
  const auto refuse = [](const char* what) { return Error(Reason::kConfigBadValue, what); };
  const auto bytes = address.bytes();
  if (address.is_any()) return refuse("this one stands for none in particular");
  if (address.is_v4()) {
    if (bytes[0] == 0) return refuse("this one is of network 0, which no machine has");
    if (bytes[0] == 127) return refuse("this one is a loopback address, which no other machine reaches");
    if (bytes[0] == 169 && bytes[1] == 254)
      return refuse("this one is a link-local address, which no router passes on");
  } else {
    const bool zeros = std::ranges::all_of(bytes.first(10), [](uint8_t each) { return each == 0; });
    if (zeros && bytes[10] == 0xff && bytes[11] == 0xff)
      return refuse("this one is an IPv4 address in the form of IPv6: write it as 192.0.2.1");
    if (zeros && std::ranges::all_of(bytes.subspan(10, 5), [](uint8_t each) { return each == 0; }) && bytes[15] == 1)
      return refuse("this one is the loopback address, which no other machine reaches");
    if (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80)
      return refuse("this one is a link-local address, which no router passes on");
  }
  if (!check_unicast(address).ok()) return refuse("this one is a multicast, broadcast or reserved address");
  return {};
}

Status PolicyOwners::claim(const SelectorList& local, const SelectorList& remote, const std::string& owner) {
  TRY_ASSIGN(const std::vector<PolicyKey> keys, policy_keys(local, remote), "what the kernel can hold");
  for (const PolicyKey& key : keys)
    if (const auto it = owners_.find(key); it != owners_.end())
      return Error(Reason::kConfigConflict, "traffic that nothing else takes; " + it->second + " has " +
                                                to_string(key.source) + " to " + to_string(key.destination));
  for (const PolicyKey& key : keys) owners_.emplace(key, owner);
  return {};
}

std::shared_ptr<const ChildPolicy> with_pfs_groups(std::shared_ptr<const ChildPolicy> policy, const IkePolicy& ike) {
  const auto has_group = [](const Proposal& each) { return each.has(TransformType::kKeyExchange); };
  if (!policy->pfs || std::all_of(policy->proposals.begin(), policy->proposals.end(), has_group)) return policy;
  auto completed = std::make_shared<ChildPolicy>(*policy);
  completed->proposals = with_groups_of(ike.proposals, std::move(completed->proposals));
  return completed;
}

bool meets_itself(const Tunnel& tunnel) { return expected_key(tunnel) == tunnel.local_id.index_key(); }

void add_warnings(Config& config) {
  std::map<RoutingPlace, std::vector<std::pair<const TrafficSelector*, std::string_view>>> by_place;
  for (const auto& [name, tunnel] : config.tunnels)
    for (const ChildConfig& child : tunnel->children)
      for (const TrafficSelector& each : child.remote) by_place[tunnel->group->private_place].emplace_back(&each, name);
  size_t budget = kConfigComparisonsMax;
  WarningGroup overlaps("more overlaps of tunnels that lead to the same addresses, at least");
  for (auto& [place, selectors] : by_place) warn_of_overlaps(merged(std::move(selectors)), budget, overlaps);
  overlaps.finish(config.warnings);
  if (budget == 0) config.warnings.emplace_back("too many overlapping selectors: not all of them were compared");
  warn_of_twins(config, config.warnings);
  warn_of_first_choices(config, config.warnings);
  warn_of_offload(config, config.warnings);
  warn_of_lifetimes(config, config.warnings);
}

}  // namespace ipsec::policy
