#include "ike/exchange/compared.h"

namespace ipsec::ike {
namespace {

using policy::Negotiation;

Negotiation record(const policy::Tunnel* tunnel, Negotiation::About about) {
  Negotiation negotiation;
  negotiation.about = about;
  if (tunnel != nullptr) negotiation.tunnel = tunnel->name;
  return negotiation;
}

Compared kept(Negotiation negotiation) { return std::make_shared<const Negotiation>(std::move(negotiation)); }

}  // namespace

Compared compared_ike_proposals(const policy::Tunnel* tunnel, std::vector<policy::Proposal> offered,
                                std::vector<policy::Proposal> configured) {
  Negotiation negotiation = record(tunnel, Negotiation::About::kIkeProposal);
  negotiation.offered = std::move(offered);
  negotiation.configured = std::move(configured);
  return kept(std::move(negotiation));
}

Compared compared_other_tunnels(const policy::Tunnel& tunnel, std::vector<policy::Proposal> offered,
                                const policy::Proposal& chosen) {
  Negotiation negotiation = record(&tunnel, Negotiation::About::kIkeProposal);
  negotiation.offered = std::move(offered);
  negotiation.offered_text = policy::to_string(chosen);
  negotiation.configured = tunnel.ike_policy->proposals;
  return kept(std::move(negotiation));
}

Compared refused_ike_proposals(const policy::Tunnel& tunnel, NotifyType notice) {
  if (notice != NotifyType::kNoProposalChosen) return nullptr;
  Negotiation negotiation = record(&tunnel, Negotiation::About::kIkeProposal);
  negotiation.we_offered = true;
  negotiation.offered = tunnel.ike_policy->proposals;
  return kept(std::move(negotiation));
}

Compared compared_peer(const IkeSa& sa, Reason reason, AuthMethod method,
                       const std::optional<policy::Identity>& wanted_local) {
  if (reason == Reason::kUnknownPeerIdentity) {
    Negotiation negotiation = record(sa.tunnel.get(), Negotiation::About::kIdentity);
    negotiation.offered_text = policy::to_string(sa.remote_id);
    if (wanted_local) negotiation.offered_local_text = policy::to_string(*wanted_local);
    return kept(std::move(negotiation));
  }
  if (reason != Reason::kAuthFailed && reason != Reason::kAuthMethod && reason != Reason::kEapNotServed &&
      reason != Reason::kNullAuthNotServed)
    return nullptr;
  Negotiation negotiation = record(sa.tunnel.get(), Negotiation::About::kAuthentication);
  negotiation.offered_text = reason == Reason::kEapNotServed ? std::string("EAP") : name(method);
  negotiation.configured_text = name(AuthMethod::kSharedKey);  // all that a credential can be in this version
  return kept(std::move(negotiation));
}

Compared refused_proof(const policy::Tunnel& tunnel) {
  Negotiation negotiation = record(&tunnel, Negotiation::About::kAuthentication);
  negotiation.we_offered = true;
  negotiation.offered_text = name(AuthMethod::kSharedKey);
  return kept(std::move(negotiation));
}

}  // namespace ipsec::ike
