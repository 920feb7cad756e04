#include "policy/config_addresses.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "policy/config_rules.h"
#include "policy/limits.h"

namespace ipsec::policy {
namespace {

constexpr std::string_view kForm = "an address with the length of its subnet, as 10.255.0.1/30 or fe80::1/64";

IpPrefix subnet_of(const InterfaceAddress& address) {
  IpAddress first = address.address;
  for (uint8_t bit = address.length; bit < first.bits(); ++bit) first = first.with_bit(bit, 0);
  return {first, address.length};
}

bool is_loopback(const IpAddress& address) {
  if (address.is_v4()) return address.bytes()[0] == 127;
  return address == IpAddress::any(Family::kIpv6).next();
}

bool is_link_scope(const IpAddress& address) {
  return !address.is_v4() && address.bytes()[0] == 0xfe && (address.bytes()[1] & 0xc0) == 0x80;  // RFC 4291 2.5.6
}

/// Whose an address of a private place is.
class AddressOwners {
 public:
  AddressOwners(const AttachmentInput& input, ErrorList& errors) : input_(input), errors_(errors) {
    for (const auto& [name, group] : input.groups)
      if (group->enabled)
        for (const IpAddress& each : group->public_addresses)
          owners_.emplace(std::pair(group->public_place, each), "group " + name + " as a gateway address");
  }
  void check(const Tunnel& tunnel);
  void check(const TunnelGroup& group);

 private:
  void error(const JsonNode& object, const std::string& pointer, std::string found, std::string allowed) {
    const JsonNode* list = object.find("addresses");
    errors_.add(list != nullptr ? *list : object, pointer + "/addresses", Reason::kConfigConflict, std::move(found),
                std::move(allowed));
  }
  void claim(const JsonNode& object, const std::string& pointer, const RoutingPlace& place,
             const std::vector<InterfaceAddress>& addresses, const std::string& owner);

  const AttachmentInput& input_;
  ErrorList& errors_;
  std::map<std::pair<RoutingPlace, IpAddress>, std::string> owners_;
};

void AddressOwners::claim(const JsonNode& object, const std::string& pointer, const RoutingPlace& place,
                          const std::vector<InterfaceAddress>& addresses, const std::string& owner) {
  for (const InterfaceAddress& each : addresses) {
    if (each.length == each.address.bits() || is_link_scope(each.address)) continue;
    const auto [known, fresh] = owners_.try_emplace({place, each.address}, owner);
    if (!fresh)
      error(object, pointer, to_string(each),
            "an address that nobody else has in this namespace and VRF; " + known->second + " has it");
  }
}

void AddressOwners::check(const Tunnel& tunnel) {
  if (tunnel.addresses.empty()) return;
  const JsonNode& node = *input_.tunnel_nodes.at(tunnel.name);
  const std::string pointer = "/tunnels/" + tunnel.name;
  const TunnelGroup& group = *input_.groups.at(tunnel.group->name);
  if (group.attached != Attachment::kInterface)
    return error(node, pointer, "addresses",
                 "none, because group " + group.name + " is attached by policy: there is no interface to put them on" +
                     (group.attached_because.empty() ? "" : " (auto chose it: " + group.attached_because + ")"));
  if (group.interfaces == InterfaceScope::kExternal)
    return error(node, pointer, "addresses",
                 "none, because the tunnels of group " + group.name +
                     " share an external interface: private.addresses of the group are its");
  if (group.enabled) claim(node, pointer, group.private_place, tunnel.addresses, "tunnel " + tunnel.name);
}

void AddressOwners::check(const TunnelGroup& group) {
  if (group.private_addresses.empty()) return;
  const JsonNode& node = *input_.group_nodes.at(group.name)->find("private");
  const std::string pointer = "/tunnel_groups/" + group.name + "/private";
  if (group.attached != Attachment::kInterface || group.interfaces != InterfaceScope::kExternal)
    return error(node, pointer, "addresses",
                 "interfaces external for group " + group.name + ", or addresses of each tunnel instead");
  if (group.enabled) claim(node, pointer, group.private_place, group.private_addresses, "group " + group.name);
}

}  // namespace

std::string to_string(const InterfaceAddress& address) {
  return to_string(address.address) + "/" + std::to_string(address.length);
}

std::string to_string(const std::vector<InterfaceAddress>& addresses) {
  std::string text;
  for (const InterfaceAddress& each : addresses) text.append(text.empty() ? "" : ", ").append(to_string(each));
  return text;
}

Result<InterfaceAddress> parse_interface_address(const std::string& text) {
  const Error form(Reason::kConfigBadValue, std::string(kForm));
  const size_t slash = text.find('/');
  if (slash == std::string::npos) return form;
  const auto address = IpAddress::parse(text.substr(0, slash));
  unsigned length = 0;
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data() + slash + 1, end, length);
  if (!address.ok() || parsed.ec != std::errc{} || parsed.ptr != end) return form;
  if (!check_unicast(*address).ok() || is_loopback(*address))
    return Error(Reason::kConfigBadValue, "the address of one machine, not of many, of none or of the loopback");
  if (length == 0 || length > address->bits())
    return Error(Reason::kConfigBadValue, "a length of 1 to " + std::to_string(address->bits()) + " bits");
  const InterfaceAddress found{*address, static_cast<uint8_t>(length)};
  const IpPrefix subnet = subnet_of(found);
  const bool has_ends = address->is_v4() && length + 1 < address->bits();
  if (has_ends && (*address == subnet.address || *address == subnet.last()))
    return Error(Reason::kConfigBadValue,
                 "an address inside " + to_string(subnet) + ", neither its first nor its last");
  return found;
}

void read_interface_addresses(ObjectReader& reader, std::vector<InterfaceAddress>& addresses) {
  std::set<IpAddress> known;
  for (const JsonNode* each : reader.texts("addresses")) {
    const auto address = parse_interface_address(each->text);
    if (!address.ok())
      reader.error(*each, "addresses", Reason::kConfigBadValue, address.error().detail());
    else if (!known.insert(address->address).second)
      reader.error(*each, "addresses", Reason::kConfigConflict, "an address that is not in the list already");
    else
      addresses.push_back(*address);
  }
  std::ranges::sort(addresses);
}

void check_interface_addresses(const AttachmentInput& input, ErrorList& errors) {
  AddressOwners owners(input, errors);
  for (const auto& [name, group] : input.groups) owners.check(*group);
  for (const auto& [name, tunnel] : input.tunnels) owners.check(*tunnel);
}

}  // namespace ipsec::policy
