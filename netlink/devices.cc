#include "netlink/devices.h"

#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "netlink/links.h"

namespace ipsec::netlink {
namespace {

constexpr uint32_t kFeatureBlocksMax = 64;  // of 32 features each; today's kernels have two

/// One question to ethtool; false when the device has no answer.
bool ask(int fd, const std::string& device, void* question) {
  ifreq request{};
  if (device.size() >= sizeof(request.ifr_name)) return false;
  std::ranges::copy(device, request.ifr_name);
  request.ifr_data = static_cast<char*>(question);
  return ioctl(fd, SIOCETHTOOL, &request) == 0;
}

template <size_t N>
std::string text_of(const char (&field)[N]) {
  return printable(ByteView(as_bytes(std::string_view(field, strnlen(field, N)))));
}

void read_driver(int fd, const std::string& device, DeviceReading& reading) {
  ethtool_drvinfo info{};
  info.cmd = ETHTOOL_GDRVINFO;
  if (!ask(fd, device, &info)) return;
  reading.driver = text_of(info.driver);
  reading.bus = text_of(info.bus_info);
  reading.firmware = text_of(info.fw_version);
}

/// The number of a feature among those of this kernel.
std::optional<uint32_t> feature_number(int fd, const std::string& device, std::string_view name, uint32_t* count) {
  std::vector<uint32_t> words((sizeof(ethtool_sset_info) + sizeof(uint32_t)) / sizeof(uint32_t));
  auto* sets = reinterpret_cast<ethtool_sset_info*>(words.data());
  sets->cmd = ETHTOOL_GSSET_INFO;
  sets->sset_mask = uint64_t{1} << ETH_SS_FEATURES;
  if (!ask(fd, device, words.data()) || sets->sset_mask == 0) return std::nullopt;
  *count = std::min(sets->data[0], kFeatureBlocksMax * 32);
  Bytes buffer(sizeof(ethtool_gstrings) + size_t{*count} * ETH_GSTRING_LEN);
  ethtool_gstrings header{.cmd = ETHTOOL_GSTRINGS, .string_set = ETH_SS_FEATURES, .len = *count};
  std::memcpy(buffer.data(), &header, sizeof(header));
  if (!ask(fd, device, buffer.data())) return std::nullopt;
  for (uint32_t i = 0; i < *count; ++i) {
    const char* at = reinterpret_cast<const char*>(buffer.data()) + sizeof(header) + size_t{i} * ETH_GSTRING_LEN;
    if (std::string_view(at, strnlen(at, ETH_GSTRING_LEN)) == name) return i;
  }
  return std::nullopt;
}

std::optional<bool> read_feature(int fd, const std::string& device, std::string_view name) {
  uint32_t count = 0;
  const auto number = feature_number(fd, device, name, &count);
  if (!number) return std::nullopt;
  const uint32_t blocks = (count + 31) / 32;
  std::vector<uint32_t> words(sizeof(ethtool_gfeatures) / sizeof(uint32_t) +
                              blocks * sizeof(ethtool_get_features_block) / sizeof(uint32_t));
  auto* features = reinterpret_cast<ethtool_gfeatures*>(words.data());
  features->cmd = ETHTOOL_GFEATURES;
  features->size = blocks;
  if (!ask(fd, device, words.data()) || features->size * 32 <= *number) return std::nullopt;
  return (features->features[*number / 32].active >> (*number % 32) & 1) != 0;
}

/// The payload of RTM_NEWLINK; the index of the device below it, 0 for none.
Result<int> read_link(ByteView payload, DeviceReading& reading) {
  TRY_ASSIGN(const auto header, from_bytes<ifinfomsg>(payload), "device");
  TRY_ASSIGN(const Attributes attributes, attributes_behind(payload, sizeof(header)), "device");
  reading.up = (header.ifi_flags & IFF_UP) != 0 && (header.ifi_flags & IFF_RUNNING) != 0;
  TRY_ASSIGN(const Attributes info, attributes.nested(IFLA_LINKINFO), "device");
  reading.kind = info.text(IFLA_INFO_KIND);
  // Ports of one switch are named p0, pf0vf3, ...: those of functions stand for these.
  const std::string port = attributes.text(IFLA_PHYS_PORT_NAME);
  reading.representor = attributes.find(IFLA_PHYS_SWITCH_ID).has_value() && port.starts_with("pf");
  TRY_ASSIGN(const Attributes data, info.nested(IFLA_INFO_DATA), "device");
  if (reading.kind == "bond") {
    TRY_ASSIGN(const auto active, data.get<uint32_t>(IFLA_BOND_ACTIVE_SLAVE), "bond");
    return static_cast<int>(active.value_or(0));
  }
  if (reading.kind != "vlan" && reading.kind != "macvlan") return 0;
  TRY_ASSIGN(const auto lower, attributes.get<uint32_t>(IFLA_LINK), "device");
  return static_cast<int>(lower.value_or(0));
}

}  // namespace

Result<DeviceReading> read_device(Socket& route, const std::string& name) {
  TRY_ASSIGN(const LinkInfo link, need_link(route, name), "");
  Message request(RTM_GETLINK);
  ifinfomsg header{};
  header.ifi_index = link.index;
  request.header(header);
  TRY_ASSIGN(const auto reply, route.transact(std::move(request)), "read device " + name);
  DeviceReading reading;
  int lower = 0;
  for (const Reply::Data& each : reply) {
    if (each.type != RTM_NEWLINK) continue;
    TRY_ASSIGN(lower, read_link(each.payload.expose(), reading), "");
  }
  if (lower != 0) {
    TRY_ASSIGN(const auto below, find_link(route, lower), "");
    if (below) reading.lower = below->name;
  }
  // What a bond can is what its active member can.
  const std::string& asked = reading.kind == "bond" && !reading.lower.empty() ? reading.lower : link.name;
  read_driver(route.fd(), asked, reading);
  reading.esp_offload = read_feature(route.fd(), asked, "esp-hw-offload");
  return reading;
}

Result<uint64_t> sent_packets(Socket& route, const std::string& name) {
  Message request(RTM_GETLINK);
  request.header(ifinfomsg{});
  request.put_text(IFLA_IFNAME, name);
  TRY_ASSIGN(const auto reply, route.transact(std::move(request)), "read interface " + name);
  for (const Reply::Data& each : reply) {
    if (each.type != RTM_NEWLINK) continue;
    TRY_ASSIGN(const Attributes attributes, attributes_behind(each.payload.expose(), sizeof(ifinfomsg)), "interface");
    const auto bytes = attributes.find(IFLA_STATS64);
    if (!bytes || bytes->size() < 2 * sizeof(uint64_t)) continue;
    uint64_t counters[2];  // packets received, packets sent
    std::memcpy(counters, bytes->data(), sizeof(counters));
    return counters[1];
  }
  return Error(Reason::kKernelReadBack, "interface " + name + " shows no counters");
}

}  // namespace ipsec::netlink
