#include "agent/ctl/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <sstream>

#include "agent/control/methods.h"
#include "agent/control/server.h"
#include "agent/ctl/columns.h"
#include "agent/ctl/exit_codes.h"

namespace ipsec::agent::ctl {

namespace {

/// What the options write into; checked and turned into a Command after parsing.
struct Raw {
  std::string kind;
  std::string name;
  std::string child;
  std::string to;
  std::vector<std::string> files;
  std::vector<std::string> filters;
  std::string sort;
  int64_t from = 0;
  bool adopt = false;
  bool no_follow = false;
  bool ike = false;
  bool json = false;
  bool effective = false;
  std::string color = "auto";
  std::string netns;
  std::string format;
  std::string socket{control::kDefaultSocket};
  int64_t timeout_seconds = 0;
};

constexpr const char* kExitCodes =
    "Exit codes: 0 done, 1 refused or failed, 2 usage, 3 daemon not reachable, 4 no permission;\n"
    "status: 0 healthy, 10 degraded, 11 failed; drift: 1 something differs. See ipsecctl(1).";

std::string kind_names(bool plural) {
  std::string all;
  for (const control::Kind& kind : control::kinds())
    all.append(all.empty() ? "" : ", ").append(plural ? kind.plural : kind.singular);
  return all;
}

CLI::App* add(CLI::App& parent, const std::string& name, const std::string& about, const std::string& examples) {
  CLI::App* command = parent.add_subcommand(name, about);
  command->footer("\nExamples:\n" + examples);
  return command;
}

void add_queries(CLI::App& app, Raw& raw) {
  add(app, "status", "Show health, tunnels, offload, warnings and error counters on one screen",
      "  ipsecctl status\n  ipsecctl status --json\n  ipsecctl status >/dev/null || echo not healthy");
  CLI::App* list = add(app, "list", "List all objects of a kind",
                       "  ipsecctl list tunnels\n  ipsecctl list tunnels --filter state=down --sort since\n"
                       "  ipsecctl list sas --filter 'tunnel=branch-*' --json");
  list->add_option("KIND", raw.kind, kind_names(true))->required();
  list->add_option("--sort", raw.sort, "Sort by this key of the rows (see --json); default: the first column");
  list->add_option("--filter", raw.filters, "Only rows where KEY=VALUE; `*` and `?` match any characters; repeatable")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  CLI::App* show = add(app, "show", "Show one object in full",
                       "  ipsecctl show tunnel branch-7\n  ipsecctl show sa c1234567\n"
                       "  ipsecctl show child branch-7/lan\n  ipsecctl show group core --json");
  show->add_option("KIND", raw.kind, kind_names(false))->required();
  show->add_option("NAME", raw.name, "Its name; an SA's SPI; TUNNEL/CHILD for a child")->required();
  CLI::App* explain =
      add(app, "explain", "Tell what a code means, why a negotiation failed, or why a tunnel is on a NIC or not",
          "  ipsecctl explain no-proposal-chosen\n  ipsecctl explain offload-refused --json\n"
          "  ipsecctl explain negotiation\n  ipsecctl explain negotiation branch-7\n"
          "  ipsecctl explain offload branch-7");
  explain->add_option("WHAT", raw.kind, "A code of the catalogue, `negotiation` or `offload`")->required();
  explain->add_option("PEER", raw.name,
                      "negotiation: an address, identity or tunnel; default: list all that failed. offload: a tunnel");
  CLI::App* drift =
      add(app, "drift", "Compare what is wanted with what stands in the kernel",
          "  ipsecctl drift\n  ipsecctl drift --netns customers --json\n  ipsecctl drift --adopt\n"
          "Exit code 1 when anything of ours is missing, changed or too much. Foreign and unclaimed objects are only\n"
          "shown: unclaimed ones bear our marks, but the daemon's journal does not name them.");
  drift->add_option("--netns", raw.netns, "Only this namespace; default: all that have something of ours");
  drift->add_flag("--adopt", raw.adopt,
                  "Declare unclaimed objects ours: what is wanted of them stays, the daemon removes the rest");
  CLI::App* metrics = add(app, "metrics", "Print all numbers for a monitoring system, as OpenMetrics text",
                          "  ipsecctl metrics\n  ipsecctl metrics | grep offload_refusals\n"
                          "  ipsecctl metrics --format prometheus > ipsecd.tmp && mv ipsecd.tmp ipsecd.prom\n"
                          "node_exporter's textfile collector reads only the older format.");
  metrics->add_option("--format", raw.format, "openmetrics (1.0; default), or prometheus: the older text format 0.0.4")
      ->check(CLI::IsMember({"openmetrics", "prometheus"}));
  add(app, "version", "Show the versions of ipsecctl and of the running daemon", "  ipsecctl version");
}

std::string example(const std::string& verb, const char* arguments) {
  return std::string("  ipsecctl ").append(verb).append(" ").append(arguments);
}

void add_operations(CLI::App& app, Raw& raw) {
  for (const char* verb : {"up", "down"}) {
    const std::string name = verb;
    CLI::App* command =
        add(app, name,
            name == "up" ? "Bring a tunnel up, or one child of it, and say what happened"
                         : "Take a tunnel down, or one child of it",
            example(name, "branch-7\n") + example(name, "branch-7 lan\n") + example(name, "branch-7 --timeout 20"));
    command->add_option("TUNNEL", raw.name, "The tunnel's name")->required();
    command->add_option("CHILD", raw.child, "One of its children; default: all");
  }
  CLI::App* rekey = add(app, "rekey", "Replace the SAs of a tunnel by fresh ones, without a gap",
                        "  ipsecctl rekey branch-7\n  ipsecctl rekey branch-7 --child lan\n"
                        "  ipsecctl rekey branch-7 --ike");
  rekey->add_option("TUNNEL", raw.name, "The tunnel's name")->required();
  CLI::Option* child = rekey->add_option("--child", raw.child, "Only this child; default: all");
  rekey->add_flag("--ike", raw.ike, "The IKE SA instead of its children")->excludes(child);
  CLI::App* monitor = add(app, "monitor", "Show events as they happen",
                          "  ipsecctl monitor\n  ipsecctl monitor --from 1200\n"
                          "  ipsecctl monitor --no-follow --json\n  ipsecctl monitor --from=-50 --no-follow");
  monitor->add_option("--from", raw.from,
                      "First sequence number; -N: the last N; default: the last 10, or all with --no-follow");
  monitor->add_flag("--no-follow", raw.no_follow, "End after the events that there are");
}

void add_config(CLI::App& app, Raw& raw) {
  CLI::App* config = add(app, "config", "Check, apply and show the configuration",
                         "  ipsecctl config check /etc/ipsecd/ipsecd.json\n  ipsecctl config diff\n"
                         "  ipsecctl config apply\n  ipsecctl config show --effective");
  config->require_subcommand(1);
  CLI::App* check = add(*config, "check", "Check configuration files without applying them; the running daemon does it",
                        "  ipsecctl config check\n  ipsecctl config check new.json conf.d/branch-7.json\n"
                        "Without a running daemon: ipsecd --check-config FILE");
  check->add_option("FILE", raw.files, "Default: /etc/ipsecd/ipsecd.json and /etc/ipsecd/conf.d/*.json");
  add(*config, "diff", "What applying the daemon's configuration files would change, tunnel by tunnel",
      "  ipsecctl config diff\n  ipsecctl config diff --json");
  add(*config, "apply", "Apply the daemon's configuration files: what they change, and nothing else",
      "  ipsecctl config apply\nA configuration with an error changes nothing.");
  CLI::App* show = add(*config, "show", "Show the configuration in force", "  ipsecctl config show --effective");
  show->add_flag("--effective", raw.effective, "With all defaults filled in (the only form there is so far)");
}

void add_globals(CLI::App& app, Raw& raw) {
  app.add_flag("--json", raw.json, "Print the daemon's reply as JSON");
  app.add_option("--socket", raw.socket, "The daemon's control socket")->capture_default_str();
  app.add_option("--color", raw.color, "auto (only on a terminal), always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
  app.add_option("--timeout", raw.timeout_seconds,
                 "Seconds to wait for an answer; default: 10, 120 for up, down, rekey")
      ->check(CLI::Range(int64_t{1}, int64_t{86400}));
}

void add_offload(CLI::App& app, Raw& raw) {
  CLI::App* offload =
      add(app, "offload", "NICs, what is on them, and who has a place there",
          "  ipsecctl offload devices\n  ipsecctl offload list\n  ipsecctl offload move branch-7 software\n"
          "  ipsecctl offload pin branch-7 nic");
  offload->require_subcommand(1);
  add(*offload, "devices", "NICs of all groups: what they can do, room and load", "  ipsecctl offload devices");
  add(*offload, "list", "Children that may be on a NIC, the busiest first", "  ipsecctl offload list --json");
  CLI::App* move = add(*offload, "move", "Move a tunnel's children once; then they are chosen by what they carry again",
                       "  ipsecctl offload move branch-7 nic");
  CLI::App* pin = add(*offload, "pin", "Keep a tunnel's children on a NIC or off it, until the daemon ends or `none`",
                      "  ipsecctl offload pin branch-7 software\n  ipsecctl offload pin branch-7 none\n"
                      "For good: offload.pin of the tunnel.");
  for (CLI::App* command : {move, pin}) {
    command->add_option("TUNNEL", raw.name, "The tunnel's name")->required();
    command->add_option("TO", raw.to, command == pin ? "nic, software or none" : "nic or software")
        ->check(command == pin ? CLI::IsMember({"nic", "software", "none"}) : CLI::IsMember({"nic", "software"}))
        ->required();
    command->add_option("--child", raw.child, "Only this child; default: all");
  }
}

CommandLine usage_error(const std::string& text) {
  return {.command = std::nullopt, .exit_code = kExitUsage, .text = "ipsecctl: " + text + "\n"};
}

std::string unknown_key(const std::string& kind, const std::string& key) {
  std::string known;
  for (const Column& column : columns_of(kind)) known.append(known.empty() ? "" : ", ").append(column.key);
  return kind + " have no key \"" + key + "\"; known: " + known;
}

/// Checks what the library cannot: kinds, keys, filters. Returns the complaint, or nothing.
std::string complete(const Raw& raw, Command& command) {
  if (command.verb == Verb::kExplainNegotiation) return {};
  if (command.verb == Verb::kExplainOffload)
    return raw.name.empty() ? "explain offload needs the name of a tunnel" : std::string();
  if (command.verb == Verb::kList && !command.kind.empty()) return {};
  if (command.verb == Verb::kExplain) {
    if (!raw.name.empty()) return "explain CODE takes no further word; see `ipsecctl explain --help`";
    command.name = raw.kind;
    return {};
  }
  if (!raw.kind.empty()) {
    const control::Kind* kind = control::find_kind(raw.kind);
    if (kind == nullptr) return "unknown kind \"" + raw.kind + "\"; known: " + kind_names(command.verb == Verb::kList);
    command.kind = kind->plural;
  }
  if (!raw.sort.empty() && !has_column(command.kind, raw.sort)) return unknown_key(command.kind, raw.sort);
  for (const std::string& filter : raw.filters) {
    const size_t equals = filter.find('=');
    if (equals == 0 || equals == std::string::npos) return "--filter takes KEY=VALUE, not \"" + filter + "\"";
    const std::string key = filter.substr(0, equals);
    if (!has_column(command.kind, key)) return unknown_key(command.kind, key);
    if (!command.filter.emplace(key, filter.substr(equals + 1)).second) return "--filter " + key + " is given twice";
  }
  return {};
}

Verb verb_of(const CLI::App& app) {
  const CLI::App* chosen = app.get_subcommands().front();
  const std::string name = chosen->get_name();
  if (name == "list") return Verb::kList;
  if (name == "show") return Verb::kShow;
  if (name == "up") return Verb::kUp;
  if (name == "down") return Verb::kDown;
  if (name == "rekey") return Verb::kRekey;
  if (name == "monitor") return Verb::kMonitor;
  if (name == "explain") {
    const std::string what = chosen->get_option("WHAT")->as<std::string>();
    if (what == "offload") return Verb::kExplainOffload;
    return what == "negotiation" ? Verb::kExplainNegotiation : Verb::kExplain;
  }
  if (name == "offload") {
    const std::string what = chosen->get_subcommands().front()->get_name();
    if (what == "pin") return Verb::kOffloadPin;
    return what == "move" ? Verb::kOffloadMove : Verb::kList;
  }
  if (name == "drift") return chosen->count("--adopt") != 0 ? Verb::kDriftAdopt : Verb::kDrift;
  if (name == "metrics") return Verb::kMetrics;
  if (name == "version") return Verb::kVersion;
  if (name == "config") {
    const std::string what = chosen->get_subcommands().front()->get_name();
    if (what == "check") return Verb::kConfigCheck;
    if (what == "diff") return Verb::kConfigDiff;
    return what == "apply" ? Verb::kConfigApply : Verb::kConfigShow;
  }
  return Verb::kStatus;
}

CommandLine command_of(const CLI::App& app, const Raw& raw) {
  Command command;
  command.verb = verb_of(app);
  command.name = raw.name;
  command.to = raw.to;
  if (app.got_subcommand("offload") && command.verb == Verb::kList)
    command.kind = app.get_subcommand("offload")->got_subcommand("list") ? "seats" : "devices";
  const std::string complaint = complete(raw, command);
  if (!complaint.empty()) return usage_error(complaint);
  command.child = raw.child;
  command.ike = raw.ike;
  command.format = raw.format;
  command.files = raw.files;
  command.sort = raw.sort;
  command.follow = !raw.no_follow;
  if (command.verb == Verb::kMonitor && app.get_subcommand("monitor")->count("--from") > 0) command.from = raw.from;
  if (app.got_subcommand("drift") && app.get_subcommand("drift")->count("--netns") > 0) command.netns = raw.netns;
  command.output = raw.json ? Output::kJson : Output::kText;
  command.color = raw.color == "always"  ? ColorChoice::kAlways
                  : raw.color == "never" ? ColorChoice::kNever
                                         : ColorChoice::kAuto;
  command.socket = raw.socket;
  if (raw.timeout_seconds > 0) command.timeout = std::chrono::seconds(raw.timeout_seconds);
  return {.command = std::move(command), .exit_code = kExitOk, .text = {}};
}

std::string unknown_command(const CLI::App& app, const std::string& word) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  const std::vector<std::string_view> views(names.begin(), names.end());
  const std::string near = control::nearest(word, views);
  return "unknown command \"" + word + "\"; " +
         (near.empty() ? "see `ipsecctl --help`" : "did you mean \"" + near + "\"?");
}

}  // namespace

CommandLine parse_command_line(std::vector<std::string> arguments) {
  Raw raw;
  CLI::App app("Asks and directs ipsecd, the IPsec gateway daemon", "ipsecctl");
  app.require_subcommand(1);
  app.fallthrough();
  app.footer(std::string("\nExamples:\n  ipsecctl status\n  ipsecctl up branch-7\n  ipsecctl monitor\n\n") +
             kExitCodes);
  add_globals(app, raw);
  add_queries(app, raw);
  add_operations(app, raw);
  add_offload(app, raw);
  add_config(app, raw);
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
    command->fallthrough();
    for (CLI::App* inner : command->get_subcommands([](CLI::App*) { return true; })) inner->fallthrough();
  }
  std::reverse(arguments.begin(), arguments.end());  // as the library wants them
  // The only exceptions that are ours to meet: they end here.
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream complaint;
    const bool help = app.exit(error, out, complaint) == 0;
    if (help) return {.command = std::nullopt, .exit_code = kExitOk, .text = out.str()};
    const auto unknown = app.remaining();
    if (!unknown.empty() && app.get_subcommands().empty()) return usage_error(unknown_command(app, unknown.front()));
    return {.command = std::nullopt, .exit_code = kExitUsage, .text = "ipsecctl: " + complaint.str()};
  }
  return command_of(app, raw);
}

}  // namespace ipsec::agent::ctl
