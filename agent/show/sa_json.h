#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "policy/kernel_model.h"

/// What the control socket's rows of SAs have in common, whether IKE knows the SA or only the kernel does.
namespace ipsec::agent {

/// The clocks of one moment.
struct Moment {
  Instant now;
  WallTime wall;
};

std::string hex_spi(policy::ChildSpi spi);

struct InstalledChild;
/// Where a child stands in its life, and in that of the one whose place it takes: "establishing", "up", "replacing" or
/// "replaced".
std::string_view state_of(const InstalledChild& child, bool replaces);

/// Seconds since the kernel made an SA, and until it ends it; null where it does not.
nlohmann::json age_seconds(const policy::SaState& sa, const Moment& moment);
nlohmann::json ends_in_seconds(const policy::SaState& sa, const Moment& moment);

/// Direction, SPI, addresses, suite, mode and numbers of a policy::SaConfig or SaState.
template <typename Sa>
nlohmann::json sa_fields(const Sa& sa, policy::Direction direction) {
  return {{"direction", policy::to_string(direction)},
          {"spi", hex_spi(sa.key.spi)},
          {"source", to_string(sa.source)},
          {"destination", to_string(sa.key.destination)},
          {"suite", policy::to_string(sa.suite)},
          {"mode", policy::to_string(sa.mode)},
          {"if_id", sa.if_id},
          {"reqid", sa.reqid}};
}

/// What it has carried, and its time, as the kernel shows it; all null without that.
nlohmann::json kernel_fields(const policy::SaState* sa, policy::Direction direction, const Moment& moment);

}  // namespace ipsec::agent
