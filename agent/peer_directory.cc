#include "agent/peer_directory.h"

#include <algorithm>

namespace ipsec::agent {

policy::Identity expected_identity(const policy::Tunnel& tunnel, const IpAddress& remote) {
  if (tunnel.remote_id) return *tunnel.remote_id;
  const ByteView bytes = remote.bytes();
  return {remote.is_v4() ? policy::IdType::kIpv4 : policy::IdType::kIpv6, Bytes(bytes.begin(), bytes.end())};
}

PeerDirectory::PeerDirectory(const policy::Config& config,
                             const std::unordered_map<std::string, ike::SocketContext>& contexts)
    : contexts_(contexts) {
  for (const auto& [name, tunnel] : config.tunnels) {
    if (tunnel->is_manual()) continue;  // it has no peer that could be talked to
    by_name_.emplace(name, tunnel);
    if (tunnel->remote)
      by_address_[*tunnel->remote].push_back(tunnel);
    else
      any_address_.push_back(tunnel);
    if (tunnel->remote_id || tunnel->remote)
      by_identity_[expected_identity(*tunnel, tunnel->remote.value_or(IpAddress())).index_key()].push_back(tunnel);
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
  auto& proposals = policy.proposals;
  auto take = [&](const Tunnels& tunnels) {
    for (const auto& tunnel : tunnels) {
      if (!fits(*tunnel, path) || tunnel->ike_policy->role == policy::Role::kInitiate) continue;
      policy.childless = policy.childless || tunnel->ike_policy->childless != policy::ChildlessPolicy::kRefuse;
      for (const policy::Proposal& each : tunnel->ike_policy->proposals)
        if (std::find(proposals.begin(), proposals.end(), each) == proposals.end()) proposals.push_back(each);
    }
  };
  if (auto it = by_address_.find(path.remote.address); it != by_address_.end()) take(it->second);
  take(any_address_);
  return policy;
}

Result<std::shared_ptr<const policy::Tunnel>> PeerDirectory::find(const ike::Path& path, const policy::Identity& remote,
                                                                  const std::optional<policy::Identity>& local) const {
  std::string near_miss;
  auto it = by_identity_.find(remote.index_key());
  if (it != by_identity_.end()) {
    for (const auto& tunnel : it->second) {
      if (!fits(*tunnel, path)) {
        near_miss = "tunnel " + tunnel->name + " is for another address";
        continue;
      }
      if (local && !tunnel->local_id.matches(*local)) {
        near_miss = "tunnel " + tunnel->name + " has local_id " + policy::to_string(tunnel->local_id) +
                    ", the peer wants " + policy::to_string(*local);
        continue;
      }
      return tunnel;
    }
  }
  if (near_miss.empty()) near_miss = "no tunnel has remote_id " + policy::to_string(remote);
  return Error(Reason::kUnknownPeerIdentity, near_miss);
}

std::shared_ptr<const policy::Tunnel> PeerDirectory::by_name(const std::string& name) const {
  auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : it->second;
}

}  // namespace ipsec::agent
