#pragma once

#include <map>
#include <string>

#include "policy/config_reader.h"

/// Tunnels whose keys nobody negotiates, as they stand in the configuration, and what must hold for them.
namespace ipsec::policy {

/// "psk" or "manual" of a credential: exactly one of the two.
void read_key_files(ObjectReader& credential, Credential& target);

/// Whether a tunnel has a child with manual keys, before its children are read.
bool has_manual_children(const ObjectReader& tunnel);
/// The SPIs; the credential is resolved by the caller.
ManualSas read_manual(ObjectReader& manual);
/// Start, suite, the kind of credential, and whether the node allows manual keys at all.
void check_manual_child(ObjectReader& reader, ChildConfig& child, bool allowed);
/// What only IKE has a use for must not be there, the peer's address must.
void check_manual_tunnel(ObjectReader& reader, const Tunnel& tunnel);
/// The counterpart: its credential is there, and a pre-shared key.
void check_negotiated_tunnel(ObjectReader& reader, const Tunnel& tunnel);

/// What must hold between tunnels: no SPI twice. And a warning of all that have manual keys.
void settle_manual_keys(Config& config, const std::map<std::string, const JsonNode*>& nodes, ErrorList& errors);

}  // namespace ipsec::policy
