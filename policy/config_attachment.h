#pragma once

#include <map>
#include <memory>
#include <string>

#include "policy/config.h"
#include "policy/config_reader.h"

/// How the tunnels of each group are attached, and what follows from that for their settings.
namespace ipsec::policy {

/// What has been read so far; nodes by the name of their object, for errors.
struct AttachmentInput {
  std::map<std::string, std::shared_ptr<TunnelGroup>>& groups;
  const std::map<std::string, const JsonNode*>& group_nodes;
  const std::map<std::string, const JsonNode*>& tunnel_nodes;
  const std::map<std::string, std::shared_ptr<const Tunnel>>& tunnels;
};

/// Chooses where a group leaves it to us, and says why in a warning. Refuses what cannot be had: by policy a private
/// side in another namespace than the public one, or one pair of selectors twice in a namespace; by interface transport
/// mode and exceptions; transport mode of other addresses than the two gateways'. Tunnels are judged only while
/// `errors` is empty, for what follows from an error is none of its own.
void settle_attachments(const AttachmentInput& input, ErrorList& errors, std::vector<std::string>& warnings);

}  // namespace ipsec::policy
