#include "agent/show/tunnel_rows.h"

#include <algorithm>

#include "agent/control/event_json.h"
#include "agent/show/census.h"
#include "agent/show/limits.h"
#include "agent/show/rows.h"
#include "agent/show/sa_json.h"
#include "agent/show/sa_rows.h"

namespace ipsec::agent::show {
namespace {

json texts(const std::vector<IpAddress>& addresses) {
  json list = json::array();
  for (const IpAddress& each : addresses) list.push_back(to_string(each));
  return list;
}

/// Where the keys of a tunnel's SAs come from.
std::string_view keying_of(const policy::Tunnel& tunnel) { return tunnel.is_manual() ? "manual" : "ike"; }

json exceptions_of(const policy::TunnelGroup& group) {
  json rows = json::array();
  for (const policy::TrafficException& each : group.exceptions)
    rows.push_back(std::string(policy::to_string(each.action)) + " " + policy::to_string(each.local) + " - " +
                   policy::to_string(each.remote));
  return rows;
}

/// Of its interface, be it its own or its group's.
json addresses_of(const policy::Tunnel& tunnel) {
  json addresses = json::array();
  for (const policy::InterfaceAddress& each :
       tunnel.shares_interface() ? tunnel.group->private_addresses : tunnel.addresses)
    addresses.push_back(to_string(each));
  return addresses;
}

json manual_settings(const policy::ChildConfig& child) {
  return {{"replay_window", 0},
          {"lifetime_seconds", nullptr},
          {"spi_in", hex_spi(policy::ChildSpi(child.manual->spi_in))},
          {"spi_out", hex_spi(policy::ChildSpi(child.manual->spi_out))},
          {"credential", child.manual->credential->name}};
}

}  // namespace

json tunnel_row(const Agent& agent, const TunnelRow& row) {
  size_t up = 0;
  for (const auto& [name, child] : row.children) up += child.up.empty() ? 0 : 1;
  const policy::Tunnel& tunnel = *row.tunnel;
  return {{"name", tunnel.name},
          {"group", tunnel.group->name},
          {"state", TunnelManager::state_of(row)},
          {"keying", keying_of(tunnel)},
          {"remote", tunnel.remote ? to_string(*tunnel.remote) : "any"},
          {"local_id", tunnel.is_manual() ? json(nullptr) : json(policy::to_string(tunnel.local_id))},
          {"remote_id", tunnel.remote_id ? json(policy::to_string(*tunnel.remote_id)) : json(nullptr)},
          {"interface", or_null(row.interface)},
          {"interface_state", or_null(std::string(agent.manager().interface_state_of(row)))},
          {"addresses", addresses_of(tunnel)},
          {"if_id", row.if_id},
          {"mtu", tunnel.group->enabled ? json(row.mtu.bytes) : json(nullptr)},
          {"mtu_because", or_null(row.mtu.because)},
          {"path_mtu", row.path.device.empty() ? json(nullptr) : json(row.path.mtu)},
          {"path_device", or_null(row.path.device)},
          {"mss", policy::to_string(tunnel.mss_clamp())},
          {"children_up", up},
          {"children", row.children.size()},
          {"since", control::rfc3339(row.since)},
          {"last_reason", row.last_reason == Reason::kNone ? json(nullptr) : json(code(row.last_reason))},
          {"last_detail", or_null(row.last_detail)}};
}

std::unique_ptr<RowSource> tunnel_rows(const Agent& agent) {
  return rows_of_map(
      [&agent]() -> const auto& { return agent.manager().tunnels(); },
      [&agent](const std::string&, const TunnelRow& row, std::vector<json>& rows) {
        rows.push_back(tunnel_row(agent, row));
      });
}

Result<json> outcome_of(const Agent& agent, const std::string& tunnel) {
  const auto row = agent.manager().tunnels().find(tunnel);
  if (row == agent.manager().tunnels().end()) return Error(Reason::kConfigNotInForce, "tunnel " + tunnel);
  return json{{"tunnel", tunnel},
              {"state", TunnelManager::state_of(row->second)},
              {"detail", or_null(row->second.last_detail)},
              {"children", children_of_tunnel(agent, row->second)}};
}

json effective_tunnel(const policy::Tunnel& tunnel) {
  json children_json = json::object();
  for (const policy::ChildConfig& child : tunnel.children) {
    children_json[child.name] = {{"local", policy::to_string(child.local)},
                                 {"remote", policy::to_string(child.remote)},
                                 {"proposals", policy::to_string(child.policy->proposals)},
                                 {"mode", policy::to_string(child.policy->mode)},
                                 {"replay_window", child.policy->replay_window},
                                 {"lifetime_seconds", child.policy->lifetime / 1s},
                                 {"start", policy::to_string(child.start)}};
    if (child.manual) children_json[child.name].update(manual_settings(child));
  }
  const auto local = tunnel.local_address();
  json shown = {{"group", tunnel.group->name},
                {"local", local ? json(to_string(*local)) : json(nullptr)},
                {"remote", tunnel.remote ? json(to_string(*tunnel.remote)) : json("any")},
                {"local_id", policy::to_string(tunnel.local_id)},
                {"remote_id", tunnel.remote_id ? json(policy::to_string(*tunnel.remote_id)) : json(nullptr)},
                {"credential", tunnel.credential ? json(tunnel.credential->name) : json(nullptr)},
                {"keying", keying_of(tunnel)},
                {"proposals", policy::to_string(tunnel.ike_policy->proposals)},
                {"role", policy::to_string(tunnel.ike_policy->role)},
                {"dpd_seconds", tunnel.ike_policy->dpd / 1s},
                {"offload", policy::to_string(tunnel.offload_mode())},
                {"children", std::move(children_json)}};
  if (!tunnel.is_manual()) return shown;
  for (const char* unused : {"local_id", "remote_id", "credential", "proposals", "role", "dpd_seconds"})
    shown.erase(unused);
  return shown;
}

std::unique_ptr<RowSource> effective_tunnels(const Agent& agent) {
  return rows_of_map(
      [&agent]() -> const auto& { return agent.config().tunnels; },
      [](const std::string& name, const auto& tunnel, std::vector<json>& rows) {
        rows.push_back(json::array({name, effective_tunnel(*tunnel)}));
      });
}

json group_settings(const policy::TunnelGroup& group) {
  return {{"name", group.name},
          {"public_netns", or_null(group.public_place.netns)},
          {"public_vrf", or_null(group.public_place.vrf)},
          {"addresses", texts(group.public_addresses)},
          {"private_netns", or_null(group.private_place.netns)},
          {"private_vrf", or_null(group.private_place.vrf)},
          {"attachment", policy::to_string(group.attachment)},
          {"attached", policy::to_string(group.attached)},
          {"attached_because", or_null(group.attached_because)},
          {"exceptions", exceptions_of(group)},
          {"default_block", group.default_block},
          {"offload_mode", policy::to_string(group.offload)},
          {"devices", group.offload_devices},
          {"enabled", group.enabled},
          {"role", policy::to_string(group.role)},
          {"private_vrf_table", group.private_vrf_table == 0 ? json(nullptr) : json(group.private_vrf_table)}};
}

std::unique_ptr<RowSource> group_rows(const Agent& agent) {
  return std::make_unique<PreparedRows>(
      [&agent, census = std::make_shared<Census>(agent.manager())]() -> std::optional<std::vector<json>> {
        if (!census->step()) return std::nullopt;
        std::vector<json> rows;
        for (const auto& [name, group] : agent.config().groups) {
          static const Census::Group kNothing;  // it came while we counted
          const auto found = census->groups().find(name);
          const Census::Group& counted = found != census->groups().end() ? found->second : kNothing;
          json& row = rows.emplace_back(group_settings(*group));
          row["tunnels"] = counted.all_tunnels();
          row["tunnels_up"] = counted.tunnels.at("up");
          row["ike_sas"] = counted.ike_sas.at("established") + counted.ike_sas.at("ending");
          row["child_sas"] = counted.child_sas;
        }
        return rows;
      });
}

namespace {

/// Which tunnels use each credential, found out in steps.
struct CredentialUsers {
  struct Users {
    json names = json::array();  // the first ones
    size_t count = 0;
  };
  const Agent& agent;
  std::map<std::string, Users> users;
  std::optional<std::string> last;

  void note(const std::string& credential, const std::string& tunnel) {
    Users& of = users[credential];
    if (++of.count <= kUsersNamed) of.names.push_back(tunnel);
  }
  bool step() {
    const auto& tunnels = agent.config().tunnels;
    auto it = last ? tunnels.upper_bound(*last) : tunnels.begin();
    for (size_t left = kLookedAtPerStep; it != tunnels.end() && left != 0; ++it, --left) {
      std::set<std::string> used;
      if (it->second->credential) used.insert(it->second->credential->name);
      for (const policy::ChildConfig& child : it->second->children)
        if (child.manual) used.insert(child.manual->credential->name);
      for (const std::string& each : used) note(each, it->first);
      last = it->first;
    }
    return it == tunnels.end();
  }
};

}  // namespace

std::unique_ptr<RowSource> credential_rows(const Agent& agent) {
  const auto found = std::make_shared<CredentialUsers>(CredentialUsers{.agent = agent, .users = {}, .last = {}});
  auto counting = std::make_unique<PreparedRows>([found]() -> std::optional<std::vector<json>> {
    return found->step() ? std::optional(std::vector<json>()) : std::nullopt;
  });
  auto rows = rows_of_map(
      [&agent]() -> const auto& { return agent.config().credentials; },
      [&agent, found](const std::string& name, const auto& credential, std::vector<json>& made) {
        const auto error = agent.credentials().errors().find(name);
        const bool loaded = error == agent.credentials().errors().end();
        const CredentialUsers::Users& users = found->users[name];
        made.push_back({{"name", name},
                        {"kind", credential->is_manual() ? "manual" : "psk"},
                        {"loaded", loaded},
                        {"detail", loaded ? json(nullptr) : json(error->second.text())},
                        {"used_by", users.names},
                        {"used_by_count", users.count}});
      });
  return std::make_unique<ChainedRows>(std::move(counting), std::move(rows));
}

}  // namespace ipsec::agent::show
