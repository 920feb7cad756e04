#include "policy/diff.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <tuple>
#include <utility>

#include "policy/base/bytes.h"

namespace ipsec::policy {
namespace {

/// In the order of making; broken in the reverse one.
enum Phase : size_t { kLinks, kSasIn, kPoliciesIn, kSasOut, kPoliciesOut, kRoutes, kPhaseCount };

Phase phase_of_sa(Direction direction) { return direction == Direction::kOut ? kSasOut : kSasIn; }
Phase phase_of_policy(const PolicyKey& key) { return key.direction == Direction::kOut ? kPoliciesOut : kPoliciesIn; }

std::string hex(uint32_t value) {
  std::array<char, 8> digits{};
  const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), value, 16);
  VERIFY(error == std::errc{});
  return "0x" + std::string(digits.data(), end);
}

std::string describe(const SaKey& key) { return "SA " + to_string(key.destination) + " SPI " + hex(key.spi.value()); }

std::string describe(const PolicyKey& key) {
  std::string text = "policy " + std::string(to_string(key.direction)) + " " + to_string(key.source) + " to " +
                     to_string(key.destination);
  if (key.protocol != 0) text += " protocol " + std::to_string(key.protocol);
  if (key.source_port_mask != 0) text += " from port " + std::to_string(key.source_port);
  if (key.destination_port_mask != 0) text += " port " + std::to_string(key.destination_port);
  return key.if_id == 0 ? text : text + " if_id " + hex(key.if_id);
}

std::string describe_link(std::string_view name) { return "link " + printable(as_bytes(name)); }

std::string describe(const RouteConfig& route) {
  std::string text = "route " + to_string(route.destination) + " metric " + std::to_string(route.metric) + " dev " +
                     printable(as_bytes(route.device));
  return route.vrf.empty() ? text : text + " vrf " + printable(as_bytes(route.vrf));
}

struct StepText {
  std::string operator()(const InstallSa& step) const { return "install " + describe(step.key); }
  std::string operator()(const DeleteSa& step) const { return "delete " + describe(step.key); }
  std::string operator()(const AddPolicy& step) const { return "add " + describe(step.policy.key); }
  std::string operator()(const UpdatePolicy& step) const { return "update " + describe(step.policy.key); }
  std::string operator()(const DeletePolicy& step) const { return "delete " + describe(step.key); }
  std::string operator()(const AddLink& step) const { return "add " + describe_link(step.link.name); }
  std::string operator()(const DeleteLink& step) const { return "delete " + describe_link(step.name); }
  std::string operator()(const AddRoute& step) const { return "add " + describe(step.route); }
  std::string operator()(const DeleteRoute& step) const { return "delete " + describe(step.route); }
};

/// As far as the kernel shows it. Its direction is unknown before Linux 6.10, and outbound windows follow from it.
bool is_as_wanted(const DesiredSa& wanted, const SaState& found) {
  return std::tie(wanted.source, wanted.suite, wanted.mode, wanted.reqid, wanted.if_id) ==
             std::tie(found.source, found.suite, found.mode, found.reqid, found.if_id) &&
         found.direction.value_or(wanted.direction) == wanted.direction &&
         (wanted.direction == Direction::kOut || wanted.replay_window == found.replay_window);
}

class Differ {
 public:
  explicit Differ(const ActualState& actual) : actual_(actual) {}

  void compare(const std::string& netns, const DesiredNamespace& wanted, const ActualNamespace& found) {
    netns_ = &netns;
    blocked_.clear();
    cut_.clear();
    links(wanted, found);  // first: routes depend on what becomes of their links
    sas(wanted, found);
    policies(wanted, found);
    routes(wanted, found);
  }

  void unmet(const std::string& netns, Reason reason, std::string object) {
    result_.unmet.push_back({reason, netns, std::move(object)});
  }

  Difference finish() && {
    for (auto& phase : made_) move_steps(phase);
    for (auto phase = broken_.rbegin(); phase != broken_.rend(); ++phase) move_steps(*phase);
    return std::move(result_);
  }

 private:
  using Steps = std::vector<Step>;

  void make(Phase phase, StepChange change) { made_[phase].push_back({*netns_, std::move(change)}); }
  void remove(Phase phase, StepChange change) { broken_[phase].push_back({*netns_, std::move(change)}); }
  void conflict(std::string object) { unmet(*netns_, Reason::kKernelConflict, std::move(object)); }
  void move_steps(Steps& from) {
    result_.steps.insert(result_.steps.end(), std::make_move_iterator(from.begin()),
                         std::make_move_iterator(from.end()));
  }

  void links(const DesiredNamespace& wanted, const ActualNamespace& found) {
    for (const auto& [name, link] : wanted.links) {
      const auto there = found.links.find(name);
      const bool is_there = there != found.links.end();
      if (is_there && there->second.owner == Owner::kForeign)
        block(link, Reason::kKernelConflict);
      else if (is_there && there->second.value == link)
        continue;
      else if (!actual_.contains(link.public_netns))
        block(link, Reason::kNamespaceMissing);
      else if (is_there)
        replace_link(link, found);
      else
        make(kLinks, AddLink{link});
    }
    for (const auto& [name, link] : found.links)
      if (link.owner == Owner::kOurs && !wanted.links.contains(name)) remove(kLinks, DeleteLink{name});
  }

  void block(const LinkConfig& link, Reason reason) {
    unmet(*netns_, reason, describe_link(link.name));
    blocked_.emplace(link.name, reason);
  }

  /// The kernel takes the routes over a link away with it, unasked: they go by steps of their own, so that what is
  /// recorded of them stays true, and come again as routes do.
  void replace_link(const LinkConfig& link, const ActualNamespace& found) {
    for (const auto& [key, route] : found.routes) {
      if (route.value.device != link.name) continue;
      cut_.insert(key);
      if (route.owner == Owner::kOurs) make(kLinks, DeleteRoute{route.value});
    }
    make(kLinks, DeleteLink{link.name});
    make(kLinks, AddLink{link});
  }

  void sas(const DesiredNamespace& wanted, const ActualNamespace& found) {
    for (const auto& [key, sa] : wanted.sas) {
      const auto there = found.sas.find(key);
      if (there == found.sas.end()) {
        if (sa.direction == Direction::kOut && sa.keys == KeyUse::kInstalled)
          result_.rekeys.push_back({*netns_, key});
        else
          make(phase_of_sa(sa.direction), InstallSa{key});
      } else if (there->second.owner == Owner::kForeign || there->second.value.larval) {
        conflict(describe(key));
      } else if (!is_as_wanted(sa, there->second.value)) {
        result_.rekeys.push_back({*netns_, key});  // it carries traffic until the new one does
      }
    }
    for (const auto& [key, sa] : found.sas)
      if (sa.owner == Owner::kOurs && !sa.value.larval && !wanted.sas.contains(key))
        remove(phase_of_sa(sa.value.direction.value_or(Direction::kIn)), DeleteSa{key});
  }

  void policies(const DesiredNamespace& wanted, const ActualNamespace& found) {
    for (const auto& [key, policy] : wanted.policies) {
      const auto there = found.policies.find(key);
      if (there == found.policies.end())
        make(phase_of_policy(key), AddPolicy{policy});
      else if (there->second.owner == Owner::kForeign)
        conflict(describe(key));
      else if (!(there->second.value == policy))
        make(phase_of_policy(key), UpdatePolicy{policy});
    }
    for (const auto& [key, policy] : found.policies)
      if (policy.owner == Owner::kOurs && !wanted.policies.contains(key))
        remove(phase_of_policy(key), DeletePolicy{key});
  }

  void routes(const DesiredNamespace& wanted, const ActualNamespace& found) {
    for (const auto& [key, route] : wanted.routes) {
      const auto there = found.routes.find(key);
      if (const auto blocked = blocked_.find(route.device); blocked != blocked_.end()) {
        unmet(*netns_, blocked->second, describe(route));
        // What stands under this key leads into somebody else's device or to where it is no longer wanted.
        if (there != found.routes.end() && there->second.owner == Owner::kOurs && !cut_.contains(key))
          remove(kRoutes, DeleteRoute{there->second.value});
      } else if (there == found.routes.end() || cut_.contains(key)) {
        make(kRoutes, AddRoute{route});
      } else if (there->second.owner == Owner::kForeign) {
        conflict(describe(route));
      } else if (!(there->second.value == route)) {
        make(kRoutes, DeleteRoute{there->second.value});
        make(kRoutes, AddRoute{route});
      }
    }
    for (const auto& [key, route] : found.routes)
      if (route.owner == Owner::kOurs && !wanted.routes.contains(key) && !cut_.contains(key))
        remove(kRoutes, DeleteRoute{route.value});
  }

  const ActualState& actual_;
  Difference result_;
  std::array<Steps, kPhaseCount> made_, broken_;
  const std::string* netns_ = nullptr;
  std::map<std::string, Reason> blocked_;  // links that cannot be made
  std::set<RouteKey> cut_;                 // routes that go with a link that is made anew
};

bool is_empty(const DesiredNamespace& space) {
  return space.sas.empty() && space.policies.empty() && space.links.empty() && space.routes.empty();
}

}  // namespace

DesiredSa desired_sa(const SaConfig& sa, KeyUse keys) {
  return {.source = sa.source,
          .direction = sa.direction,
          .suite = sa.suite,
          .mode = sa.mode,
          .reqid = sa.reqid,
          .if_id = sa.if_id,
          .replay_window = sa.replay_window,
          .keys = keys};
}

RouteKey key_of(const RouteConfig& route) { return {route.vrf, route.destination, route.metric}; }

std::string to_string(const Step& step) {
  std::string text = std::visit(StepText{}, step.change);
  return step.netns.empty() ? text : text + " in netns " + printable(as_bytes(step.netns));
}

Difference diff(const DesiredState& desired, const ActualState& actual) {
  Differ differ(actual);
  for (const auto& [netns, wanted] : desired) {
    const auto found = actual.find(netns);
    if (found != actual.end())
      differ.compare(netns, wanted, found->second);
    else if (!is_empty(wanted))
      differ.unmet(netns, Reason::kNamespaceMissing, {});
  }
  static const DesiredNamespace kNothing;
  for (const auto& [netns, found] : actual)
    if (!desired.contains(netns)) differ.compare(netns, kNothing, found);
  return std::move(differ).finish();
}

}  // namespace ipsec::policy
