#include "tests/bench/limits.h"

#include <sys/resource.h>

#include <ctime>

#include "agent/udp_socket.h"
#include "ike/crypto/key_schedule.h"
#include "policy/base/random.h"

namespace ipsec::bench {

using namespace ike;

namespace {

constexpr size_t kInitBytes = 240, kAuthRequestBytes = 290, kAuthResponseBytes = 250;  // of the set-up measured here

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

template <typename Work>
Primitive measured(const char* name, size_t count, Work work) {
  work();  // caches and lazily made tables are not what is measured
  const double start = thread_cpu();
  for (size_t i = 0; i < count; ++i) work();
  return {name, (thread_cpu() - start) / static_cast<double>(count)};
}

}  // namespace

double thread_cpu() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) * 1e-3;
}

double process_cpu() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return (seconds(usage.ru_utime) + seconds(usage.ru_stime)) * 1e6;
}

std::vector<Primitive> measure_crypto(size_t count) {
  CryptoContext crypto;
  SeededRandom random(1);
  const KeyPair peer = crypto.generate(policy::kX25519, random).value();
  KeyPair own = crypto.generate(policy::kX25519, random).value();
  const Bytes nonces(64, 1), prf_key(48, 2), spis(16, 3), octets(kInitBytes + 32 + 48, 4), id(16, 5);
  const Bytes sk_e(36, 6), request(kAuthRequestBytes - 57, 7), response(kAuthResponseBytes - 57, 8);
  const CryptoContext::CipherKeys keys{
      .encryption = policy::kEncrAesGcm16, .key_bits = 256, .integrity = policy::kAuthNone, .sk_e = sk_e, .sk_a = {}};
  Bytes sealed(32);
  VERIFY(crypto.seal(keys, request, random, sealed).ok());

  std::vector<Primitive> all;
  all.push_back(
      measured("X25519 key pair", count, [&] { own = std::move(crypto.generate(policy::kX25519, random)).value(); }));
  all.push_back(
      measured("X25519 shared secret", count, [&] { VERIFY(crypto.shared_secret(own, peer.public_value).ok()); }));
  all.push_back(measured("SKEYSEED and the seven keys", count, [&] {
    VERIFY(crypto.prf(policy::kPrfHmacSha384, nonces, {own.public_value}).ok());
    VERIFY(crypto.prf_plus(policy::kPrfHmacSha384, prf_key, {nonces, spis}, 48 * 3 + 36 * 2).ok());
  }));
  all.push_back(measured("keys of the child", count,
                         [&] { VERIFY(crypto.prf_plus(policy::kPrfHmacSha384, prf_key, {nonces}, 2 * 36).ok()); }));
  all.push_back(measured("AUTH, made and checked", count, [&] {
    for (int each = 0; each < 2; ++each) {
      VERIFY(crypto.prf(policy::kPrfHmacSha384, prf_key, {id}).ok());
      VERIFY(psk_auth(crypto, policy::kPrfHmacSha384, prf_key, octets).ok());
    }
  }));
  all.push_back(measured("AES-256-GCM, open and seal", count, [&] {
    VERIFY(crypto.open(keys, sealed, 28).ok());
    Bytes message(32);
    VERIFY(crypto.seal(keys, response, random, message).ok());
  }));
  all.push_back(measured("SHA-1 for NAT detection, 4 times", count, [&] {
    for (int each = 0; each < 4; ++each) VERIFY(crypto.sha1({ByteView(nonces).first(22)}).ok());
  }));
  return all;
}

double measure_datagrams(size_t count) {
  const Endpoint here{IpAddress::v4(0x7f000001), 15003}, there{IpAddress::v4(0x7f000001), 15004};
  auto own = agent::UdpSocket::open_group({}, SocketContext(0), here, 1);
  auto peer = agent::UdpSocket::open_group({}, SocketContext(0), there, 1);
  if (!own.ok() || !peer.ok()) return 0;
  const Bytes init(kInitBytes), auth(kAuthRequestBytes), answer(kAuthResponseBytes);
  double spent = 0;
  size_t received = 0;
  for (size_t i = 0; i < count; i += 16) {
    // As a batch, because a loaded daemon finds several at once.
    for (int each = 0; each < 16; ++each) {
      VERIFY(peer->front().send(here, init).ok());
      VERIFY(peer->front().send(here, auth).ok());
    }
    const double start = thread_cpu();
    for (size_t before = received; received < before + 32;)
      own->front().receive([&](const Path&, ByteView) {
        ++received;
        VERIFY(own->front().send(there, answer).ok());
      });
    spent += thread_cpu() - start;
    peer->front().receive([](const Path&, ByteView) {});
    peer->front().receive([](const Path&, ByteView) {});
  }
  return spent / static_cast<double>(received) * 2;
}

}  // namespace ipsec::bench
