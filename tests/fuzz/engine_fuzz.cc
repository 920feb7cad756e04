#include <algorithm>
#include <array>
#include <deque>
#include <set>

#include "engine_peer.h"
#include "fuzz_target.h"
#include "ike/engine.h"
#include "ike/limits.h"
#include "ike/snapshot.h"
#include "ike/wire/header.h"
#include "ike/wire/payloads.h"

// The input is a program. Its first byte chooses one of the states that an IKE SA passes through in a set-up between
// two engines (both roles, or none at all); then each operation does something to the engine: a mutated datagram, a
// protected payload of any bytes under the right keys, a timer, an answer, the operator, a restart from the snapshot;
// or a peer with the right keys and message IDs does what belongs, many times in a row, so that every limit is reached.
// Beside the engine's own VERIFYs: what it sends can be read, snapshots survive, no outbound key is installed twice,
// one input makes a bounded number of actions, no limit is passed, and in the end nothing stays in the kernel.

namespace {

using namespace ipsec;
using namespace ipsec::ike;

constexpr size_t kActionsPerInputMax = 512;
constexpr size_t kOperationsMax = 400;
constexpr size_t kFurtherChildren = 3, kChildrenMax = 4, kHalfOpenMax = 4, kIkeSasMax = 8;
constexpr std::string_view kPsk = "the same on both sides";

std::shared_ptr<const policy::Tunnel> make_tunnel(bool initiator) {
  auto group = std::make_shared<policy::TunnelGroup>();
  group->public_addresses = {IpAddress::v4(initiator ? 1 : 2)};
  auto ike = std::make_shared<policy::IkePolicy>();
  ike->proposals = policy::parse_proposal(policy::Protocol::kIke, "aes256gcm16-prfsha384-x25519-ecp256").value();
  ike->children_max = kChildrenMax;
  auto child_policy = std::make_shared<policy::ChildPolicy>();
  child_policy->proposals =
      policy::parse_proposal(policy::Protocol::kEsp, "aes256gcm16-aes128gcm16-x25519-ecp256").value();
  child_policy->pfs = true;
  auto tunnel = std::make_shared<policy::Tunnel>();
  tunnel->name = initiator ? "to-b" : "to-a";
  tunnel->group = group;
  tunnel->remote = IpAddress::v4(initiator ? 2 : 1);
  tunnel->local_id = policy::Identity::parse(initiator ? "a.example" : "b.example").value();
  tunnel->remote_id = policy::Identity::parse(initiator ? "b.example" : "a.example").value();
  tunnel->ike_policy = ike;
  const auto near = policy::parse_selector("10.1.0.0/16").value(), far = policy::parse_selector("10.2.0.0/16").value();
  tunnel->children.push_back(
      {.name = "lan", .local = {initiator ? near : far}, .remote = {initiator ? far : near}, .policy = child_policy});
  // Without a key exchange of their own: many of them cost little.
  auto cheap_policy = std::make_shared<policy::ChildPolicy>(*child_policy);
  cheap_policy->pfs = false;
  for (size_t i = 0; i < kFurtherChildren; ++i) {
    auto net = [&](bool ours) {
      return policy::parse_selector((ours ? "172.16." : "172.17.") + std::to_string(i) + ".0/24").value();
    };
    tunnel->children.push_back({.name = "net-" + std::to_string(i),
                                .local = {net(initiator)},
                                .remote = {net(!initiator)},
                                .policy = cheap_policy});
  }
  return tunnel;
}

Path path_of(bool initiator) {
  const Endpoint a{IpAddress::v4(1), 500}, b{IpAddress::v4(2), 500};
  return {.context = SocketContext(0), .local = initiator ? a : b, .remote = initiator ? b : a};
}

/// An engine with the shell that answers it, one question at a time.
class Side {
 public:
  Side(bool initiator, std::shared_ptr<const policy::Tunnel> tunnel, uint64_t seed)
      : initiator_(initiator), tunnel_(std::move(tunnel)), random_(seed), spis_(initiator ? 1 : 2, random_) {
    renew();
  }

  bool initiator() const { return initiator_; }
  IkeEngine& engine() { return *engine_; }
  std::deque<Bytes> outbox;
  std::deque<Action> questions;
  std::vector<std::pair<IkeSaId, ChildId>> children;

  void drain() {
    size_t count = 0;
    while (auto action = engine_->poll_action()) {
      VERIFY(++count <= kActionsPerInputMax);
      if (auto* send = std::get_if<SendDatagram>(&*action)) {
        outbox.push_back(std::move(send->bytes));
      } else if (auto* out = std::get_if<InstallOutbound>(&*action)) {
        const ByteView key = out->keys.material.expose();
        VERIFY(keys_used_.emplace(key.begin(), key.end()).second);
        children.emplace_back(out->ike, out->child);
        outbound_.insert(out->child);
      } else if (auto* stop = std::get_if<StopOutbound>(&*action)) {
        outbound_.erase(stop->child);
      } else if (auto* remove = std::get_if<RemoveChild>(&*action)) {
        inbound_.erase(remove->child);
        outbound_.erase(remove->child);
      } else if (is_question(*action)) {
        if (auto* install = std::get_if<InstallInbound>(&*action)) inbound_.insert(install->child);
        if (questions.size() > 16) questions.pop_front();
        questions.push_back(std::move(*action));
      }
    }
    VERIFY(engine_->half_open() <= kHalfOpenMax);
    for (IkeSaId id : engine_->ike_sas()) {
      const auto view = engine_->view(id);
      VERIFY(view->children.size() + view->leaving.size() <= kChildrenMax + kChildrenBesideMax);
    }
  }

  /// Everything ends without a word, and the kernel has nothing left.
  void finish(Instant now) {
    for (size_t before = SIZE_MAX; engine_->ike_sas().size() < before;) {
      before = engine_->ike_sas().size();
      for (IkeSaId id : engine_->ike_sas()) engine_->close_ike(now, id, Reason::kShutdown, CloseMode::kSilently);
      drain();
    }
    VERIFY(inbound_.empty() && outbound_.empty());
  }

  /// The right answer to a question.
  Answer answer_to(const Action& question) {
    if (const auto* init = std::get_if<NeedInitPolicy>(&question))
      return {init->id, init->ike, InitPolicy{tunnel_->ike_policy->proposals}};
    if (const auto* peer = std::get_if<NeedPeer>(&question)) return {peer->id, peer->ike, PeerFound{tunnel_}};
    if (const auto* prove = std::get_if<NeedAuth>(&question))
      return {prove->id, prove->ike,
              AuthMade{AuthMethod::kSharedKey, psk_auth(crypto(), prove->prf, as_bytes(kPsk), prove->octets).value()}};
    if (const auto* verify = std::get_if<NeedVerify>(&question)) return {verify->id, verify->ike, AuthChecked{}};
    const auto& install = std::get<InstallInbound>(question);
    return {install.id, install.ike, Installed{}};
  }

  /// Goes on with a new engine that knows only the snapshots; each is the same again when written anew.
  void restart(Instant now) {
    std::vector<Secret> snapshots;
    for (IkeSaId id : engine_->ike_sas()) snapshots.push_back(*engine_->snapshot(now, id));
    renew();
    questions.clear();
    for (const Secret& each : snapshots) {
      const auto id = restore(now, each);
      VERIFY(id.ok());
      VERIFY(engine_->snapshot(now, *id)->equals(each.expose()));
    }
    drain();
  }

  Result<IkeSaId> restore(Instant now, const Secret& snapshot) {
    return engine_->restore(now, snapshot, [&](const std::string& name) -> std::shared_ptr<const policy::Tunnel> {
      return name == tunnel_->name ? tunnel_ : nullptr;
    });
  }

  const std::shared_ptr<const policy::Tunnel>& tunnel() const { return tunnel_; }
  /// One for all inputs: it holds nothing but what libcrypto had to look up.
  static CryptoContext& crypto() {
    static CryptoContext context;
    return context;
  }
  Random& random() { return random_; }

 private:
  static bool is_question(const Action& action) {
    return std::holds_alternative<NeedInitPolicy>(action) || std::holds_alternative<NeedPeer>(action) ||
           std::holds_alternative<NeedAuth>(action) || std::holds_alternative<NeedVerify>(action) ||
           std::holds_alternative<InstallInbound>(action);
  }
  void renew() {
    const IkeEngine::Options options{{.half_open_max = kHalfOpenMax,
                                      .half_open_cookie_from = 2,
                                      .decrypt_failures_max = 3,
                                      .ike_sas_max = kIkeSasMax}};
    engine_ = std::make_unique<IkeEngine>(options, random_, spis_);
  }

  bool initiator_;
  std::shared_ptr<const policy::Tunnel> tunnel_;
  SeededRandom random_;
  WorkerSpiSource spis_;
  std::unique_ptr<IkeEngine> engine_;
  std::set<Bytes> keys_used_;
  std::set<ChildId> inbound_, outbound_;  ///< What the kernel has.
};

/// Everything that one set-up shows: the states of both sides as snapshots, the datagrams, the keys.
struct Recording {
  struct Start {
    bool initiator = false;
    Secret snapshot;
  };
  std::vector<Start> starts;
  std::vector<Bytes> to_initiator, to_responder;
  std::optional<KeySchedule> keys;
  IkeSpi spi_i, spi_r;
  std::array<std::shared_ptr<const policy::Tunnel>, 2> tunnels{make_tunnel(false), make_tunnel(true)};

  static constexpr Instant kNow{1000s};

  Recording() {
    Side a(true, tunnels[1], 11), b(false, tunnels[0], 12);
    VERIFY(a.engine().initiate(kNow, tunnels[1], "lan", path_of(true)).ok());
    keep(a);
    for (bool busy = true; busy;) {
      const bool a_moved = advance(a, b);
      const bool b_moved = advance(b, a);
      busy = a_moved || b_moved;
    }
    const auto up = a.engine().view(a.engine().ike_sas().front());
    VERIFY(up && up->state == "established" && b.children.size() == 1);
    spi_i = up->initiator_spi;
    spi_r = up->responder_spi;
    keep_keys(a);
    // Both sides rekey the child at once, then the IKE SA: every state of a collision is a start.
    const IkeSaId at_a = a.engine().ike_sas().front(), at_b = b.engine().ike_sas().front();
    cross(a, b, [](Side& side, IkeSaId id) {
      side.engine().rekey_child(kNow, id, side.children.front().second, Reason::kRekeyTime);
    });
    for (Side* side : {&a, &b}) {
      side->engine().check_liveness(kNow, side->engine().ike_sas().front());
      keep(*side);
      record(*side);
      side->outbox.clear();
    }
    Side late_a(true, tunnels[1], 13), late_b(false, tunnels[0], 14);
    VERIFY(late_a.restore(kNow, *a.engine().snapshot(kNow, at_a)).ok());
    VERIFY(late_b.restore(kNow, *b.engine().snapshot(kNow, at_b)).ok());
    for (Side* side : {&a, &b}) {
      side->engine().close_ike(kNow, side->engine().ike_sas().front(), Reason::kShutdown);
      keep(*side);
      record(*side);
    }
    cross(late_a, late_b, [](Side& side, IkeSaId id) { side.engine().rekey_ike(kNow, id, Reason::kRekeyTime); });
  }

  const std::vector<Bytes>& datagrams_to(const Side& side) const {
    return side.initiator() ? to_initiator : to_responder;
  }

 private:
  void keep(Side& side) {
    side.drain();
    for (IkeSaId id : side.engine().ike_sas()) starts.push_back({side.initiator(), *side.engine().snapshot(kNow, id)});
  }
  void keep_keys(Side& side) {
    const auto snapshot = *side.engine().snapshot(kNow, side.engine().ike_sas().front());
    const auto sa = read_snapshot(snapshot, kNow, [&](const std::string&) { return side.tunnel(); });
    keys.emplace(KeySchedule::restore((*sa)->keys()->suite(), (*sa)->keys()->block().clone()).value());
  }
  void record(Side& from) {
    for (const Bytes& each : from.outbox) (from.initiator() ? to_responder : to_initiator).push_back(each);
  }
  /// Both sides do the same at once, and all that follows from it.
  template <typename Act>
  void cross(Side& a, Side& b, Act act) {
    for (Side* side : {&a, &b}) {
      act(*side, side->engine().ike_sas().front());
      keep(*side);
    }
    for (bool busy = true; busy;) {
      const bool a_moved = advance(a, b);
      const bool b_moved = advance(b, a);
      busy = a_moved || b_moved;
    }
  }
  /// One step of `side`: answers a question, or lets the other have a datagram.
  bool advance(Side& side, Side& other) {
    if (!side.questions.empty()) {
      const Action question = std::move(side.questions.front());
      side.questions.pop_front();
      side.engine().answer(kNow, side.answer_to(question));
      keep(side);
      return true;
    }
    if (side.outbox.empty()) return false;
    record(side);
    for (const Bytes& each : std::exchange(side.outbox, {})) {
      other.engine().receive(kNow, path_of(other.initiator()), each);
      keep(other);
    }
    return true;
  }
};

/// The bytes of the program; zeros when they are used up.
class Program {
 public:
  explicit Program(ByteView bytes) : rest_(bytes) {}
  bool done() const { return rest_.empty(); }
  uint8_t u8() {
    if (rest_.empty()) return 0;
    const uint8_t value = rest_.front();
    rest_ = rest_.subspan(1);
    return value;
  }
  size_t below(size_t bound) { return (size_t{u8()} << 8 | u8()) % bound; }
  ByteView bytes(size_t most) {
    const ByteView taken = rest_.first(std::min(most, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }

 private:
  ByteView rest_;
};

class Run {
 public:
  Run(const Recording& recording, Program program)
      : recording_(recording), program_(program), start_(pick()), side_(is_initiator(), tunnel(), 99) {
    if (start_ != nullptr) {
      VERIFY(side_.restore(now_, start_->snapshot).ok());
      meet_peer();
    }
    settle();
  }

  void operate() {
    for (size_t i = 0; i < kOperationsMax && !program_.done(); ++i) {
      switch (program_.u8() % 12) {
        case 0: receive_mutated(); break;
        case 1: receive_protected(program_.bytes(program_.u8())); break;
        case 2: receive_protected_again(); break;
        case 3: receive_garbage(); break;
        case 4: answer(); break;
        case 5: operators(); break;
        case 6: side_.restart(now_); break;
        case 7: wait(); break;
        case 8: strangers(); break;
        default: peer_acts(); break;
      }
      settle();
    }
    side_.finish(now_);
  }

 private:
  const Recording::Start* pick() {
    const size_t index = program_.u8() % (recording_.starts.size() + 1);
    return index == recording_.starts.size() ? nullptr : &recording_.starts[index];
  }
  bool is_initiator() const { return start_ != nullptr && start_->initiator; }
  std::shared_ptr<const policy::Tunnel> tunnel() const { return recording_.tunnels[is_initiator() ? 1 : 0]; }
  CryptoContext::CipherKeys keys_of(bool initiator) const { return recording_.keys->cipher_keys(initiator); }

  void settle() {
    side_.drain();
    for (const Bytes& each : std::exchange(side_.outbox, {})) {
      check_sent(each);
      if (peer_) peer_->hear(each);
    }
  }

  /// Where the start has keys, somebody has them at the other end, too.
  void meet_peer() {
    const auto sa = read_snapshot(start_->snapshot, now_, [&](const std::string&) { return side_.tunnel(); });
    VERIFY(sa.ok());
    if ((*sa)->keys() != nullptr) peer_.emplace(**sa, *side_.tunnel(), Side::crypto(), side_.random());
  }

  /// The kernel has done what it was asked for.
  void install_all() {
    for (size_t i = 0; i < side_.questions.size();) {
      if (!std::holds_alternative<InstallInbound>(side_.questions[i])) {
        ++i;
        continue;
      }
      Answer given = side_.answer_to(side_.questions[i]);
      side_.questions.erase(side_.questions.begin() + static_cast<ptrdiff_t>(i));
      side_.engine().answer(now_, std::move(given));
      side_.drain();
    }
  }

  std::optional<Bytes> say(uint8_t what) {
    switch (what % 6) {
      case 0: return peer_->ask_child(1 + what / 8 % kFurtherChildren, false);
      case 1:
      case 2: return peer_->ask_child(1 + what / 8 % kFurtherChildren, true);
      case 3: return peer_->delete_children(1 + what / 8);
      case 4: return peer_->rekey_ike();
      default: return peer_->answer();
    }
  }

  /// The same thing up to 64 times. The program says whether the kernel keeps up, and whether time goes on.
  void peer_acts() {
    if (!peer_) return;
    const uint8_t what = program_.u8(), how = program_.u8();
    const size_t most = what % 6 == 4 ? 4 : 64;
    for (size_t count = 1 + how / 4 % most; count > 0; --count) {
      const auto datagram = say(what);
      if (!datagram) return;
      side_.engine().receive(now_, path_of(side_.initiator()), *datagram);
      side_.drain();
      if ((how & 1) == 0) install_all();
      if ((how & 2) == 0) now_ = now_ + 210ms;
      settle();
    }
  }

  /// Requests of others, and what our own side wants, up to 128 of them.
  void strangers() {
    const uint8_t what = program_.u8(), how = program_.u8();
    const auto ids = side_.engine().ike_sas();
    for (size_t count = 1 + how % 128; count > 0; --count) {
      if (what % 2 == 0) {
        Bytes request = recording_.to_responder.front();
        request[0] = what;
        request[7] = static_cast<uint8_t>(count);
        Path path = path_of(side_.initiator());
        path.remote.address = IpAddress::v4(0x0a000000U + static_cast<uint32_t>(count) * 1000);
        side_.engine().receive(now_, path, request);
        side_.drain();
      } else if (!ids.empty()) {
        [[maybe_unused]] auto added =
            side_.engine().create_child(now_, ids[what / 2 % ids.size()], "net-" + std::to_string(count % 3));
      }
    }
  }

  /// What we send can be read by its receiver.
  void check_sent(ByteView datagram) {
    VERIFY(datagram.size() <= kDatagramBytesMax);
    const auto header = Header::parse(datagram);
    VERIFY(header.ok() && header->length == datagram.size());
    const auto payloads = parse_payloads(header->next_payload, datagram.subspan(Header::kBytes));
    VERIFY(payloads.ok());
    if (!payloads->encrypted || header->initiator_spi != recording_.spi_i || header->responder_spi != recording_.spi_r)
      return;
    // With another first message the keys are others.
    auto plain =
        side_.crypto().open(keys_of(side_.initiator()), datagram, Header::kBytes + payloads->encrypted->offset);
    if (plain.ok()) VERIFY(parse_payloads(payloads->encrypted->inner, *plain).ok());
  }

  void receive(ByteView datagram) {
    Path path = path_of(side_.initiator());
    const uint8_t elsewhere = program_.u8();
    if (elsewhere % 8 == 7) path.remote.port = static_cast<uint16_t>(1000 + elsewhere);
    side_.engine().receive(now_, path, datagram);
  }

  void mutate(Bytes& bytes) {
    for (uint8_t changes = program_.u8() % 4; changes > 0 && !bytes.empty(); --changes) {
      const size_t at = program_.below(bytes.size());
      switch (program_.u8() % 4) {
        case 0: bytes[at] = program_.u8(); break;
        case 1: bytes[at] ^= static_cast<uint8_t>(1 << program_.u8() % 8); break;
        case 2: bytes.resize(at); break;
        case 3: {
          const ByteView more = program_.bytes(program_.u8() % 32);
          bytes.insert(bytes.begin() + static_cast<ptrdiff_t>(at), more.begin(), more.end());
          break;
        }
      }
    }
  }

  void receive_mutated() {
    const auto& known = recording_.datagrams_to(side_);
    Bytes datagram = known[program_.u8() % known.size()];
    mutate(datagram);
    // Mostly with the right length: the check of it is soon known.
    if (datagram.size() >= Header::kBytes && program_.u8() % 8 != 0) {
      ByteWriter length(4);
      length.u32(static_cast<uint32_t>(datagram.size()));
      std::copy(length.view().begin(), length.view().end(), datagram.begin() + 24);
    }
    receive(datagram);
  }

  Header header() {
    static constexpr std::array kExchanges = {Exchange::kInformational, Exchange::kIkeAuth, Exchange::kCreateChildSa,
                                              Exchange::kIkeSaInit};
    Header made{.initiator_spi = recording_.spi_i,
                .responder_spi = recording_.spi_r,
                .next_payload = PayloadType::kEncrypted,
                .exchange = kExchanges[program_.u8() % kExchanges.size()]};
    const uint8_t choice = program_.u8();
    made.flags = static_cast<uint8_t>((side_.initiator() ? 0 : Header::kFlagInitiator) |
                                      ((choice & 1) != 0 ? Header::kFlagResponse : 0));
    made.message_id = static_cast<uint32_t>(choice >> 1) % 4;
    return made;
  }

  void receive_protected(ByteView inner) {
    ByteWriter out;
    header().write(out);
    out.u8(program_.u8());  // the type of the first payload inside
    out.zeros(3);
    if (side_.crypto().seal(keys_of(!side_.initiator()), inner, side_.random(), out.buffer()).ok()) receive(out.view());
  }

  /// A protected message of the recording, opened, changed, and protected again.
  void receive_protected_again() {
    const auto& known = recording_.datagrams_to(side_);
    Bytes datagram = known[program_.u8() % known.size()];
    if (datagram[16] != static_cast<uint8_t>(PayloadType::kEncrypted)) return receive(datagram);
    auto plain = side_.crypto().open(keys_of(!side_.initiator()), datagram, Header::kBytes);
    VERIFY(plain.ok());
    mutate(*plain);
    datagram.resize(Header::kBytes + 4);
    const uint8_t later = program_.u8() % 4;
    if (later != 3) datagram[23] = static_cast<uint8_t>(datagram[23] + later);
    if (side_.crypto().seal(keys_of(!side_.initiator()), *plain, side_.random(), datagram).ok()) receive(datagram);
  }

  void receive_garbage() {
    Header made = header();
    made.next_payload = PayloadType{program_.u8()};
    if (program_.u8() % 4 == 0) made.responder_spi = IkeSpi();
    const ByteView body = program_.bytes(program_.u8());
    made.length = static_cast<uint32_t>(Header::kBytes + body.size());
    ByteWriter out;
    made.write(out);
    out.bytes(body);
    receive(out.view());
  }

  void answer() {
    if (side_.questions.empty()) return;
    const size_t which = program_.u8() % side_.questions.size();
    Answer given = side_.answer_to(side_.questions[which]);
    const uint8_t how = program_.u8();
    if (how % 8 == 5) given.value = Refused{Error(Reason::kKernelRefused, "as the program wants it", 22)};
    if (how % 8 == 6) given.value = Installed{};
    if (how % 8 == 7) given.value = AuthMade{AuthMethod::kSharedKey, Bytes(how, how)};
    side_.engine().answer(now_, std::move(given));
    // Kept sometimes: the answer comes again.
    if (how % 16 != 0) side_.questions.erase(side_.questions.begin() + static_cast<ptrdiff_t>(which));
  }

  void operators() {
    const auto ids = side_.engine().ike_sas();
    const uint8_t what = program_.u8();
    if (what % 8 == 0) {
      [[maybe_unused]] auto started = side_.engine().initiate(now_, tunnel(), "lan", path_of(side_.initiator()));
      return;
    }
    if (ids.empty()) return;
    const IkeSaId id = *std::min_element(ids.begin(), ids.end());
    if (what % 8 == 1) side_.engine().close_ike(now_, id, Reason::kShutdown);
    if (what % 8 == 2) side_.engine().close_ike(now_, id, Reason::kShutdown, CloseMode::kSilently);
    if (what % 8 == 5) side_.engine().check_liveness(now_, id);
    if (what % 8 == 6) side_.engine().rekey_ike(now_, id, Reason::kRekeyTime);
    if (what % 8 == 7) [[maybe_unused]]
      auto added = side_.engine().create_child(now_, id, "lan");
    const auto view = side_.engine().view(id);
    if (what % 8 < 3 || what % 8 > 4 || view->children.empty()) return;
    const ChildId child(view->children[what / 8 % view->children.size()]->spi_in.value());
    if (what % 8 == 3) side_.engine().close_child(now_, id, child, Reason::kDeletedByOperator);
    if (what % 16 == 4) side_.engine().rekey_child(now_, id, child, Reason::kRekeyTime);
    if (what % 16 == 12) side_.engine().inbound_used(now_, id, child);
  }

  void wait() {
    const uint8_t how = program_.u8();
    if (how < 128) {
      now_ = now_ + std::chrono::milliseconds(how * 50);
    } else if (auto next = side_.engine().next_deadline()) {
      now_ = std::max(now_, *next);
    }
    side_.engine().tick(now_);
  }

  const Recording& recording_;
  Program program_;
  const Recording::Start* start_;
  Instant now_ = Recording::kNow;
  Side side_;
  std::optional<fuzz::Peer> peer_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Recording recording;
  Run(recording, Program({data, size})).operate();
  return 0;
}
