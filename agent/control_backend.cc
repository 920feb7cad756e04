#include "agent/control_backend.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <map>
#include <set>

#include "agent/carriers_json.h"
#include "agent/drift_json.h"
#include "agent/metrics_view.h"
#include "agent/negotiation_json.h"
#include "agent/offload_json.h"
#include "agent/orphans_json.h"
#include "agent/status_json.h"
#include "netlink/xfrm_stat.h"
#include "policy/config_parser.h"

namespace ipsec::agent {
namespace {

using nlohmann::json;

using agent::hex_spi;
std::string hex_spi(ike::IkeSpi spi) {
  ByteWriter out(8);
  out.u64(spi.value());
  return to_hex(out.view());
}

json texts(const std::vector<IpAddress>& addresses) {
  json list = json::array();
  for (const IpAddress& each : addresses) list.push_back(to_string(each));
  return list;
}

/// Where the keys of a tunnel's SAs come from.
std::string_view keying_of(const policy::Tunnel& tunnel) { return tunnel.is_manual() ? "manual" : "ike"; }

/// What a group or tunnel is called when nothing was asked for: null, so that nobody takes it for a name.
json or_null(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

json exceptions_of(const policy::TunnelGroup& group) {
  json rows = json::array();
  for (const policy::TrafficException& each : group.exceptions)
    rows.push_back(std::string(policy::to_string(each.action)) + " " + policy::to_string(each.local) + " - " +
                   policy::to_string(each.remote));
  return rows;
}

json effective_fields(const hwoffload::Effective& effective, bool installed) {
  return {{"offload_requested", policy::to_string(effective.requested)},
          {"offload_effective", installed ? json(policy::to_string(effective.kind)) : json(nullptr)},
          {"offload_device", or_null(effective.device)},
          {"offload_reason", code(effective.reason)},
          {"offload_detail", or_null(effective.detail)}};
}

json seconds_left(const std::optional<Instant>& when) {
  if (!when) return nullptr;
  return std::max<Duration>(*when - monotonic_now(), Duration{0}) / 1s;
}

Moment this_moment() { return {.now = monotonic_now(), .wall = wall_now()}; }

json sa_row(const InstalledChild& child, policy::Direction direction, const policy::SaState* kernel,
            const Moment& moment) {
  const bool in = direction == policy::Direction::kIn;
  json row = effective_fields(in ? child.inbound : child.outbound, in ? child.has_inbound : child.has_outbound);
  row.update(sa_fields(in ? child.plan.inbound : child.plan.outbound, direction));
  row.update(kernel_fields(kernel, direction, moment));
  row.update({{"tunnel", child.spec->tunnel->name},
              {"child", child.spec->child},
              {"keying", keying_of(*child.spec->tunnel)},
              {"udp_encapsulation", child.spec->udp_encapsulation}});
  return row;
}

json child_row(const InstalledChild& child, const InstalledChild* replaces) {
  return {{"tunnel", child.spec->tunnel->name},
          {"child", child.spec->child},
          {"keying", keying_of(*child.spec->tunnel)},
          {"state", state_of(child, replaces != nullptr)},
          {"replaces", replaces != nullptr ? json(hex_spi(replaces->spec->spi_in)) : json(nullptr)},
          {"spi_in", hex_spi(child.spec->spi_in)},
          {"spi_out", hex_spi(child.spec->spi_out)},
          {"local", policy::to_string(child.spec->local)},
          {"remote", policy::to_string(child.spec->remote)},
          {"proposal", policy::to_string(child.spec->suite)},
          {"offload_in", child.has_inbound ? json(policy::to_string(child.inbound.kind)) : json(nullptr)},
          {"offload_out", child.has_outbound ? json(policy::to_string(child.outbound.kind)) : json(nullptr)},
          {"age_seconds", nullptr},  // IKE ends it long before the kernel would: see its SAs
          {"ends_in_seconds", nullptr}};
}

/// Of its interface, be it its own or its group's.
json addresses_of(const policy::Tunnel& tunnel) {
  json addresses = json::array();
  for (const policy::InterfaceAddress& each :
       tunnel.shares_interface() ? tunnel.group->private_addresses : tunnel.addresses)
    addresses.push_back(to_string(each));
  return addresses;
}

json only(const json& rows, std::string_view key, std::string_view value) {
  json found = json::array();
  for (const json& row : rows)
    if (row.value(key, json()) == value) found.push_back(row);
  return found;
}

}  // namespace

std::string to_rfc3339(WallTime time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time.since_epoch);
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(time.since_epoch - seconds);
  const std::time_t clock = seconds.count();
  std::tm parts{};
  gmtime_r(&clock, &parts);
  std::array<char, 32> text{};
  const size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  std::string fraction = std::to_string(1000 + milliseconds.count());
  fraction[0] = '.';
  return std::string(text.data(), length) + fraction + "Z";
}

json ControlBackend::tunnel_row(const TunnelRow& row) const {
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
          {"interface_state", or_null(std::string(agent_.manager().interface_state_of(row)))},
          {"addresses", addresses_of(tunnel)},
          {"if_id", row.if_id},
          {"mtu", tunnel.group->enabled ? json(row.mtu.bytes) : json(nullptr)},
          {"mtu_because", or_null(row.mtu.because)},
          {"path_mtu", row.path.device.empty() ? json(nullptr) : json(row.path.mtu)},
          {"path_device", or_null(row.path.device)},
          {"mss", policy::to_string(tunnel.mss_clamp())},
          {"children_up", up},
          {"children", row.children.size()},
          {"since", to_rfc3339(row.since)},
          {"last_reason", row.last_reason == Reason::kNone ? json(nullptr) : json(code(row.last_reason))},
          {"last_detail", or_null(row.last_detail)}};
}

json ControlBackend::tunnels() const {
  json rows = json::array();
  for (const auto& [name, row] : agent_.manager().tunnels()) rows.push_back(tunnel_row(row));
  return rows;
}

json ControlBackend::group_row(const policy::TunnelGroup& group) const {
  size_t all = 0, up = 0;
  for (const auto& [name, row] : agent_.manager().tunnels()) {
    if (row.tunnel->group->name != group.name) continue;
    ++all;
    up += TunnelManager::state_of(row) == "up" ? 1 : 0;
  }
  size_t ike_sas = 0, child_sas = 0;
  const auto is_of_group = [&](const std::string& tunnel) {
    const auto row = agent_.manager().tunnels().find(tunnel);
    return row != agent_.manager().tunnels().end() && row->second.tunnel->group->name == group.name;
  };
  for (const auto& [id, row] : agent_.manager().ike_sas()) ike_sas += row.view && is_of_group(row.tunnel) ? 1 : 0;
  for (const auto& [id, child] : agent_.manager().installer().children())
    child_sas += child->spec->tunnel->group->name == group.name ? 1 : 0;
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
          {"private_vrf_table", group.private_vrf_table == 0 ? json(nullptr) : json(group.private_vrf_table)},
          {"tunnels", all},
          {"tunnels_up", up},
          {"tunnels_max", group.tunnels_max == 0 ? json(nullptr) : json(group.tunnels_max)},
          {"ike_sas", ike_sas},
          {"child_sas", child_sas}};
}

json ControlBackend::groups() const {
  json rows = json::array();
  for (const auto& [name, group] : agent_.config().groups) rows.push_back(group_row(*group));
  return rows;
}

json ControlBackend::sas() {
  // One dump per namespace, however many SAs are shown.
  std::map<std::string, std::map<policy::SaKey, policy::SaState>> kernel;
  const auto dump_of = [&](const std::string& netns) -> const std::map<policy::SaKey, policy::SaState>& {
    auto [dump, fresh] = kernel.try_emplace(netns);
    if (fresh)
      if (auto states = agent_.kernel().dump_sas(netns); states.ok())
        for (policy::SaState& state : *states) dump->second.emplace(state.key, std::move(state));
    return dump->second;
  };
  const Moment moment = this_moment();
  json rows = json::array();
  for (const auto& [id, child] : agent_.manager().installer().children()) {
    const auto& states = dump_of(child->spec->tunnel->group->public_place.netns);
    auto shown = [&](const policy::SaKey& key) {
      auto it = states.find(key);
      return it == states.end() ? nullptr : &it->second;
    };
    auto show = [&, id = id, &child = *child](policy::Direction direction, const policy::SaKey& key) {
      rows.push_back(sa_row(child, direction, shown(key), moment));
      rows.back()["state"] = state_of(child, agent_.manager().predecessor_of(id) != nullptr);
    };
    if (child->has_inbound) show(policy::Direction::kIn, child->plan.inbound.key);
    if (child->has_outbound) show(policy::Direction::kOut, child->plan.outbound.key);
  }
  for (const auto& [reqid, kept] : agent_.manager().orphans().children())
    for (json& row : orphan_sa_rows(kept, dump_of(kept.child.public_netns), moment)) rows.push_back(std::move(row));
  return rows;
}

json ControlBackend::children() const {
  json rows = json::array();
  for (const auto& [id, child] : agent_.manager().installer().children())
    rows.push_back(child_row(*child, agent_.manager().predecessor_of(id)));
  const Moment moment = this_moment();
  for (const auto& [reqid, kept] : agent_.manager().orphans().children())
    rows.push_back(orphan_child_row(kept, moment));
  return rows;
}

json ControlBackend::peer_row(const IkeRow& row) const {
  json peer{
      {"tunnel", or_null(row.tunnel)}, {"worker", row.worker}, {"role", row.initiator ? "initiator" : "responder"}};
  if (!row.view) {
    peer.update({{"state", "establishing"},
                 {"ike_spi_i", row.initiator ? json(hex_spi(ike::IkeSpi(row.id.value()))) : json(nullptr)},
                 {"ike_spi_r", row.initiator ? json(nullptr) : json(hex_spi(ike::IkeSpi(row.id.value())))},
                 {"local", nullptr},
                 {"remote", nullptr},
                 {"remote_id", nullptr},
                 {"proposal", nullptr},
                 {"nat", nullptr},
                 {"age_seconds", nullptr},
                 {"rekey_in_seconds", nullptr},
                 {"ends_in_seconds", nullptr}});
    return peer;
  }
  const ike::IkeSaView& view = *row.view;
  std::string nat = view.nat_local ? (view.nat_remote ? "both" : "local") : (view.nat_remote ? "remote" : "none");
  const Duration age = view.established_at ? monotonic_now() - *view.established_at : Duration{0};
  // The view is of the moment of its establishment.
  peer.update({{"state", row.stage == IkeRow::Stage::kEnding ? "deleting" : view.state},
               {"ike_spi_i", hex_spi(view.initiator_spi)},
               {"ike_spi_r", hex_spi(view.responder_spi)},
               {"local", to_string(view.path.local)},
               {"remote", to_string(view.path.remote)},
               {"remote_id", or_null(view.remote_id)},
               {"proposal", or_null(view.proposal)},
               {"nat", std::move(nat)},
               {"age_seconds", age / 1s},
               {"rekey_in_seconds", seconds_left(view.rekey_at)},
               {"ends_in_seconds", seconds_left(view.ends_at)}});
  return peer;
}

json ControlBackend::peers() const {
  json rows = json::array();
  for (const auto& [id, row] : agent_.manager().ike_sas()) rows.push_back(peer_row(row));
  return rows;
}

json ControlBackend::credentials() const {
  json rows = json::array();
  for (const auto& [name, credential] : agent_.config().credentials) {
    json used_by = json::array();
    const auto uses = [&each = credential](const policy::ChildConfig& child) {
      return child.manual && child.manual->credential == each;
    };
    for (const auto& [tunnel_name, tunnel] : agent_.config().tunnels)
      if (tunnel->credential == credential || std::ranges::any_of(tunnel->children, uses))
        used_by.push_back(tunnel_name);
    auto error = agent_.credentials().errors().find(name);
    const bool loaded = error == agent_.credentials().errors().end();
    rows.push_back({{"name", name},
                    {"kind", credential->is_manual() ? "manual" : "psk"},
                    {"loaded", loaded},
                    {"detail", loaded ? json(nullptr) : json(error->second.text())},
                    {"used_by", std::move(used_by)}});
  }
  return rows;
}

json ControlBackend::routes() const {
  std::map<uint32_t, std::string> tunnel_of;
  for (const auto& [name, row] : agent_.manager().tunnels()) tunnel_of[row.number] = name;
  json rows = json::array();
  for (const auto& each : agent_.manager().shared().routes())
    rows.push_back({{"destination", to_string(each.route.destination)},
                    {"vrf", or_null(each.route.vrf)},
                    {"netns", or_null(each.netns)},
                    {"kind", each.route.kind == policy::RouteKind::kUnreachable ? "unreachable" : "device"},
                    {"device", each.route.device},
                    {"gateway", each.route.gateway ? json(to_string(*each.route.gateway)) : json(nullptr)},
                    {"metric", each.route.metric},
                    {"protocol", each.route.protocol},
                    {"tunnel", or_null(tunnel_of[each.tunnel])},
                    {"carrier", or_null(agent_.manager().carriers().name_of(each.tunnel))},
                    {"state", each.waits_for ? "waiting" : "held"},
                    {"waits_for", each.waits_for ? or_null(tunnel_of[*each.waits_for]) : json(nullptr)}});
  return rows;
}

Result<json> ControlBackend::list(std::string_view kind) {
  if (kind == "tunnels") return tunnels();
  if (kind == "groups") return groups();
  if (kind == "sas") return sas();
  if (kind == "children") return children();
  if (kind == "peers") return peers();
  if (kind == "devices") return device_rows(agent_.manager(), monotonic_now());
  if (kind == "seats") return seat_rows(agent_.manager());
  if (kind == "credentials") return credentials();
  if (kind == "routes") return routes();
  if (kind == "carriers") return carrier_rows(agent_.manager().carriers(), monotonic_now());
  return Error(Reason::kNotFound,
               "no kind of object is called \"" + printable(as_bytes(kind)) +
                   "\"; there are groups, tunnels, sas, children, peers, devices, credentials, routes, seats and "
                   "carriers");
}

Result<json> ControlBackend::show(std::string_view kind, std::string_view name) {
  const std::string plural = kind.ends_with("s") ? std::string(kind)
                             : kind == "child"   ? "children"
                                                 : std::string(kind) + "s";
  TRY_ASSIGN(json rows, list(plural), "");
  const std::string key = plural == "sas"        ? "spi"
                          : plural == "children" ? "child"
                          : plural == "peers"    ? "tunnel"
                          : plural == "seats"    ? "tunnel"
                          : plural == "routes"   ? "destination"
                                                 : "name";
  json found = only(rows, key, name);
  if (found.empty()) {
    std::string known;
    for (const json& row : rows) {
      if (known.size() > 200) break;
      if (row.contains(key) && row[key].is_string())
        known.append(known.empty() ? "" : ", ").append(row[key].get<std::string>());
    }
    return Error(Reason::kNotFound, "there is no " + std::string(kind) + " \"" + printable(as_bytes(name)) + "\"" +
                                        (known.empty() ? std::string() : "; there are: " + known));
  }
  json result = found.front();
  if (plural == "devices") return device_in_full(agent_.manager(), result);
  if (plural != "tunnels") return result;
  const json effective = config_effective();
  result["config"] = effective["tunnels"].value(std::string(name), json::object());
  result["ike_sas"] = only(peers(), "tunnel", name);
  result["children"] = only(children(), "tunnel", name);
  result["sas"] = only(sas(), "tunnel", name);
  result["routes"] = only(routes(), "tunnel", name);
  return result;
}

json ControlBackend::status() {
  return status_json(agent_.manager(), {.version = IPSEC_VERSION,
                                        .node_id = agent_.config().node_id,
                                        .started_at = to_rfc3339(agent_.started_at()),
                                        .workers = agent_.worker_count(),
                                        .warnings = agent_.warnings(),
                                        .count = [this](Reason reason) { return agent_.count(reason); }});
}

Result<std::string> ControlBackend::metrics(const std::string& format, const control::ServerCounters& counters,
                                            size_t clients) {
  std::optional<metrics::Format> wanted;
  for (const auto each : {metrics::Format::kOpenMetrics, metrics::Format::kPrometheus})
    if (format.empty() ? each == metrics::Format::kOpenMetrics : to_string(each) == format) wanted = each;
  if (!wanted)
    return Error(Reason::kControlBadRequest,
                 "format: openmetrics or prometheus, not \"" + printable(as_bytes(format)) + "\"");
  const Instant begun = monotonic_now();
  const json state = status();
  metrics::Exposition numbers = collect_metrics({.manager = agent_.manager(),
                                                 .version = IPSEC_VERSION,
                                                 .started_at = agent_.started_at(),
                                                 .health = state["health"].get<std::string>(),
                                                 .warnings = state["warnings"].size(),
                                                 .workers = agent_.worker_totals(),
                                                 .count = [this](Reason reason) { return agent_.count(reason); },
                                                 .xfrm_stat = &netlink::read_xfrm_stat,
                                                 .control = counters,
                                                 .clients = clients});
  finish_metrics(numbers, monotonic_now() - begun);
  return numbers.text(*wanted);
}

/// Not of a tunnel that a reload has removed while the operation went on.
Result<json> ControlBackend::outcome_of(const std::string& tunnel) const {
  const auto row = agent_.manager().tunnels().find(tunnel);
  if (row == agent_.manager().tunnels().end()) return Error(Reason::kConfigNotInForce, "tunnel " + tunnel);
  return json{{"tunnel", tunnel},
              {"state", TunnelManager::state_of(row->second)},
              {"detail", or_null(row->second.last_detail)},
              {"children", only(children(), "tunnel", tunnel)}};
}

void ControlBackend::up(const std::string& tunnel, const std::string& child, Done done) {
  agent_.manager().up(monotonic_now(), tunnel, child, [this, tunnel, done = std::move(done)](Status status) {
    if (!status.ok()) return done(std::move(status).error());
    done(outcome_of(tunnel));
  });
}

void ControlBackend::down(const std::string& tunnel, const std::string& child, Done done) {
  agent_.manager().down(monotonic_now(), tunnel, child, [this, tunnel, done = std::move(done)](Status status) {
    if (!status.ok()) return done(std::move(status).error());
    done(outcome_of(tunnel));
  });
}

Result<json> ControlBackend::explain_negotiation(const std::string& peer) {
  return negotiation_failures(agent_.negotiations(), agent_.config(), agent_.config_files(), peer);
}

Result<json> ControlBackend::explain_offload(const std::string& tunnel) {
  const auto row = agent_.manager().tunnels().find(tunnel);
  if (row == agent_.manager().tunnels().end()) return Error(Reason::kNotFound, "tunnel " + tunnel);
  return agent::explain_offload(agent_.manager(), monotonic_now(), row->second);
}

Result<json> ControlBackend::offload_pin(const std::string& tunnel, const std::string& child, const std::string& pin,
                                         bool one_move) {
  std::optional<policy::OffloadPin> wanted;
  for (const auto each : {policy::OffloadPin::kNone, policy::OffloadPin::kNic, policy::OffloadPin::kSoftware})
    if (policy::to_string(each) == pin) wanted = each;
  if (!wanted || (one_move && *wanted == policy::OffloadPin::kNone))
    return Error(Reason::kControlBadRequest, "to: nic, software" + std::string(one_move ? "" : " or none") +
                                                 ", not \"" + printable(as_bytes(pin)) + "\"");
  TRY(agent_.manager().pin_offload(monotonic_now(), tunnel, child, *wanted,
                                   one_move ? OffloadBook::PinFor::kOneMove : OffloadBook::PinFor::kGood),
      "");
  return outcome_of(tunnel);
}

Result<json> ControlBackend::drift(const std::optional<std::string>& netns) {
  return drift_json(agent_.manager().drift(monotonic_now(), netns), netns);
}

void ControlBackend::rekey(const std::string& tunnel, const std::string& child, RekeyTarget target, Done done) {
  const auto what =
      target == RekeyTarget::kIke ? TunnelManager::RekeyTarget::kIke : TunnelManager::RekeyTarget::kChildren;
  agent_.manager().rekey(monotonic_now(), tunnel, child, what, [this, tunnel, done = std::move(done)](Status status) {
    if (!status.ok()) return done(std::move(status).error());
    done(outcome_of(tunnel));
  });
}

namespace {

json issues_of(const std::vector<policy::ConfigError>& errors) {
  json issues = json::array();
  for (const policy::ConfigError& each : errors)
    issues.push_back({{"file", each.file},
                      {"line", each.line},
                      {"pointer", each.pointer},
                      {"found", each.found},
                      {"allowed", each.allowed},
                      {"code", code(each.reason)},
                      {"text", each.text()}});
  return issues;
}

json issues_of(const std::vector<std::string>& warnings) {
  json issues = json::array();
  for (const std::string& each : warnings) issues.push_back({{"text", each}});
  return issues;
}

}  // namespace

json ControlBackend::config_check(const std::vector<NamedText>& files) {
  std::vector<policy::ConfigFile> documents;
  documents.reserve(files.size());
  for (const NamedText& each : files) documents.push_back({each.name, each.text});
  const policy::ConfigOutcome outcome = policy::parse_config(documents);
  return {{"ok", outcome.errors.empty()},
          {"errors", issues_of(outcome.errors)},
          {"warnings", issues_of(outcome.config ? outcome.config->warnings : std::vector<std::string>())}};
}

namespace {

json reloaded_json(const Agent::Reloaded& reloaded) {
  json changes = json::array();
  for (const auto& [name, change] : reloaded.changes)
    changes.push_back({{"tunnel", name},
                       {"kind", to_string(change.kind)},
                       {"settings", change.settings},
                       {"children_added", change.children_added},
                       {"children_removed", change.children_removed},
                       {"children_rekeyed", change.children_rekeyed},
                       {"ike_rekeyed", change.rekey_ike}});
  return json{{"ok", reloaded.errors.empty()},
              {"errors", issues_of(reloaded.errors)},
              {"warnings", issues_of(reloaded.warnings)},
              {"changes", std::move(changes)},
              {"carriers", carrier_changes_json(reloaded.carriers)}};
}

}  // namespace

void ControlBackend::config_apply(ApplyMode mode, Done done) {
  agent_.reload(mode == ApplyMode::kLook ? Agent::Extent::kLook : Agent::Extent::kApply,
                [done = std::move(done)](const Result<Agent::Reloaded>& reloaded) {
                  if (!reloaded.ok()) return done(reloaded.error());
                  done(reloaded_json(*reloaded));
                });
}

namespace {

json manual_settings(const policy::ChildConfig& child) {
  return {{"replay_window", 0},
          {"lifetime_seconds", nullptr},
          {"spi_in", hex_spi(policy::ChildSpi(child.manual->spi_in))},
          {"spi_out", hex_spi(policy::ChildSpi(child.manual->spi_out))},
          {"credential", child.manual->credential->name}};
}

}  // namespace

json ControlBackend::config_effective() {
  json tunnels_json = json::object();
  for (const auto& [name, tunnel] : agent_.config().tunnels) {
    json children_json = json::object();
    for (const policy::ChildConfig& child : tunnel->children) {
      children_json[child.name] = {{"local", policy::to_string(child.local)},
                                   {"remote", policy::to_string(child.remote)},
                                   {"proposals", policy::to_string(child.policy->proposals)},
                                   {"mode", policy::to_string(child.policy->mode)},
                                   {"replay_window", child.policy->replay_window},
                                   {"lifetime_seconds", child.policy->lifetime / 1s},
                                   {"start", policy::to_string(child.start)}};
      if (child.manual) children_json[child.name].update(manual_settings(child));
    }
    const auto local = tunnel->local_address();
    tunnels_json[name] = {
        {"group", tunnel->group->name},
        {"local", local ? json(to_string(*local)) : json(nullptr)},
        {"remote", tunnel->remote ? json(to_string(*tunnel->remote)) : json("any")},
        {"local_id", policy::to_string(tunnel->local_id)},
        {"remote_id", tunnel->remote_id ? json(policy::to_string(*tunnel->remote_id)) : json(nullptr)},
        {"credential", tunnel->credential ? json(tunnel->credential->name) : json(nullptr)},
        {"keying", keying_of(*tunnel)},
        {"proposals", policy::to_string(tunnel->ike_policy->proposals)},
        {"role", policy::to_string(tunnel->ike_policy->role)},
        {"dpd_seconds", tunnel->ike_policy->dpd / 1s},
        {"offload", policy::to_string(tunnel->offload_mode())},
        {"children", std::move(children_json)}};
    if (!tunnel->is_manual()) continue;
    for (const char* unused : {"local_id", "remote_id", "credential", "proposals", "role", "dpd_seconds"})
      tunnels_json[name].erase(unused);
  }
  json groups_json = json::object();
  for (const auto& [name, group] : agent_.config().groups) groups_json[name] = group_row(*group);
  return {{"version", 1},
          {"node_id", agent_.config().node_id},
          {"tunnel_groups", groups_json},
          {"tunnels", tunnels_json},
          {"carriers", carriers_effective(agent_.config())}};
}

}  // namespace ipsec::agent
