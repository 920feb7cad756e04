#include "agent/show/sa_rows.h"

#include <algorithm>
#include <charconv>

#include "agent/show/limits.h"
#include "agent/show/orphans_json.h"
#include "agent/show/rows.h"
#include "agent/show/sa_json.h"

namespace ipsec::agent::show {
namespace {

std::string hex_spi(ike::IkeSpi spi) {
  ByteWriter out(8);
  out.u64(spi.value());
  return to_hex(out.view());
}

/// Where the keys of a tunnel's SAs come from.
std::string_view keying_of(const policy::Tunnel& tunnel) { return tunnel.is_manual() ? "manual" : "ike"; }

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

/// What no SA of the same configured child carries.
json uncovered_of(const TunnelManager& manager, const InstalledChild& child) {
  const auto tunnel = manager.tunnels().find(child.spec->tunnel->name);
  if (tunnel == manager.tunnels().end()) return nullptr;
  const auto row = tunnel->second.children.find(child.spec->child);
  if (row == tunnel->second.children.end()) return nullptr;
  return or_null(policy::to_string(manager.uncovered_of(row->second), kPairsNamed));
}

json child_row(const TunnelManager& manager, ike::ChildId id, const InstalledChild& child) {
  const InstalledChild* replaces = manager.predecessor_of(id);
  return {{"tunnel", child.spec->tunnel->name},
          {"child", child.spec->child},
          {"keying", keying_of(*child.spec->tunnel)},
          {"state", state_of(child, replaces != nullptr)},
          {"replaces", replaces != nullptr ? json(agent::hex_spi(replaces->spec->spi_in)) : json(nullptr)},
          {"spi_in", agent::hex_spi(child.spec->spi_in)},
          {"spi_out", agent::hex_spi(child.spec->spi_out)},
          {"local", policy::to_string(child.spec->local)},
          {"remote", policy::to_string(child.spec->remote)},
          {"uncovered", uncovered_of(manager, child)},
          {"proposal", policy::to_string(child.spec->suite)},
          {"offload_in", child.has_inbound ? json(policy::to_string(child.inbound.kind)) : json(nullptr)},
          {"offload_out", child.has_outbound ? json(policy::to_string(child.outbound.kind)) : json(nullptr)},
          {"age_seconds", nullptr},  // IKE ends it long before the kernel would: see its SAs
          {"ends_in_seconds", nullptr}};
}

using Rows = std::vector<json>;
using SaStates = std::map<policy::SaKey, policy::SaState>;

/// What the kernel says of some SAs. What cannot be read is not known.
SaStates states_of(Agent& agent, const std::string& netns, const std::vector<policy::SaKey>& keys) {
  auto states = agent.kernel().read_sas(netns, keys);
  return states.ok() ? std::move(*states) : SaStates();
}

void add_sa_rows(Agent& agent, ike::ChildId id, const InstalledChild& child, Rows& rows) {
  std::vector<policy::SaKey> keys;
  if (child.has_inbound) keys.push_back(child.plan.inbound.key);
  if (child.has_outbound) keys.push_back(child.plan.outbound.key);
  if (keys.empty()) return;
  const SaStates states = states_of(agent, child.spec->tunnel->group->public_place.netns, keys);
  const Moment moment = this_moment();
  const auto add = [&](policy::Direction direction, const policy::SaKey& key) {
    const auto it = states.find(key);
    rows.push_back(sa_row(child, direction, it == states.end() ? nullptr : &it->second, moment));
    rows.back()["state"] = state_of(child, agent.manager().predecessor_of(id) != nullptr);
  };
  if (child.has_inbound) add(policy::Direction::kIn, child.plan.inbound.key);
  if (child.has_outbound) add(policy::Direction::kOut, child.plan.outbound.key);
}

void add_orphan_sa_rows(Agent& agent, const Orphans::Kept& kept, Rows& rows) {
  std::vector<policy::SaKey> keys;
  for (const auto* sas : {&kept.child.inbound, &kept.child.outbound})
    for (const auto& [key, state] : *sas) keys.push_back(key);
  for (json& row : orphan_sa_rows(kept, states_of(agent, kept.child.public_netns, keys), this_moment()))
    rows.push_back(std::move(row));
}

const auto& installed_of(const TunnelManager& manager) { return manager.installer().children(); }
const auto& orphans_of(const TunnelManager& manager) { return manager.orphans().children(); }

json ike_row(const IkeRow& row) {
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

/// Children of a tunnel that are in the kernel, or on their way there.
std::set<ike::ChildId> ids_of(const TunnelManager& manager, const TunnelRow& row) {
  std::set<ike::ChildId> ids;
  for (const ike::IkeSaId id : row.ikes)
    if (const auto ike = manager.ike_sas().find(id); ike != manager.ike_sas().end())
      ids.insert(ike->second.children.begin(), ike->second.children.end());
  for (const auto& [name, child] : row.children) ids.insert(child.up.begin(), child.up.end());
  return ids;
}

/// Calls `with` with the id and the child of all of them.
template <typename With>
void for_installed(const TunnelManager& manager, const TunnelRow& row, With with) {
  for (const ike::ChildId id : ids_of(manager, row))
    if (const auto child = installed_of(manager).find(id); child != installed_of(manager).end())
      with(id, *child->second);
}
template <typename With>
void for_orphans(const TunnelManager& manager, const TunnelRow& row, With with) {
  for (const auto& [name, child] : row.children)
    for (const uint32_t reqid : reqids_of(child))
      if (const auto kept = orphans_of(manager).find(reqid); kept != orphans_of(manager).end()) with(kept->second);
}

/// Whether the rows of its tunnel show it.
bool tunnel_shows(const TunnelManager& manager, ike::ChildId id, const InstalledChild& child) {
  const auto row = manager.tunnels().find(child.spec->tunnel->name);
  return row != manager.tunnels().end() && ids_of(manager, row->second).contains(id);
}
bool tunnel_shows(const TunnelManager& manager, const Orphans::Kept& kept) {
  const auto row = manager.tunnels().find(kept.child.tunnel);
  return row != manager.tunnels().end() && std::ranges::any_of(row->second.children, [&](const auto& child) {
           return std::ranges::count(reqids_of(child.second), kept.child.reqid) != 0;
         });
}

/// Tunnel by tunnel, in one step each: a rekey between two steps gives the child another id, and by ids it would be
/// shown twice or not at all. The few whose tunnel does not know them any more come last.
template <typename AddInstalled, typename AddOrphan>
std::unique_ptr<RowSource> rows_by_tunnel(const TunnelManager& manager, AddInstalled add, AddOrphan add_orphan) {
  auto tunnels = rows_of_map(
      [&manager]() -> const auto& { return manager.tunnels(); },
      [&manager, add, add_orphan](const std::string&, const TunnelRow& row, Rows& rows) {
        for_installed(manager, row, [&](ike::ChildId id, const InstalledChild& child) { add(id, child, rows); });
        for_orphans(manager, row, [&](const Orphans::Kept& kept) { add_orphan(kept, rows); });
      });
  auto others = rows_of_map(
      [&manager]() -> const auto& { return installed_of(manager); },
      [&manager, add](ike::ChildId id, const std::unique_ptr<InstalledChild>& child, Rows& rows) {
        if (!tunnel_shows(manager, id, *child)) add(id, *child, rows);
      });
  auto other_orphans = rows_of_map(
      [&manager]() -> const auto& { return orphans_of(manager); },
      [&manager, add_orphan](uint32_t, const Orphans::Kept& kept, Rows& rows) {
        if (!tunnel_shows(manager, kept)) add_orphan(kept, rows);
      });
  return std::make_unique<ChainedRows>(std::move(tunnels),
                                       std::make_unique<ChainedRows>(std::move(others), std::move(other_orphans)));
}

/// A number in `digits` hexadecimal digits, with or without 0x.
std::optional<uint64_t> spi_number(std::string_view text, size_t digits) {
  if (text.starts_with("0x")) text.remove_prefix(2);
  if (text.size() != digits) return std::nullopt;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

}  // namespace

std::unique_ptr<RowSource> child_rows(const TunnelManager& manager) {
  return rows_by_tunnel(
      manager,
      [&manager](ike::ChildId id, const InstalledChild& child, Rows& rows) {
        rows.push_back(child_row(manager, id, child));
      },
      [](const Orphans::Kept& kept, Rows& rows) { rows.push_back(orphan_child_row(kept, this_moment())); });
}

std::unique_ptr<RowSource> sa_rows(Agent& agent) {
  return rows_by_tunnel(
      agent.manager(),
      [&agent](ike::ChildId id, const InstalledChild& child, Rows& rows) { add_sa_rows(agent, id, child, rows); },
      [&agent](const Orphans::Kept& kept, Rows& rows) { add_orphan_sa_rows(agent, kept, rows); });
}

std::unique_ptr<RowSource> ike_rows(const Agent& agent) {
  return rows_of_map(
      [&agent]() -> const auto& { return agent.manager().ike_sas(); },
      [](ike::IkeSaId, const IkeRow& row, Rows& rows) { rows.push_back(ike_row(row)); });
}

namespace {

class RouteRows final : public RowSource {
 public:
  explicit RouteRows(const Agent& agent) : agent_(agent) {}
  More next(Rows& rows) override {
    const auto some = agent_.manager().shared().routes(last_, control::kRowsPerStep);
    for (const SharedObjects::RouteRow& each : some) rows.push_back(row_of(each));
    return some.empty() ? More::kNo : More::kYes;
  }

 private:
  json row_of(const SharedObjects::RouteRow& each) const {
    const TunnelManager& manager = agent_.manager();
    return {{"destination", to_string(each.route.destination)},
            {"vrf", or_null(each.route.vrf)},
            {"netns", or_null(each.netns)},
            {"kind", each.route.kind == policy::RouteKind::kUnreachable ? "unreachable" : "device"},
            {"device", each.route.device},
            {"gateway", each.route.gateway ? json(to_string(*each.route.gateway)) : json(nullptr)},
            {"metric", each.route.metric},
            {"protocol", each.route.protocol},
            {"tunnel", or_null(manager.tunnel_of(each.tunnel))},
            {"carrier", or_null(manager.carriers().name_of(each.tunnel))},
            {"state", each.waits_for ? "waiting" : "held"},
            {"waits_for", each.waits_for ? or_null(manager.tunnel_of(*each.waits_for)) : json(nullptr)}};
  }
  const Agent& agent_;
  std::optional<SharedObjects::RoutePlace> last_;
};

}  // namespace

std::unique_ptr<RowSource> route_rows(const Agent& agent) { return std::make_unique<RouteRows>(agent); }

std::vector<json> children_of_tunnel(const Agent& agent, const TunnelRow& row) {
  Rows rows;
  for_installed(agent.manager(), row, [&](ike::ChildId id, const InstalledChild& child) {
    rows.push_back(child_row(agent.manager(), id, child));
  });
  for_orphans(agent.manager(), row,
              [&](const Orphans::Kept& kept) { rows.push_back(orphan_child_row(kept, this_moment())); });
  return rows;
}

json sas_of_tunnel(Agent& agent, const TunnelRow& row) {
  Rows ikes, sas;
  for (const ike::IkeSaId id : row.ikes)
    if (const auto ike = agent.manager().ike_sas().find(id); ike != agent.manager().ike_sas().end())
      ikes.push_back(ike_row(ike->second));
  for_installed(agent.manager(), row,
                [&](ike::ChildId id, const InstalledChild& child) { add_sa_rows(agent, id, child, sas); });
  for_orphans(agent.manager(), row, [&](const Orphans::Kept& kept) { add_orphan_sa_rows(agent, kept, sas); });
  return {{"ike_sas", std::move(ikes)}, {"children", children_of_tunnel(agent, row)}, {"sas", std::move(sas)}};
}

json ike_row_by_spi(const Agent& agent, std::string_view spi) {
  const auto number = spi_number(spi, 16);
  const auto row = number ? agent.manager().ike_sas().find(ike::IkeSaId(*number)) : agent.manager().ike_sas().end();
  return row == agent.manager().ike_sas().end() ? json(nullptr) : ike_row(row->second);
}

json sa_row_by_spi(Agent& agent, std::string_view spi) {
  const auto number = spi_number(spi, 8);
  if (!number) return nullptr;
  const auto child = installed_of(agent.manager()).find(ike::ChildId(static_cast<uint32_t>(*number)));
  Rows rows;
  if (child != installed_of(agent.manager()).end()) add_sa_rows(agent, child->first, *child->second, rows);
  const auto wanted = std::ranges::find_if(rows, [](const json& row) { return row.value("direction", "") == "in"; });
  return wanted == rows.end() ? json(nullptr) : *wanted;
}

}  // namespace ipsec::agent::show
