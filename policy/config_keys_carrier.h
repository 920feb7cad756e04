#pragma once

#include <array>

#include "policy/config_keys.h"
#include "policy/config_keys_node.h"
#include "policy/limits.h"
#include "policy/mtu.h"

// The keys of `carriers`, and those that other objects have as well. A part of config_keys.cc.
namespace ipsec::policy {

inline constexpr std::array kPlaceKeys = {
    KeySpec{.key = "netns",
            .kind = KeyKind::kText,
            .meaning = "network namespace: a name as in `ip netns`, pid:N, or a path; the daemon's own without it"},
    KeySpec{.key = "vrf", .kind = KeyKind::kText, .meaning = "VRF in that namespace"},
};
inline constexpr std::array kCarrierRouteKeys = {
    KeySpec{.key = "prefix", .kind = KeyKind::kText, .meaning = "destination, as 10.9.0.0/16", .required = true},
    KeySpec{.key = "metric",
            .kind = KeyKind::kNumber,
            .meaning = "while the carrier is up; routes.metric.alone of its tunnel's group without it",
            .least = 1,
            .most = 4294967293},
};
inline constexpr std::array kCarrierKeys = {
    KeySpec{.key = "kind",
            .kind = KeyKind::kWord,
            .meaning = "GRE, or IP in IP (IPv4 and IPv6 inside)",
            .fallback = "gre",
            .words = "gre ipip"},
    KeySpec{.key = "protected_by",
            .kind = KeyKind::kTextList,
            .meaning = "the tunnel in whose SAs its packets travel and whose gateways are its ends; a second one is "
                       "the backup remote, used while the first is down",
            .least = 1,
            .most = 2,
            .required = true},
    KeySpec{.key = "private",
            .kind = KeyKind::kObject,
            .meaning = "where the interface is; the place of its first tunnel's group without it",
            .members = kPlaceKeys},
    KeySpec{.key = "key",
            .kind = KeyKind::kNumber,
            .meaning = "GRE key of both directions; 0: none",
            .fallback = "0",
            .most = 4294967295},
    KeySpec{.key = "addresses",
            .kind = KeyKind::kTextList,
            .meaning = "of the interface, with the length of their subnets, as 10.255.0.1/30",
            .most = static_cast<int64_t>(kAddressesMax)},
    KeySpec{.key = "peers",
            .kind = KeyKind::kTextList,
            .meaning = "addresses of the other end inside; each lies in the subnet of one of `addresses`",
            .most = static_cast<int64_t>(kAddressesMax)},
    KeySpec{.key = "routes",
            .kind = KeyKind::kObjectList,
            .meaning = "routes into the interface while a tunnel is up, and with the idle metric while one waits for "
                       "traffic",
            .most = static_cast<int64_t>(kStaticRoutesMax),
            .members = kCarrierRouteKeys},
    KeySpec{.key = "mtu",
            .kind = KeyKind::kNumber,
            .meaning = "bytes of the largest packet inside: 256 to 65000 (1280 at least with IPv6 inside); 0: computed "
                       "from the paths to the peers, what ESP adds, and the outer header",
            .fallback = "0",
            .most = kMtuMax},
    KeySpec{.key = "hold_down",
            .kind = KeyKind::kDuration,
            .meaning = "how long the first tunnel must be up, after it was down, before it is used again",
            .fallback = "10s",
            .most = kHour},
    KeySpec{.key = "enabled", .kind = KeyKind::kFlag, .meaning = "false: there is no interface", .fallback = "true"},
};

}  // namespace ipsec::policy
