#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "agent/negotiation_log.h"
#include "policy/config_parser.h"

namespace ipsec::agent {

/// Tunnel a has a peer with an address of its own, b and c share one; all have one child policy.
inline std::vector<policy::ConfigFile> negotiation_files() {
  return {{"gw.json", R"({ "version": 1,
  "tunnel_groups": { "core": { "public": { "addresses": ["192.0.2.1"] } } },
  "child_policies": { "strong": {
    "proposals": [
      "chacha20poly1305-noesn",
      "aes256gcm16-noesn"
    ] } },
  "credentials": { "key": { "psk": { "file": "key" } } } })"},
          {"conf.d/tunnels.json", R"({ "version": 1, "tunnels": {
  "a": { "group": "core", "remote": "198.51.100.7", "remote_id": "a.example", "credential": "key",
    "children": { "lan": { "policy": "strong", "local": ["10.1.0.0/16"], "remote": ["10.2.0.0/16"] } } },
  "b": { "group": "core", "remote": "198.51.100.8", "remote_id": "b.example", "credential": "key",
    "children": { "lan": { "policy": "strong", "local": ["10.1.0.0/16"], "remote": ["10.3.0.0/16"] } } },
  "c": { "group": "core", "remote": "198.51.100.8", "remote_id": "c.example", "credential": "key",
    "children": { "lan": { "policy": "strong", "local": ["10.1.0.0/16"], "remote": ["10.4.0.0/16"] } } } } })"}};
}

inline std::shared_ptr<const policy::Config> negotiation_config() {
  auto outcome = policy::parse_config(negotiation_files());
  REQUIRE_MESSAGE(outcome.config != nullptr, outcome.errors.front().text());
  return outcome.config;
}

inline WallTime second(int64_t number) { return WallTime{std::chrono::seconds(number)}; }

inline ike::Report failure(const std::string& remote, Reason reason = Reason::kNoProposalChosen) {
  ike::Report report;
  report.path.local = {*IpAddress::parse("192.0.2.1"), 500};
  report.path.remote = {*IpAddress::parse(remote), 500};
  report.reason = reason;
  return report;
}

/// A child of tunnel a whose proposal was refused.
inline ike::Report refused_child() {
  ike::Report report = failure("198.51.100.7");
  report.tunnel = "a";
  report.fields = {field("identity", std::string("a.example")), field("detail", std::string("no common proposal"))};
  auto negotiation = std::make_shared<policy::Negotiation>();
  negotiation->about = policy::Negotiation::About::kChildProposal;
  negotiation->tunnel = "a";
  negotiation->child = "lan";
  negotiation->offered = policy::parse_proposal(policy::Protocol::kEsp, "aes128gcm16-noesn").value();
  report.negotiation = negotiation;
  return report;
}

}  // namespace ipsec::agent
