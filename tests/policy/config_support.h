#pragma once

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

#include "policy/config_parser.h"

namespace ipsec::policy {

inline ConfigOutcome parse_one(std::string text) {
  return parse_config({{.name = "gw.json", .text = std::move(text)}});
}

/// The only error of a document.
inline ConfigError only_error(std::string text) {
  ConfigOutcome outcome = parse_one(std::move(text));
  std::string all;
  for (const ConfigError& each : outcome.errors) all += "\n" + each.text();
  REQUIRE_MESSAGE(outcome.errors.size() == 1, all);
  CHECK(outcome.config == nullptr);
  return outcome.errors.front();
}

/// A whole configuration with texts put in: members of one object each, with a comma in front.
struct Document {
  std::string top, group, public_place, ike_policy, child_policy, credential, tunnel, child;
  std::string remote = "198.51.100.7", local_selector = "10.1.0.0/16", remote_selector = "10.2.0.0/16";

  std::string text() const {
    return R"({ "version": 1)" + top + R"(,
"tunnel_groups": { "core": { "public": { "addresses": ["192.0.2.1", "2001:db8::1"])" +
           public_place + "}" + group + R"( } },
"ike_policies": { "strong": { "lifetime": "8h")" +
           ike_policy + R"( } },
"child_policies": { "fast": { "pfs": false)" +
           child_policy + R"( } },
"credentials": { "key": { "psk": { "file": "key" })" +
           credential + R"( } },
"tunnels": { "a": { "group": "core", "remote": ")" +
           remote + R"(", "credential": "key", "ike_policy": "strong")" + tunnel + R"(,
"children": { "lan": { "local": [")" +
           local_selector + R"("], "remote": [")" + remote_selector + R"("], "policy": "fast")" + child + R"( } } } }
})";
  }
};

}  // namespace ipsec::policy
