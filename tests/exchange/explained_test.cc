#include <doctest/doctest.h>

#include "tests/support/engine_world.h"

// A set-up that fails leaves behind what was compared, at both ends, as far as each end can know it.

using namespace ipsec;
using namespace ipsec::testing;
using namespace ipsec::ike;

namespace {

using About = policy::Negotiation::About;

const policy::Negotiation* kept(const Host& host) {
  for (const Report& each : host.reports)
    if (each.negotiation) return each.negotiation.get();
  return nullptr;
}

void fail(World& world) {
  world.initiate();
  world.run_for(40s);
  REQUIRE(kept(world.a) != nullptr);
  REQUIRE(kept(world.b) != nullptr);
}

/// Changes a host's tunnel before it is used.
template <typename Change>
void change_tunnel(Host& host, Change change) {
  auto tunnel = std::make_shared<policy::Tunnel>(*host.tunnel);
  change(*tunnel);
  host.tunnel = std::move(tunnel);
}

}  // namespace

TEST_CASE("explained: IKE proposals that do not meet are kept by the responder in full, by the initiator as offered") {
  World world({.ike_proposals_b = "aes128gcm16-prfsha256-ecp256"});
  fail(world);
  CHECK(kept(world.b)->about == About::kIkeProposal);
  CHECK(policy::to_string(kept(world.b)->offered) == "aes256gcm16-prfsha384-x25519");
  CHECK(policy::to_string(kept(world.b)->configured) == "aes128gcm16-prfsha256-ecp256");
  CHECK_FALSE(kept(world.b)->we_offered);
  CHECK(kept(world.b)->tunnel.empty());
  CHECK(kept(world.a)->about == About::kIkeProposal);
  CHECK(kept(world.a)->we_offered);
  CHECK(kept(world.a)->tunnel == world.a.tunnel->name);
  CHECK(policy::to_string(kept(world.a)->offered) == "aes256gcm16-prfsha384-x25519");
}

TEST_CASE("explained: keys that differ are kept as a matter of authentication at both ends") {
  World world;
  world.b.shell.psk = "another secret of some length";
  fail(world);
  CHECK(kept(world.b)->about == About::kAuthentication);
  CHECK(kept(world.b)->tunnel == world.b.tunnel->name);
  CHECK(kept(world.b)->offered_text == kept(world.b)->configured_text);
  CHECK(kept(world.a)->about == About::kAuthentication);
  CHECK(kept(world.a)->we_offered);
}

TEST_CASE("explained: a peer that nobody knows is kept with the name it gave and the name it asked for") {
  World world;
  world.b.shell.know_peer = false;
  fail(world);
  CHECK(kept(world.b)->about == About::kIdentity);
  CHECK(kept(world.b)->offered_text == policy::to_string(world.a.tunnel->local_id));
  CHECK(kept(world.b)->tunnel.empty());
}

TEST_CASE("explained: a responder of another name than expected is kept by the initiator") {
  World world;
  change_tunnel(world.a, [](policy::Tunnel& tunnel) {
    tunnel.remote_id = policy::Identity{policy::IdType::kFqdn, Bytes{'x', '.', 'y'}};
  });
  world.initiate();
  world.run_for(40s);
  REQUIRE(kept(world.a) != nullptr);
  CHECK(kept(world.a)->about == About::kIdentity);
  CHECK(kept(world.a)->tunnel == world.a.tunnel->name);
  CHECK(kept(world.a)->offered_text == policy::to_string(world.b.tunnel->local_id));
}

TEST_CASE("explained: proposals that this one peer may not use are kept with its tunnel") {
  World world;
  world.initiate();
  world.deliver_one();
  world.deliver_one();
  change_tunnel(world.b, [](policy::Tunnel& tunnel) {
    auto policy = std::make_shared<policy::IkePolicy>(*tunnel.ike_policy);
    policy->proposals = policy::parse_proposal(policy::Protocol::kIke, "aes128gcm16-prfsha256-ecp256").value();
    tunnel.ike_policy = policy;
  });
  world.run_for(40s);
  REQUIRE(kept(world.b) != nullptr);
  CHECK(kept(world.b)->about == About::kIkeProposal);
  CHECK(kept(world.b)->tunnel == world.b.tunnel->name);
  CHECK(policy::to_string(kept(world.b)->configured) == "aes128gcm16-prfsha256-ecp256");
}

TEST_CASE("explained: a set-up that only takes too long has nothing to compare") {
  World world;
  world.lose = [](const Flight&) { return true; };
  world.initiate();
  world.run_for(60s);
  CHECK(world.a.state() == "none");
  CHECK(kept(world.a) == nullptr);
}
