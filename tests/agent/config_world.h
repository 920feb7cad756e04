#pragma once

#include "agent/config_loader.h"
#include "tests/agent/temp_folder.h"

namespace ipsec::testing {

/// A configuration of two tunnels on disk, with a key each: "a" has credential "one", "b" has "two".
struct ConfigWorld : TempFolder {
  ConfigWorld() {
    write_config({});
    write("secrets/one.psk", "the first key\n");
    write("secrets/two.psk", "the second key\n");
  }
  /// `more`: further members of the document, with a comma in front.
  void write_config(const std::string& more, const std::string& file_of_two = "two.psk") const {
    const auto tunnel = [](const std::string& name, const std::string& credential, const std::string& last) {
      return "\"" + name + R"(": { "group": "core", "remote": "198.51.100.)" + last + R"(", "credential": ")" +
             credential + R"(", "children": { "lan": { "local": ["10.1.0.0/16"], "remote": ["10.)" + last +
             R"(.0.0/16"] } } })";
    };
    write("gw.json", R"({ "version": 1,
"tunnel_groups": { "core": { "public": { "addresses": ["192.0.2.1"] } } },
"credentials": { "one": { "psk": { "file": "one.psk" } }, // a comment
                 "two": { "psk": { "file": ")" +
                         file_of_two + R"(" } } },
"tunnels": { )" + tunnel("a", "one", "7") +
                         ",\n" + tunnel("b", "two", "8") + " }" + more + " }");
  }
  agent::ConfigPaths paths() const { return {*this / "gw.json", *this / "conf.d"}; }
  std::string secrets() const { return *this / "secrets"; }

  agent::ConfigInForce in_force() const {
    const agent::LoadOutcome found = agent::load_config(paths(), secrets(), agent::FolderPresence::kAbsent);
    if (!found.loaded) FAIL(found.errors.front().text());
    return {found.loaded->config, found.loaded->credentials, found.loaded->disk->folder};
  }
  agent::ReloadOutcome reload(const agent::ConfigInForce& before) const {
    return agent::load_changes(paths(), secrets(), before);
  }
};

}  // namespace ipsec::testing
