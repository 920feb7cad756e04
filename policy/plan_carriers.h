#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "policy/config.h"
#include "policy/kernel_model.h"
#include "policy/packet_rules.h"
#include "policy/plan_routes.h"

/// From a carrier of the configuration to what stands in the kernel. Pure.
namespace ipsec::policy {

/// IP protocols of what such an interface can send (IANA: GRE 47, IPv4 4, IPv6 41, MPLS 137). MPLS is none that we ask
/// for; but a label on a route is enough for it, and what the kernel's interface has found out about the way of one
/// protocol it may use for another.
std::vector<uint8_t> carrier_protocols(CarrierKind kind);
/// Those of them that it is to send: with IP in IP by the families of what is configured inside, IPv4 if that is
/// nothing. The others leave in SAs only.
std::vector<uint8_t> needed_protocols(const Carrier& carrier);

/// Whether these selectors take all packets of a protocol that the gateways of `tunnel` exchange. `local`, `remote`: as
/// configured, or as negotiated, which may be less.
bool takes_protocol(const Tunnel& tunnel, const SelectorList& local, const SelectorList& remote, uint8_t protocol);

/// What keeps the carrier's packets on this path from leaving, or being taken, in the clear while no SA takes them:
/// block policies between the two gateways, of all of carrier_protocols(), in the public namespace.
Result<std::vector<PolicyConfig>> plan_carrier_blocks(const Carrier& carrier, const CarrierPath& path);

/// Between the gateways of this path IPv6 in IPv4 is taken out of SAs only; nothing where the kernel asks policies by
/// itself.
std::optional<PacketRules::Sealed> plan_carrier_seal(const Carrier& carrier, const CarrierPath& path);

/// Bytes of the largest packet inside, where one of `transport` bytes fits the SAs: less the outer IP header and that
/// of GRE, or as configured; IPv6 inside needs 1280 (RFC 8200 section 5).
uint32_t carrier_mtu(const Carrier& carrier, uint32_t transport);
/// Bytes of the outer IP header, and that of GRE.
uint32_t carrier_header(const Carrier& carrier);

/// "ipsg-" and the carrier's name, or a hash of one that is too long: the same in every run, for routing daemons know
/// interfaces by their names.
std::string carrier_interface_name(const std::string& carrier);
/// The interface, its other end at the gateway of `paths[path]`.
LinkConfig plan_carrier_link(const Carrier& carrier, size_t path, uint32_t mtu);

/// Carrier::routes, in the private table, out of the interface.
std::vector<RouteConfig> plan_carrier_routes(const Carrier& carrier, RouteState state);

}  // namespace ipsec::policy
