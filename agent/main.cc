#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include "agent/agent.h"
#include "agent/control/config_issues.h"
#include "agent/control/event_json.h"
#include "agent/control/server.h"
#include "agent/files/config_files.h"
#include "agent/limits.h"
#include "agent/privileges.h"
#include "agent/service/log_writer.h"
#include "agent/service/start_pace.h"
#include "agent/service/supervision.h"
#include "agent/show/control_backend.h"
#include "agent/start_config.h"
#include "policy/config_keys.h"
#include "policy/config_parser.h"

using namespace ipsec;
using namespace ipsec::agent;

namespace {

struct Arguments {
  std::string config = "/etc/ipsecd/ipsecd.json";
  std::string config_dir = "/etc/ipsecd/conf.d";
  std::string secrets_dir = "/etc/ipsecd/secrets";
  std::string run_dir = "/run/ipsecd";
  std::string state_dir = "/var/lib/ipsecd";
  std::string socket;
  size_t workers = 2;
  std::string check;
  bool schema = false;
  bool debug = false;
  bool json = false;
};

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

void print_errors(const std::vector<policy::ConfigError>& errors) {
  for (const policy::ConfigError& each : errors) std::fprintf(stderr, "%s\n", each.text().c_str());
  std::fprintf(stderr, "ipsecd: %zu error%s in the configuration\n", errors.size(), errors.size() == 1 ? "" : "s");
}

std::string count_of(size_t count, const char* one, const char* many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

/// What `--check-config` has found.
struct Checked {
  std::string folder;
  ConfigOnDisk disk;
  policy::ConfigOutcome outcome;
  std::vector<std::string> warnings;  ///< Of the configuration, and of secrets that this process cannot load.
};

/// Reads the file, the folder beside it and the secrets, as a start would. A secret that is not there is a warning: the
/// check may be made on another machine than the gateway.
Checked checked(const Arguments& arguments) {
  Checked found;
  found.folder = std::filesystem::path(arguments.check).parent_path() / "conf.d";
  auto read = read_config_files({arguments.check, found.folder}, FolderPresence::kAbsent);
  if (auto* failed = std::get_if<policy::ConfigError>(&read)) {
    found.outcome.errors.push_back(std::move(*failed));
    return found;
  }
  found.disk = std::move(std::get<ConfigOnDisk>(read));
  found.outcome = policy::parse_config(found.disk.files);
  if (!found.outcome.config) return found;
  found.warnings = found.outcome.config->warnings;
  const auto credentials = Credentials::load(*found.outcome.config, arguments.secrets_dir);
  for (std::string& each : credential_warnings(*credentials)) found.warnings.push_back(std::move(each));
  return found;
}

void print_json(const Checked& found) {
  nlohmann::json files = nlohmann::json::array();
  for (const policy::ConfigFile& each : found.disk.files) files.push_back(each.name);
  const nlohmann::json document{{"ok", found.outcome.errors.empty()},
                                {"errors", control::issues_of(found.outcome.errors)},
                                {"warnings", control::issues_of(found.warnings)},
                                {"files", std::move(files)},
                                {"not_read", found.disk.passed_over}};
  // What is not UTF-8 in a file is replaced: the document stays readable for programs.
  std::printf("%s\n", document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

int check_config(const Arguments& arguments) {
  const Checked found = checked(arguments);
  const bool good = found.outcome.errors.empty();
  if (arguments.json) {
    print_json(found);
    return good ? 0 : 1;
  }
  if (!good) {
    print_errors(found.outcome.errors);
    return 1;
  }
  for (const std::string& warning : found.warnings) std::printf("warning: %s\n", warning.c_str());
  for (const std::string& name : found.disk.passed_over)
    std::printf("%s/%s: not a configuration file, not read\n", found.folder.c_str(), name.c_str());
  for (const policy::ConfigFile& each : found.disk.files) std::printf("%s: read\n", each.name.c_str());
  const policy::Config& config = *found.outcome.config;
  std::printf("%s: %s in %s, no errors\n", arguments.check.c_str(),
              count_of(config.tunnels.size(), "tunnel", "tunnels").c_str(),
              count_of(config.groups.size(), "group", "groups").c_str());
  return 0;
}

int signal_descriptor() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, number);
  // Blocked before any thread is started, so that none takes them.
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

control::Watcher watcher_for(EventLoop& loop) {
  auto interest = [](control::Watcher::Interest wanted) {
    return wanted == control::Watcher::Interest::kRead ? EventLoop::Interest::kRead : EventLoop::Interest::kReadWrite;
  };
  return {.watch = [&loop, interest](
                       int fd, control::Watcher::Interest wanted,
                       std::function<void()> handler) { return loop.watch(fd, interest(wanted), std::move(handler)); },
          .change = [&loop, interest](int fd,
                                      control::Watcher::Interest wanted) { return loop.change(fd, interest(wanted)); },
          .forget = [&loop](int fd) { loop.forget(fd); },
          .post = [&loop](std::function<void()> action) { loop.post(std::move(action)); }};
}

std::string status_line(const Agent& daemon) {
  return count_of(daemon.config().tunnels.size(), "tunnel", "tunnels") + " configured";
}

/// SIGHUP: as `ipsecctl config apply`.
void reload(Agent& daemon, Log& log, service::Supervision& supervision) {
  supervision.reloading();
  daemon.reload(Agent::Extent::kApply, [&daemon, &log, &supervision](const Result<Agent::Reloaded>& outcome) {
    if (!outcome.ok())
      log.error("the configuration was not applied; nothing was changed", {field("detail", outcome.error().text())});
    supervision.ready(status_line(daemon));
  });
}

/// Signals, and the timer of what is due for the service manager.
Status watch_signals(Agent& daemon, Log& log, service::Supervision& supervision, int signals) {
  TRY(daemon.loop().watch(signals, EventLoop::Interest::kRead,
                          [&daemon, &log, &supervision, signals] {
                            signalfd_siginfo info{};
                            while (read(signals, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
                              if (info.ssi_signo == SIGHUP) {
                                reload(daemon, log, supervision);
                                continue;
                              }
                              supervision.stopping();
                              daemon.stop();
                            }
                          }),
      "signals");
  return daemon.loop().watch(supervision.fd(), EventLoop::Interest::kRead, [&log, &supervision] {
    if (const auto hung = supervision.on_timer())
      log.error("a worker gives no sign of life; the service manager's watchdog will not be fed until it does",
                {field("worker", uint64_t{*hung})});
  });
}

/// A start that failed: under a service manager, which tries again at once, we pace the tries ourselves. A signal ends
/// the wait.
int failed_start(service::StartPace& pace, int signals) {
  if (environment("NOTIFY_SOCKET").empty()) return 1;
  pollfd signalled{.fd = signals, .events = POLLIN, .revents = 0};
  poll(&signalled, 1, static_cast<int>(pace.failed(wall_now()) / 1ms));
  return 1;
}

Result<std::unique_ptr<service::Supervision>> supervise(Agent& daemon, service::LogWriter& writer) {
  return service::Supervision::create(
      writer, service::Supervision::watchdog_limit(),
      {.watchdog = {.workers = daemon.worker_count(),
                    .ask = [&daemon](size_t worker, auto task) { daemon.ask_worker(worker, std::move(task)); },
                    .feed = {}},
       .on_dropped = [&daemon](uint64_t count) { daemon.note_dropped_lines(count); },
       .notify = {}});
}

/// All tunnels have begun, and the kernel has their policies: services that start after this one rely on them.
void report_started(Agent& daemon, Log& log, const std::string& socket, service::StartPace& pace,
                    service::Supervision& supervision) {
  log.notice("started",
             {field("version", std::string(IPSEC_VERSION)), field("workers", uint64_t{daemon.worker_count()}),
              field("tunnels", uint64_t{daemon.config().tunnels.size()}), field("control", socket)});
  pace.succeeded();
  supervision.ready(status_line(daemon));
}

int run_daemon(const Arguments& arguments) {
  service::LogWriter writer({.fd = STDERR_FILENO, .journal_stream = environment("JOURNAL_STREAM")});
  Log log(arguments.debug ? LogLevel::kDebug : LogLevel::kInfo,
          [&writer](LogLevel level, std::string_view text, const std::vector<Field>& fields) {
            writer.write(level, text, fields, control::rfc3339(wall_now()));
          });
  service::StartPace pace(arguments.run_dir);
  std::error_code failed;
  std::filesystem::create_directories(arguments.run_dir, failed);
  const ConfigPaths paths{arguments.config, arguments.config_dir};
  for (const Error& warning : protect_memory()) log.warning(warning.text());
  // While signals still end the process: the disk may not answer.
  StartConfig found = load_at_start(paths, arguments.secrets_dir, LastApplied(arguments.state_dir));
  for (const policy::ConfigError& each : found.errors) log.error(each.text());
  if (!found.loaded) {
    log.error("not started", {field("detail", found.last_applied)});
    return failed_start(pace, -1);
  }
  const int signals = signal_descriptor();

  auto agent =
      Agent::create({.workers = arguments.workers,
                     .run_dir = arguments.run_dir,
                     .secrets_dir = arguments.secrets_dir,
                     .state_dir = arguments.state_dir,
                     .config = paths},
                    {.config = std::move(*found.loaded),
                     .last_applied_because = found.errors.empty() ? std::nullopt : std::optional(found.last_applied)},
                    log);
  if (!agent.ok()) {
    log.error("cannot start",
              {field("code", std::string(code(agent.error().reason()))), field("detail", agent.error().text())});
    return failed_start(pace, signals);
  }
  Agent& daemon = **agent;
  ControlBackend backend(daemon);
  control::Server server({.version = IPSEC_VERSION, .now = &monotonic_now}, backend, watcher_for(daemon.loop()));
  const std::string socket = arguments.socket.empty() ? arguments.run_dir + "/control" : arguments.socket;
  if (Status listening = server.listen(socket); !listening.ok()) {
    log.error("cannot start", {field("detail", listening.error().text())});
    return failed_start(pace, signals);
  }
  auto supervision = supervise(daemon, writer);
  if (!supervision.ok()) {
    log.error("cannot start", {field("detail", supervision.error().text())});
    return failed_start(pace, signals);
  }
  uint64_t announced = 0;
  bool started = false;
  daemon.set_after_round([&] {
    if (!started && !daemon.manager().reconciliation().is_held()) {
      started = true;
      report_started(daemon, log, socket, pace, **supervision);
    }
    if (std::exchange(announced, daemon.events().last_sequence()) != daemon.events().last_sequence())
      server.on_new_events();
  });
  const Status watched = watch_signals(daemon, log, **supervision, signals);
  if (!watched.ok()) {
    log.error("cannot start", {field("detail", watched.error().text())});
    return failed_start(pace, signals);
  }
  daemon.start();
  daemon.run();
  log.notice("stopped");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("ipsecd - IKEv2 daemon that makes this machine an IPsec gateway");
  Arguments arguments;
  app.add_option("--config", arguments.config, "main configuration file")->capture_default_str();
  app.add_option("--config-dir", arguments.config_dir, "folder of further files, merged by object")
      ->capture_default_str();
  app.add_option("--secrets-dir", arguments.secrets_dir, "where pre-shared keys are looked up")->capture_default_str();
  app.add_option("--run-dir", arguments.run_dir, "journal and control socket")->capture_default_str();
  app.add_option("--state-dir", arguments.state_dir, "the configuration applied last, for a start at which it is bad")
      ->capture_default_str();
  app.add_option("--socket", arguments.socket, "control socket (default: RUN-DIR/control)");
  app.add_option("--workers", arguments.workers, "threads that speak IKE")
      ->capture_default_str()
      ->check(CLI::Range(size_t{1}, kWorkersMax));
  app.add_option("--check-config", arguments.check, "check this file and the folder beside it, change nothing");
  app.add_flag("--json", arguments.json, "with --check-config: the errors and warnings as one JSON document");
  app.add_flag("--schema", arguments.schema, "print the JSON Schema of the configuration");
  app.add_flag("--debug", arguments.debug, "log more");
  app.set_version_flag("--version", "ipsecd " IPSEC_VERSION);
  app.footer(
      "Examples:\n  ipsecd --check-config /etc/ipsecd/ipsecd.json\n  ipsecd --config gw.json --secrets-dir ./secrets "
      "--run-dir /run/gw");
  CLI11_PARSE(app, argc, argv);
  if (arguments.schema) {
    std::puts(policy::config_schema().c_str());
    return 0;
  }
  if (!arguments.check.empty()) return check_config(arguments);
  return run_daemon(arguments);
}
