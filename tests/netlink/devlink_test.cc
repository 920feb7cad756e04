#include "netlink/devlink.h"

#include <doctest/doctest.h>
#include <linux/devlink.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>

#include "netlink/message.h"

using namespace ipsec;
using namespace ipsec::netlink;

namespace {

Message answer(uint8_t command) {
  Message message(0x20);
  message.header(genlmsghdr{.cmd = command, .version = 1, .reserved = 0});
  message.put_text(DEVLINK_ATTR_BUS_NAME, "pci");
  message.put_text(DEVLINK_ATTR_DEV_NAME, "0000:08:00.0");
  return message;
}

/// As mlx5 tells it: what is set for the next start, then what runs.
Message steering(std::string_view running) {
  Message message = answer(DEVLINK_CMD_PARAM_GET);
  const auto value = [&](uint8_t mode, std::string_view text) {
    message.nest(DEVLINK_ATTR_PARAM_VALUE, [&] {
      message.put_text(DEVLINK_ATTR_PARAM_VALUE_DATA, text);
      message.put_u8(DEVLINK_ATTR_PARAM_VALUE_CMODE, mode);
    });
  };
  message.nest(DEVLINK_ATTR_PARAM, [&] {
    message.put_text(DEVLINK_ATTR_PARAM_NAME, "flow_steering_mode");
    message.put_u8(DEVLINK_ATTR_PARAM_TYPE, 3);
    message.nest(DEVLINK_ATTR_PARAM_VALUES_LIST, [&] {
      value(DEVLINK_PARAM_CMODE_DRIVERINIT, "hmfs");
      value(DEVLINK_PARAM_CMODE_RUNTIME, running);
    });
  });
  return message;
}

Message eswitch(uint16_t mode) {
  Message message = answer(DEVLINK_CMD_ESWITCH_GET);
  message.put_struct(DEVLINK_ATTR_ESWITCH_MODE, mode);
  return message;
}

ByteView payload(const Message& message) { return message.bytes().subspan(NLMSG_HDRLEN); }

}  // namespace

TEST_CASE("devlink: the mode of a switch is told by name, one that is too new is not guessed") {
  CHECK(decode_eswitch_mode(payload(eswitch(0))).value() == "legacy");
  CHECK(decode_eswitch_mode(payload(eswitch(1))).value() == "switchdev");
  CHECK(decode_eswitch_mode(payload(eswitch(9))).value().empty());
  CHECK(decode_eswitch_mode(payload(answer(DEVLINK_CMD_ESWITCH_GET))).value().empty());
}

TEST_CASE("devlink: of a parameter the value that runs counts, and its text is safe to print") {
  CHECK(decode_text_parameter(payload(steering("smfs"))).value() == "smfs");
  CHECK(decode_text_parameter(payload(steering("a\x1b[2J"))).value() == "a\\x1b[2J");
  CHECK(decode_text_parameter(payload(answer(DEVLINK_CMD_PARAM_GET))).value().empty());
}

TEST_CASE("devlink: an answer that ends anywhere is an error or tells nothing") {
  const Message whole = steering("smfs");
  for (size_t bytes = 0; bytes + 4 < payload(whole).size(); ++bytes) {
    CAPTURE(bytes);
    const auto read = decode_text_parameter(payload(whole).first(bytes));
    CHECK((!read.ok() || read->empty()));
  }
}
