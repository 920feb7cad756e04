#pragma once

#include <vector>

#include "policy/config.h"
#include "policy/config_attachment.h"
#include "policy/config_reader.h"

/// Addresses of tunnel interfaces in the configuration.
namespace ipsec::policy {

/// "10.255.0.1/30", "fe80::1/64": the address that one machine of a subnet has, neither a loopback address nor the
/// first or last one of an IPv4 subnet of more than two (RFC 3021 section 2.2). The detail says what would be right.
Result<InterfaceAddress> parse_interface_address(const std::string& text);

/// `addresses` of a tunnel, or of a group's private side: sorted, none twice, no two of one address.
void read_interface_addresses(ObjectReader& reader, std::vector<InterfaceAddress>& addresses);

/// Once it is known how groups are attached: refuses addresses where there is no interface to put them on, and what two
/// interfaces of one private place, or a gateway address there, would have in common. Host addresses (/32, /128) and
/// those of link scope may be on several.
void check_interface_addresses(const AttachmentInput& input, ErrorList& errors);

}  // namespace ipsec::policy
