#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
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
  /// kIdentity: who the peer wants us to be (IDr of its request), and who we are. Empty: it did not say.
  std::string offered_local_text, configured_local_text;
};

/// A Negotiation side by side, with what to change.
struct Explanation {
  enum class Verdict : uint8_t { kMeets, kDiffers, kUnknown };
  struct Row {
    std::string what;        ///< "encryption", "local selectors", "mode", ...
    std::string offered;     ///< By whoever began.
    std::string configured;  ///< By who answered; empty with kUnknown, where that was the peer.
    Verdict verdict = Verdict::kUnknown;
  };
  std::vector<Row> rows;
  std::optional<size_t> first_mismatch;  ///< Index of a row.
  std::string pointer;                   ///< JSON pointer of what to change in our configuration, or to compare with.
  std::string advice;                    ///< A sentence: what to write there.
};

/// Compares by the rules by which it was decided. Texts of a peer come out printable. Pure.
Explanation explain(const Negotiation& negotiation, const Config& config);

std::string_view to_string(Explanation::Verdict verdict);

}  // namespace ipsec::policy
