#include "agent/carriers.h"

#include <algorithm>
#include <utility>

#include "agent/limits.h"
#include "policy/plan_carriers.h"

namespace ipsec::agent {

using policy::PathState;
using Blocks = CarrierRow::Blocks;

namespace {

std::string object_of(const CarrierRow& row) { return "carrier/" + row.carrier->name; }

// Beside those of a tunnel's children, traps, blocks, orphans and routes.
uint64_t block_owner(const CarrierRow& row) { return (uint64_t{row.number} << 32) | 5; }
SharedObjects::Owner routes_owner(const CarrierRow& row) { return {(uint64_t{row.number} << 32) | 6, row.number}; }

const std::string& public_netns(const policy::Carrier& carrier) { return carrier.group().public_place.netns; }

/// Which of a carrier's paths has this other end; nothing when none has.
std::optional<size_t> path_to(const policy::Carrier& carrier, const IpAddress& remote) {
  for (size_t i = 0; i < carrier.paths.size(); ++i)
    if (carrier.paths[i].tunnel->remote == remote) return i;
  return std::nullopt;
}

/// Whether the interface can go on as it is, but for what changes in place.
bool stays(const policy::Carrier& from, const policy::Carrier& to) {
  return from.kind == to.kind && from.private_place == to.private_place &&
         from.group().public_place == to.group().public_place &&
         from.paths.front().tunnel->local_address() == to.paths.front().tunnel->local_address() &&
         Carriers::is_enabled(from) == Carriers::is_enabled(to);
}

}  // namespace

bool Carriers::is_enabled(const policy::Carrier& carrier) {
  return carrier.enabled && std::ranges::any_of(carrier.paths, [](const policy::CarrierPath& each) {
           return each.tunnel->group->enabled;
         });
}

std::string_view Carriers::state_of(const CarrierRow& row) {
  if (!is_enabled(*row.carrier)) return "disabled";
  if (!row.link_ready) return row.last_reason == Reason::kNone ? "down" : "failed";
  switch (row.states[row.choice.in_use()]) {
    case PathState::kUp: return "up";
    case PathState::kWaiting: return "idle";
    case PathState::kDown: return "down";
  }
  return {};
}

CarrierRow* Carriers::find(const std::string& name) {
  const auto it = rows_.find(name);
  return it == rows_.end() ? nullptr : &it->second;
}

std::string Carriers::name_of(uint32_t number) const {
  const auto row = std::ranges::find_if(rows_, [&](const auto& each) { return each.second.number == number; });
  return row != rows_.end() ? row->first : std::string();
}

// ---- beginning, changes, end

void Carriers::start(Instant now, const policy::Config& config, const std::map<std::string, IpAddress>& adopted) {
  now_ = now;
  // All are sealed at once, for the interfaces of an earlier run may stand.
  for (const auto& [name, carrier] : config.carriers) {
    const auto left = adopted.find(name);
    add(carrier, left != adopted.end() ? path_to(*carrier, left->second).value_or(0) : 0);
  }
  for (auto& [name, row] : rows_)
    if (is_enabled(*row.carrier)) hold_blocks(row);
}

CarrierRow& Carriers::add(const std::shared_ptr<const policy::Carrier>& carrier, size_t in_use) {
  CarrierRow& row = rows_[carrier->name];
  row.carrier = carrier;
  row.number = hooks_.next_number();
  row.choice = policy::CarrierChoice(carrier->hold_down, in_use);
  row.since = hooks_.wall_clock();
  list(row);
  if (is_enabled(*carrier)) hold_seals(row, wanted_seals(*carrier));
  return row;
}

void Carriers::begin(const std::shared_ptr<const policy::Carrier>& carrier) {
  CarrierRow& row = add(carrier, 0);
  if (is_enabled(*carrier)) hold_blocks(row);
}

void Carriers::list(const CarrierRow& row) {
  for (const policy::CarrierPath& each : row.carrier->paths) by_tunnel_[each.tunnel->name].insert(row.carrier->name);
  by_interface_[policy::carrier_interface_name(row.carrier->name)] = row.carrier->name;
  dirty_.insert(row.carrier->name);
}

void Carriers::reconfigure(Instant now, const policy::Config& config) {
  now_ = now;
  by_tunnel_.clear();
  for (auto& [name, row] : rows_) {
    const auto wanted = config.carriers.find(name);
    std::shared_ptr<const policy::Carrier> next = wanted != config.carriers.end() ? wanted->second : nullptr;
    if (row.leaving)
      row.next = std::move(next);
    else if (next && stays(*row.carrier, *next))
      update(row, next);
    else
      leave(row, std::move(next));
  }
  for (const auto& [name, carrier] : config.carriers)
    if (!rows_.contains(name)) begin(carrier);
}

void Carriers::update(CarrierRow& row, const std::shared_ptr<const policy::Carrier>& carrier) {
  const IpAddress remote = *row.carrier->paths[row.choice.in_use()].tunnel->remote;
  const auto in_use = path_to(*carrier, remote);
  // The history of other remotes says nothing of these.
  const bool same_paths = std::ranges::equal(
      row.carrier->paths, carrier->paths, {}, [](const policy::CarrierPath& each) { return each.tunnel->remote; },
      [](const policy::CarrierPath& each) { return each.tunnel->remote; });
  row.carrier = carrier;
  if (same_paths)
    row.choice.set_hold_down(carrier->hold_down);
  else
    row.choice = policy::CarrierChoice(carrier->hold_down, in_use.value_or(0));
  list(row);
  if (is_enabled(*carrier)) hold_blocks(row);
}

/// The interface goes; what keeps its packets in goes when it has gone.
void Carriers::leave(CarrierRow& row, std::shared_ptr<const policy::Carrier> next) {
  row.next = std::move(next);
  row.leaving = true;
  const std::string& name = row.carrier->name;
  due_.cancel(name);
  hold_routes(row, {});
  row.link_ready = false;
  if (row.link.name.empty()) {  // never asked for
    dirty_.insert(name);        // not while others go through the rows
    return;
  }
  queue_.submit(row.carrier->private_place.netns, policy::DeleteLink{row.link.name},
                [this, name](const Result<policy::KernelReply>&) { on_left(name); });
}

void Carriers::on_left(const std::string& name) {
  const auto it = rows_.find(name);
  if (it == rows_.end() || !it->second.leaving) return;
  CarrierRow gone = std::move(it->second);
  rows_.erase(it);
  by_interface_.erase(policy::carrier_interface_name(name));
  if (gone.next && !stopping_) begin(gone.next);  // its blocks and seals stand before those of the former go
  release_blocks(gone, {});
  hold_seals(gone, {});
}

void Carriers::on_namespace_gone(const std::string& netns) {
  for (auto& [name, row] : rows_)
    if (!row.leaving && is_enabled(*row.carrier) && public_netns(*row.carrier) == netns) leave(row, row.carrier);
}

void Carriers::begin_shutdown() {
  stopping_ = true;
  for (auto& [name, row] : rows_) hold_routes(row, {});
}

void Carriers::remove_all() {
  stopping_ = true;
  for (auto& [name, row] : rows_)
    if (!row.leaving) leave(row, nullptr);
  for (const std::string& name : std::exchange(dirty_, {}))
    if (const CarrierRow* row = find(name); row != nullptr && row->link.name.empty()) on_left(name);
}

// ---- blocks

Result<CarrierRow::BlockMap> Carriers::wanted_blocks(const CarrierRow& row) const {
  CarrierRow::BlockMap wanted;
  for (const policy::CarrierPath& path : row.carrier->paths) {
    const uint32_t tunnel = hooks_.look(*row.carrier, path).tunnel;
    if (tunnel == 0) return Error(Reason::kNotFound, "tunnel " + path.tunnel->name + " is not there yet");
    TRY_ASSIGN(const auto policies, policy::plan_carrier_blocks(*row.carrier, path), "");
    for (const policy::PolicyConfig& each : policies)
      wanted.insert_or_assign({path.tunnel->group->public_place.netns, each.key},
                              CarrierRow::Block{.tunnel = tunnel, .policy = each});
  }
  return wanted;
}

/// Asks for all that is wanted and not held; the interface waits for the answers.
void Carriers::hold_blocks(CarrierRow& row) {
  auto wanted = wanted_blocks(row);
  if (!wanted.ok()) return fail_blocks(row, wanted.error());
  const std::string name = row.carrier->name;
  row.blocks = Blocks::kAsked;
  row.asked = ++last_asked_;
  row.unanswered = 1;  // ours, so that answers within the call are not taken for all
  for (const auto& [place, block] : *wanted) {
    const auto held = row.held.find(place);
    const bool same_tunnel = held != row.held.end() && held->second.tunnel == block.tunnel;
    if (held != row.held.end() && !same_tunnel) shared_.release(block_owner(row), place.first, place.second);
    ++row.unanswered;
    row.held.insert_or_assign(place, block);
    shared_.hold({block_owner(row), block.tunnel, SharedObjects::Rank::kBlock}, place.first, block.policy,
                 [this, name, asked = row.asked](const Status& status) { on_block(name, asked, status); });
  }
  seal(row);
  on_block(name, row.asked, {});
}

PacketRuleBook::Seals Carriers::wanted_seals(const policy::Carrier& carrier) {
  PacketRuleBook::Seals wanted;
  for (const policy::CarrierPath& path : carrier.paths)
    if (const auto pair = policy::plan_carrier_seal(carrier, path)) wanted.insert(*pair);
  return wanted;
}

/// Those and no others.
void Carriers::hold_seals(CarrierRow& row, PacketRuleBook::Seals seals) {
  rules_.hold_seals(public_netns(*row.carrier), row.sealed, seals);
  row.sealed = std::move(seals);
}

/// One more answer of the round that the interface waits for. Former ends stay sealed until it has left them.
void Carriers::seal(CarrierRow& row) {
  PacketRuleBook::Seals seals = wanted_seals(*row.carrier);
  if (seals.empty()) return;
  seals.insert(row.sealed.begin(), row.sealed.end());
  hold_seals(row, std::move(seals));
  ++row.unanswered;
  rules_.settle(public_netns(*row.carrier), [this, name = row.carrier->name, asked = row.asked](const Status& status) {
    on_block(name, asked, status);
  });
}

void Carriers::on_block(const std::string& name, uint64_t asked, const Status& status) {
  CarrierRow* row = find(name);
  if (row == nullptr || row->asked != asked || row->leaving) return;
  --row->unanswered;
  // Of each round the first one is told: the same again is not told again.
  if (!status.ok() && row->blocks != Blocks::kRefused) return fail_blocks(*row, status.error());
  if (row->unanswered != 0 || row->blocks != Blocks::kAsked) return;
  row->blocks = Blocks::kStand;
  dirty_.insert(name);
}

/// Without them there is no interface: what it sent might leave in the clear.
void Carriers::fail_blocks(CarrierRow& row, const Error& why) {
  row.blocks = Blocks::kRefused;
  due_.set(row.carrier->name, now_ + kCarrierRetry);
  complain(row, why);
}

/// All but those.
void Carriers::release_blocks(CarrierRow& row, const CarrierRow::BlockMap& kept) {
  std::erase_if(row.held, [&](const auto& each) {
    const bool goes = !kept.contains(each.first);
    if (goes) shared_.release(block_owner(row), each.first.first, each.first.second);
    return goes;
  });
}

// ---- the interface

policy::LinkConfig Carriers::link_of(const CarrierRow& row) const {
  policy::LinkConfig link = policy::plan_carrier_link(*row.carrier, row.choice.in_use(), row.mtu.bytes);
  link.dormant = row.states[row.choice.in_use()] == PathState::kDown;
  return link;
}

/// Makes it, or brings ends, MTU, addresses and all else that changes in place to what is wanted.
void Carriers::ask_for_link(CarrierRow& row, policy::KernelChange change) {
  row.link = link_of(row);
  row.link_asked = true;
  queue_.submit(row.carrier->private_place.netns, std::move(change),
                [this, name = row.carrier->name, number = row.number](Result<policy::KernelReply> result) {
                  on_link(name, number, result.ok() ? Status() : Status(std::move(result).error()));
                });
}

void Carriers::on_link(const std::string& name, uint32_t number, const Status& status) {
  CarrierRow* row = find(name);
  if (row == nullptr || row->number != number) return;
  row->link_asked = false;
  if (row->leaving) return;
  dirty_.insert(name);
  if (!status.ok()) {
    // What could not be changed is put right by whoever keeps the namespace true. What could not be made waits for
    // something elsewhere, of which its own namespace has no news.
    if (!row->link_ready) due_.set(name, now_ + kCarrierRetry);
    return complain(*row, status.error());
  }
  row->link_ready = true;
  row->last_reason = Reason::kNone;
  row->last_detail.clear();
}

void Carriers::on_link_made(const std::string& link) {
  const auto known = by_interface_.find(link);
  CarrierRow* row = known != by_interface_.end() ? find(known->second) : nullptr;
  if (row == nullptr || row->leaving || row->link_asked || row->link_ready || stopping_) return;
  on_link(known->second, row->number, {});
}

void Carriers::collect(const std::string& netns, policy::NamespaceState& state) const {
  for (const auto& [name, row] : rows_) {
    if (row.leaving || row.link.name.empty() || row.carrier->private_place.netns != netns) continue;
    state.add(row.link);
  }
}

// ---- what follows the state of the tunnels

void Carriers::touch(const std::string& tunnel) {
  if (const auto known = by_tunnel_.find(tunnel); known != by_tunnel_.end())
    dirty_.insert(known->second.begin(), known->second.end());
}

void Carriers::touch_all() {
  for (const auto& [name, row] : rows_) dirty_.insert(name);
}

void Carriers::run(Instant now) {
  now_ = now;
  while (auto name = due_.pop_due(now)) {
    dirty_.insert(*name);
    CarrierRow* row = find(*name);
    if (row == nullptr || row->leaving) continue;
    if (row->blocks == Blocks::kRefused) hold_blocks(*row);
    const bool missing = row->blocks == Blocks::kStand && !row->link.name.empty() && !row->link_ready;
    if (missing && !row->link_asked) ask_for_link(*row, policy::AddLink{link_of(*row)});
  }
  for (const std::string& name : std::exchange(dirty_, {})) {
    CarrierRow* row = find(name);
    if (row == nullptr || stopping_) continue;
    if (!row->leaving)
      settle(*row);
    else if (row->link.name.empty())
      on_left(name);
  }
}

std::optional<Instant> Carriers::next_deadline() const {
  if (!dirty_.empty() && !stopping_) return now_;
  return due_.next();
}

/// What the tunnels say, and which of them it uses from now on.
void Carriers::look(CarrierRow& row) {
  const policy::Carrier& carrier = *row.carrier;
  row.states = {};
  policy::InnerMtu least{.bytes = 0, .because = {}};
  for (size_t i = 0; i < carrier.paths.size(); ++i) {
    const Path path = hooks_.look(carrier, carrier.paths[i]);
    row.states[i] = path.state;
    // The least of both: an interface whose MTU changed with its remote would cost OSPF its neighbours.
    if (path.transport_bytes != 0 && (least.bytes == 0 || path.transport_bytes < least.bytes))
      least = {.bytes = path.transport_bytes, .because = path.because};
  }
  if (least.bytes == 0) least = {.bytes = policy::kUnderlayMtu, .because = "assumed"};
  row.mtu.bytes = policy::carrier_mtu(carrier, least.bytes);
  row.mtu.because = "mtu of the carrier";
  if (carrier.mtu == 0)
    row.mtu.because = least.because + ", less " + std::to_string(policy::carrier_header(carrier)) + " of header";
  const size_t before = row.choice.in_use();
  if (row.choice.update(now_, row.states)) tell_switch(row, before);
  if (const auto back = row.choice.next_deadline(); back && row.blocks != Blocks::kRefused)
    due_.set(carrier.name, *back);
}

/// Brings interface, routes and what is told to what the tunnels say.
void Carriers::settle(CarrierRow& row) {
  if (!is_enabled(*row.carrier)) return;
  look(row);
  if (row.blocks != Blocks::kStand) return;
  const policy::LinkConfig wanted = link_of(row);
  if (row.link.name.empty())
    ask_for_link(row, policy::AddLink{wanted});
  else if (row.link_ready && !row.link_asked && row.link != wanted)
    ask_for_link(row, policy::UpdateLink{wanted});
  else if (row.link_ready && !row.link_asked)
    forget_former_ends(row);
  else if (!row.link_asked)
    row.link = wanted;  // for whoever tries again to make it
  set_routes(row);
  tell_state(row);
}

/// The interface has left them.
void Carriers::forget_former_ends(CarrierRow& row) {
  hold_seals(row, wanted_seals(*row.carrier));
  if (const auto wanted = wanted_blocks(row); wanted.ok()) release_blocks(row, *wanted);
}

void Carriers::set_routes(CarrierRow& row) {
  std::vector<policy::RouteConfig> wanted;
  const PathState state = row.states[row.choice.in_use()];
  if (row.link_ready && state != PathState::kDown)
    wanted = policy::plan_carrier_routes(*row.carrier,
                                         state == PathState::kUp ? policy::RouteState::kUp : policy::RouteState::kIdle);
  hold_routes(row, std::move(wanted));
}

/// What is new stands before what is old goes.
void Carriers::hold_routes(CarrierRow& row, std::vector<policy::RouteConfig> wanted) {
  const std::string& netns = row.carrier->private_place.netns;
  const std::vector<policy::RouteConfig> before = std::exchange(row.routes, std::move(wanted));
  const auto told = [this, object = object_of(row)](const Status& status) {
    if (!status.ok()) hooks_.event(object, status.error().reason(), {field("detail", status.error().text())});
  };
  for (const policy::RouteConfig& each : row.routes)
    if (std::ranges::find(before, each) == before.end()) shared_.hold(routes_owner(row), netns, each, told);
  for (const policy::RouteConfig& each : before)
    if (std::ranges::find(row.routes, each) == row.routes.end()) shared_.release(routes_owner(row).id, netns, each);
}

void Carriers::tell_state(CarrierRow& row) {
  const std::string_view state = state_of(row);
  if (state == row.state) return;
  const bool was_up = std::exchange(row.state, state) == "up", up = state == "up";
  row.since = hooks_.wall_clock();
  if (was_up == up) return;
  const policy::Tunnel& tunnel = *row.carrier->paths[row.choice.in_use()].tunnel;
  hooks_.event(object_of(row), up ? Reason::kCarrierUp : Reason::kCarrierDown,
               {field("tunnel", tunnel.name), field("remote", to_string(*tunnel.remote))});
}

void Carriers::tell_switch(const CarrierRow& row, size_t from) {
  const policy::Tunnel& before = *row.carrier->paths[from].tunnel;
  const policy::Tunnel& now = *row.carrier->paths[row.choice.in_use()].tunnel;
  const PathState state = row.states[from];
  const std::string because = state == PathState::kUp        ? "the preferred tunnel is up"
                              : state == PathState::kWaiting ? "tunnel " + before.name + " waits for traffic"
                                                             : "tunnel " + before.name + " is down";
  hooks_.event(object_of(row), Reason::kCarrierSwitched,
               {field("from", before.name), field("to", now.name), field("remote", to_string(*now.remote)),
                field("because", because)});
}

/// Once for each thing that goes wrong.
void Carriers::complain(CarrierRow& row, const Error& why) {
  if (row.last_reason == why.reason() && row.last_detail == why.text()) return;
  row.last_reason = why.reason();
  row.last_detail = why.text();
  hooks_.event(object_of(row), why.reason(), {field("detail", row.last_detail)});
}

}  // namespace ipsec::agent
