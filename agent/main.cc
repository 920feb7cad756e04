#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include "agent/agent.h"
#include "agent/config_files.h"
#include "agent/control/server.h"
#include "agent/control_backend.h"
#include "agent/limits.h"
#include "agent/privileges.h"
#include "agent/service/log_writer.h"
#include "agent/service/start_pace.h"
#include "agent/service/supervision.h"
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
  std::string socket;
  size_t workers = 2;
  std::string check;
  bool schema = false;
  bool debug = false;
};

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

struct LoadedConfig {
  std::shared_ptr<const policy::Config> config;  ///< Null: errors have been printed.
  std::vector<policy::ConfigFile> files;
};

/// Prints all errors; nothing else happens with a document that does not validate.
LoadedConfig load_config(const std::string& main_file, const std::string& folder) {
  auto files = read_config_files(main_file, folder);
  if (!files.ok()) {
    std::fprintf(stderr, "ipsecd: %s\n", files.error().text().c_str());
    return {};
  }
  policy::ConfigOutcome outcome = policy::parse_config(*files);
  for (const policy::ConfigError& error : outcome.errors) std::fprintf(stderr, "%s\n", error.text().c_str());
  if (!outcome.errors.empty())
    std::fprintf(stderr, "ipsecd: %zu error%s in the configuration; nothing was changed\n", outcome.errors.size(),
                 outcome.errors.size() == 1 ? "" : "s");
  return {std::move(outcome.config), std::move(*files)};
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
          .forget = [&loop](int fd) { loop.forget(fd); }};
}

std::string status_line(const Agent& daemon) {
  return std::to_string(daemon.config().tunnels.size()) + " tunnels configured";
}

/// SIGHUP: as `ipsecctl config apply`.
void reload(Agent& daemon, Log& log, service::Supervision& supervision) {
  supervision.reloading();
  auto outcome = daemon.reload();
  if (!outcome.ok())
    log.error("the configuration was not applied; nothing was changed", {field("detail", outcome.error().text())});
  supervision.ready(status_line(daemon));
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

int run_daemon(const Arguments& arguments) {
  service::LogWriter writer({.fd = STDERR_FILENO, .journal_stream = environment("JOURNAL_STREAM")});
  Log log(arguments.debug ? LogLevel::kDebug : LogLevel::kInfo,
          [&writer](LogLevel level, std::string_view text, const std::vector<Field>& fields) {
            writer.write(level, text, fields, to_rfc3339(wall_now()));
          });
  const int signals = signal_descriptor();
  service::StartPace pace(arguments.run_dir);
  auto [config, files] = load_config(arguments.config, arguments.config_dir);
  std::error_code failed;
  std::filesystem::create_directories(arguments.run_dir, failed);
  if (!config) return failed_start(pace, signals);
  for (const Error& warning : protect_memory()) log.warning(warning.text());

  auto agent = Agent::create({.workers = arguments.workers,
                              .run_dir = arguments.run_dir,
                              .secrets_dir = arguments.secrets_dir,
                              .config_path = arguments.config,
                              .config_dir = arguments.config_dir,
                              .config_files = std::move(files)},
                             config, log);
  if (!agent.ok()) {
    log.error("cannot start",
              {field("code", std::string(code(agent.error().reason()))), field("detail", agent.error().text())});
    return failed_start(pace, signals);
  }
  Agent& daemon = **agent;
  ControlBackend backend(daemon);
  control::Server server({.version = IPSEC_VERSION}, backend, watcher_for(daemon.loop()));
  const std::string socket = arguments.socket.empty() ? arguments.run_dir + "/control" : arguments.socket;
  if (Status listening = server.listen(socket); !listening.ok()) {
    log.error("cannot start", {field("detail", listening.error().text())});
    return failed_start(pace, signals);
  }
  auto supervision = service::Supervision::create(
      writer, service::Supervision::watchdog_limit(),
      {.watchdog = {.workers = daemon.worker_count(),
                    .ask = [&daemon](size_t worker, auto task) { daemon.ask_worker(worker, std::move(task)); },
                    .feed = {}},
       .on_dropped = [&daemon](uint64_t count) { daemon.note_dropped_lines(count); },
       .notify = {}});
  if (!supervision.ok()) {
    log.error("cannot start", {field("detail", supervision.error().text())});
    return failed_start(pace, signals);
  }
  uint64_t announced = 0;
  daemon.set_after_round([&] {
    if (std::exchange(announced, daemon.events().last_sequence()) != daemon.events().last_sequence())
      server.on_new_events();
  });
  const Status watched = watch_signals(daemon, log, **supervision, signals);
  if (!watched.ok()) {
    log.error("cannot start", {field("detail", watched.error().text())});
    return failed_start(pace, signals);
  }
  daemon.start();
  log.notice("started", {field("version", std::string(IPSEC_VERSION)), field("workers", uint64_t{arguments.workers}),
                         field("tunnels", uint64_t{config->tunnels.size()}), field("control", socket)});
  pace.succeeded();
  (*supervision)->ready(status_line(daemon));
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
  app.add_option("--socket", arguments.socket, "control socket (default: RUN-DIR/control)");
  app.add_option("--workers", arguments.workers, "threads that speak IKE")
      ->capture_default_str()
      ->check(CLI::Range(size_t{1}, kWorkersMax));
  app.add_option("--check-config", arguments.check, "check this file and the folder beside it, change nothing");
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
  if (!arguments.check.empty()) {
    const auto config =
        load_config(arguments.check, std::filesystem::path(arguments.check).parent_path() / "conf.d").config;
    if (!config) return 1;
    for (const std::string& warning : config->warnings) std::printf("warning: %s\n", warning.c_str());
    std::printf("%s: %zu tunnels in %zu groups, no errors\n", arguments.check.c_str(), config->tunnels.size(),
                config->groups.size());
    return 0;
  }
  return run_daemon(arguments);
}
