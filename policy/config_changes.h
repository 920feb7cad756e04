#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "policy/config.h"

/// What a new configuration means for the tunnels of the one in force. Pure.
namespace ipsec::policy {

struct TunnelChange {
  /// How much of a tunnel it disturbs, the least first.
  enum class Kind : uint8_t {
    kInPlace,  ///< From now on, without a new SA.
    kRekey,    ///< By fresh SAs in place of those that stand; no packet is lost.
    kRestart,  ///< It ends and is set up anew: its ends, its names or its place are others.
    kAdded,
    kRemoved
  };
  Kind kind = Kind::kInPlace;
  std::vector<std::string> settings;  ///< What differs, for people: "ike_policy", "child lan: local", ...
  bool rekey_ike = false;
  std::vector<std::string> children_rekeyed;
  /// A child whose traffic is another one now is in both.
  std::vector<std::string> children_removed, children_added;
};
std::string_view to_string(TunnelChange::Kind kind);

/// By tunnel; those that stay as they are are not in it.
using TunnelChanges = std::map<std::string, TunnelChange>;
TunnelChanges tunnel_changes(const Config& from, const Config& to);

/// Settings of `node` that are read when the daemon starts, and differ: a sentence each.
std::vector<std::string> start_only_changes(const Config& in_force, const Config& to);
/// The configuration with these settings as they are in force, so that it says what holds.
std::shared_ptr<const Config> with_start_settings(std::shared_ptr<const Config> config, const Config& in_force);

/// The same for carriers, by name. In place: its interface stays, with its index; restart: it is made anew, for its own
/// end, its kind or its place is another one.
struct CarrierChange {
  TunnelChange::Kind kind = TunnelChange::Kind::kInPlace;  ///< Never kRekey.
  std::vector<std::string> settings;
};
using CarrierChanges = std::map<std::string, CarrierChange>;
CarrierChanges carrier_changes(const Config& from, const Config& to);

}  // namespace ipsec::policy
