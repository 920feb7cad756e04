#include "agent/adoption.h"

#include <doctest/doctest.h>

#include "policy/config_parser.h"
#include "policy/plan.h"

using namespace ipsec;
using namespace ipsec::agent;

namespace {

constexpr uint32_t kIfId = 0x1000007, kReqid = 0x1000009;

constexpr const char* kByInterface = R"("private": { "netns": "priv", "vrf": "red" })";
constexpr const char* kByPolicy =
    R"("private": { "netns": "pub" }, "attachment": "policy", "default_block": true,
       "exceptions": [{ "local": ["10.1.0.9/32"], "remote": ["10.2.0.0/16"], "action": "bypass" }])";

std::shared_ptr<policy::Config> config_with(const std::string& children, const std::string& remote = "198.51.100.7",
                                            const std::string& attachment = kByInterface) {
  const auto outcome =
      policy::parse_config({{.name = "test.json",
                             .text = R"({ "version": 1,
    "tunnel_groups": { "core": { "public": { "netns": "pub", "addresses": ["192.0.2.1"] }, )" +
                                     attachment + R"( } },
    "credentials": { "key": { "psk": { "file": "key" } } },
    "tunnels": { "a": { "group": "core", "remote": ")" +
                                     remote + R"(", "credential": "key", "children": {)" + children + "} } } }"}});
  REQUIRE_MESSAGE(outcome.config != nullptr, outcome.errors.front().text());
  return std::make_shared<policy::Config>(*outcome.config);
}

std::string child(const std::string& name, const std::string& remote, const std::string& start = "respond") {
  return "\"" + name + R"(": { "local": ["10.1.0.0/16"], "remote": [")" + remote + R"("], "start": ")" + start + "\" }";
}

/// What a run with this configuration leaves behind: the tunnel's interface; for each child what `shape` says.
struct Standing {
  explicit Standing(const policy::Config& config) : tunnel(*config.tunnels.at("a")) {
    found["pub"];
    if (!by_policy()) found["priv"].ours.add(policy::plan_link(tunnel, ids(kReqid), 1400));
  }
  bool by_policy() const { return tunnel.group->attached == policy::Attachment::kPolicy; }
  policy::ChildIds ids(uint32_t reqid) const {
    if (by_policy()) return {.reqid = reqid};
    return {.reqid = reqid, .if_id = kIfId, .interface = policy::interface_name(kIfId)};
  }
  void add_sas(uint32_t reqid, uint32_t spi) {
    for (const bool in : {true, false}) {
      policy::SaState sa;
      sa.key = {in ? *tunnel.local_address() : *tunnel.remote, policy::ChildSpi(in ? spi : spi + 0x1000)};
      sa.source = in ? *tunnel.remote : *tunnel.local_address();
      sa.reqid = reqid;
      sa.if_id = ids(reqid).if_id;
      found["pub"].sas.push_back(sa);
      found["pub"].ours.sas.emplace(sa.key, policy::SaIdentity::of(sa));
    }
  }
  void add_policies(const std::string& name, uint32_t reqid) {
    auto spec = policy::ChildSpec{};
    const policy::ChildConfig& config = *tunnel.child(name);
    spec.tunnel = std::make_shared<policy::Tunnel>(tunnel);
    spec.child = name;
    spec.local = config.local, spec.remote = config.remote;
    spec.suite = {policy::kEncrAesGcm16, 256, policy::kAuthNone, false};
    spec.local_endpoint = {*tunnel.local_address(), 500}, spec.remote_endpoint = {*tunnel.remote, 500};
    const policy::ChildPlan plan = policy::plan_child(spec, ids(reqid)).value();
    for (const auto* list : {&plan.inbound_policies, &plan.outbound_policies})
      for (const policy::PolicyConfig& each : *list) found["pub"].ours.add(each);
    for (const policy::RouteConfig& each : plan.routes) found["priv"].ours.add(each);
  }
  policy::Tunnel tunnel;
  std::map<std::string, Found> found;
};

}  // namespace

TEST_CASE("adoption: a tunnel as it is configured keeps interface, policies, routes and SAs") {
  const auto config = config_with(child("lan", "10.2.0.0/16"));
  Standing standing(*config);
  standing.add_policies("lan", kReqid);
  standing.add_sas(kReqid, 0xc1);

  const Adoption adoption = adopt(*config, standing.found);

  REQUIRE(adoption.children.size() == 1);
  CHECK(adoption.children[0].inbound.size() == 1);
  CHECK(adoption.children[0].outbound.size() == 1);
  CHECK(adoption.children[0].policies.size() == 3);
  CHECK(adoption.children[0].routes.size() == 1);
  CHECK(adoption.numbers.at("a").if_id == kIfId);
  CHECK(adoption.numbers.at("a").reqids.at("lan") == kReqid);
  CHECK(adoption.keep.at("pub") == standing.found.at("pub").ours);
  CHECK(adoption.keep.at("priv") == standing.found.at("priv").ours);
  CHECK(adoption.last_number == kIfId);
  CHECK(adoption.last_reqid == kReqid);
}

TEST_CASE("adoption: of children whose selectors overlap each gets what was made for it") {
  const auto config = config_with(child("all", "10.0.0.0/8") + "," + child("lan", "10.2.0.0/16"));
  Standing standing(*config);
  standing.add_policies("all", kReqid);
  standing.add_sas(kReqid, 0xc1);
  standing.add_policies("lan", kReqid + 1);
  standing.add_sas(kReqid + 1, 0xc2);

  const Adoption adoption = adopt(*config, standing.found);

  CHECK(adoption.numbers.at("a").reqids.at("all") == kReqid);
  CHECK(adoption.numbers.at("a").reqids.at("lan") == kReqid + 1);
}

TEST_CASE("adoption: what two children allow and neither has exactly is nobody's") {
  const auto before = config_with(child("x", "10.2.0.0/24"));
  Standing standing(*before);
  standing.add_policies("x", kReqid);
  standing.add_sas(kReqid, 0xc1);

  const auto after = config_with(child("all", "10.0.0.0/8") + "," + child("lan", "10.2.0.0/16"));

  CHECK(adopt(*after, standing.found).children.empty());
}

TEST_CASE("adoption: of two reqids that fit one child the later one stays") {
  const auto config = config_with(child("lan", "10.2.0.0/16"));
  Standing standing(*config);
  standing.add_sas(kReqid + 5, 0xc2);
  standing.add_policies("lan", kReqid + 5);
  standing.add_sas(kReqid, 0xc1);

  const Adoption adoption = adopt(*config, standing.found);

  CHECK(adoption.numbers.at("a").reqids.at("lan") == kReqid + 5);
  CHECK(adoption.keep.at("pub").sas.size() == 2);
}

TEST_CASE("adoption: policies without SAs stay only where they wait for traffic") {
  for (const char* start : {"respond", "now", "traffic"}) {
    CAPTURE(start);
    const auto config = config_with(child("lan", "10.2.0.0/16", start));
    Standing standing(*config);
    standing.add_policies("lan", kReqid);

    const Adoption adoption = adopt(*config, standing.found);

    CHECK(adoption.children.empty());
    const auto keep = adoption.keep.find("pub");
    const size_t kept = keep == adoption.keep.end() ? 0 : keep->second.policies.size();
    CHECK(kept == (std::string(start) == "traffic" ? 1 : 0));
  }
}

TEST_CASE("adoption: nothing stays of a tunnel whose places, peer or mode are others now") {
  const auto config = config_with(child("lan", "10.2.0.0/16"));
  Standing standing(*config);
  standing.add_policies("lan", kReqid);
  standing.add_sas(kReqid, 0xc1);
  auto after = config;
  policy::LinkConfig& link = standing.found["priv"].ours.links.begin()->second;
  SUBCASE("VRF") { link.vrf = "blue"; }
  SUBCASE("public namespace") { link.public_netns = "other"; }
  SUBCASE("name") { link.altname = "b"; }
  SUBCASE("no name yet") { link.altname.clear(); }
  SUBCASE("interface of another number") { link.if_id = kIfId + 1; }
  SUBCASE("peer") { after = config_with(child("lan", "10.2.0.0/16"), "198.51.100.8"); }
  SUBCASE("grace") { after->orphan_grace = Duration{0}; }
  SUBCASE("mode") {
    for (policy::SaState& sa : standing.found["pub"].sas) sa.mode = policy::EspMode::kTransport;
  }

  const Adoption adoption = adopt(*after, standing.found);

  CHECK(adoption.children.empty());
  CHECK(adoption.last_reqid == kReqid);
  const auto keep = adoption.keep.find("pub");
  if (keep != adoption.keep.end()) CHECK(keep->second == policy::NamespaceState{});
}

TEST_CASE("adoption: what keeps traffic from leaving in the clear is not gone for a moment, even without a grace") {
  const auto config = config_with(child("lan", "10.2.0.0/16"));
  auto group = std::make_shared<policy::TunnelGroup>(*config->groups.at("core"));
  group->default_block = true;
  auto tunnel = std::make_shared<policy::Tunnel>(*config->tunnels.at("a"));
  std::string place = "priv";
  SUBCASE("by interface") {}
  SUBCASE("by policy") {
    place = "pub";
    group->attached = policy::Attachment::kPolicy;
    group->exceptions.push_back({.local = tunnel->children[0].local, .remote = tunnel->children[0].local});
  }
  tunnel->group = group;
  config->groups["core"] = group;
  config->tunnels["a"] = tunnel;
  config->orphan_grace = Duration{0};
  std::map<std::string, Found> found{{"pub", {}}, {"priv", {}}};
  const uint32_t if_id = place == "priv" ? kIfId : 0;
  const policy::BlockPlan plan = policy::plan_block(*tunnel, tunnel->children[0], {.if_id = if_id}).value();
  for (const policy::PolicyConfig& each : plan.policies) found["pub"].ours.add(each);
  for (const policy::RouteConfig& each : plan.routes) found["priv"].ours.add(each);
  if (!group->exceptions.empty()) {
    const auto exceptions = policy::plan_exception(group->exceptions[0], 0).value();
    for (const policy::PolicyConfig& each : exceptions) found["pub"].ours.add(each);
  }
  REQUIRE(found[place].ours != policy::NamespaceState{});

  Adoption adoption = adopt(*config, found);

  CHECK(adoption.keep[place] == found[place].ours);
  group->default_block = false;
  group->exceptions.clear();
  CHECK(adopt(*config, found).keep[place] == policy::NamespaceState{});
}

TEST_CASE("adoption: an interface that has lost its VRF, or lies over a number, stays") {
  const auto config = config_with(child("lan", "10.2.0.0/16"));
  Standing standing(*config);
  standing.add_policies("lan", kReqid);
  standing.add_sas(kReqid, 0xc1);
  policy::LinkConfig& link = standing.found["priv"].ours.links.begin()->second;
  SUBCASE("VRF") { link.vrf.clear(); }
  SUBCASE("number") { link.public_netns = "#4"; }

  CHECK(adopt(*config, standing.found).children.size() == 1);
}

TEST_CASE("adoption: attached by policy, SAs belong to the child with exactly their selectors") {
  const auto config =
      config_with(child("lan", "10.2.0.0/16") + "," + child("all", "10.0.0.0/8"), "198.51.100.7", kByPolicy);
  Standing standing(*config);
  standing.add_policies("lan", kReqid);
  standing.add_sas(kReqid, 0xc1);

  const Adoption adoption = adopt(*config, standing.found);

  REQUIRE(adoption.children.size() == 1);
  CHECK(adoption.children[0].child == "lan");
  CHECK(adoption.children[0].routes.empty());
  CHECK(adoption.children[0].number == adoption.numbers.at("a").number);
  CHECK(adoption.numbers.at("a").if_id == 0);
  CHECK(adoption.numbers.at("a").number == adoption.last_number);
  CHECK(adoption.keep.at("pub") == standing.found.at("pub").ours);
  const auto other = config_with(child("part", "10.2.0.0/24"), "198.51.100.7", kByPolicy);
  CHECK(adopt(*other, standing.found).children.empty());
}

TEST_CASE("adoption: exceptions and blocks stay whatever else goes, as long as they are configured so") {
  const auto config = config_with(child("lan", "10.2.0.0/16"), "198.51.100.7", kByPolicy);
  config->orphan_grace = Duration{0};
  Standing standing(*config);
  const auto block = policy::plan_block(standing.tunnel, standing.tunnel.children.front(), {}).value();
  const auto exception = policy::plan_exception(standing.tunnel.group->exceptions.front(), 0).value();
  for (const auto* list : {&block.policies, &exception})
    for (const policy::PolicyConfig& each : *list) standing.found["pub"].ours.add(each);

  CHECK(adopt(*config, standing.found).keep.at("pub") == standing.found.at("pub").ours);
  CHECK(block.policies.size() == 3);
  const auto open = config_with(child("lan", "10.2.0.0/16"), "198.51.100.7",
                                R"("private": { "netns": "pub" }, "attachment": "policy")");
  const auto keep = adopt(*open, standing.found).keep;
  CHECK((!keep.contains("pub") || keep.at("pub").policies.empty()));
}
