#include "netlink/addresses.h"

#include <doctest/doctest.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "netlink/links.h"

using namespace ipsec;
using namespace ipsec::netlink;
using policy::InterfaceAddress;

namespace {

/// What follows the netlink header.
ByteView payload(const Message& message) { return message.bytes().subspan(16); }

InterfaceAddress address(const char* text, uint8_t length) { return {IpAddress::parse(text).value(), length}; }

AddressInfo info(const char* text, uint8_t length, uint8_t protocol) {
  return {.device = 7, .address = IpAddress::parse(text).value(), .length = length, .protocol = protocol};
}

/// A link as the kernel tells of it.
Message link_message(uint8_t mode, uint8_t state, unsigned flags) {
  Message message(RTM_NEWLINK);
  message.header(ifinfomsg{.ifi_family = 0, .ifi_type = 0, .ifi_index = 7, .ifi_flags = flags, .ifi_change = 0});
  message.put_text(IFLA_IFNAME, "ips7");
  message.put_u8(IFLA_OPERSTATE, state);
  message.put_u8(IFLA_LINKMODE, mode);
  return message;
}

}  // namespace

TEST_CASE("address: what is asked for, byte by byte: created, never replaced, with our protocol, IPv6 at once") {
  const Message v4 = new_address(7, address("10.255.0.1", 30));
  CHECK(to_hex(v4.bytes()) ==
        "30000000"
        "1400"                // RTM_NEWADDR
        "0506"                // request, acknowledge, create, exclusively
        "0000000000000000"    // sequence and sender: filled in when it leaves
        "021e0000"            // IPv4, 30 bits
        "07000000"            // index
        "080002000aff0001"    // IFA_LOCAL
        "080001000aff0001"    // IFA_ADDRESS
        "05000b0032000000");  // IFA_PROTO 50
  const Message v6 = new_address(7, address("fe80::1", 64));
  CHECK(to_hex(v6.bytes()) ==
        "50000000"
        "140005060000000000000000"
        "0a400000"
        "07000000"
        "14000200fe800000000000000000000000000001"
        "14000100fe800000000000000000000000000001"
        "0800080002000000"  // IFA_FLAGS: IFA_F_NODAD
        "05000b0032000000");
}

TEST_CASE("address: one reads back with its length and whose it is; one that is being checked is not usable") {
  const Message message = new_address(7, address("10.255.0.1", 30));
  const auto ours = decode_address(payload(message));
  REQUIRE(ours.ok());
  CHECK(ours->device == 7);
  CHECK(ours->address == IpAddress::parse("10.255.0.1").value());
  CHECK(ours->length == 30);
  CHECK(ours->is_ours());
  CHECK(ours->usable);

  Message tentative(RTM_NEWADDR);
  tentative.header(ifaddrmsg{.ifa_family = 10, .ifa_prefixlen = 64, .ifa_flags = 0, .ifa_scope = 0, .ifa_index = 7});
  tentative.put(IFA_ADDRESS, IpAddress::parse("fd00::1").value().bytes());
  tentative.put_u32(IFA_FLAGS, IFA_F_TENTATIVE | IFA_F_PERMANENT);
  const auto theirs = decode_address(payload(tentative));
  REQUIRE(theirs.ok());
  CHECK_FALSE(theirs->is_ours());
  CHECK_FALSE(theirs->usable);
}

TEST_CASE("address: cut off anywhere it is an error or lacks what is missing, and never a crash") {
  const Message message = new_address(7, address("fe80::1", 64));
  const ByteView whole = payload(message);
  for (size_t length = 0; length < whole.size(); ++length) {
    const auto cut = decode_address(whole.first(length));
    if (length < sizeof(ifaddrmsg) + 20) CHECK_FALSE(cut.ok());
    if (cut.ok() && length < whole.size() - 3) CHECK_FALSE(cut->is_ours());  // 3 bytes of padding
  }
  CHECK(decode_address(whole).ok());
}

TEST_CASE("address: what counts of a link's are ours, and of others' those that are wanted anyway") {
  const std::vector<AddressInfo> there = {info("10.255.0.9", 30, 0), info("10.255.0.5", 30, 50),
                                          info("10.255.0.1", 30, 50), info("fe80::77", 64, 3),
                                          info("10.255.0.13", 30, 0)};
  const std::vector<InterfaceAddress> wanted = {address("10.255.0.1", 30), address("10.255.0.9", 30),
                                                address("10.255.0.13", 24)};
  CHECK(policy::to_string(addresses_of(there, wanted)) == "10.255.0.1/30, 10.255.0.5/30, 10.255.0.9/30");
  CHECK(policy::to_string(addresses_of(there, {})) == "10.255.0.1/30, 10.255.0.5/30");
}

TEST_CASE("link: its operational state is ours to say, and is dormant only where both of what says so do") {
  Message message(RTM_SETLINK);
  message.header(ifinfomsg{});
  put_operational_state(message, true);
  CHECK(to_hex(payload(message).subspan(sizeof(ifinfomsg))) ==
        "0500100005000000"
        "0500110001000000");
  Message running(RTM_SETLINK);
  running.header(ifinfomsg{});
  put_operational_state(running, false);
  CHECK(to_hex(payload(running).subspan(sizeof(ifinfomsg))) ==
        "0500100006000000"
        "0500110001000000");

  constexpr unsigned kUp = 1, kRunning = 0x40;
  const Message dormant = link_message(1, 5, kUp), up = link_message(1, 6, kUp | kRunning),
                other = link_message(0, 5, kUp), down = link_message(1, 2, 0);
  CHECK(decode_link(payload(dormant))->dormant);
  CHECK(decode_link(payload(dormant))->admin_up);
  CHECK_FALSE(decode_link(payload(dormant))->up);
  CHECK_FALSE(decode_link(payload(up))->dormant);
  CHECK(decode_link(payload(up))->up);
  CHECK_FALSE(decode_link(payload(other))->dormant);
  CHECK_FALSE(decode_link(payload(down))->dormant);
  CHECK(decode_link(payload(down))->own_state);
}
