#pragma once

#include <memory>
#include <string>
#include <vector>

#include "policy/config.h"

/// What a negotiation that failed was about: what the peer offered beside what is configured here. Kept per peer for
/// `ipsecctl explain negotiation`.
namespace ipsec::policy {

struct Negotiation {
  enum class About : uint8_t { kIkeProposal, kChildProposal, kSelectors, kMode, kIdentity, kAuthentication };
  About about = About::kIkeProposal;
  bool we_offered = false;  ///< The offer was ours, and the peer refused it: what it has configured is not known.
  std::string tunnel;       ///< Empty: not known yet.
  std::string child;        ///< Empty: about the IKE SA, or no child in particular.
  std::vector<Proposal> offered, configured;
  SelectorList offered_local, offered_remote, configured_local, configured_remote;  ///< "local" is our side.
  std::string offered_text, configured_text;  ///< Identities, modes, methods: whatever has no type above.
};

}  // namespace ipsec::policy
