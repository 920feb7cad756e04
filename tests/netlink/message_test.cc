#include "netlink/message.h"

#include <doctest/doctest.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "netlink/socket.h"
#include "policy/base/random.h"

using namespace ipsec;
using namespace ipsec::netlink;

namespace {

Message sample() {
  Message message(RTM_NEWLINK, NLM_F_CREATE);
  message.header(rtgenmsg{.rtgen_family = 7});
  message.put_u8(1, 0xaa);
  message.put_u32(2, 0x01020304);
  message.put_text(3, "abc");
  message.nest(4, [&] { message.put_u8(5, 6); });
  message.set_sequence(9);
  return message;
}

}  // namespace

TEST_CASE("message: lengths, padding, nesting and flags are those of the netlink format") {
  const Message message = sample();

  // header: 52 bytes, type 16, REQUEST|ACK|CREATE, sequence 9, port 0; then the attributes, each padded to 4
  CHECK(to_hex(message.bytes()) ==
        "38000000"
        "1000"
        "0504"
        "09000000"
        "00000000"
        "07000000"
        "05000100aa000000"
        "0800020004030201"
        "0800030061626300"
        "0c000480"
        "0500050006000000");
}

TEST_CASE("message: growing beyond its first buffer keeps what was put before") {
  Message message(RTM_NEWLINK);
  const Bytes large(1500, 0x5a);
  message.put_u32(1, 42);
  for (uint16_t type = 2; type < 12; ++type) message.put(type, large);

  auto attributes = attributes_behind(message.bytes(), sizeof(nlmsghdr));
  REQUIRE(attributes.ok());
  CHECK(*attributes->get<uint32_t>(1).value() == 42);
  for (uint16_t type = 2; type < 12; ++type) CHECK(std::ranges::equal(*attributes->find(type), large));
}

TEST_CASE("message: what was built is read back") {
  const Message message = sample();
  ByteView datagram = message.bytes();

  auto received = take_message(datagram);
  REQUIRE(received.ok());
  CHECK(datagram.empty());
  CHECK(received->type == RTM_NEWLINK);
  CHECK(received->sequence == 9);
  auto attributes = attributes_behind(received->payload, sizeof(rtgenmsg));
  REQUIRE(attributes.ok());
  CHECK(*attributes->get<uint8_t>(1).value() == 0xaa);
  CHECK(*attributes->get<uint32_t>(2).value() == 0x01020304);
  CHECK(attributes->text(3) == "abc");
  CHECK(*attributes->nested(4)->get<uint8_t>(5).value() == 6);
  CHECK(!attributes->find(60));
  CHECK(!attributes->find(6000));
  CHECK(!attributes->get<uint32_t>(7).value().has_value());
}

TEST_CASE("message: cut off at any byte it is refused or read without what was cut off, never read beyond its end") {
  const Message message = sample();
  const ByteView whole = message.bytes();
  for (size_t length = 0; length < whole.size(); ++length) {
    const Bytes copy(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(length));  // its own block, for ASan
    ByteView rest = copy;
    CHECK(!take_message(rest).ok());
    if (length < sizeof(nlmsghdr) + sizeof(rtgenmsg)) continue;
    // As attributes of a shorter message: good only where an attribute ends.
    auto attributes = attributes_behind(ByteView(copy).subspan(sizeof(nlmsghdr)), sizeof(rtgenmsg));
    if (attributes.ok()) CHECK(attributes->text(3).size() <= 3);
  }
}

TEST_CASE("attributes: a length below its own header or beyond the end is malformed") {
  for (const char* hex : {"03000100", "00000100", "0900010000000000", "ffff0100", "040001"}) {
    const auto bytes = from_hex(hex).value();
    CHECK_MESSAGE(!Attributes::parse(bytes).ok(), hex);
  }
  CHECK(Attributes::parse(from_hex("04000100").value()).ok());    // empty value
  CHECK(Attributes::parse(from_hex("0500010007").value()).ok());  // the last one may lack its padding
}

TEST_CASE("attributes: a value shorter than its type is an error that names the attribute") {
  const auto bytes = from_hex("06000900ffff0000").value();
  auto attributes = Attributes::parse(bytes);
  REQUIRE(attributes.ok());
  auto value = attributes->get<uint32_t>(9);
  REQUIRE(!value.ok());
  CHECK(value.error().reason() == Reason::kMalformed);
  CHECK(value.error().text() == "attribute 9: need 4 bytes, have 2");
}

TEST_CASE("attributes: random bytes never make the reader leave its input") {
  SeededRandom random(5);
  for (int round = 0; round < 20000; ++round) {
    Bytes bytes(random.u32() % 64);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.u32() % 8 == 0 ? random.u32() : random.u32() % 12);
    auto attributes = Attributes::parse(bytes);
    if (attributes.ok())
      for (uint16_t type = 0; type < 16; ++type) (void)attributes->text(type);
    ByteView rest = bytes;
    while (!rest.empty() && take_message(rest).ok()) continue;
  }
}

TEST_CASE("kernel errors: the reason follows the errno, and the kernel's words are kept and escaped") {
  CHECK(kernel_error(EPERM, "").reason() == Reason::kPermission);
  CHECK(kernel_error(EPROTONOSUPPORT, "Requested type not found").reason() == Reason::kKernelMissingFeature);
  CHECK(kernel_error(EOPNOTSUPP, "Unknown device type").reason() == Reason::kKernelMissingFeature);
  const Error refused = kernel_error(EINVAL, "Mismatched SA and offload direction\n");
  CHECK(refused.reason() == Reason::kKernelRefused);
  CHECK(refused.os_errno() == EINVAL);
  CHECK(refused.text() == "kernel: Mismatched SA and offload direction\\x0a: Invalid argument");
}
