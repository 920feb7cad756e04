#include "tests/bench/flood.h"

#include <malloc.h>

#include "ike/sa/cookie.h"
#include "ike/wire/header.h"
#include "tests/bench/handshake.h"
#include "tests/bench/limits.h"
#include "tests/ike/sa/allocations.h"

namespace ipsec::bench {

using namespace ike;

namespace {

constexpr Instant kStart{1000s};
constexpr size_t kVariety = 4096;    // different bogus requests, made beforehand
constexpr size_t kHandshakes = 200;  // of real peers
constexpr size_t kBogusPerDatagram = 250;
constexpr size_t kHalfOpen = 10000;  // for the memory of one

double heap_bytes() { return static_cast<double>(mallinfo2().uordblks); }

/// Requests as a real peer makes them, each with an SPI and a source of its own.
class Stranger {
 public:
  explicit Stranger(uint64_t seed) : random_(seed) {
    Party party(true, seed);
    party.initiate(kStart, kFromInitiator);
    party.drain(kStart, [&](const Path&, ByteView bytes) { request_.assign(bytes.begin(), bytes.end()); });
    for (size_t i = 0; i < kVariety; ++i) {
      random_.fill(std::span(request_).first(8));
      Path path = kFromResponder;
      path.remote = {IpAddress::v4(random_.u32()), static_cast<uint16_t>(random_.u32())};
      all_.push_back({path, request_});
    }
  }

  /// Puts N(COOKIE) in front of everything, of whatever version it says.
  void add_wrong_cookies(uint8_t version) {
    constexpr size_t kPayloadBytes = 8 + 1 + CookieJar::kTagBytes;
    for (auto& [path, bytes] : all_) {
      Bytes notify = {bytes[16], 0, 0, kPayloadBytes, 0, 0, 64, 6, version};
      notify.resize(kPayloadBytes, 0x55);
      bytes.insert(bytes.begin() + Header::kBytes, notify.begin(), notify.end());
      bytes[16] = static_cast<uint8_t>(PayloadType::kNotify);
      set_length(bytes);
    }
  }
  void remove_payloads() {
    for (auto& [path, bytes] : all_) {
      bytes.resize(Header::kBytes + 60);
      set_length(bytes);
    }
  }

  void send(Party& to, Instant now) {
    const auto& [path, bytes] = all_[next_++ % all_.size()];
    to.receive(now, path, bytes);
    to.drain(now, [this](const Path&, ByteView answer) { answer_bytes = answer.size(); });
  }
  /// Microseconds for each of `count`.
  double measure(Party& to, size_t count) {
    for (size_t i = 0; i < 100; ++i) send(to, kStart);
    const double start = thread_cpu();
    for (size_t i = 0; i < count; ++i) send(to, kStart);
    return (thread_cpu() - start) / static_cast<double>(count);
  }
  size_t request_bytes() const { return request_.size(); }
  size_t answer_bytes = 0;

 private:
  static void set_length(Bytes& bytes) {
    bytes[26] = static_cast<uint8_t>(bytes.size() >> 8);
    bytes[27] = static_cast<uint8_t>(bytes.size());
  }
  SeededRandom random_;
  Bytes request_;
  std::vector<std::pair<Path, Bytes>> all_;
  size_t next_ = 0;
};

policy::AdmissionLimits always_cookies() {
  policy::AdmissionLimits limits;
  limits.half_open_cookie_from = 0;
  return limits;
}

void measure_with_cookies(FloodResult& result, size_t count) {
  Party responder(false, 11, always_cookies());
  Stranger plain(1), wrong(2), old(3), malformed(4);
  result.asked_for_cookie = plain.measure(responder, count);
  const size_t before = testing::allocations();
  for (size_t i = 0; i < 1000; ++i) plain.send(responder, kStart);
  result.allocations = static_cast<double>(testing::allocations() - before) / 1000;
  wrong.add_wrong_cookies(1);  // the first secret's version
  result.wrong_cookie = wrong.measure(responder, count);
  malformed.remove_payloads();
  result.malformed = malformed.measure(responder, count);
  // The second secret: the first is the one before.
  Party aged(false, 12, always_cookies());
  plain.send(aged, kStart - 60s);
  old.add_wrong_cookies(1);
  result.old_wrong_cookie = old.measure(aged, count);
}

void measure_without_cookies(FloodResult& result, size_t count) {
  policy::AdmissionLimits limits = unlimited();
  limits.half_open_max = limits.half_open_cookie_from = kHalfOpen + 1000;
  {
    // The tables of the engine have their size for this many before memory is looked at.
    Party responder(false, 13, limits);
    std::vector<Stranger> strangers;
    for (uint64_t seed = 20; seed < 24; ++seed) strangers.emplace_back(seed);
    const double before = heap_bytes();
    const double start = thread_cpu();
    for (size_t i = 0; i < kHalfOpen; ++i) strangers[i / kVariety].send(responder, kStart);
    result.answered = (thread_cpu() - start) / kHalfOpen;
    VERIFY(responder.engine().half_open() == kHalfOpen);
    const double messages = static_cast<double>(strangers[0].request_bytes() + strangers[0].answer_bytes);
    result.half_open_bytes = (heap_bytes() - before) / kHalfOpen - messages;
  }
  limits.half_open_max = 100;
  Party responder(false, 14, limits);
  Stranger stranger(30);
  for (size_t i = 0; i < 100; ++i) stranger.send(responder, kStart);
  result.refused = stranger.measure(responder, count);
  const size_t before = testing::allocations();
  for (size_t i = 0; i < 1000; ++i) stranger.send(responder, kStart);
  result.refused_allocations = static_cast<double>(testing::allocations() - before) / 1000;
}

struct Peers {
  double completed = 0, microseconds = 0;
};

/// Real peers, one after the other, ten a second, with `bogus` requests before each of their datagrams.
Peers connect(const policy::AdmissionLimits& limits, size_t bogus) {
  Party responder(false, 15, limits), initiator(true, 16);
  Stranger stranger(40);
  double spent_on_bogus = 0, spent = 0;
  Instant now = kStart;
  for (size_t i = 0; i < kHandshakes; ++i) {
    now = now + 100ms;
    responder.engine().tick(now);
    const double start = thread_cpu();
    shake_hands(initiator, responder, now, [&] {
      const double bogus_start = thread_cpu();
      for (size_t k = 0; k < bogus; ++k) stranger.send(responder, now);
      spent_on_bogus += thread_cpu() - bogus_start;
    });
    spent += thread_cpu() - start;
    for (IkeSaId id : initiator.engine().ike_sas())
      initiator.engine().close_ike(now, id, Reason::kShutdown, CloseMode::kSilently);
    initiator.drain(now, [](const Path&, ByteView) {});
  }
  return {static_cast<double>(responder.established) / kHandshakes, (spent - spent_on_bogus) / kHandshakes};
}

}  // namespace

FloodResult run_flood(size_t count) {
  FloodResult result;
  measure_with_cookies(result, count);
  measure_without_cookies(result, count);
  const policy::AdmissionLimits defaults;
  policy::AdmissionLimits no_cookies = unlimited();
  no_cookies.half_open_max = kVariety / 4;  // as many strangers as there are must be able to fill it
  no_cookies.half_open_cookie_from = kVariety;
  const Peers alone = connect(defaults, 0), flooded = connect(defaults, kBogusPerDatagram);
  result.completed_alone = alone.completed;
  result.completed_flooded = flooded.completed;
  result.completed_flooded_no_cookies = connect(no_cookies, kBogusPerDatagram).completed;
  result.handshake_alone = alone.microseconds;
  result.handshake_flooded = flooded.microseconds;
  return result;
}

}  // namespace ipsec::bench
