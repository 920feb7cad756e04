#pragma once

#include <array>

#include "policy/config_keys.h"

// The keys of `node`: what concerns the whole machine. A part of config_keys.cc.
namespace ipsec::policy {

/// Durations in tables of keys: milliseconds.
inline constexpr int64_t kSecond = 1000, kMinute = 60 * kSecond, kHour = 60 * kMinute, kDay = 24 * kHour;

inline constexpr std::array kAdmissionKeys = {
    KeySpec{.key = "half_open_max",
            .kind = KeyKind::kNumber,
            .meaning = "half-open IKE SAs",
            .fallback = "10000",
            .least = 1,
            .most = 1000000},
    KeySpec{.key = "half_open_cookie_from",
            .kind = KeyKind::kNumber,
            .meaning = "half-open IKE SAs from which on cookies are asked for (RFC 7296 2.6); 0: always",
            .fallback = "1000",
            .most = 1000000},
    KeySpec{.key = "half_open_cookie_until",
            .kind = KeyKind::kNumber,
            .meaning = "cookies are asked for until there are fewer half-open IKE SAs than this",
            .fallback = "800",
            .most = 1000000},
    KeySpec{.key = "half_open_per_prefix",
            .kind = KeyKind::kNumber,
            .meaning = "half-open IKE SAs from one /24 (IPv4) or /56 (IPv6)",
            .fallback = "64",
            .least = 1,
            .most = 1000000},
    KeySpec{.key = "half_open_timeout",
            .kind = KeyKind::kDuration,
            .meaning = "from IKE_SA_INIT answered to IKE_AUTH",
            .fallback = "30s",
            .least = kSecond,
            .most = 30 * kMinute},
    KeySpec{.key = "init_rate",
            .kind = KeyKind::kNumber,
            .meaning = "new IKE SAs per second in all; 0: no limit",
            .fallback = "0",
            .most = 1000000},
    KeySpec{.key = "init_rate_per_address",
            .kind = KeyKind::kNumber,
            .meaning = "new IKE SAs per second from one address, bursts of twice that",
            .fallback = "20",
            .least = 1,
            .most = 100000},
    KeySpec{.key = "rekey_rate",
            .kind = KeyKind::kNumber,
            .meaning = "CREATE_CHILD_SA requests per second of one IKE SA; what is more meets TEMPORARY_FAILURE",
            .fallback = "5",
            .least = 1,
            .most = 50},
    KeySpec{.key = "decrypt_failures_max",
            .kind = KeyKind::kNumber,
            .meaning = "forged messages in a row after which an IKE SA that is not established is dropped",
            .fallback = "30",
            .least = 1,
            .most = 100},
    KeySpec{.key = "ike_sas_max",
            .kind = KeyKind::kNumber,
            .meaning = "IKE SAs per worker",
            .fallback = "200000",
            .least = 1,
            .most = 1000000},
};
inline constexpr std::array kNodeKeys = {
    KeySpec{.key = "id",
            .kind = KeyKind::kNumber,
            .meaning = "goes into IKE SPIs, so that two nodes of a pair never choose the same",
            .fallback = "0",
            .most = 255},
    KeySpec{.key = "admission",
            .kind = KeyKind::kObject,
            .meaning = "what strangers and peers may cost this node",
            .members = kAdmissionKeys},
    KeySpec{.key = "orphan_grace",
            .kind = KeyKind::kDuration,
            .meaning =
                "how long SAs of a run that was killed may carry traffic until their tunnel is up again; 0s: not "
                "at all",
            .fallback = "10m",
            .most = kDay},
    KeySpec{.key = "allow_manual_keys",
            .kind = KeyKind::kFlag,
            .meaning = "true: children may have manual keys, which nobody renews and which protect no older traffic",
            .fallback = "false"},
    KeySpec{.key = "adapt_policy_hash",
            .kind = KeyKind::kFlag,
            .meaning =
                "true: the kernel's policy hash thresholds follow the prefix lengths in use, and are put back at "
                "the end",
            .fallback = "true"},
};

}  // namespace ipsec::policy
