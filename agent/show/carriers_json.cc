#include "agent/show/carriers_json.h"

#include "agent/control/event_json.h"

#include <algorithm>
#include <map>

#include "policy/plan_carriers.h"

namespace ipsec::agent {
namespace {

using nlohmann::json;
using policy::PathState;

json or_null(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

std::string_view text_of(PathState state) {
  switch (state) {
    case PathState::kUp: return "up";
    case PathState::kWaiting: return "idle";
    case PathState::kDown: return "down";
  }
  return {};
}

json addresses_of(const policy::Carrier& carrier) {
  json rows = json::array();
  for (const policy::InterfaceAddress& each : carrier.addresses)
    rows.push_back(to_string(each.address) + "/" + std::to_string(each.length));
  return rows;
}

json peers_of(const policy::Carrier& carrier) {
  json rows = json::array();
  for (const IpAddress& each : carrier.peers) rows.push_back(to_string(each));
  return rows;
}

json routes_of(const std::vector<policy::RouteConfig>& routes) {
  json rows = json::array();
  for (const policy::RouteConfig& each : routes)
    rows.push_back(to_string(each.destination) + " metric " + std::to_string(each.metric));
  return rows;
}

/// "branch-7 198.51.100.7 up", the preferred one first.
json paths_of(const CarrierRow& row) {
  json rows = json::array();
  for (size_t i = 0; i < row.carrier->paths.size(); ++i) {
    const policy::Tunnel& tunnel = *row.carrier->paths[i].tunnel;
    rows.push_back(tunnel.name + " " + to_string(*tunnel.remote) + " " + std::string(text_of(row.states[i])));
  }
  return rows;
}

json row_of(const CarrierRow& row, Instant now) {
  const policy::Carrier& carrier = *row.carrier;
  const policy::Tunnel& tunnel = *carrier.paths[row.choice.in_use()].tunnel;
  const auto back = row.choice.next_deadline();
  return {{"name", carrier.name},
          {"kind", policy::to_string(carrier.kind)},
          {"state", Carriers::state_of(row)},
          {"interface", policy::carrier_interface_name(carrier.name)},
          {"netns", or_null(carrier.private_place.netns)},
          {"vrf", or_null(carrier.private_place.vrf)},
          {"tunnel", tunnel.name},
          {"local", to_string(*tunnel.local_address())},
          {"remote", to_string(*tunnel.remote)},
          {"paths", paths_of(row)},
          {"back_in_seconds", back ? json(std::max<Duration>(*back - now, Duration{0}) / 1s) : json(nullptr)},
          {"key", carrier.key == 0 ? json(nullptr) : json(carrier.key)},
          {"addresses", addresses_of(carrier)},
          {"peers", peers_of(carrier)},
          {"routes", routes_of(row.routes)},
          {"mtu", row.mtu.because.empty() ? json(nullptr) : json(row.mtu.bytes)},
          {"mtu_because", or_null(row.mtu.because)},
          {"since", control::rfc3339(row.since)},
          {"last_reason", row.last_reason == Reason::kNone ? json(nullptr) : json(code(row.last_reason))},
          {"last_detail", or_null(row.last_detail)}};
}

}  // namespace

json carrier_rows(const Carriers& carriers, Instant now) {
  json rows = json::array();
  for (const auto& [name, row] : carriers.rows()) rows.push_back(row_of(row, now));
  return rows;
}

json carrier_counts(const Carriers& carriers) {
  std::map<std::string_view, size_t> states{{"up", 0}, {"idle", 0}, {"down", 0}, {"failed", 0}, {"disabled", 0}};
  for (const auto& [name, row] : carriers.rows()) ++states[Carriers::state_of(row)];
  return states;
}

bool lacks_carriers(const json& counts) { return counts.at("down") != 0 || counts.at("failed") != 0; }

json carrier_changes_json(const policy::CarrierChanges& changes) {
  json rows = json::array();
  for (const auto& [name, change] : changes)
    rows.push_back({{"carrier", name}, {"kind", to_string(change.kind)}, {"settings", change.settings}});
  return rows;
}

json carriers_effective(const policy::Config& config) {
  json all = json::object();
  for (const auto& [name, carrier] : config.carriers) {
    json protected_by = json::array(), routes = json::array();
    for (const policy::CarrierPath& each : carrier->paths) protected_by.push_back(each.tunnel->name);
    for (const policy::StaticRoute& each : carrier->routes)
      routes.push_back(
          {{"prefix", to_string(each.prefix)}, {"metric", each.metric.value_or(carrier->group().metrics.alone)}});
    all[name] = {{"kind", policy::to_string(carrier->kind)},
                 {"protected_by", std::move(protected_by)},
                 {"private", {{"netns", carrier->private_place.netns}, {"vrf", carrier->private_place.vrf}}},
                 {"key", carrier->key},
                 {"addresses", addresses_of(*carrier)},
                 {"peers", peers_of(*carrier)},
                 {"routes", std::move(routes)},
                 {"mtu", carrier->mtu},
                 {"hold_down_seconds", carrier->hold_down / 1s},
                 {"enabled", carrier->enabled}};
  }
  return all;
}

}  // namespace ipsec::agent
