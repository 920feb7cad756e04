#include "agent/peer_directory.h"

#include <doctest/doctest.h>

#include <string>

using namespace ipsec;
using namespace ipsec::agent;
using policy::Role;

namespace {

const IpAddress kFirst = *IpAddress::parse("192.0.2.1"), kSecond = *IpAddress::parse("192.0.2.2");
const IpAddress kPeer = *IpAddress::parse("198.51.100.7"), kAnybody = *IpAddress::parse("203.0.113.9");
const std::string kStrong = "aes256gcm16-prfsha384-x25519", kOther = "aes128gcm16-prfsha256-ecp256";

/// A configuration out of tunnels, in two groups: one for each of our addresses.
class Directory {
 public:
  struct Parts {
    std::string name;
    std::string group = "core";
    std::optional<IpAddress> remote = {};
    std::string local_id = "gw.example", remote_id = "peer.example";
    std::string proposal = kStrong;
    Role role = Role::kBoth;
    bool childless = false;
  };
  Directory() {
    for (const auto& [name, address] : {std::pair("core", kFirst), {"edge", kSecond}}) {
      auto group = std::make_shared<policy::TunnelGroup>();
      group->name = name;
      group->public_addresses = {address};
      config_.groups.emplace(name, group);
    }
  }
  Directory& add(const Parts& parts) {
    auto ike = std::make_shared<policy::IkePolicy>();
    ike->proposals = policy::parse_proposal(policy::Protocol::kIke, parts.proposal).value();
    ike->role = parts.role;
    ike->childless = parts.childless ? policy::ChildlessPolicy::kAllow : policy::ChildlessPolicy::kRefuse;
    auto tunnel = std::make_shared<policy::Tunnel>();
    tunnel->name = parts.name;
    tunnel->group = config_.groups.at(parts.group);
    tunnel->remote = parts.remote;
    tunnel->local_id = policy::Identity::parse(parts.local_id).value();
    if (!parts.remote_id.empty()) tunnel->remote_id = policy::Identity::parse(parts.remote_id).value();
    tunnel->ike_policy = ike;
    config_.tunnels.emplace(parts.name, tunnel);
    return *this;
  }
  PeerDirectory built() const { return {config_, {{"core", ike::SocketContext(0)}, {"edge", ike::SocketContext(1)}}}; }

 private:
  policy::Config config_;
};

ike::Path path(const IpAddress& remote, const IpAddress& local = kFirst, uint16_t context = 0) {
  return {.context = ike::SocketContext(context), .local = {local, 500}, .remote = {remote, 500}};
}

std::string offered(const PeerDirectory& directory, const ike::Path& where) {
  return policy::to_string(directory.init_policy(where).proposals);
}

/// The tunnel that is found for a peer that calls itself peer.example, or why there is none.
std::string found(const PeerDirectory& directory, const ike::Path& where,
                  const std::optional<std::string>& local = std::nullopt) {
  std::optional<policy::Identity> wanted;
  if (local) wanted = policy::Identity::parse(*local).value();
  auto tunnel = directory.find(where, policy::Identity::parse("peer.example").value(), wanted);
  return tunnel.ok() ? (*tunnel)->name : tunnel.error().text();
}

}  // namespace

TEST_CASE("peer directory: a request may use what the tunnels of its address, and those of any address, allow") {
  Directory all;
  all.add({.name = "a", .remote = kPeer, .proposal = kOther}).add({.name = "b"}).add({.name = "c"});
  const PeerDirectory directory = all.built();
  CHECK(offered(directory, path(kPeer)) == kOther + ", " + kStrong);
  CHECK(offered(directory, path(kAnybody)) == kStrong);
}

TEST_CASE("peer directory: neither another address of ours nor another place of it counts, nor who only initiates") {
  Directory all;
  all.add({.name = "a", .remote = kPeer, .proposal = kOther, .role = Role::kInitiate})
      .add({.name = "b", .group = "edge", .childless = true});
  const PeerDirectory directory = all.built();
  CHECK(offered(directory, path(kPeer)).empty());
  CHECK(offered(directory, path(kPeer, kSecond)).empty());
  CHECK(offered(directory, path(kPeer, kSecond, 1)) == kStrong);
  CHECK(directory.init_policy(path(kPeer, kSecond, 1)).childless);
  CHECK(!directory.init_policy(path(kPeer)).childless);
}

TEST_CASE("peer directory: where the candidates have different proposals the peer's preference decides, else ours") {
  Directory alike;
  alike.add({.name = "a", .remote = kPeer}).add({.name = "b"}).add({.name = "c"});
  CHECK_FALSE(alike.built().init_policy(path(kPeer)).peer_prefers);
  CHECK_FALSE(alike.built().init_policy(path(kAnybody)).peer_prefers);
  Directory differ;
  differ.add({.name = "a", .remote = kPeer})
      .add({.name = "b", .proposal = kOther})
      .add({.name = "c", .proposal = kOther});
  CHECK(differ.built().init_policy(path(kPeer)).peer_prefers);
  CHECK_FALSE(differ.built().init_policy(path(kAnybody)).peer_prefers);
  Directory anybody;
  anybody.add({.name = "a"}).add({.name = "b", .proposal = kOther}).add({.name = "c"});
  CHECK(anybody.built().init_policy(path(kAnybody)).peer_prefers);
}

TEST_CASE("peer directory: many tunnels of any address are one policy without repetitions") {
  Directory all;
  for (int i = 0; i < 500; ++i)
    all.add({.name = "t" + std::to_string(i),
             .remote_id = "p" + std::to_string(i) + ".example",
             .proposal = i % 2 == 0 ? kStrong : kOther,
             .childless = i == 400});
  const ike::InitPolicy policy = all.built().init_policy(path(kAnybody));
  CHECK(policy.proposals.size() == 2);
  CHECK(policy.childless);
}

TEST_CASE("peer directory: of the tunnels of one name the first that takes the peer's request is found") {
  Directory all;
  all.add({.name = "a", .role = Role::kInitiate}).add({.name = "b", .role = Role::kRespond}).add({.name = "c"});
  CHECK(found(all.built(), path(kPeer)) == "b");
}

TEST_CASE("peer directory: where only initiating tunnels have a peer's name, the role is the reason") {
  Directory all;
  all.add({.name = "a", .role = Role::kInitiate}).add({.name = "b", .group = "edge"});
  auto refused = all.built().find(path(kPeer), policy::Identity::parse("peer.example").value(), std::nullopt);
  REQUIRE(!refused.ok());
  CHECK(refused.error().reason() == Reason::kRoleRefused);
  CHECK(refused.error().detail() == "tunnel a only initiates");
  CHECK(found(all.built(), path(kPeer, kSecond, 1)) == "b");
}

TEST_CASE("peer directory: each miss says what was missed") {
  Directory all;
  all.add({.name = "a", .remote = kPeer});
  const PeerDirectory directory = all.built();
  const auto miss = [&](const ike::Path& where, const std::string& name, const std::optional<std::string>& local = {}) {
    std::optional<policy::Identity> wanted;
    if (local) wanted = policy::Identity::parse(*local).value();
    auto tunnel = directory.find(where, policy::Identity::parse(name).value(), wanted);
    REQUIRE(!tunnel.ok());
    CHECK(tunnel.error().reason() == Reason::kUnknownPeerIdentity);
    return tunnel.error().detail();
  };
  CHECK(miss(path(kPeer), "stranger.example") == "no tunnel has remote_id stranger.example");
  CHECK(miss(path(kAnybody), "peer.example") == "tunnel a is for another address");
  CHECK(miss(path(kPeer), "peer.example", "other.example") ==
        "tunnel a has local_id gw.example, the peer wants other.example");
  CHECK(found(directory, path(kPeer), "gw.example") == "a");
}
