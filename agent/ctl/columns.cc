#include "agent/ctl/columns.h"

#include <algorithm>

namespace ipsec::agent::ctl {

namespace {

constexpr Column kTunnels[] = {{"name", "NAME"},      {"group", "GROUP"},
                               {"state", "STATE"},    {"keying", "KEYING"},
                               {"remote", "REMOTE"},  {"remote_id", "REMOTE ID"},
                               {"children_up", "UP"}, {"children", "CHILDREN"},
                               {"since", "SINCE"},    {"last_reason", "LAST REASON"},
                               {"local_id", ""},      {"last_detail", ""},
                               {"interface", ""},     {"interface_state", ""},
                               {"addresses", ""},     {"mtu", ""},
                               {"mtu_because", ""},   {"path_mtu", ""},
                               {"path_device", ""},   {"mss", ""}};
constexpr Column kSas[] = {{"tunnel", "TUNNEL"},
                           {"child", "CHILD"},
                           {"state", "STATE"},
                           {"keying", "KEYING"},
                           {"ends_in_seconds", "ENDS IN"},
                           {"direction", "DIR"},
                           {"spi", "SPI"},
                           {"source", "SOURCE"},
                           {"destination", "DESTINATION"},
                           {"suite", "SUITE"},
                           {"offload_effective", "OFFLOAD"},
                           {"offload_device", "DEVICE"},
                           {"offload_reason", "OFFLOAD REASON"},
                           {"packets", "PACKETS"},
                           {"bytes", "BYTES"},
                           {"mode", ""},
                           {"if_id", ""},
                           {"reqid", ""},
                           {"sequence", ""},
                           {"age_seconds", ""},
                           {"offload_requested", ""},
                           {"offload_detail", ""}};
constexpr Column kChildren[] = {{"tunnel", "TUNNEL"},
                                {"child", "CHILD"},
                                {"state", "STATE"},
                                {"spi_in", "SPI IN"},
                                {"spi_out", "SPI OUT"},
                                {"local", "LOCAL"},
                                {"remote", "REMOTE"},
                                {"uncovered", "UNCOVERED"},
                                {"proposal", "PROPOSAL"},
                                {"offload_in", "OFFLOAD IN"},
                                {"offload_out", "OFFLOAD OUT"},
                                {"replaces", "REPLACES"},
                                {"age_seconds", ""},
                                {"ends_in_seconds", "ENDS IN"},
                                {"keying", "KEYING"}};
constexpr Column kPeers[] = {{"tunnel", "TUNNEL"},
                             {"state", "STATE"},
                             {"role", "ROLE"},
                             {"local", "LOCAL"},
                             {"remote", "REMOTE"},
                             {"remote_id", "REMOTE ID"},
                             {"proposal", "PROPOSAL"},
                             {"nat", "NAT"},
                             {"worker", "WORKER"},
                             {"age_seconds", "AGE"},
                             {"rekey_in_seconds", "REKEY IN"},
                             {"ends_in_seconds", ""},
                             {"ike_spi_i", "SPI I"},
                             {"ike_spi_r", "SPI R"}};
constexpr Column kGroups[] = {{"name", "NAME"},
                              {"addresses", "ADDRESSES"},
                              {"public_netns", "PUBLIC NETNS"},
                              {"public_vrf", "PUBLIC VRF"},
                              {"private_netns", "PRIVATE NETNS"},
                              {"private_vrf", "PRIVATE VRF"},
                              {"private_vrf_table", ""},
                              {"attachment", "ATTACHMENT"},
                              {"attached", "ATTACHED"},
                              {"attached_because", "BECAUSE"},
                              {"default_block", "BLOCK"},
                              {"exceptions", "EXCEPTIONS"},
                              {"offload_mode", "OFFLOAD"},
                              {"devices", "DEVICES"},
                              {"role", "ROLE"},
                              {"tunnels_up", "UP"},
                              {"tunnels", "TUNNELS"},
                              {"tunnels_max", "MOST"},
                              {"ike_sas", "IKE SAS"},
                              {"child_sas", "CHILD SAS"}};
constexpr Column kDevices[] = {
    {"name", "NAME"},         {"netns", "NETNS"},   {"group", "GROUP"},      {"driver", "DRIVER"},
    {"state", "STATE"},       {"crypto", "CRYPTO"}, {"packet", "PACKET"},    {"sas", "SAS"},
    {"children", "CHILDREN"}, {"room", "ROOM"},     {"room_source", "FROM"}, {"rate", "BYTES/S"},
    {"present", ""},          {"up", ""},           {"detail", "DETAIL"}};
constexpr Column kSeats[] = {{"tunnel", "TUNNEL"}, {"child", "CHILD"}, {"place", "PLACE"},      {"because", "BECAUSE"},
                             {"rate", "BYTES/S"},  {"pin", "PIN"},     {"going_to", "GOING TO"}};
constexpr Column kCredentials[] = {{"name", "NAME"},          {"kind", "KIND"},       {"loaded", "LOADED"},
                                   {"used_by_count", "USES"}, {"used_by", "USED BY"}, {"detail", "DETAIL"}};
constexpr Column kRoutes[] = {
    {"destination", "DESTINATION"}, {"kind", "KIND"},       {"vrf", "VRF"},       {"netns", "NETNS"},
    {"device", "DEVICE"},           {"gateway", "GATEWAY"}, {"metric", "METRIC"}, {"protocol", "PROTOCOL"},
    {"tunnel", "TUNNEL"},           {"carrier", "CARRIER"}, {"state", "STATE"},   {"waits_for", "WAITS FOR"}};
constexpr Column kCarriers[] = {{"name", "NAME"},
                                {"kind", "KIND"},
                                {"state", "STATE"},
                                {"interface", "INTERFACE"},
                                {"netns", "NETNS"},
                                {"vrf", "VRF"},
                                {"tunnel", "TUNNEL"},
                                {"local", ""},
                                {"remote", "REMOTE"},
                                {"back_in_seconds", "BACK IN"},
                                {"mtu", "MTU"},
                                {"since", "SINCE"},
                                {"last_reason", "LAST REASON"},
                                {"last_detail", ""},
                                {"mtu_because", ""},
                                {"paths", ""},
                                {"key", ""},
                                {"addresses", ""},
                                {"peers", ""},
                                {"routes", ""}};

struct Entry {
  std::string_view kind;
  std::span<const Column> columns;
};
constexpr Entry kEntries[] = {
    {"tunnels", kTunnels}, {"sas", kSas},          {"children", kChildren}, {"peers", kPeers},
    {"groups", kGroups},   {"devices", kDevices},  {"routes", kRoutes},     {"credentials", kCredentials},
    {"seats", kSeats},     {"carriers", kCarriers}};

}  // namespace

std::span<const Column> columns_of(std::string_view kind) {
  for (const Entry& entry : kEntries)
    if (entry.kind == kind) return entry.columns;
  return {};
}

bool has_column(std::string_view kind, std::string_view key) {
  const auto columns = columns_of(kind);
  return std::any_of(columns.begin(), columns.end(), [key](const Column& column) { return column.key == key; });
}

}  // namespace ipsec::agent::ctl
