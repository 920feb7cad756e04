#include <linux/netlink.h>

#include <cerrno>
#include <charconv>

#include "netlink/namespace_port.h"

// The operations of NamespacePort on SAs and policies: what is sent, and what the answers mean.
namespace ipsec::netlink {

using policy::KernelReply;

namespace {

std::string describe(const policy::SaKey& key) {
  return "SA to " + to_string(key.destination) + " SPI " + hex32(key.spi.value());
}

std::string describe(const policy::PolicyKey& key) {
  return "policy " + std::string(to_string(key.direction)) + " " + to_string(key.source) + " to " +
         to_string(key.destination) + (key.if_id != 0 ? " if_id " + std::to_string(key.if_id) : "");
}

std::string fingerprint(uint32_t reqid, uint32_t if_id, const IpAddress& source, policy::EspMode mode) {
  return std::to_string(reqid) + "," + std::to_string(if_id) + "," + to_string(source) + "," +
         std::string(to_string(mode));
}

bool is_gone(const Error& error) { return error.os_errno() == ESRCH || error.os_errno() == ENOENT; }

Error not_ours(const std::string& object) {
  return Error(Reason::kKernelConflict, object + " was not made by this daemon");
}

/// What a lost or missing answer leaves open: the object may be there.
bool is_uncertain(const Error& error) {
  return error.reason() == Reason::kKernelLost || error.reason() == Reason::kKernelTimeout;
}

}  // namespace

ObjectKey journal_key(const std::string& netns, const policy::SaKey& key) {
  return {.netns = netns, .kind = "sa", .name = to_string(key.destination) + "/" + hex32(key.spi.value())};
}

ObjectKey journal_key(const std::string& netns, const policy::PolicyKey& key) {
  std::string name(to_string(key.direction));
  name.append(" ").append(to_string(key.source)).append(" ").append(to_string(key.destination));
  for (const uint32_t number :
       {uint32_t{key.protocol}, uint32_t{key.source_port}, uint32_t{key.source_port_mask},
        uint32_t{key.destination_port}, uint32_t{key.destination_port_mask}, key.if_id, key.mark.value, key.mark.mask})
    name.append(" ").append(std::to_string(number));
  if (key.user != 0) name.append(" user ").append(std::to_string(key.user));
  return {.netns = netns, .kind = "policy", .name = std::move(name)};
}

ObjectKey journal_key(const std::string& netns, const policy::RouteConfig& route) {
  std::string name = to_string(route.destination) + " " + route.vrf + " " + route.device + " " +
                     std::to_string(route.protocol) + " " + std::to_string(route.metric);
  if (route.preferred_source) name += " " + to_string(*route.preferred_source);
  if (route.gateway) name += " via " + to_string(*route.gateway);
  if (route.encap_if_id != 0) name += " encap " + std::to_string(route.encap_if_id);
  return {.netns = netns, .kind = "route", .name = std::move(name)};
}

ObjectKey journal_link_key(const std::string& netns, const std::string& name) {
  return {.netns = netns, .kind = "link", .name = name};
}

std::optional<uint8_t> journal_route_protocol(const ObjectKey& key) {
  // "DESTINATION VRF DEVICE PROTOCOL METRIC"; the VRF may be empty, none of them holds a space.
  size_t at = 0;
  for (int field = 0; field < 3 && at != std::string::npos; ++field) at = key.name.find(' ', at == 0 ? 0 : at + 1);
  uint8_t protocol = 0;
  if (key.kind != "route" || at == std::string::npos) return std::nullopt;
  const char* const first = key.name.data() + at + 1;
  const char* const end = key.name.data() + key.name.size();
  if (std::from_chars(first, end, protocol).ec != std::errc{}) return std::nullopt;
  return protocol;
}

std::string fingerprint(const policy::SaConfig& sa) { return fingerprint(sa.reqid, sa.if_id, sa.source, sa.mode); }
std::string fingerprint(const policy::SaState& sa) { return fingerprint(sa.reqid, sa.if_id, sa.source, sa.mode); }
std::string fingerprint(const policy::SaIdentity& sa) { return fingerprint(sa.reqid, sa.if_id, sa.source, sa.mode); }
std::string fingerprint(const policy::PolicyConfig& policy) {
  return policy.has_template ? std::to_string(policy.reqid) : "none";
}

// ---- SAs
// -------------------------------------------------------------------------------------------------------------

void NamespacePort::start(Running& running, policy::AddSa& add) {
  policy::SaConfig& sa = add.sa;
  const std::string doing = "install " + describe(sa.key);
  const ObjectKey key = journal_key(netns_, sa.key);
  auto ifindex = offload_ifindex(sa.offload);
  if (!ifindex.ok()) {
    running.decided = std::move(ifindex).error().context(doing);
    return;
  }
  running.offload_ifindex = *ifindex;
  auto message = encode_new_sa(sa, {.sa_direction = sa_direction_, .offload_ifindex = *ifindex});
  sa.keys.wipe();  // the message holds them now, until it is sent
  if (!message.ok()) {
    running.decided = std::move(message).error().context(doing);
    return;
  }
  running.owned_before = journal_.owns(key);
  if (!running.owned_before)
    if (Status written = journal_.intend(key, fingerprint(sa)); !written.ok()) {
      running.decided = std::move(written).error().context(doing);
      return;
    }
  request(running, std::move(*message));
  request(running, encode_get_sa(sa.key));
}

NamespacePort::Outcome NamespacePort::finish(Running& running, const policy::AddSa& add) {
  const policy::SaConfig& sa = add.sa;
  const std::string doing = "install " + describe(sa.key);
  const ObjectKey key = journal_key(netns_, sa.key);
  Reply& made = running.replies[0];
  Reply& shown = running.replies[1];
  auto state = shown.status.ok() ? read_state(shown, &sa.offload, running.offload_ifindex)
                                 : Result<policy::SaState>(shown.status.error());
  if (made.status.ok()) {
    journal_.confirm(key);
    if (!state.ok())
      return Error(Reason::kKernelReadBack, doing + ": " + state.error().text(), state.error().os_errno());
    return KernelReply(std::move(*state));
  }
  Error error = std::move(made.status).error();
  if (error.os_errno() == EEXIST) {
    // An outbound key of an AEAD must never be installed twice (its nonces would begin anew), so what is there stays.
    if (running.owned_before && state.ok() && fingerprint(*state) == fingerprint(sa))
      return Error(Reason::kExists, doing + ": this daemon has installed it already", EEXIST);
    error = Error(Reason::kKernelConflict, doing + ": an SA of this address and SPI is there already", EEXIST);
  } else {
    error = std::move(error).context(doing);
  }
  if (!running.owned_before && !is_uncertain(error))
    if (Status written = journal_.forget(key); !written.ok()) return std::move(written).error();
  return error;
}

void NamespacePort::start(Running& running, policy::DeleteSa& remove) {
  const ObjectKey key = journal_key(netns_, remove.key);
  if (remove.key.spi.value() == 0) {
    running.decided = Error(Reason::kUnsupported, "an SA without SPI is what an acquire left: see clear_acquire");
    return;
  }
  const Journal::Entry* entry = journal_.find(key);
  running.owned_before = entry != nullptr;
  if (entry != nullptr && entry->origin == Journal::Origin::kThisRun) {
    request(running, encode_delete_sa(remove.key));
    return;
  }
  auto ours = check_sa(remove.key);
  if (!ours.ok())
    running.decided = std::move(ours).error().context("remove " + describe(remove.key));
  else if (*ours == Ours::kYes)
    request(running, encode_delete_sa(remove.key));
  else if (Status written = journal_.forget(key); !written.ok())
    running.decided = std::move(written).error();
  else if (*ours == Ours::kNo)
    running.decided = not_ours(describe(remove.key));
  else
    running.decided = KernelReply{};
}

Result<NamespacePort::Ours> NamespacePort::check_sa(const policy::SaKey& key) {
  auto reply = xfrm_.transact(encode_get_sa(key));
  if (!reply.ok()) {
    if (is_gone(reply.error())) return Ours::kGone;
    return std::move(reply).error();
  }
  const Journal::Entry* entry = journal_.find(journal_key(netns_, key));
  for (const Reply::Data& data : *reply) {
    TRY_ASSIGN(const DecodedSa sa, decode_sa(data.payload.expose()), "");
    return entry != nullptr && entry->fingerprint == fingerprint(sa.state) ? Ours::kYes : Ours::kNo;
  }
  return Ours::kGone;
}

NamespacePort::Outcome NamespacePort::finish_removal(Running& running, const ObjectKey& key, const std::string& doing) {
  Status& status = running.replies[0].status;
  if (!status.ok() && !is_gone(status.error())) return std::move(status).error().context(doing);
  if (Status written = journal_.forget(key); !written.ok()) return std::move(written).error().context(doing);
  return KernelReply{};
}

NamespacePort::Outcome NamespacePort::finish(Running& running, const policy::DeleteSa& remove) {
  return finish_removal(running, journal_key(netns_, remove.key), "remove " + describe(remove.key));
}

void NamespacePort::start(Running& running, policy::ReadSa& read) { request(running, encode_get_sa(read.key)); }

NamespacePort::Outcome NamespacePort::finish(Running& running, const policy::ReadSa& read) {
  Reply& reply = running.replies[0];
  if (!reply.status.ok()) {
    if (is_gone(reply.status.error()))
      return Error(Reason::kNotFound, describe(read.key) + " is not there", reply.status.error().os_errno());
    return std::move(reply.status).error().context("read " + describe(read.key));
  }
  TRY_ASSIGN(policy::SaState state, read_state(reply, nullptr, 0), "read " + describe(read.key));
  return KernelReply(std::move(state));
}

Result<std::map<policy::SaKey, policy::SaState>> NamespacePort::read_sas(const std::vector<policy::SaKey>& keys) {
  TRY_ASSIGN(Socket * dumps, dumps_of(NETLINK_XFRM), "");
  std::map<policy::SaKey, policy::SaState> found;
  for (const policy::SaKey& key : keys) {
    auto data = dumps->transact(encode_get_sa(key));
    if (!data.ok() && is_gone(data.error())) continue;
    if (!data.ok()) return std::move(data).error().context("read " + describe(key));
    const Reply reply{.sequence = 0, .status = {}, .data = std::move(*data)};
    TRY_ASSIGN(policy::SaState state, read_state(reply, nullptr, 0), "read " + describe(key));
    found.emplace(key, std::move(state));
  }
  return found;
}

// ---- policies
// --------------------------------------------------------------------------------------------------------

void NamespacePort::start(Running& running, policy::AddPolicy& add) {
  const policy::PolicyConfig& config = add.policy;
  const std::string doing = "install " + describe(config.key);
  const ObjectKey key = journal_key(netns_, config.key);
  auto ifindex = offload_ifindex(config.offload);
  if (!ifindex.ok()) {
    running.decided = std::move(ifindex).error().context(doing);
    return;
  }
  const EncodeContext context{.sa_direction = sa_direction_, .offload_ifindex = *ifindex};
  auto create = encode_policy(config, PolicyWrite::kCreate, context);
  auto replace = encode_policy(config, PolicyWrite::kReplace, context);
  if (!create.ok() || !replace.ok()) {
    running.decided = (create.ok() ? std::move(replace).error() : std::move(create).error()).context(doing);
    return;
  }
  auto ours = journal_.owns(key) ? check_policy(config.key) : Result<Ours>(Ours::kGone);
  if (!ours.ok()) {
    running.decided = std::move(ours).error().context(doing);
    return;
  }
  running.owned_before = *ours == Ours::kYes;
  if (Status written = journal_.intend(key, fingerprint(config)); !written.ok()) {
    running.decided = std::move(written).error().context(doing);
    return;
  }
  // One that we made before is brought to what is wanted now; everything else may only be created.
  request(running, running.owned_before ? std::move(*replace) : std::move(*create));
}

NamespacePort::Outcome NamespacePort::finish(Running& running, const policy::AddPolicy& add) {
  const std::string doing = "install " + describe(add.policy.key);
  const ObjectKey key = journal_key(netns_, add.policy.key);
  Status& status = running.replies[0].status;
  if (status.ok()) {
    journal_.confirm(key);
    return KernelReply{};
  }
  Error error = status.error().os_errno() == EEXIST
                    ? Error(Reason::kKernelConflict, doing + ": a policy of these selectors is there already", EEXIST)
                    : std::move(status).error().context(doing);
  if (!running.owned_before && !is_uncertain(error))
    if (Status written = journal_.forget(key); !written.ok()) return std::move(written).error();
  return error;
}

Result<NamespacePort::Ours> NamespacePort::check_policy(const policy::PolicyKey& key) {
  const Journal::Entry* entry = journal_.find(journal_key(netns_, key));
  if (entry != nullptr && entry->origin == Journal::Origin::kThisRun) return Ours::kYes;
  auto reply = xfrm_.transact(encode_get_policy(key));
  if (!reply.ok()) {
    if (is_gone(reply.error())) return Ours::kGone;
    return std::move(reply).error();
  }
  for (const Reply::Data& data : *reply) {
    TRY_ASSIGN(const DecodedPolicy there, decode_policy(data.payload.expose()), "");
    return entry != nullptr && entry->fingerprint == fingerprint(there.config) ? Ours::kYes : Ours::kNo;
  }
  return Ours::kGone;
}

void NamespacePort::start(Running& running, policy::UpdatePolicy& update) {
  const policy::PolicyConfig& config = update.policy;
  const std::string doing = "update " + describe(config.key);
  const ObjectKey key = journal_key(netns_, config.key);
  auto ifindex = offload_ifindex(config.offload);
  auto ours = journal_.owns(key) ? check_policy(config.key) : Result<Ours>(Ours::kNo);
  if (!ifindex.ok() || !ours.ok()) {
    running.decided = (ifindex.ok() ? std::move(ours).error() : std::move(ifindex).error()).context(doing);
    return;
  }
  if (*ours == Ours::kNo) {
    running.decided = not_ours(describe(config.key));
    return;
  }
  // Somebody may have put one there since we looked, so that what is gone is created, and replaces nothing.
  auto message = encode_policy(config, *ours == Ours::kYes ? PolicyWrite::kReplace : PolicyWrite::kCreate,
                               {.sa_direction = sa_direction_, .offload_ifindex = *ifindex});
  if (!message.ok()) {
    running.decided = std::move(message).error().context(doing);
    return;
  }
  if (Status written = journal_.intend(key, fingerprint(config)); !written.ok()) {
    running.decided = std::move(written).error().context(doing);
    return;
  }
  request(running, std::move(*message));
}

NamespacePort::Outcome NamespacePort::finish(Running& running, const policy::UpdatePolicy& update) {
  Status& status = running.replies[0].status;
  const ObjectKey key = journal_key(netns_, update.policy.key);
  if (!status.ok() && status.error().os_errno() == EEXIST) {  // ours was gone, and another one came
    (void)journal_.forget(key);                               // the conflict is the error to report
    return Error(Reason::kKernelConflict, describe(update.policy.key) + " is there already", EEXIST);
  }
  // Confirmed either way: what is there, new or old, is ours.
  journal_.confirm(key);
  if (!status.ok()) return std::move(status).error().context("update " + describe(update.policy.key));
  return KernelReply{};
}

void NamespacePort::start(Running& running, policy::DeletePolicy& remove) {
  const ObjectKey key = journal_key(netns_, remove.key);
  auto ours = check_policy(remove.key);
  if (!ours.ok())
    running.decided = std::move(ours).error().context("remove " + describe(remove.key));
  else if (*ours == Ours::kYes)
    request(running, encode_delete_policy(remove.key));
  else if (Status written = journal_.forget(key); !written.ok())
    running.decided = std::move(written).error();
  else if (*ours == Ours::kNo)
    running.decided = not_ours(describe(remove.key));
  else
    running.decided = KernelReply{};
}

NamespacePort::Outcome NamespacePort::finish(Running& running, const policy::DeletePolicy& remove) {
  return finish_removal(running, journal_key(netns_, remove.key), "remove " + describe(remove.key));
}

}  // namespace ipsec::netlink
