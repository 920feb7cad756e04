#include "agent/ctl/commands.h"

#include <algorithm>
#include <iostream>
#include <variant>
#include <vector>

#include "agent/control/client.h"
#include "agent/control/config_issues.h"
#include "agent/control/event_json.h"
#include "agent/ctl/exit_codes.h"
#include "agent/ctl/render.h"
#include "agent/files/config_files.h"
#include "policy/config_parser.h"

namespace ipsec::agent::ctl {

using control::Client;
using control::Flag;
using control::member_at;
using control::Reply;
using nlohmann::json;

namespace {

/// One line on the terminal that tells that something is going on; only when it takes longer than a second.
class Progress {
 public:
  Progress(Terminal& terminal, std::string doing) : terminal_(terminal), doing_(std::move(doing)) {}
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(std::chrono::milliseconds passed) {
    constexpr std::string_view kFrames = "|/-\\";
    if (!terminal_.error_is_terminal || passed < std::chrono::seconds(1)) return;
    const auto tenths = static_cast<size_t>(passed.count() / 100);
    terminal_.error << "\r\x1b[K" << kFrames[tenths % kFrames.size()] << " " << doing_ << ", " << passed.count() / 1000
                    << " s" << std::flush;
    shown_ = true;
  }
  void clear() {
    if (shown_) terminal_.error << "\r\x1b[K" << std::flush;
    shown_ = false;
  }

 private:
  Terminal& terminal_;
  std::string doing_;
  bool shown_ = false;
};

/// One run of the program: the command, where to print, and how.
struct Run {
  const Command& command;
  Terminal& terminal;
  Color color;        ///< Of the answer.
  Color error_color;  ///< Of complaints.

  bool wants_json() const { return command.output == Output::kJson; }
  void print(const json& value) { terminal.out << control::to_text(value) << "\n"; }
};

/// The connection's error: what to do is in its text.
int report(Run& run, const Error& error) {
  run.terminal.error << paint("ipsecctl: ", Paint::kBad, run.error_color) << clean(error.text()) << "\n";
  if (error.reason() == Reason::kPermission) return kExitNoPermission;
  const bool unreachable =
      error.reason() == Reason::kNotFound || error.reason() == Reason::kTimeout || error.reason() == Reason::kCancelled;
  return unreachable ? kExitNotReachable : kExitFailed;
}

/// The daemon's error; JSON goes where the answer would have gone.
int report(Run& run, const Reply& reply) {
  if (run.wants_json())
    run.print({{"error", reply.error}, {"parameters", reply.parameters}});
  else
    run.terminal.error << render_error(reply, run.error_color);
  const bool denied = reply.error.ends_with(".PermissionDenied");
  return denied ? kExitNoPermission : kExitFailed;
}

Client::Wait patience(const Run& run, Progress& progress, std::chrono::seconds usual) {
  return {.longest = run.command.timeout.value_or(usual),
          .progress = [&progress](std::chrono::milliseconds passed) { progress.show(passed); }};
}

constexpr std::chrono::seconds kQueryTime{10};
constexpr std::chrono::seconds kOperationTime{120};

/// Connects, calls, prints an error. `text` makes the text of a reply, `exit_code` its code.
struct Question {
  std::string_view method;
  json parameters = json::object();
  std::string_view part;  ///< The member of the reply that is the answer; empty: all of it.
  std::string doing = "waiting for ipsecd";
  std::chrono::seconds usual = kQueryTime;
  std::function<std::string(const json&, Color)> text;
  std::function<int(const json&)> exit_code = [](const json&) { return kExitOk; };
};

int ask(Run& run, const Question& question) {
  auto client = Client::connect(run.command.socket);
  if (!client.ok()) return report(run, client.error());
  Progress progress(run.terminal, question.doing);
  const auto reply = client->call(question.method, question.parameters, patience(run, progress, question.usual));
  progress.clear();
  if (!reply.ok()) return report(run, reply.error());
  if (!reply.value().error.empty()) return report(run, reply.value());
  const json& parameters = reply.value().parameters;
  const json& answer = question.part.empty() ? parameters : member_at(parameters, question.part);
  if (run.wants_json())
    run.print(answer);
  else
    run.terminal.out << question.text(answer, run.color);
  return question.exit_code(answer);
}

/// Rows as they come: one line each, in one document.
class RowPrinter {
 public:
  explicit RowPrinter(std::ostream& out) : out_(out) {}
  void print(const json& row) {
    out_ << (begun_ ? ",\n" : "{\"rows\":[\n") << control::to_text(row);
    begun_ = true;
  }
  void end() { out_ << (begun_ ? "\n]}\n" : "{\"rows\":[]}\n"); }
  bool begun() const { return begun_; }

 private:
  std::ostream& out_;
  bool begun_ = false;
};

int list(Run& run) {
  auto client = Client::connect(run.command.socket);
  if (!client.ok()) return report(run, client.error());
  // JSON that nobody wants sorted needs no memory: it is passed on as it comes.
  const bool pass_on = run.wants_json() && run.command.sort.empty();
  RowPrinter printer(run.terminal.out);
  std::vector<json> rows;
  std::optional<Reply> refusal;
  Progress progress(run.terminal, "reading " + run.command.kind);
  json parameters = {{"kind", run.command.kind}};
  if (!run.command.filter.empty()) parameters["filter"] = run.command.filter;
  const Status status =
      client->stream("List", parameters, patience(run, progress, kQueryTime), [&](const Reply& reply) {
        progress.clear();
        if (!reply.error.empty()) refusal = reply;
        for (const json& row : member_at(reply.parameters, "rows"))
          if (pass_on)
            printer.print(row);
          else
            rows.push_back(row);
        return refusal || !run.terminal.out.good() ? Flag::kOff : Flag::kOn;
      });
  progress.clear();
  if (!status.ok()) return report(run, status.error());
  if (refusal) return report(run, *refusal);
  const std::string natural =
      run.command.kind == "routes"                                                                 ? "destination"
      : run.command.kind == "sas" || run.command.kind == "children" || run.command.kind == "peers" ? "tunnel"
                                                                                                   : "name";
  if (!pass_on) sort_rows(rows, run.command.sort.empty() ? natural : run.command.sort);
  if (!run.wants_json()) {
    run.terminal.out << render_list(run.command.kind, rows, run.color);
    return kExitOk;
  }
  for (const json& row : rows) printer.print(row);
  printer.end();
  return kExitOk;
}

int monitor(Run& run) {
  auto client = Client::connect(run.command.socket);
  if (!client.ok()) return report(run, client.error());
  constexpr int64_t kShownAtFirst = -10;
  json parameters = {{"follow", run.command.follow}};
  if (run.command.from)
    parameters["from"] = *run.command.from;
  else if (run.command.follow)
    parameters["from"] = kShownAtFirst;
  Client::Wait wait{.longest = run.command.timeout.value_or(kQueryTime)};
  if (run.command.follow) wait.longest = {};  // silence is normal
  std::optional<Reply> refusal;
  const Status status = client->stream("Monitor", parameters, wait, [&](const Reply& reply) {
    if (!reply.error.empty()) refusal = reply;
    const int64_t lost = control::number_at(reply.parameters, "lost");
    if (lost > 0 && run.wants_json()) run.print({{"lost", lost}});
    if (lost > 0 && !run.wants_json()) run.terminal.error << render_lost(lost);
    for (const json& event : member_at(reply.parameters, "events"))
      if (run.wants_json())
        run.print(event);
      else
        run.terminal.out << render_event(event, run.color);
    run.terminal.out.flush();
    return refusal || !run.terminal.out.good() ? Flag::kOff : Flag::kOn;
  });
  if (!status.ok()) return report(run, status.error());
  return refusal ? report(run, *refusal) : kExitOk;
}

int config_apply(Run& run, std::string_view method) {
  const bool applied = method == "ConfigApply";
  return ask(
      run, {.method = method,
            .part = {},
            .doing = applied ? "applying" : "comparing",
            .usual = kOperationTime,
            .text = [applied](const json& reply, Color color) { return render_changes(reply, applied, color); },
            .exit_code =
                [](const json& reply) { return control::flag_at(reply, "ok") == Flag::kOn ? kExitOk : kExitFailed; }});
}

/// What the daemon would read, or the files that were named.
std::variant<ConfigOnDisk, policy::ConfigError> read_files(const std::vector<std::string>& names) {
  if (!names.empty()) return read_config_files(names);
  return read_config_files({.main_file = "/etc/ipsecd/ipsecd.json", .folder = "/etc/ipsecd/conf.d"},
                           FolderPresence::kAbsent);
}

/// Here, and not in the daemon: a document that is large or wrong keeps nobody else waiting.
json checked_files(const std::vector<std::string>& names) {
  const auto read = read_files(names);
  if (const auto* failed = std::get_if<policy::ConfigError>(&read))
    return {{"ok", false}, {"errors", control::issues_of(std::vector{*failed})}, {"warnings", json::array()}};
  const auto& disk = std::get<ConfigOnDisk>(read);
  json checked = control::checked_of(policy::parse_config(disk.files));
  json& files = checked["files"] = json::array();
  for (const policy::ConfigFile& each : disk.files) files.push_back(each.name);
  checked["not_read"] = disk.passed_over;
  return checked;
}

int config_check(Run& run) {
  const json checked = checked_files(run.command.files);
  if (run.wants_json())
    run.print(checked);
  else
    run.terminal.out << render_check(checked, run.color);
  return control::flag_at(checked, "ok") == Flag::kOn ? kExitOk : kExitFailed;
}

/// The tunnels come in parts.
int config_show(Run& run) {
  auto client = Client::connect(run.command.socket);
  if (!client.ok()) return report(run, client.error());
  json config = json::object();
  std::optional<Reply> refusal;
  Progress progress(run.terminal, "reading the configuration");
  const Status status =
      client->stream("ConfigEffective", json::object(), patience(run, progress, kQueryTime), [&](const Reply& reply) {
        progress.clear();
        if (!reply.error.empty()) refusal = reply;
        for (const auto& [key, value] : member_at(reply.parameters, "config").items())
          if (key == "tunnels" && config.contains(key))
            config[key].update(value);
          else
            config[key] = value;
        return refusal ? Flag::kOff : Flag::kOn;
      });
  progress.clear();
  if (!status.ok()) return report(run, status.error());
  if (refusal) return report(run, *refusal);
  if (run.wants_json())
    run.print(config);
  else
    run.terminal.out << config.dump(2, ' ', false, json::error_handler_t::replace) << "\n";
  return kExitOk;
}

/// The running daemon's catalogue counts; without one, that of this program.
int explain(Run& run) {
  if (Client::connect(run.command.socket).ok())
    return ask(run,
               {.method = "Explain", .parameters = {{"code", run.command.name}}, .part = {}, .text = render_explain});
  const auto explained = control::explain_json(run.command.name);
  if (!explained.ok()) return report(run, control::failure(explained.error()));
  if (run.wants_json())
    run.print(explained.value());
  else
    run.terminal.out << render_explain(explained.value(), run.color);
  return kExitOk;
}

int explain_negotiation(Run& run) {
  json parameters = json::object();
  if (!run.command.name.empty()) parameters["peer"] = run.command.name;
  const bool one = !run.command.name.empty();
  return ask(run, {.method = "ExplainNegotiation",
                   .parameters = std::move(parameters),
                   .part = "failures",
                   .text = [one](const json& failures, Color color) {
                     return one ? render_negotiations(failures, color) : render_negotiation_list(failures, color);
                   }});
}

int explain_offload(Run& run) {
  return ask(run, {.method = "ExplainOffload",
                   .parameters = {{"tunnel", run.command.name}},
                   .part = "children",
                   .text = render_offload});
}

int offload_pin(Run& run) {
  json parameters = {{"tunnel", run.command.name}, {"to", run.command.to}};
  if (!run.command.child.empty()) parameters["child"] = run.command.child;
  const bool once = run.command.verb == Verb::kOffloadMove;
  if (once) parameters["once"] = true;
  const std::string verb = once ? "told to move" : "pinned";
  return ask(run, {.method = "OffloadPin",
                   .parameters = std::move(parameters),
                   .part = "outcome",
                   .text = [verb](const json& outcome, Color color) { return render_outcome(verb, outcome, color); }});
}

int drift(Run& run) {
  json parameters = json::object();
  if (run.command.netns) parameters["netns"] = *run.command.netns;
  return ask(run, {.method = "Drift",
                   .parameters = std::move(parameters),
                   .part = "namespaces",
                   .doing = "comparing",
                   .text = render_drift,
                   .exit_code = [](const json& namespaces) { return has_drift(namespaces) ? kExitFailed : kExitOk; }});
}

int drift_adopt(Run& run) {
  json parameters = json::object();
  if (run.command.netns) parameters["netns"] = *run.command.netns;
  return ask(run, {.method = "DriftAdopt",
                   .parameters = std::move(parameters),
                   .part = "outcome",
                   .doing = "adopting",
                   .text = [](const json& outcome, Color) { return render_adopted(outcome); }});
}

/// Printed when all of it is there: half of it would be taken for everything.
int metrics(Run& run) {
  auto client = Client::connect(run.command.socket);
  if (!client.ok()) return report(run, client.error());
  json parameters = json::object();
  if (!run.command.format.empty()) parameters["format"] = run.command.format;
  std::string text;
  std::optional<Reply> refusal;
  Progress progress(run.terminal, "reading metrics");
  const Status status =
      client->stream("Metrics", parameters, patience(run, progress, kQueryTime), [&](const Reply& reply) {
        progress.clear();
        if (!reply.error.empty()) refusal = reply;
        text += control::text_at(reply.parameters, "text");
        return refusal ? Flag::kOff : Flag::kOn;
      });
  progress.clear();
  if (!status.ok()) return report(run, status.error());
  if (refusal) return report(run, *refusal);
  if (run.wants_json())
    run.print({{"text", text}});
  else
    run.terminal.out << clean_lines(text);
  return kExitOk;
}

int version(Run& run) {
  std::optional<std::string> daemon;
  if (auto client = Client::connect(run.command.socket); client.ok()) {
    const auto reply = client->call("org.varlink.service.GetInfo", json::object(), {});
    if (reply.ok()) daemon = control::text_at(reply.value().parameters, "version");
  }
  if (run.wants_json())
    run.print({{"ipsecctl", IPSEC_VERSION}, {"ipsecd", daemon ? json(*daemon) : json()}});
  else
    run.terminal.out << "ipsecctl " << IPSEC_VERSION << "\nipsecd " << clean(daemon.value_or("not reachable")) << "\n";
  return kExitOk;
}

int operate(Run& run, std::string_view method, const std::string& verb) {
  json parameters = {{"tunnel", run.command.name}};
  if (!run.command.child.empty()) parameters["child"] = run.command.child;
  if (run.command.ike) parameters["ike"] = true;
  return ask(run,
             {.method = method,
              .parameters = std::move(parameters),
              .part = "outcome",
              .doing = method == "Rekey" ? "rekeying " + run.command.name : "taking " + run.command.name + " " + verb,
              .usual = kOperationTime,
              .text = [&verb](const json& outcome, Color color) { return render_outcome(verb, outcome, color); }});
}

int show(Run& run) {
  return ask(run,
             {.method = "Show",
              .parameters = {{"kind", run.command.kind}, {"name", run.command.name}},
              .part = "item",
              .text = [&run](const json& item, Color color) { return render_show(run.command.kind, item, color); }});
}

Color color_for(ColorChoice choice, bool is_terminal) {
  if (choice == ColorChoice::kAuto) return is_terminal ? Color::kOn : Color::kOff;
  return choice == ColorChoice::kAlways ? Color::kOn : Color::kOff;
}

}  // namespace

int run(const Command& command, Terminal& terminal) {
  Run run{.command = command,
          .terminal = terminal,
          .color = color_for(command.color, terminal.out_is_terminal),
          .error_color = color_for(command.color, terminal.error_is_terminal)};
  switch (command.verb) {
    case Verb::kStatus:
      return ask(run, {.method = "Status", .part = "status", .text = render_status, .exit_code = exit_code_of_status});
    case Verb::kList: return list(run);
    case Verb::kShow: return show(run);
    case Verb::kUp: return operate(run, "Up", "up");
    case Verb::kDown: return operate(run, "Down", "down");
    case Verb::kRekey: return operate(run, "Rekey", "rekeyed");
    case Verb::kMonitor: return monitor(run);
    case Verb::kExplain: return explain(run);
    case Verb::kExplainNegotiation: return explain_negotiation(run);
    case Verb::kExplainOffload: return explain_offload(run);
    case Verb::kOffloadPin:
    case Verb::kOffloadMove: return offload_pin(run);
    case Verb::kDrift: return drift(run);
    case Verb::kDriftAdopt: return drift_adopt(run);
    case Verb::kMetrics: return metrics(run);
    case Verb::kConfigCheck: return config_check(run);
    case Verb::kConfigDiff: return config_apply(run, "ConfigDiff");
    case Verb::kConfigApply: return config_apply(run, "ConfigApply");
    case Verb::kConfigShow: return config_show(run);
    case Verb::kVersion: return version(run);
  }
  return kExitUsage;
}

}  // namespace ipsec::agent::ctl
