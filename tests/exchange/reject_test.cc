#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "tests/support/insider.h"
#include "tests/support/reject_table.h"

// Every row of the table of rejected messages, end to end: bytes go into an engine, and the row's reason is counted.

using namespace ipsec;
using namespace ipsec::testing;
using namespace ipsec::ike;

namespace {

constexpr auto kNoFlags = uint8_t{0}, kCritical = uint8_t{0x80};

/// What the generic header of a payload says of its length.
enum class Length : uint8_t { kRight, kBeyondMessage, kImpossible };

enum class Outcome : uint8_t {
  kInvalidSyntax,  ///< Answered so, and the IKE SA is over.
  kCriticalNamed,  ///< Answered so, and the IKE SA stays.
  kPassedOver,     ///< Answered as if it had not been there.
  kDeleted         ///< Answered with an empty message, and the IKE SA is over.
};

/// One payload, alone in an authentic INFORMATIONAL request.
struct OnePayload {
  int row;
  PayloadType type;
  const char* body;
  Outcome outcome = Outcome::kInvalidSyntax;
  Length length = Length::kRight;
  uint8_t flags = kNoFlags;
};

using T = PayloadType;

// NOLINTNEXTLINE(cppcoreguidelines-avoid-c-arrays)
constexpr OnePayload kPayloads[] = {
    {.row = 1, .type = T::kAuth, .body = "0200"},
    {.row = 2, .type = T::kAuth, .body = "02000000 a1a2", .length = Length::kBeyondMessage},
    {.row = 4, .type = T::kCert, .body = ""},
    {.row = 5, .type = T::kCert, .body = "04"},
    {.row = 6, .type = T::kCertReq, .body = "04 aabb"},
    {.row = 7, .type = T::kCert, .body = "16 308201", .outcome = Outcome::kPassedOver},
    {.row = 8, .type = T::kConfig, .body = "01"},
    {.row = 9, .type = T{200}, .body = "01020304", .length = Length::kBeyondMessage},
    {.row = 10, .type = T{200}, .body = "", .length = Length::kImpossible},
    {.row = 11, .type = T::kDelete, .body = "0304 0001 00000001 00000002"},
    {.row = 12, .type = T::kDelete, .body = "0f04 0001 00000001", .outcome = Outcome::kPassedOver},
    {.row = 13, .type = T::kDelete, .body = "0108 0001 0000000000000001", .outcome = Outcome::kDeleted},
    {.row = 14, .type = T::kEap, .body = "01"},
    {.row = 15, .type = T::kEap, .body = "01 07 0007 0161"},
    {.row = 16, .type = T::kEncrypted, .body = "00000000000000000000000000000000000000000000000000000000000000000000"},
    {.row = 17, .type = T::kIdI, .body = "020000"},
    {.row = 18, .type = T::kIdI, .body = "02000000 6777", .length = Length::kBeyondMessage},
    {.row = 19, .type = T::kKe, .body = "001f00"},
    {.row = 21, .type = T::kNonce, .body = "000102030405060708090a0b0c0d0e0f", .length = Length::kBeyondMessage},
    {.row = 22, .type = T::kNonce, .body = "000102030405060708090a0b0c0d0e"},
    {.row = 23, .type = T::kNotify, .body = "000040"},
    {.row = 24, .type = T::kNotify, .body = "", .length = Length::kImpossible},
    {.row = 25, .type = T::kNotify, .body = "05 04 4009 c1c2c3c4", .outcome = Outcome::kPassedOver},
    {.row = 26, .type = T::kNotify, .body = "01 08 4009 c1c2c3c4c5c6c7c8", .outcome = Outcome::kPassedOver},
    {.row = 27, .type = T::kSa, .body = "00000007 010100"},
    {.row = 28, .type = T::kSa, .body = "0000"},
    {.row = 29, .type = T::kSa, .body = "", .length = Length::kImpossible},
    {.row = 30, .type = T::kTsI, .body = "00000000"},
    {.row = 31, .type = T{6}, .body = "01", .outcome = Outcome::kCriticalNamed, .flags = kCritical},
    {.row = 32, .type = T::kVendorId, .body = "0102", .length = Length::kBeyondMessage},
    {.row = 33, .type = T::kVendorId, .body = "0102", .outcome = Outcome::kPassedOver, .flags = kCritical},
    {.row = 34, .type = T::kVendorId, .body = "", .length = Length::kImpossible},
    {.row = 35, .type = T::kSa, .body = "00000010 01010001 0000000c 0400001f"},
    {.row = 36, .type = T::kSa, .body = "0000000f 01010001 00000007 040000"},
    // Key Length with a length of its own.
    {.row = 37,
     .type = T::kSa,
     .body = "00000016 01010001 0000000e 01000014 000e 0002 0100",
     .outcome = Outcome::kPassedOver},
    {.row = 38, .type = T::kSa, .body = "00000014 01010001 0000000c 01000014 000e 0962"},
    {.row = 39, .type = T::kKe, .body = "", .length = Length::kImpossible},
    {.row = 46, .type = T::kTsR, .body = "0100"},
    {.row = 48, .type = T::kSa, .body = "00000010 01040001 00000008 0100001c", .outcome = Outcome::kPassedOver},
    {.row = 49, .type = T::kSa, .body = "00000013 01030301 010203 00000008 0100001c", .outcome = Outcome::kPassedOver},
    {.row = 51, .type = T::kTsI, .body = "01000000 07000011 0000ffff 0a000000 0a000001 00"},
    {.row = 52, .type = T::kConfig, .body = "01000000 0078 0001 aa", .outcome = Outcome::kPassedOver},
    {.row = 53,
     .type = T::kSa,
     .body = "00000014 01010001 0000000c 01000014 800c 0001",
     .outcome = Outcome::kPassedOver},
    {.row = 54, .type = T::kSa, .body = "00000008 01010000", .outcome = Outcome::kPassedOver},
    {.row = 60, .type = T::kTsI, .body = "01000000 0706"},
};

Reason reason_of(int row) {
  for (const Rejected& each : kRejected)
    if (each.row == row) return each.reason;
  return Reason::kNone;
}

uint64_t counted(World& world, Reason reason) { return world.b.engine().counters().get(reason); }

struct UpWorld : World {
  explicit UpWorld(const World::Options& options = {.dpd = 0s}) : World(options) {
    initiate();
    deliver_all();
    REQUIRE(is_up_and_equal());
  }
};

Bytes chain_of(const OnePayload& sent) {
  Bytes chain = raw_payload(PayloadType::kNone, sent.flags, *from_hex(sent.body));
  if (sent.length == Length::kBeyondMessage) chain[2] = 4;
  if (sent.length == Length::kImpossible) chain[3] = 3;
  return chain;
}

/// Hands b the first message of a, changed; returns what b answers.
std::vector<Bytes> begin_with(World& world, const std::function<void(Bytes&)>& change) {
  world.initiate();
  Flight request = world.wire.front();
  world.wire.clear();
  change(request.bytes);
  world.b.engine().receive(world.now, request.path, request.bytes);
  world.b.drain(world.now);
  std::vector<Bytes> answers;
  for (auto& [to, bytes] : world.b.outbox) answers.push_back(std::move(bytes));
  world.b.outbox.clear();
  return answers;
}

/// How often the reason is counted when the first message has `bytes` at `offset`; none of these is answered.
template <size_t kOffset, uint8_t... kBytes>
uint64_t header_with(Reason reason) {
  World world;
  const auto answers = begin_with(world, [](Bytes& message) {
    const Bytes changed{kBytes...};
    std::copy(changed.begin(), changed.end(), message.begin() + kOffset);
  });
  CHECK(answers.empty());
  CHECK(world.b.engine().ike_sas().empty());
  return counted(world, reason);
}

uint64_t cut_header(Reason reason) {
  World world;
  CHECK(begin_with(world, [](Bytes& message) { message.resize(Header::kBytes - 1); }).empty());
  return counted(world, reason);
}

/// The proposals do not meet, in IKE_AUTH.
uint64_t esp_differs(const std::string& of_a, const std::string& of_b, Reason reason) {
  World world({.esp_proposals_a = of_a, .esp_proposals_b = of_b});
  world.initiate();
  world.deliver_all();
  CHECK(world.a.reported(Reason::kNoProposalChosen));
  CHECK(world.b.reported(reason));
  return counted(world, reason);
}
uint64_t esn_differs(Reason reason) { return esp_differs("aes256gcm16-esn", "aes256gcm16-noesn", reason); }
uint64_t cipher_differs(Reason reason) { return esp_differs("aes256gcm16", "aes128-sha256", reason); }

/// b's count of `reason` when a's IKE_AUTH request comes with another identity and another AUTH, which is refused.
uint64_t refused_auth(Reason reason, const std::function<void(IdPayload&, AuthPayload&)>& change) {
  World world;
  world.initiate();
  world.deliver_one();
  world.deliver_one();
  Insider peer(world, world.a);
  Read proper = peer.read(world.wire.front().bytes);
  change(*proper.payloads.id_i, *proper.payloads.auth);
  PayloadWriter request;
  request.add(PayloadType::kIdI, *proper.payloads.id_i);
  request.add(*proper.payloads.auth);
  request.add(*proper.payloads.sa);
  request.add(PayloadType::kTsI, *proper.payloads.ts_i);
  request.add(PayloadType::kTsR, *proper.payloads.ts_r);
  peer.next_id = 1;
  CHECK(peer.ask(Exchange::kIkeAuth, request)->has_only(NotifyType::kAuthenticationFailed));
  CHECK(world.b.state() == "none");
  return counted(world, reason);
}

uint64_t unknown_auth_method(Reason reason) {
  return refused_auth(reason, [](IdPayload&, AuthPayload& auth) { auth.method = AuthMethod{10}; });
}
uint64_t unknown_identity_type(Reason reason) {
  return refused_auth(reason, [](IdPayload& id, AuthPayload&) { id.body[0] = 13; });
}

uint64_t public_value_of_wrong_size(Reason reason) {
  World world;
  world.initiate();
  const Flight request = world.wire.front();
  const Read read = read_plain(request.bytes);
  PayloadWriter changed;
  changed.add(*read.payloads.sa);
  changed.add(KePayload{read.payloads.ke->group, Bytes(31, 1)});
  changed.add(*read.payloads.nonce);
  Header header = read.header;
  header.next_payload = changed.first();
  header.length = static_cast<uint32_t>(Header::kBytes + changed.view().size());
  ByteWriter out(header.length);
  header.write(out);
  out.bytes(changed.view());
  world.b.engine().receive(world.now, request.path, out.view());
  world.b.drain(world.now);
  CHECK(world.b.outbox.empty());
  CHECK(world.b.engine().ike_sas().empty());
  return counted(world, reason);
}

/// A request for a child with this SA payload; b's own PFS and the selectors as given.
struct ChildAsked {
  std::string sa;
  std::string ts_i = "01000000 07000010 0000ffff 0a010000 0a01ffff";
  World::Options world = {.dpd = 0s};
};
uint64_t ask_child(const ChildAsked& asked, Reason reason, std::optional<NotifyType> refusal) {
  UpWorld world(asked.world);
  Insider peer(world, world.a);
  const uint64_t before = counted(world, reason);
  Bytes chain;
  auto add = [&](PayloadType next, const std::string& body) {
    const Bytes payload = raw_payload(next, 0, *from_hex(body));
    chain.insert(chain.end(), payload.begin(), payload.end());
  };
  add(PayloadType::kNonce, asked.sa);
  add(PayloadType::kTsI, std::string(64, '5'));
  add(PayloadType::kTsR, asked.ts_i);
  add(PayloadType::kNone, "01000000 07000010 0000ffff 0a020000 0a02ffff");
  const Reply answer = peer.ask(Exchange::kCreateChildSa, PayloadType::kSa, chain);
  if (refusal)
    CHECK(answer->has_only(*refusal));
  else
    CHECK(answer->payloads.sa);
  CHECK(world.b.state() == "established");
  CHECK(world.b.inbound.size() == (refusal ? 1U : 2U));
  return counted(world, reason) - before;
}

/// ESP with AES-GCM of 256 bits, no ESN; AH with HMAC-SHA2-256-128, no ESN.
std::string esp(const std::string& last, const std::string& number) {
  return last + "000020" + number + "030402 11223344 0300000c 01000014 800e 0100 00000008 05000000";
}
std::string ah(const std::string& last, const std::string& number) {
  return last + "00001c" + number + "020402 11223344 03000008 0300000c 00000008 05000000";
}

uint64_t unknown_selector_type(Reason reason) {
  return ask_child({.sa = esp("00", "01"), .ts_i = "01000000 05000008 01020304"}, reason, NotifyType::kTsUnacceptable);
}
uint64_t ah_and_esp(Reason reason) { return ask_child({.sa = ah("02", "01") + esp("00", "02")}, reason, std::nullopt); }
uint64_t only_ah(Reason reason) { return ask_child({.sa = ah("00", "01")}, reason, NotifyType::kNoProposalChosen); }
uint64_t without_pfs(Reason reason) {
  return ask_child(
      {.sa = esp("00", "01"), .world = {.esp_proposals_a = "aes256gcm16-x25519", .pfs_b = true, .dpd = 0s}}, reason,
      NotifyType::kNoProposalChosen);
}

/// A row that takes more than one payload: plays it, checks what is answered, and returns how often b counted.
struct Play {
  int row;
  uint64_t (*play)(Reason);
};

// NOLINTNEXTLINE(cppcoreguidelines-avoid-c-arrays)
constexpr Play kPlays[] = {
    {3, unknown_auth_method},
    {20, public_value_of_wrong_size},
    {40, cut_header},
    {41, header_with<0, 0, 0, 0, 0, 0, 0, 0, 0>},
    {42, header_with<16, 46>},
    {43, header_with<18, 32>},
    {44, header_with<27, 255>},
    {45, header_with<17, 0x10>},
    {47, unknown_identity_type},
    {50, unknown_selector_type},
    {55, ah_and_esp},
    {56, esn_differs},
    {57, without_pfs},
    {58, only_ah},
    {59, cipher_differs},
};

}  // namespace

TEST_CASE("reject: an odd or broken payload in an authentic request is answered as it deserves, its reason counted") {
  for (const OnePayload& sent : kPayloads) {
    CAPTURE(sent.row);
    UpWorld world;
    Insider peer(world, world.a);
    const Reason reason = reason_of(sent.row);
    CAPTURE(std::string(code(reason)));
    const uint64_t before = counted(world, reason);

    const Reply answer = peer.ask(Exchange::kInformational, sent.type, chain_of(sent));

    CHECK(counted(world, reason) > before);
    if (sent.outcome == Outcome::kPassedOver || sent.outcome == Outcome::kDeleted) {
      CHECK(answer->chain.empty());
      CHECK(counted(world, reason) == before + 1);
    } else {
      CHECK(world.b.reported(reason));
      CHECK(answer->has_only(sent.outcome == Outcome::kInvalidSyntax ? NotifyType::kInvalidSyntax
                                                                     : NotifyType::kUnsupportedCriticalPayload));
    }
    const bool over = sent.outcome == Outcome::kInvalidSyntax || sent.outcome == Outcome::kDeleted;
    CHECK(world.b.state() == (over ? "none" : "established"));
  }
}

TEST_CASE("reject: what is wrong with headers, keys, proposals and selectors is counted by its own reason") {
  for (const Play& each : kPlays) {
    CAPTURE(each.row);
    CHECK(each.play(reason_of(each.row)) >= 1);
  }
}

TEST_CASE("reject: no row of the table is left out") {
  std::set<int> played;
  for (const OnePayload& each : kPayloads) CHECK(played.insert(each.row).second);
  for (const Play& each : kPlays) CHECK(played.insert(each.row).second);
  for (const Rejected& each : kRejected) CHECK(played.contains(each.row));
  CHECK(played.size() == std::size(kRejected));
}
