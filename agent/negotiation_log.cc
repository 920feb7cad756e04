#include "agent/negotiation_log.h"

#include <algorithm>
#include <array>

#include "policy/base/bytes.h"

namespace ipsec::agent {
namespace {

/// What ends a set-up besides the reasons of the group "negotiation".
constexpr std::array kAlsoFailures = {
    Reason::kMalformed,          Reason::kTruncated,        Reason::kUnsupported,       Reason::kIkeVersion,
    Reason::kIkeCriticalPayload, Reason::kIkeInvalidSyntax, Reason::kIkePayloadMissing, Reason::kIkePayloadDuplicate,
    Reason::kIkeTooManyPayloads, Reason::kIkeNonceSize,     Reason::kIkeDecryptLimit,   Reason::kIkeNestedEncryption,
    Reason::kIkeSpiSize,         Reason::kPeerUnreachable};

/// Ordinary things that are said during a set-up, and refusals that cure themselves.
bool is_ordinary(Reason reason) {
  return reason == Reason::kInvalidKe || reason == Reason::kNegotiationRetry || reason == Reason::kNatDetected ||
         reason == Reason::kPeerTemporaryFailure || reason == Reason::kTemporaryFailure ||
         reason == Reason::kChildNotFound;
}

bool is_failure(const ike::Report& report) {
  const Reason reason = report.reason;
  if (report.negotiation != nullptr) return true;
  if (is_ordinary(reason)) return false;
  if (reason >= Reason::kNoProposalChosen && reason < Reason::kIkeEstablished) return true;
  return std::find(kAlsoFailures.begin(), kAlsoFailures.end(), reason) != kAlsoFailures.end();
}

std::string field_of(const ike::Report& report, std::string_view name) {
  for (const Field& each : report.fields)
    if (each.name == name) return printable(as_bytes(each.value));
  return {};
}

/// Drops what is behind the first `most`, and the memory that it took.
template <typename List>
void shorten(List& list, size_t most) {
  if (list.size() <= most) return;
  list.erase(list.begin() + static_cast<std::ptrdiff_t>(most), list.end());
  list.shrink_to_fit();
}

std::shared_ptr<const policy::Negotiation> trimmed(const std::shared_ptr<const policy::Negotiation>& negotiation) {
  if (negotiation == nullptr) return nullptr;
  auto copy = std::make_shared<policy::Negotiation>(*negotiation);
  shorten(copy->offered, kProposalsKept);
  shorten(copy->configured, kConfiguredKept);
  for (auto* list : {&copy->offered_local, &copy->offered_remote, &copy->configured_local, &copy->configured_remote})
    shorten(*list, kSelectorsKept);
  for (auto* text :
       {&copy->offered_text, &copy->configured_text, &copy->offered_local_text, &copy->configured_local_text})
    shorten(*text, kTextBytesKept);
  return copy;
}

std::vector<Field> trimmed(std::vector<Field> fields) {
  shorten(fields, kFieldsKept);
  for (Field& each : fields) shorten(each.value, kTextBytesKept);
  return fields;
}

}  // namespace

NegotiationLog::NegotiationLog(std::shared_ptr<const policy::Config> config, Limits limits) : limits_(limits) {
  set_config(std::move(config));
}

void NegotiationLog::set_config(std::shared_ptr<const policy::Config> config) {
  config_ = std::move(config);
  tunnel_of_.clear();
  for (const auto& [name, tunnel] : config_->tunnels) {
    if (!tunnel->remote) continue;
    const auto [it, fresh] = tunnel_of_.try_emplace(*tunnel->remote, name);
    if (!fresh) it->second.clear();
  }
}

void NegotiationLog::erase(Class& from, std::list<Kept>::iterator it) {
  from.by_key.erase(it->key);
  if (auto owner = from.of_owner.find(it->owner); --owner->second == 0) from.of_owner.erase(owner);
  from.entries.erase(it);
}

/// Takes out the oldest of the same owner when it has its share, else the oldest of all.
void NegotiationLog::make_room(Class& in, const std::string& owner, size_t most, size_t per_owner) {
  if (const auto share = in.of_owner.find(owner); share != in.of_owner.end() && share->second >= per_owner) {
    const auto oldest =
        std::find_if(in.entries.rbegin(), in.entries.rend(), [&](const Kept& each) { return each.owner == owner; });
    return erase(in, std::prev(oldest.base()));
  }
  if (in.entries.size() >= most) erase(in, std::prev(in.entries.end()));
}

NegotiationLog::Kept& NegotiationLog::entry_for(Class& in, const std::string& key, const std::string& owner,
                                                size_t most, size_t per_owner) {
  if (const auto found = in.by_key.find(key); found != in.by_key.end()) {
    in.entries.splice(in.entries.begin(), in.entries, found->second);
    return in.entries.front();
  }
  make_room(in, owner, most, per_owner);
  in.entries.push_front({key, owner, {}});
  in.by_key[key] = in.entries.begin();
  ++in.of_owner[owner];
  return in.entries.front();
}

void NegotiationLog::note(WallTime now, const ike::Report& report) {
  if (report.reason == Reason::kChildEstablished) return note_success(now, report);
  if (!is_failure(report)) return;
  const IpAddress& remote = report.path.remote.address;
  const auto by_address = tunnel_of_.find(remote);
  const bool known = !report.tunnel.empty() || by_address != tunnel_of_.end();
  std::string tunnel = report.tunnel;
  if (tunnel.empty() && by_address != tunnel_of_.end()) tunnel = by_address->second;
  std::string identity = field_of(report, "identity");
  if (identity.empty() && report.negotiation != nullptr &&
      report.negotiation->about == policy::Negotiation::About::kIdentity)
    identity = printable(as_bytes(report.negotiation->offered_text));

  const std::string owner = tunnel.empty() ? to_string(remote) : tunnel;
  const std::string key = to_string(remote) + " " + identity;
  Entry& entry = known ? entry_for(known_, key + " " + tunnel, owner, limits_.known, limits_.per_owner).entry
                       : entry_for(strangers_, key, {}, limits_.strangers, limits_.strangers).entry;
  entry.time = now;
  entry.tunnel = std::move(tunnel);
  entry.local = report.path.local;
  entry.remote = report.path.remote;
  entry.identity = std::move(identity);
  entry.reason = report.reason;
  entry.fields = trimmed(report.fields);
  entry.negotiation = trimmed(report.negotiation);
  entry.succeeded_at.reset();
  ++entry.count;
}

void NegotiationLog::note_success(WallTime now, const ike::Report& report) {
  if (!known_.of_owner.contains(report.tunnel)) return;
  for (Kept& each : known_.entries)
    if (each.entry.tunnel == report.tunnel && each.entry.remote.address == report.path.remote.address)
      each.entry.succeeded_at = now;
}

bool NegotiationLog::is_of(const Entry& entry, const std::string& peer) const {
  return entry.tunnel == peer || entry.identity == peer || to_string(entry.remote.address) == peer ||
         to_string(entry.remote) == peer;
}

std::vector<const NegotiationLog::Entry*> NegotiationLog::find(const std::string& peer, size_t most) const {
  std::vector<const Entry*> found;
  for (const Class* each : {&known_, &strangers_})
    for (const Kept& kept : each->entries)
      if (peer.empty() || is_of(kept.entry, peer)) found.push_back(&kept.entry);
  std::stable_sort(found.begin(), found.end(), [](const Entry* a, const Entry* b) { return b->time < a->time; });
  if (found.size() > most) found.resize(most);
  return found;
}

}  // namespace ipsec::agent
