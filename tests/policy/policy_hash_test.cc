#include "policy/policy_hash.h"

#include <doctest/doctest.h>

using namespace ipsec;
using namespace ipsec::policy;

namespace {

/// One tunnel in namespace "pub" for each remote selector, all with this local one.
Config config_of(const std::string& local, const std::vector<std::string>& remotes) {
  TunnelGroup group;
  group.name = "core";
  group.public_place.netns = "pub";
  const auto shared = std::make_shared<const TunnelGroup>(group);
  Config config;
  for (const std::string& remote : remotes) {
    auto tunnel = std::make_shared<Tunnel>();
    tunnel->group = shared;
    ChildConfig child;
    child.local = {parse_selector(local).value()};
    child.remote = {parse_selector(remote).value()};
    tunnel->children.push_back(child);
    config.tunnels["t" + std::to_string(config.tunnels.size())] = tunnel;
  }
  return config;
}

}  // namespace

TEST_CASE("policy hash: the prefix lengths in use are its thresholds, the kernel's own where there are none") {
  const auto hash = plan_policy_hash(config_of("10.1.0.0/16", {"10.2.0.0/24", "10.3.0.0/25"}), "pub");
  REQUIRE(hash);
  CHECK(*hash == PolicyHash{.local_v4 = 16, .remote_v4 = 24, .local_v6 = 128, .remote_v6 = 128});
  CHECK(plan_policy_hash(config_of("fd00:1::/64", {"fd00:2::/56"}), "pub") ==
        PolicyHash{.local_v4 = 32, .remote_v4 = 32, .local_v6 = 64, .remote_v6 = 56});
  CHECK_FALSE(plan_policy_hash(config_of("10.1.0.0/16", {"10.2.0.0/24"}), "elsewhere"));
}

TEST_CASE("policy hash: up to a twentieth of wider selectors does not spoil it") {
  std::vector<std::string> remotes;
  for (int i = 0; i < 95; ++i) remotes.push_back("10." + std::to_string(i) + ".0.0/24");
  for (int i = 0; i < 5; ++i) remotes.push_back(std::to_string(20 + i) + ".0.0.0/8");
  CHECK(plan_policy_hash(config_of("0.0.0.0/0", remotes), "pub")->remote_v4 == 24);
  CHECK(plan_policy_hash(config_of("0.0.0.0/0", remotes), "pub")->local_v4 == 0);
  remotes.push_back("30.0.0.0/8");
  CHECK(plan_policy_hash(config_of("0.0.0.0/0", remotes), "pub")->remote_v4 == 8);
}
