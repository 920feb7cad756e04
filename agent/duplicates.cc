#include <algorithm>

#include "agent/limits.h"
#include "agent/peer_directory.h"
#include "agent/tunnel_manager.h"

// A second IKE SA of a tunnel whose peer has one already: which of them stays. All workers' IKE SAs are seen here, so
// it does not matter which of them hold them.
//
// Who answers decides. The peer asks for a second one because it has lost the first one, or because both sides began at
// once. In the first case the answering side sees it come while the older one stands, and does what
// IkePolicy::duplicates says. In the second case each side may answer before its own has come up, so that none of them
// sees a second one: then the one whose initiator's SPI is lower stays, which both sides know, after a pause in which a
// peer with rules of its own may have chosen.
namespace ipsec::agent {

using Stage = IkeRow::Stage;
using Step = ChildRow::Step;

namespace {

/// The two identities between which INITIAL_CONTACT speaks.
std::string peer_key(const policy::Tunnel& tunnel) {
  const std::string ours = tunnel.local_id.index_key();
  const std::string theirs = expected_identity(tunnel, tunnel.remote.value_or(IpAddress())).index_key();
  return std::to_string(ours.size()) + ":" + ours + theirs;
}

/// Comes up by itself as soon as it can.
bool is_coming(const ChildRow& child) {
  return child.step != Step::kNone ||
         (child.config->start == policy::StartMode::kNow && child.up.empty() && !child.held_down && !child.given_up);
}

}  // namespace

void TunnelManager::list_peer(const policy::Tunnel& tunnel) {
  std::vector<std::string>& names = tunnels_of_peer_[peer_key(tunnel)];
  if (std::find(names.begin(), names.end(), tunnel.name) == names.end()) names.push_back(tunnel.name);
}

void TunnelManager::unlist_peer(const policy::Tunnel& tunnel) {
  const auto names = tunnels_of_peer_.find(peer_key(tunnel));
  if (names == tunnels_of_peer_.end()) return;
  std::erase(names->second, tunnel.name);
  if (names->second.empty()) tunnels_of_peer_.erase(names);
}

/// RFC 7296 2.4: INITIAL_CONTACT says that there is no other IKE SA between the two identities, and a peer may end
/// whatever it has; so neither what is ending nor what another tunnel is about to begin may be kept quiet about.
ike::Contact TunnelManager::contact_for(const TunnelRow& row) {
  const auto names = tunnels_of_peer_.find(peer_key(*row.tunnel));
  if (!row.ikes.empty() || names == tunnels_of_peer_.end()) return ike::Contact::kFurther;
  for (const std::string& name : names->second) {
    const TunnelRow* other = find(name);
    if (other == nullptr || other == &row || !other->tunnel->group->enabled) continue;
    const bool coming = std::any_of(other->children.begin(), other->children.end(),
                                    [](const auto& each) { return is_coming(each.second); });
    if (coming || !other->ikes.empty()) return ike::Contact::kFurther;
  }
  return ike::Contact::kInitial;
}

std::vector<IkeRow*> TunnelManager::others_in_use(const IkeRow& fresh) {
  std::vector<IkeRow*> others;
  const TunnelRow* row = find(fresh.tunnel);
  if (row == nullptr) return others;
  for (const ike::IkeSaId id : row->ikes)
    if (auto it = ikes_.find(id); it != ikes_.end() && id != fresh.id && it->second.stage == Stage::kEstablished)
      others.push_back(&it->second);
  return others;
}

/// `fresh` has just been established.
void TunnelManager::settle_duplicates(Instant now, TunnelRow& row, IkeRow& fresh, bool initial_contact) {
  const std::vector<IkeRow*> older = others_in_use(fresh);
  if (older.empty()) return;
  if (initial_contact) {
    fresh.ends_older = Reason::kPeerRestarted;
    fresh.ends_older_from = {};  // the peer uses none of them: only the child is waited for
    return end_older(now, fresh);
  }
  const policy::DuplicatePolicy policy = row.tunnel->ike_policy->duplicates;
  if (policy == policy::DuplicatePolicy::kKeep)
    return event("tunnel/" + row.tunnel->name, Reason::kDuplicateKept,
                 {field("peer", fresh.view ? to_string(fresh.view->path.remote) : std::string()),
                  field("ike_sas", uint64_t{older.size() + 1})});
  if (fresh.initiator) return crossings_.set(fresh.id, now + kCrossingGrace);
  if (policy == policy::DuplicatePolicy::kReplace) {
    // A peer that authenticates anew sends on the old one until it has our answer, and mostly ends it by itself.
    fresh.ends_older = Reason::kReplaced;
    fresh.ends_older_from = now + kReplaceGrace;
    return crossings_.set(fresh.id, fresh.ends_older_from);
  }
  // Should the old one be dead, this finds out, and the peer's next try is let in.
  for (const IkeRow* each : older) services_.workers.check_liveness(each->worker, each->id);
  close(fresh, Reason::kDuplicateRefused, ike::CloseMode::kTellPeer);
}

/// Ends what `fresh` takes the place of, once its own child carries traffic: no gap, and no tunnel that is down
/// meanwhile.
void TunnelManager::end_older(Instant now, IkeRow& fresh) {
  if (!fresh.ends_older || fresh.stage != Stage::kEstablished || now < fresh.ends_older_from) return;
  for (const ike::ChildId child : fresh.children)
    if (auto it = installer_.children().find(child); it != installer_.children().end() && !it->second->has_outbound)
      return;
  const Reason reason = *std::exchange(fresh.ends_older, std::nullopt);
  for (IkeRow* each : others_in_use(fresh)) {
    if (each->serial > fresh.serial) continue;  // came later, and decides for itself
    const TunnelRow* row = find(each->tunnel);
    // INITIAL_CONTACT was decided when the peer began: what has come up since may have crossed with it, and the peer
    // may have it.
    const bool lost = row != nullptr && reason == Reason::kPeerRestarted &&
                      now - each->established_at > row->tunnel->ike_policy->setup_timeout;
    close(*each, reason, lost ? ike::CloseMode::kSilently : ike::CloseMode::kTellPeer);
  }
}

/// Both sides had begun at once, and both IKE SAs stand after the pause.
void TunnelManager::settle_crossing(ike::IkeSaId id) {
  const auto it = ikes_.find(id);
  if (it == ikes_.end() || it->second.stage != Stage::kEstablished || !it->second.view) return;
  const TunnelRow* row = find(it->second.tunnel);
  std::vector<IkeRow*> all = others_in_use(it->second);
  if (row == nullptr || all.empty()) return;
  all.push_back(&it->second);
  if (!std::all_of(all.begin(), all.end(), [](const IkeRow* each) { return each->view.has_value(); })) return;
  const IkeRow* stays = *std::min_element(all.begin(), all.end(), [](const IkeRow* a, const IkeRow* b) {
    return a->view->initiator_spi.value() < b->view->initiator_spi.value();
  });
  const bool refuses = row->tunnel->ike_policy->duplicates == policy::DuplicatePolicy::kRefuse;
  for (IkeRow* each : all)
    if (each != stays) close(*each, refuses ? Reason::kDuplicateRefused : Reason::kReplaced, ike::CloseMode::kTellPeer);
}

void TunnelManager::run_crossings(Instant now) {
  while (const auto id = crossings_.pop_due(now)) {
    const auto ike = ikes_.find(*id);
    if (ike == ikes_.end() || !ike->second.ends_older) {
      settle_crossing(*id);
      continue;
    }
    ike->second.ends_older_from = {};  // from now on only its child is waited for
    end_older(now, ike->second);
  }
}

}  // namespace ipsec::agent
