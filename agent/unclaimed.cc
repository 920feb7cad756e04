#include "agent/unclaimed.h"

#include <utility>

#include "agent/carriers.h"
#include "agent/namespace_objects.h"
#include "policy/marks.h"

namespace ipsec::agent {

std::set<std::string> namespaces_of(const policy::Config& config) {
  std::set<std::string> all;
  for (const auto& [name, group] : config.groups)
    if (group->enabled) all.insert({group->public_place.netns, group->private_place.netns});
  for (const auto& [name, carrier] : config.carriers)
    if (Carriers::is_enabled(*carrier)) all.insert(carrier->private_place.netns);
  return all;
}

Result<Unclaimed> find_unclaimed(policy::KernelPort& kernel, const std::string& netns) {
  TRY_ASSIGN(const NamespaceObjects others, read_objects(kernel, netns, Ownership::kOthers), "");
  Unclaimed found{.objects = policy::with_own_marks(others.state)};
  const policy::NamespaceState& marked = found.objects;
  found.count = marked.links.size() + marked.policies.size() + marked.routes.size() + marked.rules.size() +
                marked.sas.size() + (marked.packet_rules.empty() ? 0 : 1);
  return found;
}

DriftAdoption::DriftAdoption(policy::KernelPort& kernel, Reconciliation& reconciliation,
                             const std::optional<std::string>& netns)
    : kernel_(kernel), reconciliation_(reconciliation) {
  for (const auto& [name, state] : reconciliation.states())
    if (!netns || name == *netns) namespaces_.push_back(name);
}

bool DriftAdoption::step(Instant now) {
  if (namespaces_.empty()) return false;
  const std::string netns = std::move(namespaces_.front());
  namespaces_.pop_front();
  auto found = find_unclaimed(kernel_, netns);
  Status claimed = found.ok() ? kernel_.claim(netns, found->objects) : Status(std::move(found).error());
  if (claimed.ok() && found->count != 0) {
    adopted_ += found->count;
    reconciliation_.on_claimed(now, netns, found->objects, found->count);
  }
  // What is not there holds nothing.
  const bool missing = !claimed.ok() && claimed.error().reason() == Reason::kNamespaceMissing;
  if (!claimed.ok() && !missing && !failed_)
    failed_ = std::move(claimed).error().context("namespace \"" + netns + "\"");
  return true;
}

}  // namespace ipsec::agent
