// bench handshake [--json] [--count N] [--instructions]; bench rekey|flood|hostile|reconcile|offload|turns [--json]
// [--count N]; bench probe DEVICE [--json] [--count N]
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "agent/limits.h"
#include "tests/bench/flood.h"
#include "tests/bench/flood_refused.h"
#include "tests/bench/handshake.h"
#include "tests/bench/hostile.h"
#include "tests/bench/limits.h"
#include "tests/bench/offload.h"
#include "tests/bench/reconcile.h"
#include "tests/bench/rekey.h"
#include "tests/bench/turns.h"

namespace {

using namespace ipsec::bench;
namespace agent = ipsec::agent;

constexpr double kRatioMost = 1.45;  // engine alone against the crypto limit
constexpr double kBytesMost = 3000;  // per IKE SA with its child
constexpr size_t kMemoryCount = 10000;
constexpr double kBogusMost = 3;  // microseconds per bogus request while cookies are on
constexpr double kRefusedMost =
    30;  // microseconds per request that is refused by policy, however many tunnels there are
constexpr size_t kTunnelsOfAnyAddress = 100'000;
constexpr double kHalfOpenBytesMost = 600;
constexpr double kDumpAndDiffMost = 1000;  // milliseconds, for 100,000 objects
constexpr double kCompletedLeast = 0.99;   // of real handshakes beside a flood, against none

struct Options {
  bool json = false, instructions = false, only_engine = false;
  size_t count = 0;    ///< 0: what the benchmark takes for enough.
  std::string device;  ///< To be probed.
};

struct Figures {
  std::vector<Primitive> primitives;
  double crypto = 0, datagrams = 0, sockets = 0, bytes = 0, instructions = 0;
  EngineResult engine;
};

/// Instructions of a run of `count` handshakes in this program under callgrind; 0 when valgrind is not there.
double instructions_of(const std::string& self, size_t count) {
  const std::string out = "/tmp/ipsecd-bench." + std::to_string(getpid());
  const std::string number = std::to_string(count), file = "--callgrind-out-file=" + out;
  const pid_t child = fork();
  if (child == 0) {
    freopen("/dev/null", "w", stderr);
    execlp("valgrind", "valgrind", "--tool=callgrind", "--toggle-collect=ipsec::bench::responder_turn*", file.c_str(),
           self.c_str(), "handshake", "--only-engine", "--count", number.c_str(), nullptr);
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  double total = 0;
  std::ifstream in(out);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("summary:") || line.starts_with("totals:")) total = std::strtod(line.c_str() + 8, nullptr);
  std::filesystem::remove(out);
  return total;
}

void print_text(const Figures& f) {
  std::printf("limit of this machine, microseconds per handshake (PSK, X25519, AES-256-GCM, PRF HMAC-SHA-384)\n");
  for (const Primitive& each : f.primitives) std::printf("  %-52s %8.2f\n", each.name.c_str(), each.microseconds);
  std::printf("  %-52s %8.2f\n  %-52s %8.2f\n", "crypto in all", f.crypto, "two datagrams in, two out", f.datagrams);
  std::printf("responder, microseconds of CPU per handshake\n");
  for (size_t i = 0; i < kPhaseCount; ++i)
    std::printf("  %-52.*s %8.2f\n", static_cast<int>(kPhaseNames[i].size()), kPhaseNames[i].data(),
                f.engine.phases[i]);
  std::printf("  %-52s %8.2f  = %.2f x crypto (at most %.2f)\n", "engine and shell, without sockets",
              f.engine.microseconds, f.engine.microseconds / f.crypto, kRatioMost);
  if (f.sockets > 0)
    std::printf("  %-52s %8.2f  = %.2f x (crypto + datagrams)\n", "through UDP sockets", f.sockets,
                f.sockets / (f.crypto + f.datagrams));
  std::printf("memory per IKE SA with child, at %zu: %.0f bytes (at most %.0f)\n", kMemoryCount, f.bytes, kBytesMost);
  if (f.instructions > 0) std::printf("instructions per handshake: %.0f\n", f.instructions);
}

void print_json(const Figures& f) {
  std::printf("{\"crypto_us\": %.3f, \"datagrams_us\": %.3f, \"engine_us\": %.3f, \"engine_ratio\": %.3f, ", f.crypto,
              f.datagrams, f.engine.microseconds, f.engine.microseconds / f.crypto);
  std::printf("\"sockets_us\": %.3f, \"bytes_per_sa\": %.0f, \"instructions\": %.0f, \"phases_us\": {", f.sockets,
              f.bytes, f.instructions);
  for (size_t i = 0; i < kPhaseCount; ++i)
    std::printf("%s\"%.*s\": %.3f", i == 0 ? "" : ", ", static_cast<int>(kPhaseNames[i].size()), kPhaseNames[i].data(),
                f.engine.phases[i]);
  std::printf("}}\n");
}

int handshake(const std::string& self, const Options& options) {
  Figures figures;
  if (options.only_engine) {
    run_engines(options.count);
    return 0;
  }
  figures.bytes = run_memory(kMemoryCount);
  figures.primitives = measure_crypto(options.count);
  for (const Primitive& each : figures.primitives) figures.crypto += each.microseconds;
  figures.engine = run_engines(options.count);
  figures.datagrams = measure_datagrams(options.count);
  figures.sockets = run_sockets(options.count);
  if (options.instructions) figures.instructions = (instructions_of(self, 150) - instructions_of(self, 50)) / 100;
  options.json ? print_json(figures) : print_text(figures);
  return figures.engine.microseconds <= kRatioMost * figures.crypto && figures.bytes <= kBytesMost ? 0 : 1;
}

int rekey(const Options& options) {
  const size_t count = options.count;
  struct Row {
    const char* name;
    RekeyResult result;
  };
  const Row rows[] = {{"child", run_child_rekeys(count, false)},  // NOLINT(cppcoreguidelines-avoid-c-arrays)
                      {"child with X25519", run_child_rekeys(count, true)},
                      {"IKE SA", run_ike_rekeys(count)}};
  bool all = true;
  if (!options.json)
    std::printf("%zu rekeyed at once, microseconds of CPU per rekey with its Delete, engine and shell\n", count);
  for (const Row& row : rows) {
    const RekeyResult& r = row.result;
    all = all && r.done == r.count && r.failures == 0;
    std::printf(options.json ? "{\"what\": \"%s\", \"initiator_us\": %.2f, \"responder_us\": %.2f, \"done\": %zu, "
                               "\"in_flight_most\": %zu}\n"
                             : "  %-20s initiator %7.2f  responder %7.2f  done %zu, at most %zu requests in flight\n",
                row.name, r.initiator, r.responder, r.done, r.in_flight_most);
  }
  return all ? 0 : 1;
}

int flood(const Options& options) {
  const FloodResult f = run_flood(options.count);
  const RefusedFloodResult r = run_refused_flood(options.count, kTunnelsOfAnyAddress);
  const double ratio = f.completed_alone > 0 ? f.completed_flooded / f.completed_alone : 0;
  const std::pair<const char*, double> figures[] = {{"asked_for_cookie_us", f.asked_for_cookie},
                                                    {"wrong_cookie_us", f.wrong_cookie},
                                                    {"old_wrong_cookie_us", f.old_wrong_cookie},
                                                    {"malformed_us", f.malformed},
                                                    {"refused_us", f.refused},
                                                    {"answered_us", f.answered},
                                                    {"asked_for_cookie_allocations", f.allocations},
                                                    {"refused_allocations", f.refused_allocations},
                                                    {"half_open_bytes", f.half_open_bytes},
                                                    {"completed_ratio", ratio},
                                                    {"completed_ratio_no_cookies", f.completed_flooded_no_cookies},
                                                    {"handshake_us", f.handshake_alone},
                                                    {"handshake_flooded_us", f.handshake_flooded},
                                                    {"refused_by_policy_us", r.refused},
                                                    {"refused_flood_us", r.flood},
                                                    {"refused_flood_cookies", r.cookies},
                                                    {"letters_to_main", static_cast<double>(r.letters)},
                                                    {"letters_to_main_bytes", static_cast<double>(r.bytes)},
                                                    {"reports_dropped", static_cast<double>(r.dropped)}};
  if (!options.json)
    std::printf("bogus IKE_SA_INIT requests (at most %.1f us with cookies on, %.0f bytes per half-open IKE SA)\n",
                kBogusMost, kHalfOpenBytesMost);
  const char* between = "{";
  for (const auto& [name, value] : figures)
    options.json ? std::printf("%s\"%s\": %.3f", std::exchange(between, ", "), name, value)
                 : std::printf("  %-40s %10.3f\n", name, value);
  if (options.json) std::printf("}\n");
  const bool cheap = std::max({f.asked_for_cookie, f.wrong_cookie, f.malformed, f.refused}) <= kBogusMost;
  const bool bounded = r.letters <= agent::kMailboxLettersMax && r.bytes <= agent::kMailboxBytesMax;
  const bool refusals_cheap = r.refused <= kRefusedMost && r.flood <= kBogusMost && bounded;
  return cheap && refusals_cheap && f.half_open_bytes <= kHalfOpenBytesMost && ratio >= kCompletedLeast ? 0 : 1;
}

int reconcile(const Options& options) {
  const ReconcileResult r = run_reconcile(options.count);
  std::printf(options.json ? "{\"objects\": %zu, \"dump_ms\": %.1f, \"diff_ms\": %.1f, \"drift_ms\": %.1f, "
                             "\"damaged\": %zu, \"diff_damaged_ms\": %.1f, \"mends\": %zu}\n"
                           : "%zu objects in one namespace of the fake kernel, milliseconds of CPU\n"
                             "  dump %.1f  diff %.1f  drift %.1f  with %zu objects missing: diff %.1f, %zu changes\n",
              r.objects, r.dump, r.diff, r.drift, r.damaged, r.diff_damaged, r.mends);
  return r.dump + r.diff <= kDumpAndDiffMost && r.mends == r.damaged ? 0 : 1;
}

int usage() {
  std::fprintf(stderr,
               "usage: bench handshake [--json] [--count N] [--instructions]\n       bench "
               "rekey|flood|hostile|reconcile|offload|turns [--json] [--count N]\n       bench probe DEVICE [--json] "
               "[--count N]\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc < 2 ? "" : argv[1];
  if (what != "handshake" && what != "rekey" && what != "flood" && what != "hostile" && what != "reconcile" &&
      what != "offload" && what != "turns" && what != "probe")
    return usage();
  Options options;
  for (int i = 2; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--json") {
      options.json = true;
    } else if (argument == "--instructions") {
      options.instructions = true;
    } else if (argument == "--only-engine") {
      options.only_engine = true;
    } else if (argument == "--count" && i + 1 < argc) {
      options.count = std::strtoul(argv[++i], nullptr, 10);
      if (options.count == 0) return usage();
    } else if (what == "probe" && options.device.empty()) {
      options.device = argument;
    } else {
      return usage();
    }
  }
  if (what == "probe")
    return print_device_probe(options.device, options.count != 0 ? options.count : 200, options.json);
  if (what == "hostile") return print_hostile(options.count != 0 ? options.count : 100, options.json);
  if (options.count == 0) options.count = what == "rekey" ? 10000 : what == "handshake" ? 2000 : 100000;
  if (what == "rekey") return rekey(options);
  if (what == "reconcile") return reconcile(options);
  if (what == "turns") return print_turns(options.count, options.json);
  if (what == "offload") return print_offload(options.count, options.json);
  return what == "flood" ? flood(options) : handshake(std::filesystem::read_symlink("/proc/self/exe"), options);
}
