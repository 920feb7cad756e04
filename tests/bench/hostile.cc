#include "tests/bench/hostile.h"

#include <algorithm>
#include <cstdio>
#include <functional>

#include "ike/crypto/key_schedule.h"
#include "ike/engine.h"
#include "ike/limits.h"
#include "ike/snapshot.h"
#include "ike/wire/header.h"
#include "ike/wire/payloads.h"
#include "tests/bench/handshake.h"
#include "tests/bench/limits.h"

namespace ipsec::bench {

using namespace ike;

namespace {

constexpr double kRatioMost = 10;
constexpr Instant kNow{1000s};
constexpr size_t kChildren = 64;
constexpr std::string_view kPsk = "a shared secret of some length";

/// One large configuration: children side by side, each of a network of its own.
std::shared_ptr<const policy::Tunnel> make_tunnel(bool initiator) {
  auto group = std::make_shared<policy::TunnelGroup>();
  group->public_addresses = {kFromInitiator.local.address};
  auto ike = std::make_shared<policy::IkePolicy>();
  ike->proposals =
      policy::parse_proposal(policy::Protocol::kIke, "aes256gcm16-aes128gcm16-prfsha384-prfsha256-x25519-ecp256")
          .value();
  auto child_policy = std::make_shared<policy::ChildPolicy>();
  child_policy->proposals =
      policy::parse_proposal(policy::Protocol::kEsp, "aes256gcm16-aes128gcm16-chacha20poly1305-noesn").value();
  auto tunnel = std::make_shared<policy::Tunnel>();
  tunnel->name = "bench";
  tunnel->group = group;
  tunnel->remote = kFromInitiator.local.address;
  tunnel->local_id = policy::Identity::parse(initiator ? "a.example" : "b.example").value();
  tunnel->remote_id = policy::Identity::parse(initiator ? "b.example" : "a.example").value();
  tunnel->ike_policy = ike;
  for (size_t i = 0; i < kChildren; ++i) {
    auto net = [&](const char* side) { return policy::parse_selector(side + std::to_string(i) + ".0/24").value(); };
    const auto near = net("10.1."), far = net("10.2.");
    tunnel->children.push_back({.name = "net-" + std::to_string(i),
                                .local = {initiator ? near : far},
                                .remote = {initiator ? far : near},
                                .policy = child_policy});
  }
  return tunnel;
}

/// One engine and a shell that answers at once.
class Side {
 public:
  Side(bool initiator, uint64_t seed)
      : tunnel_(make_tunnel(initiator)), random_(seed), spis_(initiator ? 1 : 2, random_) {
    renew();
  }
  void renew() { engine_ = std::make_unique<IkeEngine>(IkeEngine::Options{unlimited()}, random_, spis_); }
  IkeEngine& engine() { return *engine_; }
  const std::shared_ptr<const policy::Tunnel>& tunnel() const { return tunnel_; }
  Secret snapshot() { return *engine_->snapshot(kNow, engine_->ike_sas().front()); }
  void restore(const Secret& snapshot) {
    renew();
    VERIFY(engine_->restore(kNow, snapshot, [&](const std::string&) { return tunnel_; }).ok());
    while (engine_->poll_action()) {
    }
  }
  /// Carries out everything; returns what is to be sent.
  std::vector<Bytes> drain() {
    std::vector<Bytes> sent;
    while (auto action = engine_->poll_action()) {
      if (auto* send = std::get_if<SendDatagram>(&*action)) {
        sent.push_back(std::move(send->bytes));
      } else if (auto* init = std::get_if<NeedInitPolicy>(&*action)) {
        engine_->answer(kNow, {init->id, init->ike, InitPolicy{tunnel_->ike_policy->proposals}});
      } else if (auto* peer = std::get_if<NeedPeer>(&*action)) {
        engine_->answer(kNow, {peer->id, peer->ike, PeerFound{tunnel_}});
      } else if (auto* prove = std::get_if<NeedAuth>(&*action)) {
        AuthMade made{.auth = psk_auth(crypto_, prove->prf, as_bytes(kPsk), prove->octets).value()};
        engine_->answer(kNow, {prove->id, prove->ike, std::move(made)});
      } else if (auto* verify = std::get_if<NeedVerify>(&*action)) {
        (void)psk_auth(crypto_, verify->prf, as_bytes(kPsk), verify->octets).value();
        engine_->answer(kNow, {verify->id, verify->ike, AuthChecked{}});  // whoever is hostile here has the key
      } else if (auto* install = std::get_if<InstallInbound>(&*action)) {
        engine_->answer(kNow, {install->id, install->ike, Installed{}});
      }
    }
    return sent;
  }

 private:
  std::shared_ptr<const policy::Tunnel> tunnel_;
  SeededRandom random_;
  WorkerSpiSource spis_;
  CryptoContext crypto_;
  std::unique_ptr<IkeEngine> engine_;
};

/// Payloads as bytes: a chain and the type of its first.
using Chain = PayloadWriter;
struct Message {
  std::string name;
  Bytes datagram;
};

/// A set-up, cut open: the responder's states, and messages under the right keys.
class Scene {
 public:
  Scene() : initiator_(true, 1), responder_(false, 2) {
    VERIFY(initiator_.engine().initiate(kNow, initiator_.tunnel(), "net-0", kFromInitiator).ok());
    init_request_ = initiator_.drain().front();
    responder_.engine().receive(kNow, kFromResponder, init_request_);
    const Bytes init_response = responder_.drain().front();
    half_open_ = responder_.snapshot();
    initiator_.engine().receive(kNow, kFromInitiator, init_response);
    auth_request_ = initiator_.drain().front();
    const Secret sent = initiator_.snapshot();
    auto read = read_snapshot(sent, kNow, [&](const std::string&) { return initiator_.tunnel(); });
    sa_ = std::move(read).value();
    responder_.engine().receive(kNow, kFromResponder, auth_request_);
    VERIFY(!responder_.drain().empty());
    established_ = responder_.snapshot();
  }

  const Bytes& init_request() const { return init_request_; }
  const Bytes& auth_request() const { return auth_request_; }
  /// The payloads of the ordinary IKE_AUTH, to put more beside them.
  Payloads auth_payloads() {
    auto plain = crypto_.open(sa_->keys()->cipher_keys(true), auth_request_, Header::kBytes);
    return parse_payloads(PayloadType{auth_request_[Header::kBytes]}, *plain).value();
  }

  Bytes seal(Exchange exchange, uint32_t id, const Chain& chain) {
    ByteWriter out;
    Header{.initiator_spi = sa_->spi_i,
           .responder_spi = sa_->spi_r,
           .next_payload = PayloadType::kEncrypted,
           .exchange = exchange,
           .flags = Header::kFlagInitiator,
           .message_id = id}
        .write(out);
    out.u8(static_cast<uint8_t>(chain.first()));
    out.zeros(3);
    VERIFY(crypto_.seal(sa_->keys()->cipher_keys(true), chain.view(), random_, out.buffer()).ok());
    VERIFY(out.size() <= kDatagramBytesMax);
    return std::move(out).take();
  }

  enum class From : uint8_t { kNothing, kHalfOpen, kEstablished };
  /// Microseconds for this message, the least of three rounds.
  double measure(From from, const Bytes& datagram, size_t count) {
    double least = 0;
    for (int round = 0; round < 3; ++round) {
      double spent = 0;
      for (size_t i = 0; i < count; ++i) {
        if (from == From::kNothing) responder_.renew();
        if (from == From::kHalfOpen) responder_.restore(half_open_);
        if (from == From::kEstablished) responder_.restore(established_);
        const double start = thread_cpu();
        responder_.engine().receive(kNow, kFromResponder, datagram);
        (void)responder_.drain();
        spent += thread_cpu() - start;
      }
      spent /= static_cast<double>(count);
      least = round == 0 ? spent : std::min(least, spent);
    }
    return least;
  }

  const KeyPair& public_pair() {
    if (pair_.public_value.empty()) pair_ = crypto_.generate(kX25519, random_).value();
    return pair_;
  }
  static constexpr uint16_t kX25519 = 31;

 private:
  Side initiator_, responder_;
  Bytes init_request_, auth_request_;
  Secret half_open_, established_;
  std::unique_ptr<IkeSa> sa_;
  CryptoContext crypto_;
  SeededRandom random_{3};
  KeyPair pair_;
};

Bytes spi_of(size_t bytes) { return Bytes(bytes, 0x41); }

/// `count` proposals of `transforms` transforms each, none of which is configured, and then, if so wanted, one that is.
SaPayload many_proposals(policy::Protocol protocol, size_t spi_bytes, size_t count, size_t transforms,
                         const char* good) {
  SaPayload payload;
  for (size_t i = 0; i < count; ++i) {
    WireProposal each{.number = static_cast<uint8_t>(i + 1), .spi = spi_of(spi_bytes)};
    each.proposal.protocol = protocol;
    for (size_t k = 0; k < transforms; ++k) {
      const auto type = static_cast<policy::TransformType>(1 + k % 4);
      each.proposal.transforms.push_back({type, static_cast<uint16_t>(1000 + k)});
    }
    payload.proposals.push_back(std::move(each));
  }
  if (good == nullptr) return payload;
  payload.proposals.push_back({.number = static_cast<uint8_t>(count + 1),
                               .spi = spi_of(spi_bytes),
                               .proposal = policy::parse_proposal(protocol, good).value().front()});
  return payload;
}

constexpr const char* kGoodIke = "aes256gcm16-prfsha384-x25519";
constexpr const char* kGoodEsp = "aes256gcm16-noesn";

/// Selectors that overlap without one lying within another: `count` of them over all of the children.
policy::SelectorList grid(const char* side, size_t count, uint8_t protocol) {
  policy::SelectorList list;
  const auto whole = policy::parse_selector(side).value();
  for (size_t i = 0; i < count; ++i) {
    policy::TrafficSelector each = whole;
    each.protocol = protocol;
    const size_t row = i / 16, column = i % 16;
    ByteWriter first(4), last(4);
    const uint32_t base =
        (uint32_t{whole.addresses.first.bytes()[0]} << 24) | (uint32_t{whole.addresses.first.bytes()[1]} << 16);
    first.u32(base + static_cast<uint32_t>(row * 1021));
    last.u32(base + static_cast<uint32_t>(row * 1021 + 9000));
    each.addresses = {IpAddress::from_bytes(first.view()).value(), IpAddress::from_bytes(last.view()).value()};
    each.port_first = static_cast<uint16_t>(column * 4001 + 1);
    each.port_last = static_cast<uint16_t>(column * 4001 + 3998);
    list.push_back(each);
  }
  return list;
}

/// Staggered ranges: each overlaps many others.
policy::SelectorList staggered(const char* side, size_t count) {
  policy::SelectorList list;
  const auto whole = policy::parse_selector(side).value();
  for (size_t i = 0; i < count; ++i) {
    const uint32_t base =
        (uint32_t{whole.addresses.first.bytes()[0]} << 24) | (uint32_t{whole.addresses.first.bytes()[1]} << 16);
    policy::TrafficSelector each = whole;
    each.addresses = {IpAddress::v4(base + static_cast<uint32_t>(i * 7 + 1)),
                      IpAddress::v4(base + static_cast<uint32_t>(i * 11 + 8000))};
    list.push_back(each);
  }
  return list;
}

void add_selectors(Chain& chain, const policy::SelectorList& ours, const policy::SelectorList& theirs) {
  chain.add(PayloadType::kTsI, TsPayload{.selectors = ours});
  chain.add(PayloadType::kTsR, TsPayload{.selectors = theirs});
}

void add_notifies(Chain& chain, size_t count, size_t bytes) {
  for (size_t i = 0; i < count; ++i)
    chain.add(NotifyPayload{.type = NotifyType{static_cast<uint16_t>(40960 + i)}, .data = Bytes(bytes, 1)});
}

struct Traffic {
  const char* name;
  policy::SelectorList ours, theirs;
};
std::vector<Traffic> traffics() {
  constexpr size_t kMany = 254;
  constexpr uint8_t kTcp = 6, kIcmp = 1;
  return {
      {"a grid of 254 selectors on either side", grid("10.1.0.0/16", kMany, kTcp), grid("10.2.0.0/16", kMany, kTcp)},
      {"254 selectors of ICMP", grid("10.1.0.0/16", kMany, kIcmp), grid("10.2.0.0/16", kMany, kIcmp)},
      {"254 staggered ranges", staggered("10.1.0.0/16", kMany), staggered("10.2.0.0/16", kMany)},
      {"254 selectors that meet nothing", grid("10.3.0.0/16", kMany, kTcp), grid("10.4.0.0/16", kMany, kTcp)}};
}

Payloads parsed_init(const Scene& scene) {
  const Bytes& request = scene.init_request();
  return parse_payloads(Header::parse(request)->next_payload, ByteView(request).subspan(Header::kBytes)).value();
}

std::vector<Message> init_messages(Scene& scene) {
  const Payloads ordinary = parsed_init(scene);
  const Header header = Header::parse(scene.init_request()).value();
  std::vector<Message> messages;
  auto add = [&](const char* name, auto build) {
    Chain chain;
    build(chain);
    Header own = header;
    own.next_payload = chain.first();
    own.length = static_cast<uint32_t>(Header::kBytes + chain.view().size());
    ByteWriter out;
    own.write(out);
    out.bytes(chain.view());
    VERIFY(out.size() <= kInitBytesMax);
    messages.push_back({name, std::move(out).take()});
  };
  auto rest = [&](Chain& chain) {
    chain.add(*ordinary.ke);
    chain.add(*ordinary.nonce);
  };
  add("as many transforms as fit, a good one last", [&](Chain& chain) {
    chain.add(many_proposals(policy::Protocol::kIke, 0, 7, 127, kGoodIke));
    rest(chain);
  });
  add("as many proposals as fit, none of them good", [&](Chain& chain) {
    chain.add(many_proposals(policy::Protocol::kIke, 0, 63, 13, nullptr));
    rest(chain);
  });
  add("60 notifications", [&](Chain& chain) {
    chain.add(many_proposals(policy::Protocol::kIke, 0, 0, 0, kGoodIke));
    rest(chain);
    add_notifies(chain, 60, 100);
  });
  add("60 addresses for NAT detection", [&](Chain& chain) {
    chain.add(many_proposals(policy::Protocol::kIke, 0, 0, 0, kGoodIke));
    rest(chain);
    for (size_t i = 0; i < 58; ++i)
      chain.add(NotifyPayload{.type = NotifyType::kNatDetectionSourceIp, .data = Bytes(20, uint8_t(i))});
    chain.add(NotifyPayload{.type = NotifyType::kNatDetectionDestinationIp, .data = Bytes(20, 1)});
  });
  return messages;
}

/// What may stand in IKE_AUTH and in CREATE_CHILD_SA about a child.
std::vector<std::pair<std::string, std::function<void(Chain&)>>> child_parts() {
  std::vector<std::pair<std::string, std::function<void(Chain&)>>> parts;
  const auto net = policy::parse_selector("10.1.1.0/24").value(), far = policy::parse_selector("10.2.1.0/24").value();
  for (const Traffic& traffic : traffics()) {
    for (const char* good : {kGoodEsp, static_cast<const char*>(nullptr)}) {
      const std::string name = std::string(traffic.name) + (good == nullptr ? ", no proposal" : "");
      parts.emplace_back(name, [=](Chain& chain) {
        chain.add(many_proposals(policy::Protocol::kEsp, 4, good == nullptr ? 1 : 0, 4, good));
        add_selectors(chain, traffic.ours, traffic.theirs);
      });
    }
  }
  parts.emplace_back("60 proposals of 120 transforms, a good one last", [=](Chain& chain) {
    chain.add(many_proposals(policy::Protocol::kEsp, 4, 60, 120, kGoodEsp));
    add_selectors(chain, {net}, {far});
  });
  parts.emplace_back("63 proposals of 120 transforms, none of them good", [=](Chain& chain) {
    chain.add(many_proposals(policy::Protocol::kEsp, 4, 63, 120, nullptr));
    add_selectors(chain, {net}, {far});
  });
  parts.emplace_back("55 notifications of 1000 bytes", [=](Chain& chain) {
    chain.add(many_proposals(policy::Protocol::kEsp, 4, 0, 0, kGoodEsp));
    add_selectors(chain, {net}, {far});
    add_notifies(chain, 55, 1000);
  });
  return parts;
}

std::vector<Message> auth_messages(Scene& scene) {
  const Payloads ordinary = scene.auth_payloads();
  std::vector<Message> messages;
  auto begin = [&](Chain& chain) {
    chain.add(PayloadType::kIdI, *ordinary.id_i);
    chain.add(*ordinary.auth);
  };
  for (const auto& [name, part] : child_parts()) {
    Chain chain;
    begin(chain);
    part(chain);
    messages.push_back({name, scene.seal(Exchange::kIkeAuth, 1, chain)});
  }
  Chain certificates;
  begin(certificates);
  certificates.add(*ordinary.sa);
  certificates.add(PayloadType::kTsI, *ordinary.ts_i);
  certificates.add(PayloadType::kTsR, *ordinary.ts_r);
  for (size_t i = 0; i < 50; ++i) certificates.add(CertReqPayload{.authorities = Bytes(1000, 7)});
  messages.push_back({"50 certificate requests of 1000 bytes", scene.seal(Exchange::kIkeAuth, 1, certificates)});
  return messages;
}

Chain child_request(const std::function<void(Chain&)>& part) {
  Chain chain;
  chain.add(NoncePayload{Bytes(32, 5)});
  part(chain);
  return chain;
}

std::vector<Message> rekey_messages(Scene& scene) {
  std::vector<Message> messages;
  auto add = [&](const char* name, const SaPayload& offer) {
    Chain chain;
    chain.add(offer);
    chain.add(NoncePayload{Bytes(32, 5)});
    chain.add(KePayload{Scene::kX25519, scene.public_pair().public_value});
    messages.push_back({name, scene.seal(Exchange::kCreateChildSa, 2, chain)});
  };
  add("60 proposals of 120 transforms, a good one last", many_proposals(policy::Protocol::kIke, 8, 60, 120, kGoodIke));
  add("63 proposals of 120 transforms, none of them good", many_proposals(policy::Protocol::kIke, 8, 63, 120, nullptr));
  return messages;
}

std::vector<Message> informational_messages(Scene& scene) {
  std::vector<Message> messages;
  auto add = [&](const char* name, auto build) {
    Chain chain;
    build(chain);
    messages.push_back({name, scene.seal(Exchange::kInformational, 2, chain)});
  };
  add("15300 SPIs to delete, none of them known", [](Chain& chain) {
    for (size_t i = 0; i < 60; ++i) {
      DeletePayload payload{.protocol = policy::Protocol::kEsp, .spis = {}};
      for (uint32_t k = 0; k < 255; ++k) payload.spis.push_back(0x60000000 + static_cast<uint32_t>(i * 255) + k);
      chain.add(payload);
    }
  });
  add("60 notifications of 1000 bytes", [](Chain& chain) { add_notifies(chain, 60, 1000); });
  add("60 vendor IDs of 1000 bytes", [](Chain& chain) {
    for (size_t i = 0; i < 60; ++i) chain.add(VendorIdPayload{Bytes(1000, 9)});
  });
  add("configuration attributes", [](Chain& chain) {
    ConfigPayload payload;
    for (uint16_t i = 0; i < 60; ++i) payload.attributes.push_back({i, Bytes(1000, 3)});
    chain.add(payload);
  });
  return messages;
}

HostileRow measure(Scene& scene, const char* exchange, Scene::From from, const Bytes& ordinary,
                   const std::vector<Message>& messages, size_t count) {
  HostileRow row{.exchange = exchange, .ordinary = scene.measure(from, ordinary, count)};
  for (const Message& each : messages) row.cases.push_back({each.name, scene.measure(from, each.datagram, count)});
  return row;
}

}  // namespace

const HostileRow::Case& HostileRow::worst() const {
  return *std::max_element(cases.begin(), cases.end(),
                           [](const Case& a, const Case& b) { return a.microseconds < b.microseconds; });
}

std::vector<HostileRow> run_hostile(size_t count) {
  Scene scene;
  using From = Scene::From;
  const auto net = policy::parse_selector("10.1.1.0/24").value(), far = policy::parse_selector("10.2.1.0/24").value();
  const Bytes child = scene.seal(Exchange::kCreateChildSa, 2, child_request([&](Chain& chain) {
                                   chain.add(many_proposals(policy::Protocol::kEsp, 4, 0, 0, kGoodEsp));
                                   add_selectors(chain, {net}, {far});
                                 }));
  std::vector<Message> children;
  for (const auto& [name, part] : child_parts())
    children.push_back({name, scene.seal(Exchange::kCreateChildSa, 2, child_request(part))});
  Chain rekey;
  rekey.add(many_proposals(policy::Protocol::kIke, 8, 0, 0, kGoodIke));
  rekey.add(NoncePayload{Bytes(32, 5)});
  rekey.add(KePayload{Scene::kX25519, scene.public_pair().public_value});
  return {
      measure(scene, "IKE_SA_INIT", From::kNothing, scene.init_request(), init_messages(scene), count),
      measure(scene, "IKE_AUTH", From::kHalfOpen, scene.auth_request(), auth_messages(scene), count),
      measure(scene, "CREATE_CHILD_SA, a child", From::kEstablished, child, children, count),
      measure(scene, "CREATE_CHILD_SA, the IKE SA", From::kEstablished, scene.seal(Exchange::kCreateChildSa, 2, rekey),
              rekey_messages(scene), count),
      measure(scene, "INFORMATIONAL", From::kEstablished, scene.seal(Exchange::kInformational, 2, Chain()),
              informational_messages(scene), count),
  };
}

int print_hostile(size_t count, bool json) {
  bool all = true;
  if (!json) std::printf("microseconds of CPU per message, responder, engine and shell; 64 children configured\n");
  for (const HostileRow& row : run_hostile(count)) {
    const double ratio = row.worst().microseconds / row.ordinary;
    all = all && ratio <= kRatioMost;
    if (json) {
      std::printf(
          "{\"exchange\": \"%s\", \"ordinary_us\": %.2f, \"worst_us\": %.2f, \"ratio\": %.2f, \"worst\": \"%s\"}\n",
          row.exchange.c_str(), row.ordinary, row.worst().microseconds, ratio, row.worst().name.c_str());
      continue;
    }
    std::printf("%-28s ordinary %8.1f  worst %8.1f  = %.1f x (at most %.0f)\n", row.exchange.c_str(), row.ordinary,
                row.worst().microseconds, ratio, kRatioMost);
    for (const HostileRow::Case& each : row.cases)
      std::printf("    %-56s %8.1f\n", each.name.c_str(), each.microseconds);
  }
  return all ? 0 : 1;
}

}  // namespace ipsec::bench
