#include "policy/config_rules.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "policy/limits.h"
#include "policy/plan.h"

namespace ipsec::policy {
namespace {

constexpr int kLifetimeRatio = 3;

/// One remote selector of a tunnel, for finding overlaps in one pass over sorted ranges.
struct Reach {
  const TrafficSelector* selector;
  const Tunnel* tunnel;
};

/// Neighbours in the order of their first addresses are compared as long as they can overlap; `budget` bounds the whole
/// for configurations in which everything overlaps everything.
void warn_of_overlaps(std::vector<Reach>& reaches, size_t& budget, std::vector<std::string>& warnings) {
  std::sort(reaches.begin(), reaches.end(),
            [](const Reach& a, const Reach& b) { return a.selector->addresses < b.selector->addresses; });
  std::set<std::pair<std::string_view, std::string_view>> told;
  for (size_t i = 0; i < reaches.size(); ++i) {
    const auto& [selector, tunnel] = reaches[i];
    for (size_t j = i + 1; j < reaches.size() && reaches[j].selector->addresses.first <= selector->addresses.last;
         ++j) {
      if (budget == 0 || told.size() >= kConfigWarningsMax) return;
      --budget;
      const Tunnel* other = reaches[j].tunnel;
      if (other == tunnel) continue;
      const auto both = intersect(*selector, *reaches[j].selector);
      std::string_view first = tunnel->name, second = other->name;
      if (second < first) std::swap(first, second);
      if (!both || !told.emplace(first, second).second) continue;
      warnings.push_back("tunnels " + std::string(first) + " and " + std::string(second) + " both lead to " +
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
  std::map<Appearance, const Tunnel*> first_of;
  size_t told = 0;
  for (const auto& [name, tunnel] : config.tunnels) {
    if (tunnel->ike_policy->role == Role::kInitiate || tunnel->is_manual()) continue;
    const auto [it, fresh] = first_of.try_emplace(appearance_of(*tunnel), tunnel.get());
    if (fresh || ++told > kConfigWarningsMax) continue;
    warnings.push_back("tunnels " + it->second->name + " and " + name +
                       " have the same addresses and identities: when the peer begins, " + it->second->name +
                       " answers");
  }
}

/// An IKE SA that is replaced about as often as its children costs key exchanges that cross: three times as long keeps
/// them apart.
void warn_of_lifetimes(const Config& config, std::vector<std::string>& warnings) {
  std::set<std::pair<std::string_view, std::string_view>> told;
  for (const auto& [name, tunnel] : config.tunnels) {
    if (tunnel->is_manual()) continue;
    for (const ChildConfig& child : tunnel->children) {
      if (child.policy->lifetime * kLifetimeRatio <= tunnel->ike_policy->lifetime) continue;
      if (told.size() >= kConfigWarningsMax) return;
      if (!told.emplace(tunnel->ike_policy->name, child.policy->name).second) continue;
      warnings.push_back("IKE policy " + tunnel->ike_policy->name +
                         " lives less than three times as long as child policy " + child.policy->name + " (tunnel " +
                         name + "): their rekeys will often meet");
    }
  }
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
  std::vector<Transform> groups;
  for (const Proposal& proposal : ike.proposals)
    for (const Transform& each : proposal.transforms)
      if (each.type == TransformType::kKeyExchange && std::find(groups.begin(), groups.end(), each) == groups.end())
        groups.push_back(each);
  auto completed = std::make_shared<ChildPolicy>(*policy);
  for (Proposal& each : completed->proposals)
    if (!has_group(each)) each.transforms.insert(each.transforms.end(), groups.begin(), groups.end());
  return completed;
}

bool meets_itself(const Tunnel& tunnel) { return expected_key(tunnel) == tunnel.local_id.index_key(); }

void add_warnings(Config& config) {
  std::map<RoutingPlace, std::vector<Reach>> by_place;
  for (const auto& [name, tunnel] : config.tunnels)
    for (const ChildConfig& child : tunnel->children)
      for (const TrafficSelector& each : child.remote)
        by_place[tunnel->group->private_place].push_back({&each, tunnel.get()});
  size_t budget = kConfigComparisonsMax;
  for (auto& [place, reaches] : by_place) warn_of_overlaps(reaches, budget, config.warnings);
  if (budget == 0) config.warnings.emplace_back("too many overlapping selectors: not all of them were compared");
  warn_of_twins(config, config.warnings);
  warn_of_lifetimes(config, config.warnings);
}

}  // namespace ipsec::policy
