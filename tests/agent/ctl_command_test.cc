#include <doctest/doctest.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "agent/ctl/command_line.h"
#include "agent/ctl/commands.h"
#include "agent/ctl/exit_codes.h"
#include "tests/agent/running_server.h"

using namespace ipsec;
using namespace ipsec::agent;
using namespace ipsec::agent::ctl;
using nlohmann::json;

namespace {

struct Outcome {
  int code = 0;
  std::string out;
  std::string error;
};

/// Runs ipsecctl as from a shell, not on a terminal.
Outcome ipsecctl(std::vector<std::string> arguments) {
  const CommandLine line = parse_command_line(std::move(arguments));
  if (!line.command)
    return {line.exit_code, line.exit_code == 0 ? line.text : "", line.exit_code == 0 ? "" : line.text};
  std::ostringstream out;
  std::ostringstream error;
  Terminal terminal{.out = out, .error = error};
  const int code = run(*line.command, terminal);
  return {code, out.str(), error.str()};
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// A daemon to talk to, and the command line that finds it.
class Talk {
 public:
  Talk() : server(folder.path + "/control") { REQUIRE(server.started); }
  Outcome operator()(std::vector<std::string> arguments) {
    arguments.push_back("--socket");
    arguments.push_back(folder.path + "/control");
    return ipsecctl(std::move(arguments));
  }
  control::TemporaryFolder folder;
  control::RunningServer server;
};

}  // namespace

TEST_CASE("command line: help shows examples for every command") {
  const std::vector<std::vector<std::string>> commands = {{},
                                                          {"status"},
                                                          {"list"},
                                                          {"show"},
                                                          {"up"},
                                                          {"down"},
                                                          {"rekey"},
                                                          {"monitor"},
                                                          {"explain"},
                                                          {"version"},
                                                          {"drift"},
                                                          {"metrics"},
                                                          {"config"},
                                                          {"config", "check"},
                                                          {"config", "diff"},
                                                          {"config", "apply"},
                                                          {"config", "show"}};
  for (auto command : commands) {
    command.push_back("--help");
    const Outcome outcome = ipsecctl(command);
    CAPTURE(outcome.out);
    CHECK(outcome.code == kExitOk);
    CHECK(has(outcome.out, "Examples:\n  ipsecctl "));
  }
}

TEST_CASE("command line: what is wrong is said, with exit code 2") {
  const auto complaint = [](std::vector<std::string> arguments) {
    const Outcome outcome = ipsecctl(std::move(arguments));
    CHECK(outcome.code == kExitUsage);
    CHECK(outcome.out.empty());
    return outcome.error;
  };
  CHECK(has(complaint({}), "subcommand is required"));
  CHECK(has(complaint({"statsu"}), "did you mean \"status\""));
  CHECK(has(complaint({"list"}), "KIND is required"));
  CHECK(has(complaint({"explain"}), "WHAT is required"));
  CHECK(has(complaint({"explain", "setup-timeout", "a"}), "explain CODE takes no further word"));
  CHECK(has(complaint({"list", "tunels"}), "unknown kind \"tunels\"; known: groups, tunnels"));
  CHECK(has(complaint({"list", "tunnels", "--sort", "nam"}), "tunnels have no key \"nam\"; known: name"));
  CHECK(has(complaint({"list", "tunnels", "--filter", "state"}), "KEY=VALUE"));
  CHECK(has(complaint({"list", "tunnels", "--filter", "state=up", "--filter", "state=down"}), "given twice"));
  CHECK(has(complaint({"show", "tunnel"}), "NAME is required"));
  CHECK(has(complaint({"config"}), "subcommand is required"));
  CHECK(has(complaint({"metrics", "--format", "xml"}), "xml"));
  CHECK(has(complaint({"status", "--color", "blue"}), "blue"));
  CHECK(has(complaint({"status", "--timeout", "0"}), "timeout"));
}

TEST_CASE("command line: global options may stand anywhere") {
  for (const auto& arguments : std::vector<std::vector<std::string>>{{"--json", "--timeout", "3", "list", "tunnel"},
                                                                     {"list", "tunnel", "--json", "--timeout", "3"}}) {
    const CommandLine line = parse_command_line(arguments);
    REQUIRE(line.command.has_value());
    CHECK(line.command->output == Output::kJson);
    CHECK(line.command->timeout == std::chrono::seconds(3));
    CHECK(line.command->kind == "tunnels");
  }
  const CommandLine monitor = parse_command_line({"monitor", "--from=-50", "--no-follow"});
  REQUIRE(monitor.command.has_value());
  CHECK(monitor.command->from == -50);
  CHECK_FALSE(monitor.command->follow);
}

TEST_CASE("ipsecctl: without a daemon every command says what to do, with exit code 3") {
  const control::TemporaryFolder folder;
  std::ofstream(folder.path + "/a.json") << "{}";
  const std::string socket = folder.path + "/control";
  for (auto arguments : std::vector<std::vector<std::string>>{{"status"},
                                                              {"list", "tunnels"},
                                                              {"show", "tunnel", "a"},
                                                              {"up", "a"},
                                                              {"explain", "negotiation"},
                                                              {"explain", "negotiation", "a"},
                                                              {"monitor"},
                                                              {"metrics"}}) {
    arguments.insert(arguments.end(), {"--socket", socket});
    const Outcome outcome = ipsecctl(arguments);
    CHECK(outcome.code == kExitNotReachable);
    CHECK(has(outcome.error, "systemctl start ipsecd"));
  }
  // A document is checked where it is.
  CHECK(ipsecctl({"config", "check", folder.path + "/a.json", "--socket", socket}).code == kExitFailed);
  const Outcome explained = ipsecctl({"explain", "setup-timeout", "--socket", socket});
  CHECK(explained.code == kExitOk);
  CHECK(has(explained.out, "UDP 500 and 4500"));
  CHECK(ipsecctl({"explain", "setup-timout", "--socket", socket}).code == kExitFailed);
  CHECK(has(ipsecctl({"version", "--socket", socket}).out, "ipsecd not reachable"));
}

TEST_CASE("ipsecctl: status tells by its exit code, and prints the daemon's JSON") {
  Talk talk;

  const Outcome healthy = talk({"status", "--json"});
  CHECK(healthy.code == kExitOk);
  CHECK(json::parse(healthy.out) == talk.server.backend.status_value);
  CHECK(has(talk({"status"}).out, "ipsecd 1.2.3: ok"));
  talk.server.change([&](control::FakeBackend& backend) { backend.status_value["health"] = "degraded"; });
  CHECK(talk({"status"}).code == kExitDegraded);
  talk.server.change([&](control::FakeBackend& backend) { backend.status_value["health"] = "failed"; });
  CHECK(talk({"status"}).code == kExitUnhealthy);
}

TEST_CASE("ipsecctl: lists are sorted naturally, or stream as JSON") {
  Talk talk;
  talk.server.change([&](control::FakeBackend& backend) {
    backend.rows["tunnels"] = {{{"name", "t10"}, {"state", "up"}}, {{"name", "t9"}, {"state", "down"}}};
  });

  const Outcome table = talk({"list", "tunnels"});
  CHECK(table.out.find("t9") < table.out.find("t10"));
  const Outcome stream = talk({"list", "tunnels", "--json"});
  CHECK(json::parse(stream.out)["rows"] == talk.server.backend.rows["tunnels"]);
  const Outcome sorted = talk({"list", "tunnels", "--json", "--sort", "name"});
  CHECK(json::parse(sorted.out)["rows"][0]["name"] == "t9");
  const Outcome filtered = talk({"list", "tunnels", "--json", "--filter", "state=up"});
  CHECK(json::parse(filtered.out)["rows"].size() == 1);
  CHECK(talk({"list", "routes"}).out == "No routes.\n");
  CHECK(json::parse(talk({"list", "routes", "--json"}).out)["rows"].empty());
}

TEST_CASE("ipsecctl: show, explain, config and version print what the daemon says") {
  Talk talk;
  talk.server.change([&](control::FakeBackend& backend) {
    backend.rows["tunnels"] = {{{"name", "branch-7"}, {"group", "core"}, {"state", "up"}}};
  });
  const std::string file = talk.folder.path + "/a.json";

  CHECK(has(talk({"show", "tunnel", "branch-7"}).out, "Tunnel branch-7 of group core: up"));
  const Outcome none = talk({"show", "tunnel", "branch-8"});
  CHECK(none.code == kExitFailed);
  CHECK(has(none.error, "did you mean \"branch-7\""));
  CHECK(json::parse(talk({"show", "tunnel", "branch-8", "--json"}).out)["error"] == "net.ipsecd.control.NotFound");
  CHECK(has(talk({"explain", "timeout"}).out, "timeout: no answer came in time"));
  const json effective = json::parse(talk({"config", "show", "--effective"}).out);
  CHECK(effective["version"] == 1);
  CHECK(effective["tunnels"]["branch-7"]["group"] == "core");
  std::ofstream(file) << R"({"version": 1, "tunnel_groups": {"core": {"public": {"addresses": ["192.0.2.1"]}}}})";
  CHECK(has(talk({"config", "check", file}).out, "read " + file + "\n"));
  CHECK(json::parse(talk({"config", "check", file, "--json"}).out)["files"] == json::array({file}));
  std::ofstream(file) << "{\"version\": 1,\n\n\"tunels\": {}}";
  const Outcome bad = talk({"config", "check", file});
  CHECK(bad.code == kExitFailed);
  CHECK((has(bad.out, "error: ") && has(bad.out, "a.json:3: /tunels: ")));
  CHECK(talk({"config", "check", talk.folder.path + "/absent"}).code == kExitFailed);
  CHECK(has(talk({"config", "check", talk.folder.path}).out, "a folder, not a file"));
  REQUIRE(mkfifo((talk.folder.path + "/pipe").c_str(), 0600) == 0);
  CHECK(has(talk({"config", "check", talk.folder.path + "/pipe"}).out, "not a regular file"));
  CHECK(has(talk({"version"}).out, "ipsecd 1.2.3\n"));
}

TEST_CASE("ipsecctl: config diff tells what would change, config apply what has, and errors change nothing") {
  Talk talk;
  CHECK(talk({"config", "diff"}).out == "Nothing would change.\n");
  CHECK(talk({"config", "apply"}).out == "Nothing has changed.\n");
  talk.server.change([](control::FakeBackend& backend) {
    CHECK(backend.applied == 1);
    backend.rows["changes"] = {{{"tunnel", "a"}, {"kind", "rekey"}, {"settings", {"ike_policy", "offload"}}},
                               {{"tunnel", "b"}, {"kind", "removed"}, {"settings", json::array()}}};
  });
  const Outcome would = talk({"config", "diff"});
  CHECK(would.code == kExitOk);
  CHECK(has(would.out, "WOULD CHANGE"));
  CHECK(has(would.out, "ike_policy, offload"));
  CHECK(has(would.out, "removed"));
  CHECK(has(talk({"config", "apply"}).out, "CHANGED"));
  CHECK(json::parse(talk({"config", "apply", "--json"}).out)["changes"].size() == 2);
  talk.server.change([](control::FakeBackend& backend) { backend.config_is_bad = true; });
  const Outcome bad = talk({"config", "apply"});
  CHECK(bad.code == kExitFailed);
  CHECK(has(bad.out, "/tunnels/a/group: found cor, allowed: core"));
  CHECK(has(bad.out, "Nothing was changed."));
}

TEST_CASE("ipsecctl: explain negotiation lists what failed, or compares one, as text and as JSON") {
  Talk talk;
  talk.server.change([&](control::FakeBackend& backend) {
    backend.rows["failures"] = {{{"tunnel", "branch-7"}, {"code", "no-proposal-chosen"}, {"resolved_at", nullptr}},
                                {{"tunnel", "branch-8"}, {"code", "ts-unacceptable"}, {"resolved_at", nullptr}}};
  });

  const Outcome list = talk({"explain", "negotiation"});
  CHECK(list.code == kExitOk);
  CHECK(has(list.out, "branch-7"));
  CHECK(has(list.out, "ipsecctl explain negotiation PEER"));
  const Outcome one = talk({"explain", "negotiation", "branch-8"});
  CHECK(one.code == kExitOk);
  CHECK(has(one.out, "Tunnel branch-8"));
  CHECK_FALSE(has(one.out, "branch-7"));
  const Outcome machine = talk({"explain", "negotiation", "branch-8", "--json"});
  CHECK(json::parse(machine.out) == json::array({talk.server.backend.rows["failures"][1]}));
  const Outcome none = talk({"explain", "negotiation", "branch-9"});
  CHECK(none.code == kExitFailed);
  CHECK(has(none.error, "no failed negotiation with \"branch-9\""));
}

TEST_CASE("ipsecctl: drift shows what differs, and its exit code tells whether anything of ours does") {
  Talk talk;
  const json foreign = {
      {"netns", "pub"}, {"kind", "sa"}, {"object", "0xf1 to 192.0.2.9"}, {"verdict", "foreign"}, {"detail", nullptr}};
  const json missing = {
      {"netns", "priv"}, {"kind", "link"}, {"object", "ips1"}, {"verdict", "missing"}, {"detail", nullptr}};
  talk.server.change([&](control::FakeBackend& backend) {
    backend.rows["namespaces"] = {{{"netns", "pub"},
                                   {"state", "synced"},
                                   {"code", nullptr},
                                   {"detail", nullptr},
                                   {"drift", false},
                                   {"rows", {foreign}}},
                                  {{"netns", "priv"},
                                   {"state", "awaiting"},
                                   {"code", "vrf-missing"},
                                   {"detail", "there is no VRF red"},
                                   {"drift", true},
                                   {"rows", {missing}}}};
  });

  const Outcome all = talk({"drift"});
  CHECK(all.code == kExitFailed);
  CHECK(has(all.out, "Namespace pub: synced, no drift\n"));
  CHECK(has(all.out, "Namespace priv: awaiting, drift\n  in the way   vrf-missing: there is no VRF red\n"));
  const Outcome one = talk({"drift", "--netns", "pub"});
  CHECK(one.code == kExitOk);
  CHECK(has(one.out, "foreign  sa    0xf1 to 192.0.2.9"));
  CHECK_FALSE(has(one.out, "priv"));
  const Outcome machine = talk({"drift", "--json"});
  CHECK(machine.code == kExitFailed);
  CHECK(json::parse(machine.out) == talk.server.backend.rows["namespaces"]);
  const Outcome none = talk({"drift", "--netns", "elsewhere"});
  CHECK(none.code == kExitFailed);
  CHECK(has(none.error, "nothing of ours belongs into a namespace \"elsewhere\""));
}

TEST_CASE("ipsecctl: drift shows what is unclaimed behind what differs, with the way to adopt it") {
  Talk talk;
  const auto row = [](const char* verdict, const char* object) {
    return json{{"netns", "pub"}, {"kind", "sa"}, {"object", object}, {"verdict", verdict}, {"detail", nullptr}};
  };
  talk.server.change([&](control::FakeBackend& backend) {
    backend.rows["namespaces"] = {
        {{"netns", "pub"},
         {"state", "synced"},
         {"code", nullptr},
         {"detail", nullptr},
         {"drift", false},
         {"rows", {row("foreign", "one"), row("unclaimed", "two"), row("missing", "three")}}}};
  });

  const Outcome all = talk({"drift"});

  CHECK(all.out.find("three") < all.out.find("two"));
  CHECK(all.out.find("two") < all.out.find("one"));
  CHECK(has(all.out, "`ipsecctl drift --adopt` takes them over"));
}

TEST_CASE("ipsecctl: drift --adopt says how many objects are ours now, of one namespace or of all") {
  Talk talk;
  talk.server.change([](control::FakeBackend& backend) { backend.rows["adopted"] = {{"adopted", 12}}; });
  const Outcome all = talk({"drift", "--adopt"});
  CHECK(all.code == kExitOk);
  CHECK(all.out == "12 objects are ours now.\n");
  const Outcome one = talk({"drift", "--netns", "", "--adopt", "--json"});
  CHECK(json::parse(one.out) == json{{"adopted", 12}});
  CHECK(talk.server.backend.operations == std::vector<std::string>{"adopt all", "adopt "});
}

TEST_CASE("ipsecctl: metrics come as they are, in either format, however many replies they take") {
  Talk talk;
  std::string lines;
  while (lines.size() < 300'000) lines += "ipsecd_tunnels{group=\"core\"} " + std::to_string(lines.size()) + "\n";
  talk.server.change([&](control::FakeBackend& backend) { backend.metrics_text = lines + "a\x1b[2J\n# EOF\n"; });

  const Outcome text = talk({"metrics"});
  CHECK(text.code == kExitOk);
  CHECK(text.out == "#  1 calls of 1\n" + lines + "a?[2J\n# EOF\n");
  CHECK(talk({"metrics", "--format", "prometheus"}).out.starts_with("# prometheus 2 calls"));
  CHECK(json::parse(talk({"metrics", "--json"}).out)["text"].get<std::string>().ends_with("# EOF\n"));
}

TEST_CASE("ipsecctl: up says what happened; an outcome that does not come ends with exit code 3") {
  Talk talk;

  const Outcome late = talk({"down", "branch-7", "--timeout", "1"});
  CHECK(late.code == kExitNotReachable);
  CHECK(has(late.error, "did not answer within 1000 ms"));
  talk.server.change([&](control::FakeBackend& backend) {
    backend.outcome_at_once = json{{"tunnel", "branch-7"}, {"child", "lan"}, {"state", "up"}};
  });
  const Outcome up = talk({"up", "branch-7", "lan"});
  CHECK(up.code == kExitOk);
  CHECK(up.out == "Child branch-7/lan is up.\n");
}

TEST_CASE("ipsecctl: rekey names a child or the IKE SA, not both, and has the exit codes of up") {
  Talk talk;
  CHECK(talk({"rekey"}).code == kExitUsage);
  CHECK(talk({"rekey", "branch-7", "--ike", "--child", "lan"}).code == kExitUsage);
  const Outcome late = talk({"rekey", "branch-7", "--timeout", "1"});
  CHECK(late.code == kExitNotReachable);
  talk.server.change([&](control::FakeBackend& backend) {
    backend.outcome_at_once = json{{"tunnel", "branch-7"}, {"state", "up"}};
  });

  const Outcome child = talk({"rekey", "branch-7", "--child", "lan"});
  CHECK(child.code == kExitOk);
  CHECK(child.out == "Tunnel branch-7 is up.\n");
  CHECK(talk({"rekey", "branch-7", "--ike", "--json"}).code == kExitOk);

  talk.server.change([&](control::FakeBackend& backend) {
    CHECK(backend.operations ==
          std::vector<std::string>{"rekey branch-7/", "rekey branch-7/lan", "rekey-ike branch-7/"});
  });
}

TEST_CASE("ipsecctl: monitor without following ends, and says how much it missed") {
  Talk talk;
  talk.server.change([&](control::FakeBackend& backend) { backend.add_events(1010); });

  const Outcome text = talk({"monitor", "--no-follow", "--from", "6"});
  CHECK(text.code == kExitOk);
  CHECK(text.error == "(5 events are no longer kept)\n");
  CHECK(std::count(text.out.begin(), text.out.end(), '\n') == 1000);
  const Outcome lines = talk({"monitor", "--no-follow", "--from=-1", "--json"});
  CHECK(json::parse(lines.out)["sequence"] == 1010);
}
