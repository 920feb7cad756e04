#include "tests/sim/gateway.h"

#include <algorithm>

#include "agent/udp_socket.h"
#include "ike/crypto/key_schedule.h"
#include "ike/wire/header.h"

namespace ipsec::sim {

using namespace ike;

Gateway::Gateway(Setup setup, Surroundings& world) : setup_(std::move(setup)), world_(world) {
  for (size_t i = 0; i < setup_.workers; ++i) {
    Worker worker;
    worker.random = std::make_unique<SeededRandom>(setup_.seed * 8 + i);
    make_engine(worker, static_cast<uint8_t>(i));
    workers_.push_back(std::move(worker));
  }
}

void Gateway::make_engine(Worker& worker, uint8_t number) const {
  IkeEngine::Options options = setup_.limits;
  if (world_.sabotage() == Sabotage::kIgnoreLimit)
    options.admission.half_open_max = options.admission.half_open_cookie_from = 1000;
  worker.engine.reset();
  worker.spis = std::make_unique<WorkerSpiSource>(number, *worker.random);
  worker.engine = std::make_unique<IkeEngine>(options, *worker.random, *worker.spis);
}

std::vector<IkeSaView> Gateway::views() const {
  std::vector<IkeSaView> all;
  for (const Worker& worker : workers_)
    for (IkeSaId id : worker.engine->ike_sas()) all.push_back(*worker.engine->view(id));
  // The engine's tables have no order that means anything; runs must not depend on it.
  std::ranges::sort(all, {}, &IkeSaView::id);
  return all;
}

uint64_t Gateway::counted(const IkeEngine& engine) const {
  uint64_t sum = 0;
  for (size_t i = 0; i < kReasonCount; ++i) sum += engine.counters().get(static_cast<Reason>(i));
  return sum;
}

void Gateway::receive(const Path& path, ByteView datagram) {
  Worker& worker = workers_[agent::worker_for(datagram, agent::kIkePort, workers_.size())];
  const uint64_t before = counted(*worker.engine);
  if (world_.sabotage() != Sabotage::kDropSilently || world_.below(50) != 0)
    worker.engine->receive(world_.now(), path, datagram);
  const bool was_counted = counted(*worker.engine) > before;
  const size_t actions = drain(worker);
  world_.ledger().received(setup_.number, was_counted || actions > 0);
}

std::optional<Instant> Gateway::next_deadline() const {
  std::optional<Instant> next;
  for (const Worker& worker : workers_)
    if (auto deadline = worker.engine->next_deadline(); deadline && (!next || *deadline < *next)) next = deadline;
  return next;
}

void Gateway::tick() {
  for (Worker& worker : workers_) worker.engine->tick(world_.now());
  drain();
}

void Gateway::supervise() {
  for (size_t peer : setup_.starts) {
    if (is_up(peer) || is_initiating(peer)) continue;
    if (world_.sabotage() == Sabotage::kGiveUp && world_.now() > Instant{30s}) continue;
    // An IKE SA without its child: further children are still to come, so it is set up anew.
    for (const IkeSaView& view : views())
      if (view.tunnel == setup_.tunnels.at(peer)->name && view.state == "established") close_ike(view.id);
    initiate(peer);
  }
}

void Gateway::initiate(size_t peer) {
  const auto& tunnel = setup_.tunnels.at(peer);
  if (!tunnel->remote) return;
  Worker& worker = workers_[world_.below(workers_.size())];
  const Path path{
      .context = SocketContext(0), .local = {*tunnel->local_address(), 500}, .remote = {*tunnel->remote, 500}};
  world_.trace(setup_.number, "initiates " + tunnel->name);
  [[maybe_unused]] auto started = worker.engine->initiate(world_.now(), tunnel, "lan", path);
  drain(worker);
}

std::optional<IkeSaView> Gateway::established(size_t peer) const {
  const std::string& name = setup_.tunnels.at(peer)->name;
  for (IkeSaView& view : views())
    if (view.tunnel == name && view.state == "established") return std::move(view);
  return std::nullopt;
}

bool Gateway::is_initiating(size_t peer) const {
  const std::string& name = setup_.tunnels.at(peer)->name;
  return std::ranges::any_of(views(), [&](const IkeSaView& view) {
    return view.tunnel == name && view.initiator && view.state != "established" && view.state != "rekeyed" &&
           view.state != "deleting";
  });
}

bool Gateway::is_up(size_t peer) const {
  const std::string& name = setup_.tunnels.at(peer)->name;
  return std::ranges::any_of(views(),
                             [&](const IkeSaView& view) { return view.tunnel == name && !view.children.empty(); });
}

void Gateway::close_ike(IkeSaId ike) {
  world_.trace(setup_.number, "closes an IKE SA");
  worker_of(ike).engine->close_ike(world_.now(), ike, Reason::kDeletedByOperator);
  drain();
}

void Gateway::close_child(IkeSaId ike, ChildId child) {
  world_.trace(setup_.number, "closes a child");
  worker_of(ike).engine->close_child(world_.now(), ike, child, Reason::kDeletedByOperator);
  drain();
}

void Gateway::check_liveness(IkeSaId ike) {
  worker_of(ike).engine->check_liveness(world_.now(), ike);
  drain();
}

void Gateway::rekey_ike(IkeSaId ike) {
  world_.trace(setup_.number, "rekeys an IKE SA");
  worker_of(ike).engine->rekey_ike(world_.now(), ike, Reason::kRekeyTime);
  drain();
}

void Gateway::rekey_child(IkeSaId ike, ChildId child) {
  world_.trace(setup_.number, "rekeys a child");
  worker_of(ike).engine->rekey_child(world_.now(), ike, child, Reason::kRekeyTime);
  drain();
}

void Gateway::restart(Memory memory) {
  world_.trace(setup_.number, memory == Memory::kKept ? "restarts" : "restarts without memory");
  world_.saw(memory == Memory::kKept ? Seen::kContinued : Seen::kForgotten);
  for (size_t i = 0; i < workers_.size(); ++i) {
    Worker& worker = workers_[i];
    make_engine(worker, static_cast<uint8_t>(i));
    if (memory == Memory::kLost) worker.store.clear();
    restore(worker);
  }
  reconcile();
  drain();
}

std::shared_ptr<const policy::Tunnel> Gateway::find_tunnel(const std::string& name) const {
  for (const auto& [peer, tunnel] : setup_.tunnels)
    if (tunnel->name == name) return tunnel;
  return nullptr;
}

void Gateway::restore(Worker& worker) {
  for (const auto& [id, snapshot] : worker.store) {
    auto restored = worker.engine->restore(world_.now(), snapshot, [&](const auto& name) { return find_tunnel(name); });
    if (!restored.ok()) world_.ledger().violate("a snapshot is refused: " + restored.error().text());
  }
}

/// What no IKE SA knows any more goes from the kernel, as at every start of the daemon.
void Gateway::reconcile() {
  std::set<uint32_t> inbound;
  std::set<std::pair<size_t, uint32_t>> outbound;
  for (const IkeSaView& view : views()) {
    for (const auto& child : view.leaving) inbound.insert(child->spi_in.value());
    for (const auto& child : view.children) {
      inbound.insert(child->spi_in.value());
      outbound.emplace(peer_of(*child), child->spi_out.value());
    }
  }
  std::erase_if(kernel_.inbound, [&](const auto& each) { return !inbound.contains(each.first); });
  std::erase_if(kernel_.outbound, [&](const auto& each) { return !outbound.contains(each.first); });
}

std::set<uint32_t> Gateway::leaving() const {
  std::set<uint32_t> spis;
  for (const IkeSaView& view : views())
    for (const auto& child : view.leaving) spis.insert(child->spi_in.value());
  return spis;
}

std::vector<std::string> Gateway::restlessness() const {
  std::vector<std::string> found;
  const std::set<uint32_t> going = leaving();
  std::set<uint32_t> known;
  for (const IkeSaView& view : views())
    for (const auto& child : view.children) known.insert(child->spi_in.value());
  size_t staying = 0;
  for (const auto& [spi, sa] : kernel_.inbound) {
    if (!going.contains(spi)) ++staying;
    if (!known.contains(spi) && !going.contains(spi))
      found.push_back("invariant 3: gateway " + std::to_string(setup_.number) + " has an orphan in its kernel");
  }
  if (known.size() != staying || known.size() != kernel_.outbound.size())
    found.push_back("invariant 3: gateway " + std::to_string(setup_.number) + " has " + std::to_string(known.size()) +
                    " children, " + std::to_string(staying) + " inbound and " +
                    std::to_string(kernel_.outbound.size()) + " outbound SAs");
  return found;
}

}  // namespace ipsec::sim
