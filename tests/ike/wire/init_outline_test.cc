#include "ike/wire/init_outline.h"

#include "ike/limits.h"
#include "ike/wire/payloads.h"
#include "policy/base/random.h"
#include "tests/ike/wire/wire_test_support.h"

using namespace ipsec;
using namespace ipsec::ike;
using namespace ipsec::test;

namespace {

struct Parts {
  bool sa = true, ke = true, nonce = true;
  size_t nonce_bytes = 32;
  Bytes cookie;
};

PayloadWriter request(const Parts& parts) {
  PayloadWriter out;
  if (!parts.cookie.empty()) out.add(NotifyPayload{.type = NotifyType::kCookie, .data = parts.cookie});
  if (parts.sa) {
    SaPayload sa;
    sa.proposals.push_back(
        {.number = 1,
         .spi = {},
         .proposal = {.protocol = policy::Protocol::kIke,
                      .transforms = {{policy::TransformType::kEncryption, policy::kEncrAesGcm16, 256}}}});
    out.add(sa);
  }
  if (parts.ke) out.add(KePayload{.group = 31, .public_value = Bytes(32, 1)});
  if (parts.nonce) out.add(NoncePayload{Bytes(parts.nonce_bytes, 7)});
  out.add(NotifyPayload{.type = NotifyType::kNatDetectionSourceIp, .data = Bytes(20, 3)});
  return out;
}

Reason refusal(PayloadType first, ByteView chain) {
  const auto outline = InitOutline::read(first, chain);
  if (outline.ok()) return Reason::kNone;
  CHECK(outline.error().detail().empty());  // so that refusing allocates nothing
  return outline.error().reason();
}

}  // namespace

TEST_CASE("outline: nonce and cookie are found where they stand") {
  const PayloadWriter with = request({.cookie = Bytes(17, 9)}), without = request({});

  const auto asked = InitOutline::read(with.first(), with.view());
  REQUIRE(asked.ok());
  CHECK(Bytes(asked->nonce.begin(), asked->nonce.end()) == Bytes(32, 7));
  CHECK(Bytes(asked->cookie.begin(), asked->cookie.end()) == Bytes(17, 9));
  const auto plain = InitOutline::read(without.first(), without.view());
  REQUIRE(plain.ok());
  CHECK(plain->nonce.size() == 32);
  CHECK(plain->cookie.empty());
}

TEST_CASE("outline: what has no SA, KE or nonce payload is refused, and so is a second nonce") {
  for (const Parts& parts : {Parts{.sa = false}, Parts{.ke = false}, Parts{.nonce = false}}) {
    const PayloadWriter chain = request(parts);
    CHECK(refusal(chain.first(), chain.view()) == Reason::kIkePayloadMissing);
  }
  PayloadWriter twice = request({});
  twice.add(NoncePayload{Bytes(32, 8)});
  CHECK(refusal(twice.first(), twice.view()) == Reason::kIkePayloadDuplicate);
}

TEST_CASE("outline: a nonce has its shortest and its longest length") {
  const std::pair<size_t, Reason> cases[] = {{kNonceBytesMin - 1, Reason::kIkeNonceSize},
                                             {kNonceBytesMin, Reason::kNone},
                                             {kNonceBytesMax, Reason::kNone},
                                             {kNonceBytesMax + 1, Reason::kIkeNonceSize}};
  for (const auto& [bytes, expected] : cases) {
    CAPTURE(bytes);
    const PayloadWriter rest = request({.nonce = false});
    Bytes chain = {static_cast<uint8_t>(rest.first()), 0, static_cast<uint8_t>((bytes + 4) >> 8),
                   static_cast<uint8_t>(bytes + 4)};
    chain.resize(chain.size() + bytes, 7);
    chain.insert(chain.end(), rest.view().begin(), rest.view().end());
    CHECK(refusal(PayloadType::kNonce, chain) == expected);
  }
}

TEST_CASE("outline: a request cannot begin with an encrypted payload, or with none") {
  const PayloadWriter chain = request({});
  CHECK(refusal(PayloadType::kEncrypted, chain.view()) == Reason::kIkeFirstPayload);
  CHECK(refusal(PayloadType::kNone, {}) == Reason::kIkeFirstPayload);
}

TEST_CASE("outline: cut at any byte it is refused") {
  const PayloadWriter chain = request({.cookie = Bytes(17, 9)});
  for (size_t bytes = 0; bytes < chain.view().size(); ++bytes)
    CHECK(refusal(chain.first(), chain.view().first(bytes)) != Reason::kNone);
}

TEST_CASE("outline: a payload shorter than its own header is malformed, and too many payloads are too many") {
  CHECK(refusal(PayloadType::kSa, bytes_of("00000003")) == Reason::kMalformed);
  Bytes many;
  for (size_t i = 0; i <= kPayloadsWalkedMax; ++i)
    for (uint8_t byte : {43, 0, 0, 4}) many.push_back(byte);
  CHECK(refusal(PayloadType::kVendorId, many) == Reason::kIkeTooManyPayloads);
}

TEST_CASE("outline: a cookie notification that is broken is none") {
  // N(COOKIE) that claims an SPI of 4 bytes and has none; N of three bytes.
  for (const char* notify : {"2100000800044006", "21000007000040"}) {
    const PayloadWriter rest = request({});
    Bytes chain = bytes_of(notify);
    chain.insert(chain.end(), rest.view().begin(), rest.view().end());
    const auto outline = InitOutline::read(PayloadType::kNotify, chain);
    REQUIRE(outline.ok());
    CHECK(outline->cookie.empty());
  }
}

TEST_CASE("outline: whatever parses as a whole request also has an outline that agrees with it") {
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    CAPTURE(seed);
    SeededRandom random(seed);
    const PayloadWriter chain = request({.nonce_bytes = 16 + random.below(64), .cookie = Bytes(random.below(40), 9)});
    Bytes bytes(chain.view().begin(), chain.view().end());
    for (uint64_t change = random.below(4); change > 0; --change)
      bytes[random.below(bytes.size())] = static_cast<uint8_t>(random.u32());

    const auto whole = parse_payloads(chain.first(), bytes);
    if (!whole.ok() || !whole->sa || !whole->ke || !whole->nonce || whole->encrypted) continue;
    const auto outline = InitOutline::read(chain.first(), bytes);
    REQUIRE(outline.ok());
    CHECK(Bytes(outline->nonce.begin(), outline->nonce.end()) == whole->nonce->nonce);
    const NotifyPayload* cookie = whole->notify(NotifyType::kCookie);
    if (cookie != nullptr) CHECK(Bytes(outline->cookie.begin(), outline->cookie.end()) == cookie->data);
  }
}
