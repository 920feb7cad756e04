#include "policy/config_attachment.h"

#include <algorithm>

#include "policy/config_addresses.h"
#include "policy/config_rules.h"
#include "policy/config_warnings.h"
#include "policy/limits.h"
#include "policy/plan.h"
#include "policy/plan_groups.h"

namespace ipsec::policy {
namespace {

bool is_transport(const ChildConfig& child) { return child.policy->mode == EspMode::kTransport; }

/// Where an error about a group or a child is told.
struct Place {
  const JsonNode* node;
  std::string pointer;

  /// A member, or the object itself where it is left out.
  Place member(std::string_view key) const {
    const JsonNode* found = node->find(key);
    return {found != nullptr ? found : node, pointer + "/" + pointer_part(key)};
  }
};

class Settlement {
 public:
  Settlement(const AttachmentInput& input, ErrorList& errors, std::vector<std::string>& warnings)
      : input_(input), errors_(errors), warnings_(warnings), sound_(errors.empty()) {}
  void run();

 private:
  void find_transport_children();
  void choose(TunnelGroup& group);
  void check_group(const TunnelGroup& group);
  void check_place(const TunnelGroup& group);
  void check_interfaces(const TunnelGroup& group);
  void claim_marks(const TunnelGroup& group);
  void check_vrf_table(const TunnelGroup& group);
  void check_routes(const Tunnel& tunnel);
  void check_child(const Tunnel& tunnel, const ChildConfig& child);
  void check_sizes(const Tunnel& tunnel, const ChildConfig& child);
  void check_hosts(const Tunnel& tunnel, const ChildConfig& child, std::string_view key, const SelectorList& list,
                   const IpAddress& host);
  void warn_of_overlap(const Tunnel& tunnel, const ChildConfig& child);
  void claim_exceptions(const TunnelGroup& group);
  void claim(const Tunnel& tunnel, const ChildConfig& child, const std::string& netns, const std::string& because);
  void error(const Place& at, Reason reason, std::string found, std::string allowed) {
    errors_.add(*at.node, at.pointer, reason, std::move(found), std::move(allowed));
  }
  Place place_of(const TunnelGroup& group) const {
    return {input_.group_nodes.at(group.name), "/tunnel_groups/" + group.name};
  }
  Place place_of(const Tunnel& tunnel, const ChildConfig& child) const {
    const Place children = Place{input_.tunnel_nodes.at(tunnel.name), "/tunnels/" + tunnel.name}.member("children");
    return children.member(child.split_from.empty() ? child.name : child.split_from);
  }

  const AttachmentInput& input_;
  ErrorList& errors_;
  std::vector<std::string>& warnings_;
  bool sound_;
  WarningGroup chosen_{"more groups for which attachment auto chose policy"};
  WarningGroup overlaps_{"more children whose local and remote selectors have addresses in common"};
  std::map<std::string_view, std::string> transport_;               // by group: the first child in transport mode
  std::map<std::pair<std::string, uint32_t>, std::string> marks_;   // VRFs, by namespace
  std::map<std::pair<std::string, std::string>, uint32_t> tables_;  // by namespace and VRF
  std::map<std::pair<std::string, uint32_t>, std::string> vrfs_;    // by namespace and table
  std::map<std::string, PolicyOwners> owners_;                      // of policies without if_id, by their namespace
  std::map<std::string, std::string> externals_;                    // group, by public namespace
};

/// For all groups in one pass.
void Settlement::find_transport_children() {
  for (const auto& [name, tunnel] : input_.tunnels) {
    if (transport_.contains(tunnel->group->name)) continue;
    const auto child = std::ranges::find_if(tunnel->children, is_transport);
    if (child != tunnel->children.end())
      transport_.emplace(tunnel->group->name, "child " + child->name + " of tunnel " + name + " is in transport mode");
  }
}

void Settlement::choose(TunnelGroup& group) {
  group.attached = group.attachment;
  if (group.attachment == Attachment::kAuto) {
    group.attached = Attachment::kInterface;
    group.attached_because = "no child is in transport mode";
    if (const auto child = transport_.find(group.name); child != transport_.end()) {
      group.attached = Attachment::kPolicy;
      group.attached_because = child->second;
    }
    // Interfaces are what everybody expects; the other attachment wants routes of the operator's own.
    if (group.attached == Attachment::kPolicy)
      chosen_.add("group " + group.name + ": attachment auto chose policy: " + group.attached_because);
  }
  // Without a word about it the private side of an attachment by policy is where it has to be.
  if (group.attached == Attachment::kPolicy && place_of(group).node->find("private") == nullptr)
    group.private_place = group.public_place;
}

void Settlement::check_place(const TunnelGroup& group) {
  const RoutingPlace &outside = group.public_place, &inside = group.private_place;
  if (group.attached == Attachment::kInterface) return;
  const std::string because = group.attached_because.empty() ? "" : " (auto chose it: " + group.attached_because + ")";
  if (inside.netns != outside.netns)
    error(place_of(group).member("private").member("netns"), Reason::kConfigConflict, "another namespace than public",
          "the namespace of public, where the policies stand, or attachment interface" + because);
  else if (joins_vrfs(group))
    claim_marks(group);
}

/// Two VRFs of one mark would send packets into each other.
void Settlement::claim_marks(const TunnelGroup& group) {
  for (const std::string& vrf : {group.private_place.vrf, group.public_place.vrf}) {
    const auto [mark, fresh] = marks_.try_emplace({group.public_place.netns, vrf_mark(vrf).value}, vrf);
    if (!fresh && mark->second != vrf)
      error(place_of(group).member("private").member("vrf"), Reason::kConfigConflict,
            "VRFs " + vrf + " and " + mark->second + ", whose packets would get one mark",
            "another name for one of them");
  }
}

void Settlement::check_vrf_table(const TunnelGroup& group) {
  if (group.private_vrf_table == 0) return;
  const Place at = place_of(group).member("private").member("vrf_table");
  const std::string& netns = group.private_place.netns;
  if (group.private_place.vrf.empty())
    return error(at, Reason::kConfigConflict, std::to_string(group.private_vrf_table), "vrf beside it: whose table");
  const auto [table, fresh] = tables_.try_emplace({netns, group.private_place.vrf}, group.private_vrf_table);
  if (!fresh && table->second != group.private_vrf_table)
    error(at, Reason::kConfigConflict, std::to_string(group.private_vrf_table),
          std::to_string(table->second) + ", as another group says of VRF " + group.private_place.vrf);
  const auto [vrf, first] = vrfs_.try_emplace({netns, group.private_vrf_table}, group.private_place.vrf);
  if (!first && vrf->second != group.private_place.vrf)
    error(at, Reason::kConfigConflict, std::to_string(group.private_vrf_table),
          "a table of its own; this one is VRF " + vrf->second + "'s");
}

void Settlement::check_group(const TunnelGroup& group) {
  check_place(group);
  check_vrf_table(group);
  if (group.attached == Attachment::kInterface && !group.exceptions.empty())
    error(place_of(group).member("exceptions"), Reason::kConfigConflict, "exceptions",
          "none, for only what is routed into a tunnel's interface meets its policies; or attachment policy");
  check_interfaces(group);
}

/// The kernel has one external interface for the SAs and policies of a namespace, wherever it is put.
void Settlement::check_interfaces(const TunnelGroup& group) {
  if (group.interfaces != InterfaceScope::kExternal || !group.enabled) return;
  const Place at = place_of(group).member("interfaces");
  if (group.attached != Attachment::kInterface)
    return error(at, Reason::kConfigConflict, "an external interface with attachment policy",
                 "attachment interface, or interfaces tunnel");
  if (!group.public_place.vrf.empty())
    error(at, Reason::kConfigNotSupported, "an external interface over an underlay in VRF " + group.public_place.vrf,
          "an underlay that is not in a VRF, or interfaces tunnel");
  const auto [owner, first] = externals_.try_emplace(group.public_place.netns, group.name);
  if (!first)
    error(at, Reason::kConfigConflict, "a second external interface for one public namespace",
          "interfaces tunnel, or another public namespace than that of group " + owner->second);
}

void Settlement::check_routes(const Tunnel& tunnel) {
  const TunnelGroup& group = *input_.groups.at(tunnel.group->name);
  if (group.attached == Attachment::kInterface || tunnel.routes.empty()) return;
  error(Place{input_.tunnel_nodes.at(tunnel.name), "/tunnels/" + tunnel.name}.member("routes"), Reason::kConfigConflict,
        "routes",
        "none, because group " + group.name + " is attached by policy: there is no interface to route into" +
            (group.attached_because.empty() ? "" : " (auto chose it: " + group.attached_because + ")"));
}

/// A transport SA protects what the two gateways themselves say to one another (RFC 4301 section 4.1).
void Settlement::check_hosts(const Tunnel& tunnel, const ChildConfig& child, std::string_view key,
                             const SelectorList& list, const IpAddress& host) {
  for (const TrafficSelector& each : list) {
    if (each.addresses.first == host && each.addresses.last == host) continue;
    return error(place_of(tunnel, child).member(key), Reason::kConfigConflict, "\"" + to_string(each) + "\"",
                 "the gateway's own address " + to_string(host) + ", because the child is in transport mode");
  }
}

void Settlement::check_child(const Tunnel& tunnel, const ChildConfig& child) {
  const TunnelGroup& group = *input_.groups.at(tunnel.group->name);
  if (is_transport(child)) {
    const Place policy = place_of(tunnel, child).member("policy");
    if (group.attached == Attachment::kInterface)
      return error(policy, Reason::kConfigConflict, "child policy " + child.policy->name + " with mode transport",
                   "mode tunnel, or attachment policy of group " + group.name);
    if (joins_vrfs(group))
      return error(policy, Reason::kConfigConflict, "child policy " + child.policy->name + " with mode transport",
                   "mode tunnel, or one VRF for public and private of group " + group.name +
                       ": what the gateways say to one another leaves no VRF");
    const auto local = tunnel.local_address();
    if (!tunnel.remote || !local)
      return error(policy, Reason::kConfigConflict, "child policy " + child.policy->name + " with mode transport",
                   "mode tunnel, because the peer's address is not known");
    check_hosts(tunnel, child, "local", child.local, *local);
    check_hosts(tunnel, child, "remote", child.remote, *tunnel.remote);
  }
  if (group.attached == Attachment::kPolicy) check_sizes(tunnel, child);
  if (!group.enabled) return;
  if (crosses_from_vrf(group))
    claim(tunnel, child, group.private_place.netns,
          "; between an underlay in a VRF and a private side in another namespace, the latter has each pair once, "
          "whatever its VRFs");
  if (group.attached != Attachment::kPolicy) return;
  claim(tunnel, child, group.public_place.netns, {});
  warn_of_overlap(tunnel, child);
}

/// Without an interface there is nothing that these could be set on.
void Settlement::check_sizes(const Tunnel& tunnel, const ChildConfig& child) {
  const ChildPolicy& policy = *child.policy;
  const char* const setting = policy.mtu != 0                      ? "mtu"
                              : policy.outer_mtu != 0              ? "outer_mtu"
                              : policy.inner_df == InnerDf::kClear ? "inner_df"
                                                                   : nullptr;
  if (setting != nullptr)
    error(place_of(tunnel, child).member("policy"), Reason::kConfigConflict,
          "child policy " + policy.name + " with " + setting,
          "one without it: attached by policy, the kernel goes by the path to the peer; or attachment interface of "
          "group " +
              tunnel.group->name);
}

/// Inbound policies know no direction of travel beyond addresses: what our hosts send to one another is inbound too.
void Settlement::warn_of_overlap(const Tunnel& tunnel, const ChildConfig& child) {
  for (const TrafficSelector& local : child.local)
    for (const TrafficSelector& remote : child.remote)
      if (const auto both = intersect(local, remote))
        return overlaps_.add("tunnel " + tunnel.name + ": local and remote of child " + child.name + " have " +
                             to_string(both->addresses) +
                             " in common: attached by policy, clear packets of our own hosts between addresses of it "
                             "are dropped, unless an exception lets them pass");
}

void Settlement::claim(const Tunnel& tunnel, const ChildConfig& child, const std::string& netns,
                       const std::string& because) {
  const Status claimed =
      owners_[netns].claim(child.local, child.remote, "child " + child.name + " of tunnel " + tunnel.name);
  if (!claimed.ok())
    error(place_of(tunnel, child).member("remote"), Reason::kConfigConflict,
          "local " + to_string(child.local) + ", remote " + to_string(child.remote),
          claimed.error().detail() + because);
}

void Settlement::claim_exceptions(const TunnelGroup& group) {
  if (group.attached != Attachment::kPolicy || !group.enabled) return;
  for (size_t i = 0; i < group.exceptions.size(); ++i) {
    const TrafficException& each = group.exceptions[i];
    const std::string number = std::to_string(i);
    const Status claimed = owners_[group.public_place.netns].claim(each.local, each.remote,
                                                                   "exception " + number + " of group " + group.name);
    if (!claimed.ok())
      error(place_of(group).member("exceptions"), Reason::kConfigConflict,
            "exception " + number + ": local " + to_string(each.local) + ", remote " + to_string(each.remote),
            claimed.error().detail());
  }
}

void Settlement::run() {
  find_transport_children();
  for (auto& [name, group] : input_.groups) choose(*group);
  chosen_.finish(warnings_);
  for (auto& [name, group] : input_.groups) check_group(*group);
  if (!sound_) return;
  for (auto& [name, group] : input_.groups) claim_exceptions(*group);
  for (const auto& [name, tunnel] : input_.tunnels) {
    check_routes(*tunnel);
    for (const ChildConfig& child : tunnel->children) check_child(*tunnel, child);
  }
  overlaps_.finish(warnings_);
}

}  // namespace

void settle_attachments(const AttachmentInput& input, ErrorList& errors, std::vector<std::string>& warnings) {
  const bool sound = errors.empty();
  Settlement(input, errors, warnings).run();
  if (sound) check_interface_addresses(input, errors);
}

}  // namespace ipsec::policy
