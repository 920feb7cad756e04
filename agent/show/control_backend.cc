#include "agent/show/control_backend.h"

#include <algorithm>
#include <array>
#include <memory>
#include <set>

#include "agent/control/config_issues.h"
#include "agent/control/event_json.h"
#include "agent/control/message.h"
#include "agent/show/carriers_json.h"
#include "agent/show/census.h"
#include "agent/show/drift_json.h"
#include "agent/show/limits.h"
#include "agent/show/metrics_view.h"
#include "agent/show/negotiation_json.h"
#include "agent/show/offload_json.h"
#include "agent/show/rows.h"
#include "agent/show/sa_json.h"
#include "agent/show/sa_rows.h"
#include "agent/show/status_json.h"
#include "agent/show/tunnel_rows.h"
#include "agent/unclaimed.h"
#include "netlink/xfrm_stat.h"
#include "policy/config_parser.h"

namespace ipsec::agent {

using namespace show;  // NOLINT: what this file puts together
using control::Work;

ControlBackend::ControlBackend(Agent& agent)
    : agent_(agent), checks_([&agent](std::function<void()> action) { agent.loop().post(std::move(action)); }) {}

Work ControlBackend::status() {
  return [this, census = std::make_shared<Census>(agent_.manager())]() -> std::optional<Result<json>> {
    if (!census->step()) return std::nullopt;
    return status_json(agent_.manager(), *census, status_facts());
  };
}

StatusFacts ControlBackend::status_facts() const {
  return {.version = IPSEC_VERSION,
          .node_id = agent_.config().node_id,
          .started_at = control::rfc3339(agent_.started_at()),
          .workers = agent_.worker_count(),
          .warnings = agent_.warnings(),
          .count = [this](Reason reason) { return agent_.count(reason); }};
}

namespace {

std::unique_ptr<RowSource> rows_at_once(json rows) {
  return std::make_unique<PreparedRows>(
      [rows = std::move(rows)] { return std::optional(std::vector<json>(rows.begin(), rows.end())); });
}

}  // namespace

Result<std::unique_ptr<RowSource>> ControlBackend::list(std::string_view kind) {
  if (kind == "tunnels") return tunnel_rows(agent_);
  if (kind == "groups") return group_rows(agent_);
  if (kind == "sas") return sa_rows(agent_);
  if (kind == "children") return child_rows(agent_.manager());
  if (kind == "peers") return ike_rows(agent_);
  if (kind == "devices") return device_rows(agent_.manager(), monotonic_now());
  if (kind == "seats") return seat_rows(agent_.manager());
  if (kind == "credentials") return credential_rows(agent_);
  if (kind == "routes") return route_rows(agent_);
  if (kind == "carriers") return rows_at_once(carrier_rows(agent_.manager().carriers(), monotonic_now()));
  return Error(Reason::kNotFound,
               "no kind of object is called \"" + printable(as_bytes(kind)) +
                   "\"; there are groups, tunnels, sas, children, peers, devices, credentials, routes, seats and "
                   "carriers");
}

namespace {

/// The member by which a row is found.
std::string_view key_of(std::string_view kind) {
  if (kind == "sas") return "spi";
  if (kind == "children") return "child";
  if (kind == "peers" || kind == "seats") return "tunnel";
  return kind == "routes" ? "destination" : "name";
}

/// A search through the rows of a kind, some at each step.
struct Search {
  std::unique_ptr<RowSource> rows;
  std::string kind, name, singular;
  std::string known = {};  // some that there are

  bool matches(const json& row) const {
    if (kind == "peers")  // by either SPI, too
      for (const char* spi : {"ike_spi_i", "ike_spi_r"})
        if (row.value(spi, json()) == name) return true;
    if (kind == "children" && row.value("tunnel", "") + "/" + row.value("child", "") == name) return true;
    return row.value(key_of(kind), json()) == name;
  }
  std::optional<Result<json>> step() {
    std::vector<json> some;
    const RowSource::More more = rows->next(some);
    for (json& row : some) {
      if (matches(row)) return Result<json>(std::move(row));
      const json& value = control::member_at(row, key_of(kind));
      if (known.size() < 200 && value.is_string())
        known.append(known.empty() ? "" : ", ").append(value.get<std::string>());
    }
    if (more == RowSource::More::kYes) return std::nullopt;
    return Result<json>(Error(Reason::kNotFound, "there is no " + singular + " \"" + printable(as_bytes(name)) + "\"" +
                                                     (known.empty() ? std::string() : "; there are: " + known)));
  }
};

}  // namespace

/// By key where there is one; else row by row.
Work ControlBackend::show(std::string_view kind, std::string_view name) {
  if (kind == "tunnels")
    if (const auto row = agent_.manager().tunnels().find(std::string(name)); row != agent_.manager().tunnels().end())
      return show_tunnel(row->second);
  if (kind == "sas")
    if (json row = sa_row_by_spi(agent_, name); !row.is_null()) return control::done_at_once(std::move(row));
  if (kind == "peers")
    if (json row = ike_row_by_spi(agent_, name); !row.is_null()) return control::done_at_once(std::move(row));
  if (kind == "children") {
    const size_t slash = name.find('/');
    const auto row = agent_.manager().tunnels().find(std::string(name.substr(0, slash)));
    if (slash != std::string_view::npos && row != agent_.manager().tunnels().end())
      for (json& child : children_of_tunnel(agent_, row->second))
        if (child["child"] == name.substr(slash + 1)) return control::done_at_once(std::move(child));
  }
  auto rows = list(kind);
  if (!rows.ok()) return control::done_at_once(rows.error());
  const std::string singular(kind == "children" ? "child" : kind.substr(0, kind.size() - 1));
  const auto search = std::make_shared<Search>(
      Search{.rows = std::move(*rows), .kind = std::string(kind), .name = std::string(name), .singular = singular});
  if (kind != "devices") return [search] { return search->step(); };
  return [this, search]() -> std::optional<Result<json>> {
    auto found = search->step();
    if (!found || !found->ok()) return found;
    return Result<json>(device_in_full(agent_.manager(), **found));
  };
}

namespace {

/// The routes of one tunnel, looked for in steps, and then all of it.
struct TunnelInFull {
  Agent& agent;
  std::string name;
  std::unique_ptr<RowSource> routes;
  json held = json::array();

  std::optional<Result<json>> step() {
    std::vector<json> some;
    const RowSource::More more = routes->next(some);
    for (json& row : some)
      if (row.value("tunnel", json()) == name) held.push_back(std::move(row));
    if (more == RowSource::More::kYes) return std::nullopt;
    const auto row = agent.manager().tunnels().find(name);
    if (row == agent.manager().tunnels().end()) return Result<json>(Error(Reason::kConfigNotInForce, "tunnel " + name));
    json full = tunnel_row(agent, row->second);
    const auto configured = agent.config().tunnels.find(name);
    full["config"] =
        configured != agent.config().tunnels.end() ? effective_tunnel(*configured->second) : json::object();
    full.update(sas_of_tunnel(agent, row->second));
    full["routes"] = std::move(held);
    return Result<json>(std::move(full));
  }
};

}  // namespace

Work ControlBackend::show_tunnel(const TunnelRow& row) {
  const auto full = std::make_shared<TunnelInFull>(
      TunnelInFull{.agent = agent_, .name = row.tunnel->name, .routes = route_rows(agent_)});
  return [full] { return full->step(); };
}

Work ControlBackend::metrics(const std::string& format, const control::ServerCounters& counters, size_t clients) {
  std::optional<metrics::Format> wanted;
  for (const auto each : {metrics::Format::kOpenMetrics, metrics::Format::kPrometheus})
    if (format.empty() ? each == metrics::Format::kOpenMetrics : to_string(each) == format) wanted = each;
  if (!wanted)
    return control::done_at_once(Error(
        Reason::kControlBadRequest, "format: openmetrics or prometheus, not \"" + printable(as_bytes(format)) + "\""));
  return [this, counters, clients, format = *wanted, begun = monotonic_now(),
          census = std::make_shared<Census>(agent_.manager())]() -> std::optional<Result<json>> {
    if (!census->step()) return std::nullopt;
    return Result<json>(metrics_text(*census, counters, clients, format, begun));
  };
}

std::string ControlBackend::metrics_text(const Census& census, const control::ServerCounters& counters, size_t clients,
                                         metrics::Format format, Instant begun) {
  const json state = status_json(agent_.manager(), census, status_facts());
  metrics::Exposition numbers = collect_metrics({.manager = agent_.manager(),
                                                 .census = census,
                                                 .version = IPSEC_VERSION,
                                                 .started_at = agent_.started_at(),
                                                 .health = state["health"].get<std::string>(),
                                                 .warnings = state["warnings"].size(),
                                                 .workers = agent_.worker_totals(),
                                                 .longest_turn = agent_.loop().longest_turn(),
                                                 .count = [this](Reason reason) { return agent_.count(reason); },
                                                 .xfrm_stat = &netlink::read_xfrm_stat,
                                                 .control = counters,
                                                 .clients = clients});
  finish_metrics(numbers, monotonic_now() - begun);
  return numbers.text(format);
}

void ControlBackend::up(const std::string& tunnel, const std::string& child, Done done) {
  agent_.manager().up(monotonic_now(), tunnel, child, [this, tunnel, done = std::move(done)](Status status) {
    if (!status.ok()) return done(std::move(status).error());
    done(outcome_of(agent_, tunnel));
  });
}

void ControlBackend::down(const std::string& tunnel, const std::string& child, Done done) {
  agent_.manager().down(monotonic_now(), tunnel, child, [this, tunnel, done = std::move(done)](Status status) {
    if (!status.ok()) return done(std::move(status).error());
    done(outcome_of(agent_, tunnel));
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
  return outcome_of(agent_, tunnel);
}

void ControlBackend::drift(const std::optional<std::string>& netns, std::function<void(Maker)> done) {
  agent_.manager().drift(monotonic_now(), netns,
                         [netns, done = std::move(done)](const Result<std::vector<NamespaceDrift>>& found) {
                           done([netns, found]() -> Result<json> {
                             if (!found.ok()) return found.error();
                             return drift_json(*found, netns);
                           });
                         });
}

control::Work ControlBackend::drift_adopt(const std::optional<std::string>& netns) {
  Reconciliation& reconciliation = agent_.manager().reconciliation();
  if (netns && !reconciliation.looks_after(*netns))
    return control::done_at_once(Error(Reason::kNotFound, no_such_namespace(*netns)));
  return [adoption = std::make_shared<DriftAdoption>(agent_.kernel(), reconciliation,
                                                     netns)]() -> std::optional<Result<json>> {
    if (adoption->step(monotonic_now())) return std::nullopt;
    if (adoption->failed()) return Result<json>(*adoption->failed());
    return Result<json>(json{{"adopted", adoption->adopted()}});
  };
}

void ControlBackend::rekey(const std::string& tunnel, const std::string& child, RekeyTarget target, Done done) {
  const auto what =
      target == RekeyTarget::kIke ? TunnelManager::RekeyTarget::kIke : TunnelManager::RekeyTarget::kChildren;
  agent_.manager().rekey(monotonic_now(), tunnel, child, what, [this, tunnel, done = std::move(done)](Status status) {
    if (!status.ok()) return done(std::move(status).error());
    done(outcome_of(agent_, tunnel));
  });
}

json ControlBackend::config_check(const std::vector<NamedText>& files) const {
  std::vector<policy::ConfigFile> documents;
  documents.reserve(files.size());
  for (const NamedText& each : files) documents.push_back({each.name, each.text});
  return control::checked_of(policy::parse_config(documents));
}

void ControlBackend::aside(std::function<void()> work, std::function<void()> then) {
  checks_.run([work = std::move(work), then = std::move(then)] {
    work();
    return then;
  });
}

namespace {

json reloaded_json(const Agent::Reloaded& reloaded) {
  json changes = json::array();
  for (const auto& [name, change] : *reloaded.changes)
    changes.push_back({{"tunnel", name},
                       {"kind", to_string(change.kind)},
                       {"settings", change.settings},
                       {"children_added", change.children_added},
                       {"children_removed", change.children_removed},
                       {"children_rekeyed", change.children_rekeyed},
                       {"ike_rekeyed", change.rekey_ike}});
  return json{{"ok", reloaded.errors.empty()},
              {"errors", control::issues_of(reloaded.errors)},
              {"warnings", control::issues_of(reloaded.warnings)},
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

control::Backend::Effective ControlBackend::config_effective() {
  json groups = json::object();
  for (const auto& [name, group] : agent_.config().groups) groups[name] = group_settings(*group);
  return {.common = {{"version", 1},
                     {"node_id", agent_.config().node_id},
                     {"tunnel_groups", std::move(groups)},
                     {"carriers", carriers_effective(agent_.config())}},
          .tunnels = effective_tunnels(agent_)};
}

}  // namespace ipsec::agent
