#include "tests/manager/manager_world.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>

#include "policy/config_parser.h"
#include "policy/diff.h"
#include "policy/plan_groups.h"
#include "policy/plan_routes.h"

namespace ipsec::testing {

namespace {

std::string manual_child(const TunnelText& tunnel) {
  return R"({ "local": [")" + tunnel.local + R"("], "remote": [")" + tunnel.selector +
         R"("], "policy": "cbc", "manual": { "credential": "static", "spi_in": )" +
         std::to_string(tunnel.manual->first) + R"(, "spi_out": )" + std::to_string(tunnel.manual->second) + " } }";
}

struct GroupText {
  const std::string &group, &public_netns, &public_more, &offload, &budget, &top;
};

std::string document(const std::vector<TunnelText>& tunnels, const GroupText& shape) {
  std::string text = R"({ "version": 1,
    "tunnel_groups": { "core": {
      "public": { "netns": ")" +
                     shape.public_netns + R"(", "addresses": ["192.0.2.1"])" + shape.public_more + R"( },
      )" + shape.group +
                     R"(,
      "offload": { "mode": ")" +
                     shape.offload + R"(", "devices": ["ens1"] } } },
    "node": { "allow_manual_keys": true, "offload": {)" +
                     shape.budget + R"(} },
    "child_policies": { "cbc": { "proposals": ["aes256-sha256"] }, "host": { "mode": "transport" } },
    "credentials": { "key": { "psk": { "file": "key" } },
      "static": { "manual": { "in": { "file": "static.in" }, "out": { "file": "static.out" } } } },
    "tunnels": {)";
  for (size_t i = 0; i < tunnels.size(); ++i) {
    const TunnelText& each = tunnels[i];
    if (each.manual) {
      text += (i == 0 ? "\"" : ",\"") + each.name + "\": { \"group\": \"core\", \"remote\": \"" + each.remote +
              "\", \"children\": { \"lan\": " + manual_child(each) + " }" + each.members + " }";
      continue;
    }
    text += (i == 0 ? "\"" : ",\"") + each.name + "\": { \"group\": \"core\", \"remote\": \"" + each.remote +
            "\", \"credential\": \"key\", \"children\": { \"lan\": { \"local\": [\"" + each.local +
            "\"], \"remote\": [\"" + each.selector + "\"], \"start\": \"" + each.start + "\" }";
    for (const auto& [name, selector] : each.more)
      text.append(",\"")
          .append(name)
          .append("\": { \"local\": [\"")
          .append(each.local)
          .append("\"], \"remote\": [\"")
          .append(selector)
          .append("\"], \"start\": \"")
          .append(each.start)
          .append("\" }");
    text += "}" + each.members + " }";
  }
  return text + "}" + shape.top + "}";
}

policy::ChildKeys keys_of(uint32_t child) {
  Secret material(36);  // AES-GCM with 256 bits
  for (uint8_t& byte : material.writable()) byte = static_cast<uint8_t>(child);
  return {std::move(material)};
}

Result<policy::ManualKeys> manual_keys_of(std::optional<uint8_t> filling) {
  if (!filling) return Error(Reason::kConfigSecretFile, "static.in", ENOENT);
  policy::ManualKeys keys{{Secret(64)}, {Secret(64)}};  // AES-256 and HMAC-SHA2-256
  std::ranges::fill(keys.in.material.writable(), *filling);
  std::ranges::fill(keys.out.material.writable(), static_cast<uint8_t>(*filling + 1));
  return keys;
}

policy::NamespaceState ours_in(const FakeKernel::Namespace& space) {
  policy::NamespaceState state;
  for (const auto& [key, sa] : space.sas)
    if (sa.maker == Maker::kOurs) state.sas[key] = policy::SaIdentity::of(sa.state);
  for (const auto& [key, policy] : space.policies)
    if (policy.maker == Maker::kOurs) state.add(policy.config);
  for (const auto& [key, link] : space.links)
    if (link.maker == Maker::kOurs) state.add(link.config);
  for (const auto& [key, route] : space.routes)
    if (route.maker == Maker::kOurs) state.add(route.config);
  for (const auto& [rule, maker] : space.rules)
    if (maker == Maker::kOurs) state.add(rule);
  return state;
}

}  // namespace

ManagerWorld::ManagerWorld(std::string offload) : offload_(std::move(offload)) {
  kernel.add_namespace("pub").devices["ens1"] = {};
  if (offload_ != "none") pub().path.device = "ens1";
  kernel.add_namespace("priv").vrfs.insert("red");
  devices = {{.name = "ens1", .present = true, .up = true}};
  manager = make_manager();
}

std::unique_ptr<agent::TunnelManager> ManagerWorld::make_manager() {
  return std::make_unique<agent::TunnelManager>(agent::TunnelManager::Services{
      .kernel = kernel,
      .workers = workers,
      .random = random,
      .log = log,
      .events = events,
      .counters = counters,
      .wall_clock = [] { return WallTime{}; },
      .monotonic_clock = [this] { return clock ? clock() : Instant{}; },
      .offload = {.read_device =
                      [this](const std::string&, const std::string& name) {
                        const auto known = std::ranges::find(devices, name, &hwoffload::DeviceFacts::name);
                        agent::OffloadBook::DeviceLook look{.device_read = devices_read,
                                                            .settings_read = settings_read};
                        look.facts =
                            known != devices.end() && devices_read ? *known : hwoffload::DeviceFacts{.name = name};
                        if (!settings_read) look.facts.eswitch.clear(), look.facts.flow_steering.clear();
                        return look;
                      },
                  .kernel_facts = [this](const std::string&) { return kernel_facts; }},
      .aside =
          [this](std::function<void()> work, std::function<void()> then) {
            if (aside) return aside(std::move(work), std::move(then));
            work();
            then();
          },
      .out_drops = [this](const std::string&) { return Result<uint64_t>(out_drops); },
      .sent_packets = [this](const std::string&, const std::string&) { return Result<uint64_t>(sent_packets); },
      .clear_acquire = [this](const policy::Acquire& acquire) { cleared.push_back(acquire); },
      .namespace_changed = [this](const std::string& netns,
                                  bool present) { heard.push_back(netns + (present ? " present" : " gone")); },
      .underlay_gone =
          [this](const policy::RoutingPlace& place) { heard.push_back(place.netns + "/" + place.vrf + " gone"); },
      .manual_keys = [this](const policy::ChildConfig&) { return manual_keys_of(manual_key); }});
}

void ManagerWorld::start(const std::vector<TunnelText>& tunnels) {
  manager->start(now, config_of(tunnels));
  run();
  run();  // few tunnels have all begun by now, and so do carriers
}

agent::Leftovers ManagerWorld::restart(const std::vector<TunnelText>& tunnels) {
  manager.reset();
  kernel.restart();
  workers = {};
  specs_.clear();
  manager = make_manager();
  const auto config = config_of(tunnels);
  agent::Leftovers taken = agent::take_over(kernel, {"pub", "priv"}, *config, [] { return false; });
  manager->start(now, config, taken.adoption);
  run();
  return taken;
}

void ManagerWorld::reconfigure(const std::vector<TunnelText>& tunnels) {
  const auto config = config_of(tunnels);
  manager->reconfigure(
      now, config, std::make_shared<const policy::TunnelChanges>(policy::tunnel_changes(manager->config(), *config)));
  run();
}

std::shared_ptr<const policy::Config> ManagerWorld::config_of(const std::vector<TunnelText>& tunnels) const {
  auto outcome = policy::parse_config(
      {{.name = "test.json", .text = document(tunnels, {group, public_netns, public_more, offload_, budget, top})}});
  REQUIRE_MESSAGE(outcome.config != nullptr, outcome.errors.front().text());
  return adjusted(*outcome.config);
}

std::shared_ptr<const policy::Config> ManagerWorld::adjusted(const policy::Config& config) const {
  auto copy = std::make_shared<policy::Config>(config);
  copy->orphan_grace = orphan_grace;
  if (!adjust) return copy;
  for (auto& [name, tunnel] : copy->tunnels) {
    auto changed = std::make_shared<policy::Tunnel>(*tunnel);
    auto ike_policy = std::make_shared<policy::IkePolicy>(*tunnel->ike_policy);
    for (policy::ChildConfig& child : changed->children) {
      auto child_policy = std::make_shared<policy::ChildPolicy>(*child.policy);
      adjust(*ike_policy, *child_policy);
      child.policy = std::move(child_policy);
    }
    changed->ike_policy = std::move(ike_policy);
    tunnel = std::move(changed);
  }
  return copy;
}

std::shared_ptr<const policy::ChildSpec> ManagerWorld::spec(uint32_t id, const std::string& tunnel,
                                                            const std::string& child) const {
  if (const auto known = specs_.find({id, tunnel}); known != specs_.end()) return known->second;
  auto made = std::make_shared<policy::ChildSpec>();
  made->tunnel = manager->config().tunnels.at(tunnel);
  made->child = child;
  made->spi_in = policy::ChildSpi(id);
  made->spi_out = policy::ChildSpi(id + spi_out_offset);
  made->suite = suite;
  made->mode = made->tunnel->child(child)->policy->mode;
  made->local = made->tunnel->child(child)->local;
  made->remote = made->tunnel->child(child)->remote;
  if (const auto less = narrowed.find(tunnel); less != narrowed.end())
    made->remote = {policy::parse_selector(less->second).value()};
  made->local_endpoint = {*made->tunnel->local_address(), 500};
  made->remote_endpoint = {*made->tunnel->remote, 500};
  specs_[{id, tunnel}] = made;
  return made;
}

void ManagerWorld::put_foreign_objects(const std::string& route_device) {
  policy::PolicyConfig policy;
  policy.key.source = policy.key.destination = IpPrefix::parse("172.16.0.0/12").value();
  kernel.put_foreign("pub", policy);
  kernel.put_foreign("pub", {IpAddress::parse("203.0.113.9").value(), policy::ChildSpi(0xbeef)});
  kernel.put_foreign("priv", policy::LinkConfig{.name = "ipsf", .altname = "someone", .if_id = 0xf});
  kernel.put_foreign(
      "priv", policy::RouteConfig{
                  .destination = IpPrefix::parse("172.20.0.0/16").value(), .vrf = "red", .device = route_device});
}

void ManagerWorld::initiated(ike::IkeSaId ike, const std::string& tunnel) {
  manager->on_initiated(now, 1, tunnel, "lan", ike);
  run();
}

void ManagerWorld::refuse_initiation(Error error, const std::string& tunnel) {
  manager->on_initiated(now, 1, tunnel, "lan", std::move(error));
  run();
}

void ManagerWorld::ike_failed(ike::IkeSaId ike, Reason reason, const std::string& tunnel) {
  manager->on_action(now, 1, ike::Report{.ike = ike, .tunnel = tunnel, .path = {}, .reason = reason, .fields = {}});
  ike_gone(ike);
}

void ManagerWorld::install_inbound(ike::IkeSaId ike, uint32_t child, const std::string& tunnel) {
  inbound({.ike = ike, .id = child, .tunnel = tunnel});
}

void ManagerWorld::install_outbound(ike::IkeSaId ike, uint32_t child, const std::string& tunnel) {
  outbound({.ike = ike, .id = child, .tunnel = tunnel});
}

namespace {
std::optional<ike::ChildId> replaced_by(const ChildShape& shape) {
  if (!shape.replaces) return std::nullopt;
  return ike::ChildId(*shape.replaces);
}
}  // namespace

void ManagerWorld::inbound(const ChildShape& shape) {
  act(ike::InstallInbound{.id = ike::AskId(++asks_),
                          .ike = shape.ike,
                          .child = ike::ChildId(shape.id),
                          .replaces = replaced_by(shape),
                          .spec = spec(shape.id, shape.tunnel, shape.child),
                          .keys = keys_of(shape.id)});
}

void ManagerWorld::outbound(const ChildShape& shape) {
  act(ike::InstallOutbound{.ike = shape.ike,
                           .child = ike::ChildId(shape.id),
                           .replaces = replaced_by(shape),
                           .spec = spec(shape.id, shape.tunnel, shape.child),
                           .keys = keys_of(shape.id)});
}

void ManagerWorld::stop_outbound(const ChildShape& shape) {
  act(ike::StopOutbound{
      .ike = shape.ike, .child = ike::ChildId(shape.id), .spec = spec(shape.id, shape.tunnel, shape.child)});
}

void ManagerWorld::remove(const ChildShape& shape, Reason reason) {
  act(ike::RemoveChild{.ike = shape.ike,
                       .child = ike::ChildId(shape.id),
                       .spec = spec(shape.id, shape.tunnel, shape.child),
                       .reason = reason});
}

void ManagerWorld::identity(ike::IkeSaId ike, bool has_child, const std::string& tunnel) {
  act(ike::IdentityEstablished{
      .ike = ike, .tunnel = manager->config().tunnels.at(tunnel), .has_child = has_child, .initial_contact = false});
}

void ManagerWorld::child_failed(ike::IkeSaId ike, Reason reason, const std::string& child) {
  act(ike::ChildFailed{
      .ike = ike, .tunnel = manager->config().tunnels.at("a"), .child = child, .reason = reason, .detail = "no"});
}

void ManagerWorld::install(ike::IkeSaId ike, uint32_t child, const std::string& tunnel) {
  install_inbound(ike, child, tunnel);
  install_outbound(ike, child, tunnel);
}

void ManagerWorld::remove_child(ike::IkeSaId ike, uint32_t child, const std::string& tunnel) {
  manager->on_action(
      now, 1,
      ike::RemoveChild{
          .ike = ike, .child = ike::ChildId(child), .spec = spec(child, tunnel), .reason = Reason::kDeletedByOperator});
  run();
}

void ManagerWorld::ike_gone(ike::IkeSaId ike) {
  manager->on_action(now, 1, ike::SnapshotChanged{.ike = ike, .gone = true});
  run();
}

policy::Acquire ManagerWorld::acquire_for(const std::string& tunnel) const {
  const agent::TunnelRow& row = manager->tunnels().at(tunnel);
  policy::Acquire acquire;
  acquire.netns = "pub";
  acquire.policy = policy::plan_trap(*row.tunnel, *row.tunnel->child("lan"), row.children.at("lan").ids)
                       .value()
                       .policies.front()
                       .key;
  acquire.reqid = row.children.at("lan").ids.reqid;
  acquire.packet_source = policy::parse_selector("10.1.0.5[udp/4000]").value();
  acquire.packet_destination = policy::parse_selector("10.2.0.9[udp/53]").value();
  acquire.tunnel_source = *row.tunnel->local_address();
  acquire.tunnel_destination = *row.tunnel->remote;
  return acquire;
}

std::string ManagerWorld::last_answer() const {
  if (workers.answers.empty()) return "none";
  const auto& value = workers.answers.back().value;
  if (const auto* refused = std::get_if<ike::Refused>(&value)) return refused->error.text();
  return std::holds_alternative<ike::Installed>(value) ? "installed" : "another answer";
}

/// Dormant where nothing is up, nothing of an earlier run carries, and nothing waits that a packet could raise.
policy::LinkConfig ManagerWorld::wanted_link(const agent::TunnelRow& row) const {
  if (row.tunnel->shares_interface()) return policy::plan_external_link(manager->config(), *row.tunnel->group);
  policy::LinkConfig link =
      policy::plan_link(*row.tunnel, row.children.begin()->second.ids, policy::link_mtu(*row.tunnel, row.mtu.bytes));
  link.dormant = true;
  for (const auto& [name, child] : row.children) {
    const bool waits = child.trap && !child.held_down && !child.given_up;
    const bool carries = !child.up.empty() || manager->orphans().carry(child.ids.reqid);
    if (waits || carries) link.dormant = false;
  }
  return link;
}

size_t ManagerWorld::asked_at(std::string_view part) const {
  const auto& texts = kernel.texts();
  const auto reads_so = [&](const std::string& each) { return each.find(part) != std::string::npos; };
  return static_cast<size_t>(std::ranges::find_if(texts, reads_so) - texts.begin());
}

std::vector<std::string> ManagerWorld::differences() const {
  policy::NamespaceState in_public, in_private;
  const auto rows = all_routes(manager->shared());
  const auto add_route = [&](const policy::RouteConfig& route) {
    const bool waits =
        std::ranges::any_of(rows, [&](const auto& each) { return each.route == route && each.waits_for.has_value(); });
    if (!waits) in_private.add(route);
  };
  for (const auto& [name, row] : manager->tunnels()) {
    if (row.link_ready && !row.interface.empty()) in_private.add(wanted_link(row));
    for (const auto& each : row.routes) add_route(each);
    for (const auto& [child_name, child] : row.children) {
      if (!child.trap) continue;
      const policy::TrapPlan trap = policy::plan_trap(*row.tunnel, *child.config, child.ids).value();
      for (const auto& each : trap.policies) in_public.add(each);
      for (const auto& each : trap.routes) add_route(each);
    }
  }
  for (const auto& [id, child] : manager->installer().children()) {
    in_public.sas[child->plan.inbound.key] = policy::SaIdentity::of(child->plan.inbound);
    for (const auto& each : child->plan.inbound_policies) in_public.add(each);
    for (const auto& each : child->plan.private_policies) in_private.add(each);
    if (!child->has_outbound) continue;
    in_public.sas[child->plan.outbound.key] = policy::SaIdentity::of(child->plan.outbound);
    for (const auto& each : child->plan.outbound_policies) in_public.add(each);
    for (const auto& each : child->plan.routes) add_route(each);
  }
  for (const auto& [name, shared] : manager->config().groups) {
    if (const auto vrf = policy::plan_vrf(*shared)) in_private.add(*vrf);
    for (const auto& each : policy::plan_rules(*shared)) in_public.add(each);
    for (const auto& each : policy::plan_gateway_routes(*shared)) in_public.add(each);
  }
  for (const auto& [reqid, kept] : manager->orphans().children()) {
    for (const auto* sas : {&kept.child.inbound, &kept.child.outbound})
      for (const auto& [key, state] : *sas) in_public.sas[key] = policy::SaIdentity::of(state);
    if (kept.replaced) continue;
    for (const auto& each : kept.child.policies) in_public.add(each);
    for (const auto& each : kept.child.private_policies) in_private.add(each);
    for (const auto& each : kept.child.routes) add_route(each);
  }
  const auto policies = in_public.policies;
  for (const auto& [key, each] : policies)
    if (const auto guard = policy::plan_guard(each)) in_public.add(*guard);
  std::vector<std::string> lines;
  for (const auto& [desired, space] : {std::pair(&in_public, "pub"), std::pair(&in_private, "priv")}) {
    const policy::StateDiff diff = policy::diff(*desired, ours_in(kernel.in(space)));
    for (const auto& each : diff.changes) lines.push_back(std::string(space) + ": " + describe(each));
    for (const auto& each : diff.missing) lines.push_back("SA missing: " + std::to_string(each.spi.value()));
  }
  return lines;
}

std::vector<Event> ManagerWorld::events_of(Reason reason) const {
  std::vector<Event> found;
  for (const Event& each : events.read(0, 1000).events)
    if (each.reason == reason) found.push_back(each);
  return found;
}

}  // namespace ipsec::testing
