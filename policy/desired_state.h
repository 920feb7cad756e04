#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "policy/kernel_model.h"

/// What should stand in the kernel and what does, each as one value. Keys of SAs never stand here.
namespace ipsec::policy {

/// Where the key material of a wanted SA has been.
enum class KeyUse : uint8_t {
  kFresh,      ///< In no kernel and on no NIC so far: may be installed.
  kInstalled,  ///< Was installed once. For an outbound SA never again: it would number from 1 anew, so that nonces of
               ///< an AEAD repeat and the peer drops what its replay window has seen.
};

/// A wanted SA: what tells it from another one, without keys.
struct DesiredSa {
  IpAddress source;
  Direction direction = Direction::kIn;
  EspSuite suite;
  EspMode mode = EspMode::kTunnel;
  uint32_t reqid = 0, if_id = 0;
  uint16_t replay_window = 0;  ///< Compared for inbound SAs only.
  KeyUse keys = KeyUse::kFresh;
  friend bool operator==(const DesiredSa&, const DesiredSa&) = default;
};
DesiredSa desired_sa(const SaConfig& sa, KeyUse keys);

/// The kernel's key of a route within one namespace.
struct RouteKey {
  std::string vrf;
  IpPrefix destination;
  uint32_t metric = 0;
  friend auto operator<=>(const RouteKey&, const RouteKey&) = default;
};
RouteKey key_of(const RouteConfig& route);

/// What should stand in one namespace.
struct DesiredNamespace {
  std::map<SaKey, DesiredSa> sas;
  std::map<PolicyKey, PolicyConfig> policies;
  std::map<std::string, LinkConfig> links;  ///< By name.
  std::map<RouteKey, RouteConfig> routes;
};
/// By name of the namespace; "" is the daemon's own.
using DesiredState = std::map<std::string, DesiredNamespace>;

/// Whose an object is. What the journal does not prove to be ours is foreign.
enum class Owner : uint8_t { kForeign, kOurs };

template <typename T>
struct Owned {
  T value;
  Owner owner = Owner::kForeign;
};
template <typename T>
Owned(T, Owner) -> Owned<T>;  // clang 14 does not deduce aggregates

/// What does stand in one namespace, as read from the kernel.
struct ActualNamespace {
  std::map<SaKey, Owned<SaState>> sas;
  std::map<PolicyKey, Owned<PolicyConfig>> policies;
  std::map<std::string, Owned<LinkConfig>> links;
  std::map<RouteKey, Owned<RouteConfig>> routes;
};
/// A namespace that is not here does not exist (or cannot be read).
using ActualState = std::map<std::string, ActualNamespace>;

}  // namespace ipsec::policy
