#include "policy/policy_hash.h"

#include <doctest/doctest.h>

using namespace ipsec;
using namespace ipsec::policy;

namespace {

/// Of namespace "pub"; there is nothing to be done elsewhere.
PolicyHash hash_of(const Config& config) {
  const auto hashes = plan_policy_hashes(config);
  REQUIRE(hashes.size() == 1);
  return hashes.at("pub");
}

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
  CHECK(hash_of(config_of("10.1.0.0/16", {"10.2.0.0/24", "10.3.0.0/25"})) ==
        PolicyHash{.local_v4 = 16, .remote_v4 = 24, .local_v6 = 128, .remote_v6 = 128});
  CHECK(hash_of(config_of("fd00:1::/64", {"fd00:2::/56"})) ==
        PolicyHash{.local_v4 = 32, .remote_v4 = 32, .local_v6 = 64, .remote_v6 = 56});
  CHECK(plan_policy_hashes(config_of("10.1.0.0/16", {})).empty());
}

TEST_CASE("policy hash: up to a twentieth of wider selectors does not spoil it") {
  std::vector<std::string> remotes;
  for (int i = 0; i < 95; ++i) remotes.push_back("10." + std::to_string(i) + ".0.0/24");
  for (int i = 0; i < 5; ++i) remotes.push_back(std::to_string(20 + i) + ".0.0.0/8");
  CHECK(hash_of(config_of("0.0.0.0/0", remotes)).remote_v4 == 24);
  CHECK(hash_of(config_of("0.0.0.0/0", remotes)).local_v4 == 0);
  remotes.push_back("30.0.0.0/8");
  CHECK(hash_of(config_of("0.0.0.0/0", remotes)).remote_v4 == 8);
}
