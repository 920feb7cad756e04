#include "agent/peer_directory.h"

#include <algorithm>

namespace ipsec::agent {

policy::Identity expected_identity(const policy::Tunnel& tunnel, const IpAddress& remote) {
  if (tunnel.remote_id) return *tunnel.remote_id;
  const ByteView bytes = remote.bytes();
  return {remote.is_v4() ? policy::IdType::kIpv4 : policy::IdType::kIpv6, Bytes(bytes.begin(), bytes.end())};
}

namespace {

void add(ike::InitPolicy& to, const ike::InitPolicy& more) {
  if (!to.proposals.empty()) to.peer_prefers = to.peer_prefers || more.peer_prefers || to.proposals != more.proposals;
  to.childless = to.childless || more.childless;
  for (const policy::Proposal& each : more.proposals)
    if (std::find(to.proposals.begin(), to.proposals.end(), each) == to.proposals.end()) to.proposals.push_back(each);
}

/// The same text for the same policy.
std::string key_of(const ike::InitPolicy& policy) {
  return policy::to_string(policy.proposals) + (policy.childless ? "; childless" : "") +
         (policy.peer_prefers ? "; as the peer prefers" : "");
}

}  // namespace

size_t PeerDirectory::PlaceHash::operator()(const Place& place) const noexcept {
  constexpr size_t kFactor = 0x9e3779b97f4a7c15;
  size_t hash = place.context.value();
  hash = hash * kFactor ^ std::hash<IpAddress>{}(place.local);
  if (place.remote) hash = hash * kFactor ^ std::hash<IpAddress>{}(*place.remote);
  return hash;
}

PeerDirectory::PeerDirectory(const policy::Config& config,
                             const std::unordered_map<std::string, ike::SocketContext>& contexts)
    : contexts_(contexts) {
  for (const auto& [name, tunnel] : config.tunnels) {
    if (tunnel->is_manual()) continue;  // it has no peer that could be talked to
    by_name_.emplace(name, tunnel);
    if (tunnel->remote_id || tunnel->remote)
      by_identity_[expected_identity(*tunnel, tunnel->remote.value_or(IpAddress())).index_key()].push_back(tunnel);
  }
  gather_init_policies(config);
}

void PeerDirectory::gather_init_policies(const policy::Config& config) {
  std::unordered_map<Place, ike::InitPolicy, PlaceHash> gathered;
  for (const auto& [name, tunnel] : config.tunnels) {
    const auto context = contexts_.find(tunnel->group->name);
    if (tunnel->is_manual() || context == contexts_.end() || tunnel->ike_policy->role == policy::Role::kInitiate)
      continue;
    const ike::InitPolicy own{.proposals = tunnel->ike_policy->proposals,
                              .childless = tunnel->ike_policy->childless != policy::ChildlessPolicy::kRefuse};
    const std::vector<IpAddress> locals = tunnel->local ? std::vector{*tunnel->local} : tunnel->group->public_addresses;
    for (const IpAddress& local : locals) add(gathered[{context->second, local, tunnel->remote}], own);
  }
  std::unordered_map<std::string, std::shared_ptr<const ike::InitPolicy>> distinct;
  init_policies_.reserve(gathered.size());
  for (auto& [place, policy] : gathered) {
    auto& one = distinct[key_of(policy)];
    if (one == nullptr) one = std::make_shared<const ike::InitPolicy>(std::move(policy));
    init_policies_.emplace(place, one);
  }
}

bool PeerDirectory::fits(const policy::Tunnel& tunnel, const ike::Path& path) const {
  auto context = contexts_.find(tunnel.group->name);
  if (context == contexts_.end() || context->second != path.context) return false;
  if (tunnel.remote && *tunnel.remote != path.remote.address) return false;
  if (tunnel.local) return *tunnel.local == path.local.address;
  const auto& own = tunnel.group->public_addresses;
  return std::find(own.begin(), own.end(), path.local.address) != own.end();
}

ike::InitPolicy PeerDirectory::init_policy(const ike::Path& path) const {
  ike::InitPolicy policy;
  for (const std::optional<IpAddress>& remote : {std::optional(path.remote.address), std::optional<IpAddress>()})
    if (const auto it = init_policies_.find({path.context, path.local.address, remote}); it != init_policies_.end()) {
      if (policy.proposals.empty())
        policy = *it->second;
      else
        add(policy, *it->second);
    }
  return policy;
}

Result<std::shared_ptr<const policy::Tunnel>> PeerDirectory::find(const ike::Path& path, const policy::Identity& remote,
                                                                  const std::optional<policy::Identity>& local) const {
  const auto it = by_identity_.find(remote.index_key());
  if (it == by_identity_.end())
    return Error(Reason::kUnknownPeerIdentity, "no tunnel has remote_id " + policy::to_string(remote));
  const policy::Tunnel* elsewhere = nullptr;
  const policy::Tunnel* of_other_name = nullptr;
  const policy::Tunnel* initiating = nullptr;
  for (const auto& tunnel : it->second) {
    if (!fits(*tunnel, path))
      elsewhere = tunnel.get();
    else if (local && !tunnel->local_id.matches(*local))
      of_other_name = tunnel.get();
    else if (tunnel->ike_policy->role == policy::Role::kInitiate)
      initiating = tunnel.get();
    else
      return tunnel;
  }
  // The nearest miss is what people want to know.
  if (initiating != nullptr) return Error(Reason::kRoleRefused, "tunnel " + initiating->name + " only initiates");
  if (of_other_name != nullptr)
    return Error(Reason::kUnknownPeerIdentity, "tunnel " + of_other_name->name + " has local_id " +
                                                   policy::to_string(of_other_name->local_id) + ", the peer wants " +
                                                   policy::to_string(*local));
  return Error(Reason::kUnknownPeerIdentity, "tunnel " + elsewhere->name + " is for another address");
}

std::shared_ptr<const policy::Tunnel> PeerDirectory::by_name(const std::string& name) const {
  auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : it->second;
}

}  // namespace ipsec::agent
