#include "tests/support/engine_world.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <exception>

#include "ike/snapshot.h"
#include "ike/wire/header.h"

namespace ipsec::testing {
namespace {

using namespace ipsec::ike;

const IpAddress kA4 = *IpAddress::parse("192.0.2.1"), kB4 = *IpAddress::parse("198.51.100.7");
const IpAddress kA6 = *IpAddress::parse("2001:db8::1"), kB6 = *IpAddress::parse("2001:db8:ffff::7");
const IpAddress kNat4 = *IpAddress::parse("203.0.113.9"), kNat6 = *IpAddress::parse("2001:db8:a::9");

struct TunnelParts {
  std::string name, local_id, remote_id, ike, esp, local_ts, remote_ts;
  IpAddress local, remote;
  policy::EspMode mode = policy::EspMode::kTunnel;
  policy::Role role = policy::Role::kBoth;
  bool pfs = false, pfs_required = false;
  policy::ChildlessPolicy childless = policy::ChildlessPolicy::kRefuse;
  std::string second_local, second_remote;
  bool is_a = false;
};

std::shared_ptr<const policy::Tunnel> make_tunnel(const TunnelParts& parts, const World::Options& options) {
  auto group = std::make_shared<policy::TunnelGroup>();
  group->name = "core";
  group->public_addresses = {parts.local};
  auto ike = std::make_shared<policy::IkePolicy>();
  ike->proposals = policy::parse_proposal(policy::Protocol::kIke, parts.ike).value();
  ike->role = parts.role;
  ike->lifetime = options.ike_lifetime;
  ike->children_max = options.children_max;
  ike->children_overload = options.overload;
  ike->dpd = options.dpd;
  ike->retransmit.tries = options.tries;
  ike->dpd_tries = options.dpd_tries;
  ike->dpd_mode = options.dpd_mode;
  ike->childless = parts.childless;
  ike->rekey.enabled = options.rekey;
  auto child_policy = std::make_shared<policy::ChildPolicy>();
  child_policy->proposals = policy::parse_proposal(policy::Protocol::kEsp, parts.esp).value();
  child_policy->mode = parts.mode;
  child_policy->pfs = parts.pfs;
  child_policy->pfs_required = parts.pfs_required;
  child_policy->pfs_if_wanted = options.pfs_if_wanted;
  child_policy->lifetime = options.child_lifetime;
  child_policy->idle = options.idle;
  child_policy->rekey.enabled = options.rekey;
  auto tunnel = std::make_shared<policy::Tunnel>();
  tunnel->name = parts.name;
  tunnel->group = group;
  tunnel->remote = parts.remote;
  tunnel->local_id = policy::Identity::parse(parts.local_id).value();
  tunnel->remote_id = policy::Identity::parse(parts.remote_id).value();
  tunnel->ike_policy = ike;
  tunnel->children.push_back({.name = "lan",
                              .local = {policy::parse_selector(parts.local_ts).value()},
                              .remote = {policy::parse_selector(parts.remote_ts).value()},
                              .policy = child_policy});
  if (options.second_child)
    tunnel->children.push_back({.name = "dmz",
                                .local = {policy::parse_selector(parts.second_local).value()},
                                .remote = {policy::parse_selector(parts.second_remote).value()},
                                .policy = child_policy});
  for (size_t i = 0; i < options.further_children; ++i) {
    auto net = [&](const char* side) { return policy::parse_selector(side + std::to_string(i) + ".0/24").value(); };
    tunnel->children.push_back({.name = "net-" + std::to_string(i),
                                .local = {net(parts.is_a ? "172.16." : "172.17.")},
                                .remote = {net(parts.is_a ? "172.17." : "172.16.")},
                                .policy = child_policy});
  }
  return tunnel;
}

constexpr std::array<const char*, std::variant_size_v<Action>> kActionNames = {
    "NeedInitPolicy", "NeedPeer",     "NeedAuth",      "NeedVerify",      "InstallInbound",      "InstallOutbound",
    "RemoveChild",    "SendDatagram", "SendKeepalive", "SnapshotChanged", "IdentityEstablished", "Report",
    "WatchInbound",   "StopOutbound", "IkeRekeyed",    "ChildFailed"};

}  // namespace

Host::Host(std::string host_name, uint64_t seed, std::shared_ptr<const policy::Tunnel> its_tunnel,
           const policy::AdmissionLimits& limits)
    : name(std::move(host_name)),
      admission(limits),
      tunnel(std::move(its_tunnel)),
      random_(seed),
      lateness_(seed),
      spis_(1, random_),
      engine_(std::make_unique<IkeEngine>(IkeEngine::Options{admission}, random_, spis_)) {}

void Host::handover(Instant now) {
  std::vector<Secret> snapshots;
  for (IkeSaId id : engine_->ike_sas()) snapshots.push_back(*engine_->snapshot(now, id));
  engine_ = std::make_unique<IkeEngine>(IkeEngine::Options{admission}, random_, spis_);
  for (const Secret& each : snapshots) {
    auto restored = engine_->restore(
        now, each, [&](const std::string& wanted) { return wanted == tunnel->name ? tunnel : nullptr; });
    REQUIRE_MESSAGE(restored.ok(), (restored.ok() ? std::string() : restored.error().text()));
  }
  ++handovers;
}

bool Host::reported(Reason reason) const {
  return std::any_of(reports.begin(), reports.end(), [&](const Report& each) { return each.reason == reason; });
}

std::set<uint32_t> Host::inbound_spis() const {
  std::set<uint32_t> spis;
  for (const auto& [spi, sa] : inbound) spis.insert(spi);
  return spis;
}

std::set<uint32_t> Host::outbound_spis() const {
  std::set<uint32_t> spis;
  for (const auto& [spi, sa] : outbound) spis.insert(spi);
  return spis;
}

std::string Host::state() const {
  const auto ids = engine_->ike_sas();
  if (ids.empty()) return "none";
  return ids.size() > 1 ? "many" : engine_->view(ids.front())->state;
}

void Host::reply(Instant now, Answer answer) {
  if (shell.hold_answers) return held.push_back(std::move(answer));
  if (answers == Answers::kLate) return late.push_back(std::move(answer));
  give(now, std::move(answer));
}

void Host::give_late_answer(Instant now, Random& random) {
  const auto which = late.begin() + static_cast<ptrdiff_t>(random.below(late.size()));
  Answer answer = std::move(*which);
  late.erase(which);
  give(now, std::move(answer));
  carry_out_all(now);
}

void Host::give(Instant now, Answer answer) {
  if (shell.answer_twice) {
    Answer again{answer.id, answer.ike, Refused{Error(Reason::kTimeout)}};
    engine_->answer(now, std::move(answer));
    return engine_->answer(now, std::move(again));
  }
  engine_->answer(now, std::move(answer));
}

Answer Host::answer_for(const NeedVerify& need) {
  Answer answer{need.id, need.ike, AuthChecked{}};
  auto expected = psk_auth(crypto_, need.prf, as_bytes(shell.psk), need.octets);
  if (need.method != AuthMethod::kSharedKey)
    answer.value = Refused{Error(Reason::kAuthMethod, ike::name(need.method))};
  else if (!expected.ok() || !equal_in_constant_time(*expected, need.auth))
    answer.value = Refused{Error(Reason::kAuthFailed, "AUTH differs")};
  return answer;
}

void Host::carry_out(Instant now, Action action) {
  order.push_back(kActionNames[action.index()]);
  if (auto* send = std::get_if<SendDatagram>(&action)) {
    outbox.emplace_back(send->path, std::move(send->bytes));
  } else if (auto* init = std::get_if<NeedInitPolicy>(&action)) {
    InitPolicy policy;
    if (shell.know_address) policy.proposals = tunnel->ike_policy->proposals;
    policy.childless = tunnel->ike_policy->childless != policy::ChildlessPolicy::kRefuse;
    reply(now, {init->id, init->ike, std::move(policy)});
  } else if (auto* peer = std::get_if<NeedPeer>(&action)) {
    Answer answer{peer->id, peer->ike, PeerFound{tunnel}};
    if (!shell.know_peer || !tunnel->remote_id->matches(peer->remote_id))
      answer.value = Refused{Error(Reason::kUnknownPeerIdentity, policy::to_string(peer->remote_id))};
    reply(now, std::move(answer));
  } else if (auto* prove = std::get_if<NeedAuth>(&action)) {
    reply(now, {prove->id, prove->ike,
                AuthMade{AuthMethod::kSharedKey, *psk_auth(crypto_, prove->prf, as_bytes(shell.psk), prove->octets)}});
  } else if (auto* verify = std::get_if<NeedVerify>(&action)) {
    reply(now, answer_for(*verify));
  } else if (auto* install = std::get_if<InstallInbound>(&action)) {
    if (shell.never_install) return;
    if (shell.refuse_install) {
      return reply(now, {install->id, install->ike, Refused{Error(*shell.refuse_install, "as the test wants it", 22)}});
    }
    // A restored engine asks again: the same SA with the same keys may be installed already.
    auto [it, fresh] = inbound.try_emplace(install->spec->spi_in.value(),
                                           InstalledSa{to_hex(install->keys.material.expose()), install->spec, 0});
    CHECK((fresh || it->second.key == to_hex(install->keys.material.expose())));
    reply(now, {install->id, install->ike, Installed{}});
  } else if (auto* out = std::get_if<InstallOutbound>(&action)) {
    install_outbound(*out);
  } else if (auto* remove = std::get_if<RemoveChild>(&action)) {
    inbound.erase(remove->spec->spi_in.value());
    outbound.erase(remove->spec->spi_out.value());
    std::erase_if(watched, [&](const WatchInbound& each) { return each.child == remove->child; });
  } else if (auto* stop = std::get_if<StopOutbound>(&action)) {
    outbound.erase(stop->spec->spi_out.value());
  } else if (auto* watch = std::get_if<WatchInbound>(&action)) {
    watched.push_back(*watch);
  } else if (auto* moved = std::get_if<IkeRekeyed>(&action)) {
    rekeyed.push_back(std::move(*moved));
  } else if (auto* failure = std::get_if<ChildFailed>(&action)) {
    failed.push_back(std::move(*failure));
  } else if (auto* identity = std::get_if<IdentityEstablished>(&action)) {
    established.push_back(std::move(*identity));
  } else if (auto* report = std::get_if<Report>(&action)) {
    reports.push_back(std::move(*report));
  }
}

void Host::install_outbound(const InstallOutbound& order_to_use) {
  // Never twice: an outbound key that is installed again would repeat nonces.
  const bool fresh =
      outbound
          .try_emplace(order_to_use.spec->spi_out.value(),
                       InstalledSa{to_hex(order_to_use.keys.material.expose()), order_to_use.spec, ++installations_})
          .second;
  CHECK(fresh);
  std::erase_if(watched, [&](const WatchInbound& each) { return each.child == order_to_use.child; });
}

uint32_t Host::sends_on(const std::string& child) const {
  const InstalledSa* newest = nullptr;
  for (const auto& [spi, sa] : outbound)
    if (sa.spec->child == child && (newest == nullptr || sa.order > newest->order)) newest = &sa;
  return newest != nullptr ? newest->spec->spi_out.value() : 0;
}

void Host::receive_traffic(Instant now, const Host& sender) {
  const auto asked = watched;
  for (const WatchInbound& each : asked) {
    const auto it = inbound.find(each.child.value());
    if (it == inbound.end() || sender.sends_on(it->second.spec->child) != each.child.value()) continue;
    engine_->inbound_used(now, each.ike, each.child);
    drain(now);
  }
}

IkeSaId Host::ike() const {
  for (IkeSaId id : engine_->ike_sas())
    if (engine_->view(id)->state == "established") return id;
  return IkeSaId();
}

void Host::carry_out_all(Instant now) {
  while (auto action = engine_->poll_action()) carry_out(now, std::move(*action));
}

void Host::drain(Instant now) {
  carry_out_all(now);
  while (!holding && !late.empty()) {
    if (interfere) interfere(*this);
    give_late_answer(now, lateness_);
  }
}

void Host::check_that_nothing_stays(Instant now) {
  shell.hold_answers = true;
  for (int round = 0; round < 8; ++round)
    for (IkeSaId id : engine_->ike_sas()) engine_->close_ike(now, id, Reason::kShutdown, CloseMode::kSilently);
  carry_out_all(now);
  CHECK_MESSAGE(inbound.empty(), name, ": an inbound SA stays in the kernel");
  CHECK_MESSAGE(outbound.empty(), name, ": an outbound SA stays in the kernel");
}

std::shared_ptr<const policy::Tunnel> World::tunnel_a(const Options& options) {
  return make_tunnel({.name = "to-b",
                      .local_id = "a.example",
                      .remote_id = "b.example",
                      .ike = options.ike_proposals_a,
                      .esp = options.esp_proposals_a,
                      .local_ts = options.local_ts,
                      .remote_ts = options.remote_ts,
                      .local = options.ipv6 ? kA6 : kA4,
                      .remote = options.ipv6 ? kB6 : kB4,
                      .mode = options.mode_a,
                      .pfs = options.pfs_a,
                      .childless = options.childless_a,
                      .second_local = "10.101.0.0/16",
                      .second_remote = "10.102.0.0/16",
                      .is_a = true},
                     options);
}

std::shared_ptr<const policy::Tunnel> World::tunnel_b(const Options& options) {
  return make_tunnel({.name = "to-a",
                      .local_id = "b.example",
                      .remote_id = "a.example",
                      .ike = options.ike_proposals_b,
                      .esp = options.esp_proposals_b,
                      .local_ts = options.remote_ts,
                      .remote_ts = options.remote_ts_b.empty() ? options.local_ts : options.remote_ts_b,
                      .local = options.ipv6 ? kB6 : kB4,
                      .remote = options.ipv6 ? kA6 : kA4,
                      .mode = options.mode_b,
                      .role = options.role_b,
                      .pfs = options.pfs_b,
                      .pfs_required = options.pfs_required_b,
                      .childless = options.childless_b,
                      .second_local = "10.102.0.0/16",
                      .second_remote = "10.101.0.0/16"},
                     options);
}

Answers answers_of_this_run() { return std::getenv("LATE_ANSWERS") != nullptr ? Answers::kLate : Answers::kAtOnce; }

World::World() : World(Options{}) {}
World::World(const Options& options)
    : a("a", options.seed * 2 + 1, tunnel_a(options)),
      b("b", options.seed * 2 + 2, tunnel_b(options), options.admission_b),
      options_(options) {
  for (Host* host : {&a, &b}) {
    host->answers = options.answers;
    host->interfere = [this](Host& waiting) { interfere(waiting); };
  }
}

World::~World() {
  if (std::uncaught_exceptions() != 0) return;  // the test has ended in the middle
  for (Host* host : {&a, &b}) host->check_that_nothing_stays(now);
}

ike::IkeSaId World::initiate(const std::string& child, Contact contact) {
  const Path path{
      .context = SocketContext(0), .local = {*a.tunnel->local_address(), 500}, .remote = {*a.tunnel->remote, 500}};
  auto id = a.engine().initiate(now, a.tunnel, child, path, {}, contact);
  REQUIRE(id.ok());
  collect();
  return *id;
}

void World::on_wire(Host& from, const Path& path, Bytes bytes) {
  Flight flight{.to = &from == &a ? &b : &a,
                .path = {.context = path.context, .local = path.remote, .remote = path.local},
                .bytes = std::move(bytes)};
  if (options_.nat) {
    const IpAddress outside = options_.ipv6 ? kNat6 : kNat4;
    const IpAddress inside = *a.tunnel->local_address();
    if (&from == &a)
      flight.path.remote = {outside, static_cast<uint16_t>(path.local.port + 20000)};
    else
      flight.path.local = {inside, static_cast<uint16_t>(path.remote.port - 20000)};
  }
  wire.push_back(std::move(flight));
}

void World::collect() {
  for (Host* host : {&a, &b}) {
    host->drain(now);
    for (auto& [path, bytes] : host->outbox) on_wire(*host, path, std::move(bytes));
    host->outbox.clear();
  }
}

void World::flow() {
  for (const auto& [sender, receiver] : {std::pair(&a, &b), std::pair(&b, &a)}) {
    for (const policy::ChildConfig& child : sender->tunnel->children) {
      const uint32_t spi = sender->sends_on(child.name);
      if (spi == 0 || !receiver->inbound.contains(spi)) ++packets_lost;
    }
    receiver->receive_traffic(now, *sender);
  }
}

bool World::settles() {
  run_for(20s);
  return is_up_and_equal();
}

void World::step_done() {
  collect();
  if (traffic) {
    flow();
    collect();
  }
  if (options_.handover != Handover::kEachStep) return;
  a.handover(now);
  b.handover(now);
  collect();
}

bool World::deliver_one() {
  if (wire.empty()) return false;
  Flight flight = std::move(wire.front());
  wire.pop_front();
  if (lose && lose(flight)) return true;
  last_[flight.to] = {flight.path, flight.bytes};
  flight.to->engine().receive(now, flight.path, flight.bytes);
  ++delivered;
  step_done();
  return true;
}

void World::set_holding(bool holding) { a.holding = b.holding = holding; }

bool World::give_one_late_answer() {
  Host& first = lateness_.below(2) == 0 ? a : b;
  for (Host* host : {&first, &first == &a ? &b : &a}) {
    if (host->late.empty()) continue;
    interfere(*host);
    host->give_late_answer(now, lateness_);
    step_done();
    return true;
  }
  return false;
}

void World::interfere(Host& host) {
  const Host& peer = &host == &a ? b : a;
  const auto last = last_.find(&host);
  if (last == last_.end()) return;
  const auto& [path, datagram] = last->second;
  const auto header = Header::parse(datagram);
  REQUIRE(header.ok());
  const IkeSaId ours((header->from_initiator() ? header->responder_spi : header->initiator_spi).value());
  const IkeSaId theirs((header->from_initiator() ? header->initiator_spi : header->responder_spi).value());
  const auto snapshot = host.engine().snapshot(now, ours), keys = peer.engine().snapshot(now, theirs);
  if (!snapshot || !keys || header->is_response()) return;
  auto find = [](const Host& of) { return [&](const std::string&) { return of.tunnel; }; };
  const auto waiting = read_snapshot(*snapshot, now, find(host)), sender = read_snapshot(*keys, now, find(peer));
  REQUIRE((waiting.ok() && sender.ok()));
  const MessageWindow& window = (*waiting)->window;
  if (!window.is_responding() || header->message_id + 1 != window.expected || (*sender)->keys() == nullptr) return;

  const auto cipher = (*sender)->keys()->cipher_keys((*sender)->initiator);
  const auto chain = crypto_.open(cipher, datagram, Header::kBytes);
  if (!chain.ok()) return;  // IKE_SA_INIT
  Bytes next(datagram.begin(), datagram.begin() + Header::kBytes + 4);
  ByteWriter id(4);
  id.u32(window.expected);
  std::ranges::copy(id.view(), next.begin() + 20);
  REQUIRE(crypto_.seal(cipher, *chain, lateness_, next).ok());
  host.engine().receive(now, path, datagram);
  const uint64_t before = host.engine().counters().get(Reason::kIkeWindow);
  host.engine().receive(now, path, next);
  CHECK(host.engine().counters().get(Reason::kIkeWindow) == before + 1);
  CHECK(host.engine().snapshot(now, ours)->equals(snapshot->expose()));
}

void World::deliver_all() {
  collect();
  set_holding(true);
  for (int i = 0; i < 1000 && (deliver_one() || give_one_late_answer()); ++i) {
  }
  set_holding(false);
  collect();
  CHECK(wire.empty());
}

bool World::run_next_timer(Duration limit) {
  std::optional<Instant> next;
  for (Host* host : {&a, &b})
    if (auto deadline = host->engine().next_deadline(); deadline && (!next || *deadline < *next)) next = deadline;
  if (!next || *next - now > limit) return false;
  now = std::max(now, *next);
  a.engine().tick(now);
  b.engine().tick(now);
  step_done();
  return true;
}

void World::run_for(Duration duration) {
  const Instant end = now + duration;
  deliver_all();
  while (run_next_timer(end - now)) deliver_all();
  now = end;
}

bool World::is_up_and_equal() const {
  auto same = [](const auto& in, const auto& out) {
    if (in.size() != out.size()) return false;
    for (const auto& [spi, sa] : in) {
      auto other = out.find(spi);
      if (other == out.end() || other->second.key != sa.key || other->second.spec->suite != sa.spec->suite ||
          other->second.spec->local != sa.spec->remote || other->second.spec->remote != sa.spec->local ||
          other->second.spec->mode != sa.spec->mode)
        return false;
    }
    return true;
  };
  return a.state() == "established" && b.state() == "established" && same(a.inbound, b.outbound) &&
         same(b.inbound, a.outbound) && !a.inbound.empty();
}

}  // namespace ipsec::testing
