#include "netlink/namespace_port.h"

#include <linux/netlink.h>

#include <algorithm>
#include <type_traits>

#include <cerrno>

#include "netlink/addresses.h"
#include "netlink/links.h"
#include "netlink/probe.h"
#include "netlink/routes.h"
#include "netlink/tunnel_links.h"
#include "netlink/vrf_links.h"
#include "policy/base/verify.h"

namespace ipsec::netlink {

using policy::KernelReply;
using policy::OffloadKind;

Result<std::unique_ptr<NamespacePort>> NamespacePort::open(const Options& options, Journal& journal,
                                                           std::deque<policy::KernelCompletion>& completions) {
  const auto socket = [&](int protocol) {
    return Socket::open({.protocol = protocol,
                         .netns = options.netns,
                         .groups = {},
                         .receive_buffer_bytes = options.receive_buffer_bytes});
  };
  TRY_ASSIGN(Socket xfrm, socket(NETLINK_XFRM), "");
  TRY_ASSIGN(Socket route, socket(NETLINK_ROUTE), "");
  TRY_ASSIGN(const SaDirection direction, probe_sa_direction(xfrm), "namespace \"" + options.netns + "\"");
  std::unique_ptr<NamespacePort> port(
      new NamespacePort(options, std::move(xfrm), std::move(route), journal, completions));
  port->sa_direction_ = direction;
  return port;
}

NamespacePort::NamespacePort(const Options& options, Socket xfrm, Socket route, Journal& journal,
                             std::deque<policy::KernelCompletion>& completions)
    : netns_(options.netns),
      xfrm_(std::move(xfrm)),
      route_(std::move(route)),
      journal_(journal),
      df_by_programs_(options.df_by_programs),
      completions_(completions),
      route_protocols_(options.route_protocols) {}

void NamespacePort::submit(policy::KernelOperation operation) { queued_.push_back(std::move(operation)); }

void NamespacePort::flush(TimePoint until) {
  constexpr size_t kRequestsPerOperationMax = 2;
  has_more_ = false;
  while (!queued_.empty()) {
    has_more_ = until != TimePoint::max() && std::chrono::steady_clock::now() >= until;
    if (has_more_) break;
    if (xfrm_.in_flight() + kRequestsPerOperationMax > kInFlightMax) {
      xfrm_.send();
      if (!collect()) return;  // process() goes on when answers come
      continue;
    }
    if (is_being_removed(queued_.front().change)) {
      xfrm_.send();
      if (!collect()) return;
      continue;
    }
    if (auto removals = take_removals(); !removals.empty()) {
      remove_links(std::move(removals));
      continue;
    }
    policy::KernelOperation operation = std::move(queued_.front());
    queued_.pop_front();
    start(std::move(operation));
  }
  public_sides_.clear();  // names may mean others next time
  xfrm_.send();
  collect();
}

/// The answer to a removal strikes the object off the journal: what is made again under its key must come after that.
bool NamespacePort::is_being_removed(const policy::KernelChange& change) const {
  const auto removed = [this]<typename Removal>(const auto& key, std::type_identity<Removal>) {
    return std::ranges::any_of(running_, [&](const Running& each) {
      const auto* removal = std::get_if<Removal>(&each.change);
      return removal != nullptr && removal->key == key;
    });
  };
  if (const auto* add = std::get_if<policy::AddSa>(&change))
    return removed(add->sa.key, std::type_identity<policy::DeleteSa>{});
  if (const auto* add = std::get_if<policy::AddPolicy>(&change))
    return removed(add->policy.key, std::type_identity<policy::DeletePolicy>{});
  if (const auto* update = std::get_if<policy::UpdatePolicy>(&change))
    return removed(update->policy.key, std::type_identity<policy::DeletePolicy>{});
  return false;
}

void NamespacePort::process(std::chrono::steady_clock::time_point now) {
  collect();
  xfrm_.expire(now);
  collect();
  if (!queued_.empty()) flush(now + kFlushTurnMax);
}

void NamespacePort::start(policy::KernelOperation operation) {
  running_.push_back({.id = operation.id, .change = std::move(operation.change)});
  Running& running = running_.back();
  std::visit([&](auto& change) { start(running, change); }, running.change);
}

void NamespacePort::request(Running& running, Message message) {
  xfrm_.queue(std::move(message));
  ++running.requests;
}

void NamespacePort::abandon(const Error& why) {
  for (const Running& each : running_) completions_.push_back({.id = each.id, .result = why});
  for (const policy::KernelOperation& each : queued_) completions_.push_back({.id = each.id, .result = why});
  running_.clear();
  queued_.clear();
}

bool NamespacePort::collect() {
  bool progress = false;
  size_t at = 0;  // the first operation that still waits
  while (auto reply = xfrm_.poll_reply()) {
    progress = true;
    // Answers come in the order of the requests, so each belongs to the first operation that has not got all of its
    // own.
    while (at < running_.size() && running_[at].replies.size() == running_[at].requests) ++at;
    VERIFY(at < running_.size());
    running_[at].replies.push_back(std::move(*reply));
  }
  while (!running_.empty() && running_.front().replies.size() == running_.front().requests) complete_front();
  return progress;
}

void NamespacePort::complete_front() {
  Running& running = running_.front();
  const auto finished = [&](const auto& change) -> Outcome {
    if constexpr (requires { finish(running, change); })
      return finish(running, change);
    else
      return Error(Reason::kInternal, "an operation that is decided at once was left open");
  };
  Outcome outcome = running.decided ? std::move(*running.decided) : std::visit(finished, running.change);
  completions_.push_back({.id = running.id, .result = std::move(outcome)});
  running_.pop_front();
}

Result<int> NamespacePort::offload_ifindex(const policy::OffloadRequest& request) {
  if (request.kind == OffloadKind::kNone) return 0;
  TRY_ASSIGN(const LinkInfo link, need_link(route_, request.device), "offload");
  return link.index;
}

Result<std::string> NamespacePort::device_name(int ifindex) {
  TRY_ASSIGN(auto link, find_link(route_, ifindex), "");
  return link ? link->name : "#" + std::to_string(ifindex);
}

Result<policy::SaState> NamespacePort::read_state(const Reply& reply, const policy::OffloadRequest* requested,
                                                  int ifindex) {
  for (const Reply::Data& data : reply.data) {
    TRY_ASSIGN(DecodedSa decoded, decode_sa(data.payload.expose()), "read back");
    if (decoded.offload_ifindex == 0) return std::move(decoded.state);
    if (requested != nullptr && decoded.offload_ifindex == ifindex) {
      decoded.state.offload_device = requested->device;
    } else {
      TRY_ASSIGN(decoded.state.offload_device, device_name(decoded.offload_ifindex), "read back");
    }
    return std::move(decoded.state);
  }
  return Error(Reason::kKernelReadBack, "the kernel confirmed an SA and showed none");
}

// ---- links and routes: done at once
// ----------------------------------------------------------------------------------

namespace {
/// What a link is to the kernel.
std::string_view kernel_kind(const policy::LinkConfig& link) {
  return policy::is_tunnel(link.kind) ? tunnel_kind(link.kind, link.tunnel_local.family()) : "xfrm";
}

/// What of a link no other one of its namespace may have.
std::string identity_text(const policy::LinkConfig& link) {
  if (!policy::is_tunnel(link.kind)) return "if_id " + std::to_string(link.if_id);
  return "from " + to_string(link.tunnel_local) + " to " + to_string(link.tunnel_remote);
}

}  // namespace

Result<PublicSide> NamespacePort::public_side_of(const policy::LinkConfig& link) {
  const auto known = public_sides_.find({link.public_netns, link.public_device});
  if (known != public_sides_.end()) return known->second;
  PublicSide public_side;
  TRY_ASSIGN(const UniqueFd here, open_netns(netns_), "");
  TRY_ASSIGN(const UniqueFd there, open_netns(link.public_netns), "public side of " + link.name);
  TRY_ASSIGN(const NetnsIdentity here_identity, netns_identity(here), "");
  TRY_ASSIGN(const NetnsIdentity there_identity, netns_identity(there), "");
  const bool same = here_identity == there_identity;
  if (!same) {
    TRY_ASSIGN(const uint32_t id, netns_id(route_, there), "public side of " + link.name);
    public_side.netns_id = id;
  }
  if (!link.public_device.empty()) {
    TRY_ASSIGN(Socket other, Socket::open({.protocol = NETLINK_ROUTE, .netns = link.public_netns, .groups = {}}), "");
    TRY_ASSIGN(const LinkInfo device, need_link(other, link.public_device), "public side of " + link.name);
    public_side.device_index = device.index;
  }
  public_sides_.emplace(std::pair{link.public_netns, link.public_device}, public_side);
  return public_side;
}

void NamespacePort::note_underside(const policy::LinkConfig& link, const PublicSide& public_side) {
  undersides_[link.name] = {.netns_id = public_side.netns_id,
                            .netns = link.public_netns,
                            .device_index = public_side.device_index,
                            .device = link.public_device,
                            .altname = link.altname,
                            .addresses = link.addresses};
}

Status NamespacePort::add_link(const policy::LinkConfig& link, const PublicSide& public_side) {
  if (policy::is_tunnel(link.kind))
    TRY(add_tunnel_link(route_, link, public_side), "");
  else
    TRY(add_xfrm_link(route_, link, public_side), "");
  note_underside(link, public_side);
  undersides_[link.name].addresses_stand = true;
  if (link.addresses.empty()) return {};
  auto made = need_link(route_, link.name);
  Status added = made.ok() ? add_addresses(route_, made->index, link.addresses) : Status(made.error());
  if (added.ok()) return {};
  // All or nothing; what was refused is the error to report.
  undersides_.erase(link.name);
  if (made.ok()) (void)delete_link(*made);
  return std::move(added).error().context("interface " + link.name);
}

/// One that we made before: it stays, and is brought to what is wanted. What it lies over cannot be changed.
Status NamespacePort::take_over_link(const policy::LinkConfig& link, const PublicSide& public_side,
                                     const LinkInfo& there) {
  const bool same_link = there.kind == kernel_kind(link) &&
                         there.external == (link.kind == policy::LinkKind::kExternal) &&
                         there.ends.local == link.tunnel_local;
  if (!same_link || there.public_netns != public_side.netns_id || there.public_device != public_side.device_index) {
    TRY(delete_link(there), "");
    TRY(journal_.intend(journal_link_key(netns_, link.name), fingerprint(link)), "");
    return add_link(link, public_side);
  }
  note_underside(link, public_side);
  return update_link(link, there);
}

Status NamespacePort::update_link(const policy::LinkConfig& link, const LinkInfo& there) {
  if (policy::is_tunnel(link.kind))
    TRY(update_tunnel_link(route_, link, there), "");
  else
    TRY(update_xfrm_link(route_, link, there), "");
  return settle_link_addresses(link, there);
}

/// Nothing is asked where the last look showed what is wanted: most changes are of other things.
Status NamespacePort::settle_link_addresses(const policy::LinkConfig& link, const LinkInfo& there) {
  const auto known = undersides_.find(link.name);
  // The kernel drops IPv6 addresses of a link that goes down.
  if (known != undersides_.end() && known->second.addresses_stand && known->second.addresses == link.addresses &&
      there.admin_up)
    return {};
  TRY_ASSIGN(Socket * dumps, dumps_of(NETLINK_ROUTE), "");
  TRY(settle_addresses(route_, *dumps, there.index, link.addresses), "interface " + link.name);
  if (known == undersides_.end()) return {};
  known->second.addresses = link.addresses;
  known->second.addresses_stand = true;
  return {};
}

Status NamespacePort::delete_link(const LinkInfo& there) {
  return tunnel_kind(there.kind) ? delete_tunnel_link(route_, there.name) : delete_xfrm_link(route_, there.name);
}

void NamespacePort::start(Running& running, policy::AddLink& add) {
  xfrm_.send();  // what was submitted before goes first
  if (add.link.kind == policy::LinkKind::kVrf) {
    running.decided = done(add_vrf(add.link));
    return;
  }
  const ObjectKey key = journal_link_key(netns_, add.link.name);
  const auto public_side = public_side_of(add.link);
  Result<std::optional<LinkInfo>> there = std::optional<LinkInfo>();
  if (journal_.owns(key)) there = find_link(route_, add.link.name);
  if (!public_side.ok() || !there.ok()) {
    running.decided = public_side.ok() ? std::move(there).error() : public_side.error();
    return;
  }
  if (*there && is_ours(**there) && (*there)->if_id == add.link.if_id) {
    Status taken = take_over_link(add.link, *public_side, **there);
    if (taken.ok()) journal_.confirm(key);
    running.decided = done(std::move(taken));
    return;
  }
  const std::string print = fingerprint(add.link);
  if (Status written = journal_.intend(key, print); !written.ok()) {
    running.decided = std::move(written).error();
    return;
  }
  Status made = add_link(add.link, *public_side);
  if (made.ok())
    journal_.confirm(key);
  else
    (void)journal_.forget(key);  // the error of the link is the one to report
  if (!made.ok() && made.error().os_errno() == EEXIST)
    made = Error(Reason::kKernelConflict,
                 "an interface " + add.link.name + ", or one of " + identity_text(add.link) + ", is there already",
                 EEXIST);
  running.decided = done(std::move(made));
}

void NamespacePort::start(Running& running, policy::UpdateLink& update) {
  xfrm_.send();
  const policy::LinkConfig& link = update.link;
  auto there = find_link(route_, link.name);
  if (!there.ok()) {
    running.decided = std::move(there).error();
  } else if (!*there) {
    running.decided = Error(Reason::kNotFound, "interface " + link.name + " is not there");
  } else if (!is_ours(**there)) {
    running.decided = Error(Reason::kKernelConflict, "interface " + link.name + " was not made by this daemon");
  } else if (link.kind == policy::LinkKind::kVrf) {
    running.decided = done(update_vrf_link(route_, link, **there));
  } else {
    running.decided = done(update_link(link, **there));
    if (auto known = undersides_.find(link.name); known != undersides_.end()) known->second.altname = link.altname;
  }
}

bool NamespacePort::is_ours(const LinkInfo& link) const {
  const Journal::Entry* entry = journal_.find(journal_link_key(netns_, link.name));
  if (entry == nullptr) return false;
  if (tunnel_kind(link.kind)) return entry->fingerprint == tunnel_fingerprint(link.kind, link.ends.local);
  if (link.kind == "vrf")
    return entry->fingerprint ==
           fingerprint(policy::LinkConfig{.kind = policy::LinkKind::kVrf, .vrf_table = link.vrf_table});
  return link.kind == "xfrm" && entry->fingerprint == fingerprint(policy::LinkConfig{.if_id = link.if_id});
}

void NamespacePort::start(Running& running, policy::DeleteLink& remove) {
  xfrm_.send();
  const ObjectKey key = journal_link_key(netns_, remove.name);
  auto there = find_link(route_, remove.name);
  if (!there.ok()) {
    running.decided = std::move(there).error();
    return;
  }
  if (*there && !is_ours(**there)) {
    running.decided = Error(Reason::kKernelConflict, "interface " + remove.name + " was not made by this daemon");
    return;
  }
  const bool vrf = *there && (*there)->kind == "vrf";
  Status gone = vrf ? delete_vrf(**there) : *there ? delete_link(**there) : Status{};
  if (gone.ok()) gone = journal_.forget(key);
  if (gone.ok()) undersides_.erase(remove.name);
  running.decided = done(std::move(gone));
}

void NamespacePort::start(Running& running, policy::AddRoute& add) {
  xfrm_.send();
  const ObjectKey key = journal_key(netns_, add.route);
  route_protocols_.insert(add.route.protocol);
  const bool owned = journal_.owns(key);
  Status made = owned ? Status{} : journal_.intend(key, "-");
  if (made.ok()) made = add_route(route_, add.route);
  if (made.ok()) {
    journal_.confirm(key);
  } else if (made.error().os_errno() == EEXIST && owned) {
    made = {};
  } else {
    if (!owned) (void)journal_.forget(key);  // the error of the route is the one to report
    if (made.error().os_errno() == EEXIST)
      made = Error(Reason::kKernelConflict,
                   "a route to " + to_string(add.route.destination) + " of metric " + std::to_string(add.route.metric) +
                       " is there already",
                   EEXIST);
  }
  running.decided = done(std::move(made));
}

void NamespacePort::start(Running& running, policy::DeleteRoute& remove) {
  xfrm_.send();
  const ObjectKey key = journal_key(netns_, remove.route);
  if (!journal_.owns(key)) {
    running.decided = KernelReply{};  // never made, or removed before: there is nothing of ours to remove
    return;
  }
  Status gone = delete_route(route_, remove.route);
  if (gone.ok()) gone = journal_.forget(key);
  running.decided = done(std::move(gone));
}

// The kernel cannot delete a state that has no SPI: it finds it by nothing that DELSA may say. ALLOCSPI however takes
// over exactly the larval state of these addresses, reqid, if_id and mark and gives it an SPI, by which it can go. The
// acquire does not tell the mode; where there is no state of one mode, one is made and goes at once.
Status NamespacePort::clear_acquire(const policy::Acquire& acquire) {
  for (const auto mode : {policy::EspMode::kTunnel, policy::EspMode::kTransport}) {
    auto reply = xfrm_.transact(encode_adopt_larval({.source = acquire.tunnel_source,
                                                     .destination = acquire.tunnel_destination,
                                                     .reqid = acquire.reqid,
                                                     .if_id = acquire.policy.if_id,
                                                     .mark = acquire.policy.mark,
                                                     .mode = mode}));
    if (!reply.ok()) return std::move(reply).error().context("clear an acquire");
    for (const Reply::Data& data : *reply) {
      TRY_ASSIGN(const DecodedSa larval, decode_sa(data.payload.expose()), "clear an acquire");
      auto gone = xfrm_.transact(encode_delete_larval(larval.state.key, acquire.policy.mark));
      if (!gone.ok() && gone.error().os_errno() != ESRCH) return std::move(gone).error().context("clear an acquire");
    }
  }
  return {};
}

}  // namespace ipsec::netlink
