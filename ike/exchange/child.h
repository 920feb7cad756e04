#pragma once

#include "ike/core.h"

/// What IKE_AUTH (and later CREATE_CHILD_SA) negotiates about a child SA: pure decisions, both roles.
namespace ipsec::ike {

/// A peer's request for a child.
struct ChildRequest {
  const std::vector<policy::Proposal>& offered;  ///< Unusable ones have protocol kNone.
  const std::vector<Bytes>& spis;                ///< Their SPIs, in the same order.
  const policy::SelectorList& ts_i;
  const policy::SelectorList& ts_r;
  bool wants_transport = false;
};

struct ChildDecision {
  const policy::ChildConfig* config = nullptr;
  size_t offered_index = 0;
  policy::EspSuite suite;
  policy::EspMode mode = policy::EspMode::kTunnel;
  ChildSpi spi_out;
  policy::SelectorList local, remote;
};

/// Responder: picks the first configured child whose selectors and proposals meet the request (RFC 7296
/// sections 2.9, 3.3). Errors: kTsUnacceptable, kNoProposalChosen, kModeMismatch, each with offered against configured.
Result<ChildDecision> decide_child(const policy::Tunnel& tunnel, const ChildRequest& request);

/// The ESP proposals of a child policy as IKE_AUTH offers them: without key exchange methods (RFC 7296 section 1.2).
std::vector<policy::Proposal> esp_offer(const policy::ChildPolicy& policy);

/// From a chosen ESP proposal.
Result<policy::EspSuite> esp_suite_of(const policy::Proposal& chosen);

/// A peer's ESP SPI: 4 bytes, not in the reserved range (RFC 4303 section 2.1).
Result<ChildSpi> parse_esp_spi(ByteView spi);

/// Derives the keys of a pending child and asks for its inbound half.
Status ask_install(EngineCore& core, IkeSa& sa, const PendingChild& child, AskId ask);
/// The child is agreed on: orders its outbound half, keeps it in `children`, reports.
Status finish_child(EngineCore& core, IkeSa& sa, const PendingChild& child, std::vector<ChildSa>& children);

}  // namespace ipsec::ike
