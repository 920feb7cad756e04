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
  warn_of_lifetimes(config, config.warnings);
}

}  // namespace ipsec::policy
