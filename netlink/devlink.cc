#include "netlink/devlink.h"

#include <linux/devlink.h>
#include <linux/genetlink.h>

#include <optional>
#include <string_view>

#include "netlink/socket.h"

namespace ipsec::netlink {
namespace {

constexpr std::string_view kFlowSteering = "flow_steering_mode";

Message generic(uint16_t family, uint8_t command, uint8_t version) {
  Message message(family);
  message.header(genlmsghdr{.cmd = command, .version = version, .reserved = 0});
  return message;
}

/// Generic netlink numbers its families as they are loaded.
Result<uint16_t> family_of(Socket& socket, std::string_view name) {
  Message message = generic(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
  message.put_text(CTRL_ATTR_FAMILY_NAME, name);
  TRY_ASSIGN(const auto reply, socket.transact(std::move(message)), "");
  for (const Reply::Data& each : reply) {
    if (each.type != GENL_ID_CTRL) continue;
    TRY_ASSIGN(const Attributes attributes, attributes_behind(each.payload.expose(), sizeof(genlmsghdr)), "family");
    TRY_ASSIGN(const auto id, attributes.get<uint16_t>(CTRL_ATTR_FAMILY_ID), "family");
    if (id) return *id;
  }
  return Error(Reason::kKernelMissingFeature, "no family " + std::string(name));
}

struct Instance {
  std::string bus, device;
};

/// The instance at this address, on whichever bus.
Result<std::optional<Instance>> find_instance(Socket& socket, uint16_t family, const std::string& address) {
  std::optional<Instance> found;
  const auto each = [&](const Received& message) -> Status {
    if (message.type != family) return {};
    TRY_ASSIGN(const Attributes attributes, attributes_behind(message.payload, sizeof(genlmsghdr)), "instance");
    if (attributes.text(DEVLINK_ATTR_DEV_NAME) == address)
      found = Instance{attributes.text(DEVLINK_ATTR_BUS_NAME), address};
    return {};
  };
  TRY(socket.dump([&] { return generic(family, DEVLINK_CMD_GET, DEVLINK_GENL_VERSION); }, each, [&] { found.reset(); }),
      "instances");
  return found;
}

Message about(const Instance& instance, uint16_t family, uint8_t command) {
  Message message = generic(family, command, DEVLINK_GENL_VERSION);
  message.put_text(DEVLINK_ATTR_BUS_NAME, instance.bus);
  message.put_text(DEVLINK_ATTR_DEV_NAME, instance.device);
  return message;
}

}  // namespace

Result<std::string> decode_eswitch_mode(ByteView payload) {
  TRY_ASSIGN(const Attributes attributes, attributes_behind(payload, sizeof(genlmsghdr)), "eswitch");
  TRY_ASSIGN(const auto mode, attributes.get<uint16_t>(DEVLINK_ATTR_ESWITCH_MODE), "eswitch");
  if (!mode) return std::string();
  return std::string(*mode == DEVLINK_ESWITCH_MODE_LEGACY      ? "legacy"
                     : *mode == DEVLINK_ESWITCH_MODE_SWITCHDEV ? "switchdev"
                                                               : "");
}

Result<std::string> decode_text_parameter(ByteView payload) {
  TRY_ASSIGN(const Attributes attributes, attributes_behind(payload, sizeof(genlmsghdr)), "parameter");
  TRY_ASSIGN(const Attributes parameter, attributes.nested(DEVLINK_ATTR_PARAM), "parameter");
  const auto values = parameter.find(DEVLINK_ATTR_PARAM_VALUES_LIST);
  std::string running;
  if (!values) return running;
  TRY(Attributes::for_each(*values,
                           [&](uint16_t type, ByteView bytes) {
                             const auto value = Attributes::parse(bytes);
                             if (type != DEVLINK_ATTR_PARAM_VALUE || !value.ok()) return;
                             const auto kind = value->get<uint8_t>(DEVLINK_ATTR_PARAM_VALUE_CMODE);
                             if (kind.ok() && *kind == DEVLINK_PARAM_CMODE_RUNTIME)
                               running = value->text(DEVLINK_ATTR_PARAM_VALUE_DATA);
                           }),
      "parameter");
  return printable(as_bytes(running));
}

namespace {

/// A driver without a switch, or without the parameter, refuses the question: that is no error.
Result<std::string> ask(Socket& socket, uint16_t family, Message question, Result<std::string> (*decode)(ByteView)) {
  auto answer = socket.transact(std::move(question));
  if (!answer.ok()) {
    const Reason why = answer.error().reason();
    if (why == Reason::kKernelTimeout || why == Reason::kKernelLost) return std::move(answer).error();
    return std::string();
  }
  for (const Reply::Data& each : *answer)
    if (each.type == family) return decode(each.payload.expose());
  return std::string();
}

}  // namespace

Result<DevlinkReading> read_devlink(const std::string& netns, const std::string& bus) {
  const std::string doing = "ask devlink of " + bus;
  TRY_ASSIGN(Socket socket, Socket::open({.protocol = NETLINK_GENERIC, .netns = netns}), doing);
  TRY_ASSIGN(const uint16_t family, family_of(socket, DEVLINK_GENL_NAME), doing);
  TRY_ASSIGN(const auto instance, find_instance(socket, family, bus), doing);
  DevlinkReading reading;
  if (!instance) return reading;
  reading.handle = printable(as_bytes(instance->bus + "/" + instance->device));
  TRY_ASSIGN(reading.eswitch,
             ask(socket, family, about(*instance, family, DEVLINK_CMD_ESWITCH_GET), decode_eswitch_mode), doing);
  Message question = about(*instance, family, DEVLINK_CMD_PARAM_GET);
  question.put_text(DEVLINK_ATTR_PARAM_NAME, kFlowSteering);
  TRY_ASSIGN(reading.flow_steering, ask(socket, family, std::move(question), decode_text_parameter), doing);
  return reading;
}

}  // namespace ipsec::netlink
