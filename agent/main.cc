#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
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

/// A line on standard error, with the priority prefix that the service manager's log understands.
void write_log_line(LogLevel level, std::string_view text, const std::vector<Field>& fields) {
  const std::string line = format_line(text, fields);
  if (std::getenv("JOURNAL_STREAM") != nullptr)
    std::fprintf(stderr, "<%d>%s\n", static_cast<int>(level), line.c_str());
  else
    std::fprintf(stderr, "%s %s\n", to_rfc3339(wall_now()).c_str(), line.c_str());
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

/// SIGHUP: as `ipsecctl config apply`.
void reload(Agent& daemon, Log& log) {
  const auto since_boot = std::chrono::steady_clock::now().time_since_epoch();
  sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld", static_cast<long long>(since_boot / 1us));
  auto outcome = daemon.reload();
  if (!outcome.ok())
    log.error("the configuration was not applied; nothing was changed", {field("detail", outcome.error().text())});
  sd_notify(0, "READY=1");
}

int run_daemon(const Arguments& arguments) {
  Log log(arguments.debug ? LogLevel::kDebug : LogLevel::kInfo, write_log_line);
  auto [config, files] = load_config(arguments.config, arguments.config_dir);
  if (!config) return 1;
  std::error_code failed;
  std::filesystem::create_directories(arguments.run_dir, failed);
  const int signals = signal_descriptor();
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
    return 1;
  }
  Agent& daemon = **agent;
  ControlBackend backend(daemon);
  control::Server server({.version = IPSEC_VERSION}, backend, watcher_for(daemon.loop()));
  const std::string socket = arguments.socket.empty() ? arguments.run_dir + "/control" : arguments.socket;
  if (Status listening = server.listen(socket); !listening.ok()) {
    log.error("cannot start", {field("detail", listening.error().text())});
    return 1;
  }
  uint64_t announced = 0;
  daemon.set_after_round([&] {
    if (std::exchange(announced, daemon.events().last_sequence()) != daemon.events().last_sequence())
      server.on_new_events();
  });
  Status watched = daemon.loop().watch(signals, EventLoop::Interest::kRead, [&] {
    signalfd_siginfo info{};
    while (read(signals, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      if (info.ssi_signo == SIGHUP)
        reload(daemon, log);
      else
        daemon.stop();
    }
  });
  VERIFY(watched.ok());
  daemon.start();
  log.notice("started", {field("version", std::string(IPSEC_VERSION)), field("workers", uint64_t{arguments.workers}),
                         field("tunnels", uint64_t{config->tunnels.size()}), field("control", socket)});
  sd_notify(0, "READY=1");
  daemon.run();
  sd_notify(0, "STOPPING=1");
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
