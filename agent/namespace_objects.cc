#include "agent/namespace_objects.h"

namespace ipsec::agent {

Result<NamespaceObjects> read_objects(policy::KernelPort& kernel, const std::string& netns, Ownership whose) {
  NamespaceObjects found;
  const auto is_wanted = [&](const auto& object) { return kernel.owns(netns, object) == (whose == Ownership::kOurs); };
  const auto keep = [&](const auto& objects) {
    for (const auto& each : objects)
      if (is_wanted(each)) found.state.add(each);
  };
  TRY_ASSIGN(const auto links, kernel.dump_links(netns), "");
  keep(links);
  TRY_ASSIGN(const auto policies, kernel.dump_policies(netns), "");
  keep(policies);
  TRY_ASSIGN(const auto routes, kernel.dump_routes(netns), "");
  keep(routes);
  TRY_ASSIGN(const auto packet_rules, kernel.dump_packet_rules(netns), "");
  if (is_wanted(packet_rules)) found.state.add(packet_rules);
  TRY_ASSIGN(const auto rules, kernel.dump_rules(netns), "");
  keep(rules);
  TRY_ASSIGN(const auto sas, kernel.dump_sas(netns), "");
  for (const policy::SaState& each : sas) {
    if (each.larval || !is_wanted(each)) continue;
    found.state.sas.emplace(each.key, policy::SaIdentity::of(each));
    found.sas.push_back(each);
  }
  return found;
}

}  // namespace ipsec::agent
