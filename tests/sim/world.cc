#include "tests/sim/world.h"

#include <algorithm>
#include <cstdio>

#include "ike/wire/header.h"
#include "ike/wire/payloads.h"

namespace ipsec::sim {

using namespace ike;

namespace {

/// A number in letters that no number in a report has, decimal or hexadecimal: eight digits of a key that looks like
/// one would be found in an SPI by chance.
std::string letters(uint64_t number) {
  std::string text;
  for (; number != 0; number >>= 4) text.push_back(static_cast<char>('g' + (number & 0xf)));
  return text;
}

const IpAddress kNatOutside = *IpAddress::parse("203.0.113.9");
constexpr uint16_t kNatPorts = 20000;

IpAddress address_of(size_t gateway) { return IpAddress::v4(0xc0000201 + static_cast<uint32_t>(gateway)); }
std::string subnet_of(size_t gateway) { return "10." + std::to_string(gateway + 1) + ".0.0/16"; }
std::string identity_of(size_t gateway) { return "gw" + std::to_string(gateway) + ".example"; }

/// Both lists of a pair hold x25519 with SHA-384 or SHA-256, so they always meet, sometimes by INVALID_KE_PAYLOAD.
constexpr std::array kIkeLists = {"aes256gcm16-prfsha384-x25519", "aes256gcm16-aes128gcm16-prfsha384-prfsha256-x25519",
                                  "aes256gcm16-prfsha384-x25519-ecp256", "aes256gcm16-prfsha384-ecp256-x25519"};
constexpr std::array kEspLists = {"aes256gcm16", "aes256gcm16-aes128gcm16", "aes256gcm16-esn-noesn"};
/// With PFS the lists meet as well, sometimes after a corrected guess.
constexpr std::array kPfsLists = {"aes256gcm16-x25519", "aes256gcm16-aes128gcm16-ecp256-x25519",
                                  "aes256gcm16-x25519-ecp256"};

/// A response that is nothing but N(COOKIE).
bool is_cookie(ByteView datagram) {
  const auto header = Header::parse(datagram);
  if (!header.ok() || header->exchange != Exchange::kIkeSaInit || !header->is_response()) return false;
  const auto payloads = parse_payloads(header->next_payload, datagram.subspan(Header::kBytes));
  return payloads.ok() && payloads->notify(NotifyType::kCookie) != nullptr;
}

}  // namespace

World::World(const Scenario& scenario) : scenario_(scenario), random_(scenario.seed) { build(); }

std::shared_ptr<const policy::Tunnel> World::make_tunnel(size_t from, size_t to) {
  auto group = std::make_shared<policy::TunnelGroup>();
  group->name = "core";
  group->public_addresses = {address_of(from)};
  auto ike = std::make_shared<policy::IkePolicy>();
  ike->proposals = policy::parse_proposal(policy::Protocol::kIke, kIkeLists[below(kIkeLists.size())]).value();
  ike->dpd = 10s;
  ike->retransmit.tries = 4;
  ike->setup_timeout = 20s;
  ike->lifetime = std::chrono::seconds(40 + below(60));
  auto child_policy = std::make_shared<policy::ChildPolicy>();
  // Both sides of a pair agree on PFS: the sum of their numbers tells.
  child_policy->pfs = (from + to) % 2 == 0;
  const auto& lists = child_policy->pfs ? kPfsLists : kEspLists;
  child_policy->proposals = policy::parse_proposal(policy::Protocol::kEsp, lists[below(lists.size())]).value();
  child_policy->lifetime = std::chrono::seconds(12 + below(30));
  auto tunnel = std::make_shared<policy::Tunnel>();
  tunnel->name = "to-" + std::to_string(to);
  tunnel->group = group;
  // Nobody can call a gateway behind a NAT.
  if (!nat_ || to != 0) tunnel->remote = address_of(to);
  tunnel->local_id = policy::Identity::parse(identity_of(from)).value();
  tunnel->remote_id = policy::Identity::parse(identity_of(to)).value();
  tunnel->ike_policy = ike;
  tunnel->children.push_back({.name = "lan",
                              .local = {policy::parse_selector(subnet_of(from)).value()},
                              .remote = {policy::parse_selector(subnet_of(to)).value()},
                              .policy = child_policy});
  return tunnel;
}

void World::build() {
  nat_ = below(3) == 0;
  const size_t count = 2 + below(3);
  std::vector<Gateway::Setup> setups(count);
  for (size_t i = 0; i < count; ++i) {
    setups[i].number = i;
    setups[i].workers = 1 + below(2);
    setups[i].seed = random_.u64() >> 8;
    setups[i].limits = {
        {.half_open_max = 12, .half_open_cookie_from = 3, .half_open_cookie_until = 2, .ike_sas_max = 64}};
  }
  for (size_t i = 0; i < count; ++i) {
    for (size_t k = i + 1; k < count; ++k) {
      const std::string psk = "between " + letters(random_.u64());
      ledger_.learn_secret(as_bytes(psk));
      for (auto [a, b] : {std::pair(i, k), std::pair(k, i)}) {
        setups[a].tunnels[b] = make_tunnel(a, b);
        setups[a].psks[b] = psk;
      }
      // The lower number starts; one pair in two, both do.
      setups[i].starts.insert(k);
      if (below(2) == 0 && !(nat_ && i == 0)) setups[k].starts.insert(i);
    }
  }
  Surroundings& surroundings = *this;
  for (Gateway::Setup& setup : setups) gateways_.push_back(std::make_unique<Gateway>(std::move(setup), surroundings));
  for (int64_t second = 0; Duration(std::chrono::seconds(second)) < kTrouble; ++second)
    later(std::chrono::seconds(second), [this] { each_second(); });
  for (auto& gateway : gateways_)
    for (int64_t at = 0; at < 60; ++at)
      later(std::chrono::milliseconds(at * 5000 + static_cast<int64_t>(below(3) * 400)),
            [&gateway] { gateway->supervise(); });
}

void World::trace(size_t gateway, const std::string& what) {
  if (!scenario_.print_trace) return;
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now_.since_boot).count();
  std::printf("%9.3f gw%zu %s\n", static_cast<double>(ms) / 1000, gateway, what.c_str());
}

void World::later(Duration delay, std::function<void()> what) {
  events_.emplace(std::pair(now_ + delay, ++event_count_), std::move(what));
}

std::optional<World::Flight> World::route(size_t from, const Path& path, Bytes bytes) {
  Flight flight{.from = from,
                .to = 0,
                .path = {.context = path.context, .local = path.remote, .remote = path.local},
                .bytes = std::move(bytes)};
  const auto mapped = static_cast<uint16_t>(kNatPorts + nat_epoch_);
  if (nat_ && from == 0)
    flight.path.remote = {kNatOutside, static_cast<uint16_t>(path.local.port == 500 ? mapped : mapped + 1)};
  if (nat_ && path.remote.address == kNatOutside) {
    if (path.remote.port != mapped && path.remote.port != mapped + 1) return std::nullopt;
    flight.path.local = {address_of(0), static_cast<uint16_t>(path.remote.port == mapped ? 500 : 4500)};
    return flight;
  }
  for (size_t i = 0; i < gateways_.size(); ++i) {
    if (path.remote.address != address_of(i)) continue;
    flight.to = i;
    if (nat_ && i == 0) return std::nullopt;  // a private address
    return flight;
  }
  return std::nullopt;
}

void World::transmit(size_t from, const Path& path, Bytes bytes) {
  auto flight = route(from, path, std::move(bytes));
  if (!flight) return trace(from, "sends to where nobody is");
  if (is_cookie(flight->bytes)) saw(Seen::kCookie);
  if (history_.size() >= 256) history_.pop_front();
  history_.push_back(*flight);
  if (chance(faults().forge)) forge(*flight);
  const auto pair = std::minmax(flight->from, flight->to);
  const auto cut = partitioned_until_.find({pair.first, pair.second});
  if (cut != partitioned_until_.end() && now_ < cut->second) return;
  if (chance(faults().lose)) return saw(Seen::kLost);
  if (chance(faults().duplicate)) {
    saw(Seen::kDuplicated);
    put_on_wire(*flight, std::chrono::milliseconds(10 + below(400)));
  }
  if (chance(faults().corrupt)) {
    saw(Seen::kCorrupted);
    for (uint64_t flips = 1 + below(3); flips > 0; --flips)
      flight->bytes[below(flight->bytes.size())] ^= static_cast<uint8_t>(1 << below(8));
  }
  Duration delay = 10ms;
  if (chance(faults().delay)) {
    saw(Seen::kReordered);
    delay += std::chrono::milliseconds(below(static_cast<uint64_t>(faults().delay_most / 1ms)));
  }
  put_on_wire(std::move(*flight), delay);
}

void World::put_on_wire(Flight flight, Duration delay) {
  later(delay, [this, flight = std::move(flight)] { deliver(flight); });
}

void World::deliver(const Flight& flight) { gateways_[flight.to]->receive(flight.path, flight.bytes); }

/// Sends what nobody sent: garbage, an old datagram (from its own place or another), a new IKE_SA_INIT.
void World::forge(const Flight& like) {
  saw(Seen::kForged);
  Flight forged = like;
  if (below(3) == 0) {
    forged.bytes.resize(below(300));
    random_.fill(forged.bytes);
  } else {
    forged = history_[below(history_.size())];
    if (below(2) == 0) forged.path.remote = {IpAddress::v4(0xcb007101), static_cast<uint16_t>(1024 + below(60000))};
  }
  if (below(4) == 0) flood();
  put_on_wire(std::move(forged), std::chrono::milliseconds(1 + below(3000)));
}

/// An IKE_SA_INIT under many other SPIs: each is a new one, takes state, and brings cookies on.
void World::flood() {
  for (const Flight& old : history_) {
    if (old.bytes.size() < 100 || old.bytes[18] != static_cast<uint8_t>(Exchange::kIkeSaInit)) continue;
    for (uint64_t copies = 5 + below(30); copies > 0; --copies) {
      Flight bogus = old;
      for (size_t at = 0; at < 8; ++at) bogus.bytes[at] = static_cast<uint8_t>(below(256));
      put_on_wire(std::move(bogus), std::chrono::milliseconds(5 + below(500)));
    }
    return;
  }
}

void World::each_second() {
  const size_t a = below(gateways_.size());
  const size_t b = (a + 1 + below(gateways_.size() - 1)) % gateways_.size();
  if (chance(faults().partition)) {
    saw(Seen::kPartitioned);
    const auto pair = std::minmax(a, b);
    partitioned_until_[{pair.first, pair.second}] =
        std::min(Instant{kTrouble}, now_ + std::chrono::milliseconds(below(20000)));
  }
  if (nat_ && chance(faults().rebind_nat)) {
    saw(Seen::kNatRebound);
    nat_epoch_ = static_cast<uint16_t>(nat_epoch_ + 2);
  }
  if (chance(faults().restart)) gateways_[a]->restart(below(3) == 0 ? Gateway::Memory::kLost : Gateway::Memory::kKept);
  if (chance(faults().operate)) operate();
}

void World::operate() {
  const size_t a = below(gateways_.size());
  const size_t b = (a + 1 + below(gateways_.size() - 1)) % gateways_.size();
  const uint64_t what = below(10);
  const auto view = gateways_[a]->established(b);
  if (what == 0) gateways_[a]->initiate(b);
  if (what < 5 && what > 0) return collide(a, b);
  if (!view) return;
  if (what == 5) gateways_[a]->close_ike(view->id);
  if (what == 6) gateways_[a]->check_liveness(view->id);
  if (what == 7) gateways_[a]->rekey_ike(view->id);
  if (view->children.empty()) return;
  const ChildId child(view->children.front()->spi_in.value());
  if (what == 8) gateways_[a]->close_child(view->id, child);
  if (what == 9) gateways_[a]->rekey_child(view->id, child);
}

/// What one side does to an IKE SA or its first child.
void World::act(size_t gateway, const IkeSaView& view, uint64_t what) {
  Gateway& side = *gateways_[gateway];
  if (what == 0) return side.close_ike(view.id);
  if (what == 1) return side.rekey_ike(view.id);
  if (view.children.empty()) return;
  const ChildId child(view.children.front()->spi_in.value());
  if (what == 2) return side.close_child(view.id, child);
  side.rekey_child(view.id, child);
}

/// Both sides of a pair do something at once: rekey or delete what they share, or begin.
void World::collide(size_t a, size_t b) {
  const auto ours = gateways_[a]->established(b);
  const auto theirs = gateways_[b]->established(a);
  if (!ours || !theirs || ours->initiator_spi != theirs->initiator_spi) {
    gateways_[a]->initiate(b);
    gateways_[b]->initiate(a);
    if (gateways_[a]->is_initiating(b) && gateways_[b]->is_initiating(a)) saw(Seen::kBothInitiating);
    return;
  }
  // Rekeys more often than ends.
  constexpr std::array<uint64_t, 6> kActs = {0, 1, 1, 2, 3, 3};
  const uint64_t at_a = kActs[below(kActs.size())], at_b = kActs[below(kActs.size())];
  if (at_a % 2 == 0 && at_b % 2 == 0) saw(Seen::kBothDeleting);
  if (at_a == 3 && at_b == 3) saw(Seen::kBothRekeyingChild);
  if (at_a == 1 && at_b == 1) saw(Seen::kBothRekeyingIke);
  if (at_a % 2 != at_b % 2) saw(Seen::kRekeyAndDelete);
  act(a, *ours, at_a);
  act(b, *theirs, at_b);
}

bool World::is_sent_on(size_t gateway, uint32_t spi) const {
  return std::ranges::any_of(gateways_, [&](const auto& each) {
    return each->kernel().outbound.contains({gateway, spi});
  });
}

std::vector<std::string> World::restlessness() const {
  std::vector<std::set<uint32_t>> leaving;
  for (const auto& gateway : gateways_) leaving.push_back(gateway->leaving());
  auto found = Ledger::mismatches(kernels(), leaving);
  for (const auto& gateway : gateways_) {
    const auto more = gateway->restlessness();
    found.insert(found.end(), more.begin(), more.end());
  }
  return found;
}

bool World::all_up() const {
  for (const auto& gateway : gateways_)
    for (const auto& [peer, tunnel] : gateway->setup().tunnels)
      if (!gateway->is_up(peer)) return false;
  return true;
}

std::vector<const Kernel*> World::kernels() const {
  std::vector<const Kernel*> all;
  for (const auto& gateway : gateways_) all.push_back(&gateway->kernel());
  return all;
}

/// Runs what comes next, an event or a timer; false when nothing does until `until`.
bool World::step(Instant until) {
  std::optional<Instant> timer;
  for (const auto& gateway : gateways_)
    if (auto deadline = gateway->next_deadline(); deadline && (!timer || *deadline < *timer)) timer = deadline;
  const bool has_event = !events_.empty();
  const bool timer_first = timer && (!has_event || *timer < events_.begin()->first.first);
  if (!timer_first && !has_event) return false;
  const Instant next = timer_first ? *timer : events_.begin()->first.first;
  if (next > until) return false;
  now_ = std::max(now_, next);
  if (timer_first) {
    for (auto& gateway : gateways_) gateway->tick();
  } else {
    auto event = events_.extract(events_.begin());
    event.mapped()();
  }
  ledger_.agree(kernels());
  return ledger_.violations().empty();
}

Outcome World::run() {
  const Instant trouble_ends{kTrouble};
  while (step(trouble_ends)) {
  }
  now_ = std::max(now_, trouble_ends);
  std::optional<Instant> up_at;
  while (step(trouble_ends + kRecoveryMost + kSettle))
    if (!up_at && all_up()) up_at = now_;
  if (ledger_.violations().empty()) {
    // Rekeys go on, so rest is a moment between them.
    while (!(restlessness().empty() && all_up()) && step(trouble_ends + kRecoveryMost + kSettle + kRestMost)) {
    }
    if (!up_at || *up_at - trouble_ends > kRecoveryMost || !all_up())
      ledger_.violate("invariant 5: not every tunnel is up again in time");
    for (const std::string& each : restlessness()) ledger_.violate(each);
  }
  return {scenario_.seed, ledger_.violations(), tally_, up_at ? *up_at - trouble_ends : Duration{0}};
}

}  // namespace ipsec::sim
