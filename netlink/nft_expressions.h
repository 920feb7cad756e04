#pragma once

#include <cstdint>
#include <string>

#include "netlink/message.h"
#include "policy/base/ip.h"
#include "policy/packet_rules.h"

/// The expressions of which nf_tables makes rules, as far as ours need them (linux/netfilter/nf_tables.h).
namespace ipsec::netlink {

/// A number as nf_tables has all of its own: in network byte order.
void put_be32(Message& message, uint16_t attribute, uint32_t value);

/// Adds expressions to a rule whose list is open in `message`. Registers of 4 bytes each: a value that is looked up or
/// compared is loaded into consecutive ones, from the first.
class NftRule {
 public:
  explicit NftRule(Message& message) : message_(message) {}

  void match_family(Family family);
  void match_protocol(uint8_t protocol);
  /// SYN without RST.
  void match_syn();
  void match_interface_in(const std::string& name);
  /// The route to the destination leaves by this interface, in the main table.
  void match_route_out(const std::string& name);
  void match_destination(const IpPrefix& prefix);
  /// Nothing of it has come out of an SA.
  void match_unprotected();

  // Looks up, and goes to the chain that the map names.
  enum class Way : uint8_t { kIn, kOut };
  void lookup_interface(const std::string& map, Way way);
  void lookup_reqid(const std::string& map, Way way);
  /// By destination and SPI; `spi_at`: bytes into what follows the IP header.
  void lookup_sa(const std::string& map, Family family, uint32_t spi_at);
  /// By source and destination, IPv4.
  void lookup_pair(const std::string& map);

  void set_mss(uint16_t bytes);
  void set_dscp(Family family, uint8_t dscp);
  enum class Df : uint8_t { kClear, kSet };
  void set_df(Df df);
  void drop();

 private:
  void expression(const char* name, const std::function<void()>& data);
  void load_meta(uint32_t key);
  void load(uint32_t base, uint32_t offset, uint32_t length, uint32_t slot = 0);
  void compare(ByteView value);
  void mask(ByteView mask, ByteView exclusive_or);
  void store_network(uint32_t offset, uint32_t length, bool has_checksum);
  void lookup(const std::string& map);
  void put_data(uint16_t attribute, ByteView value);

  Message& message_;
};

}  // namespace ipsec::netlink
