#pragma once

#include "ike/core.h"

/// What IKE_AUTH and CREATE_CHILD_SA have in common about a child SA: pure decisions of both roles, and its keys.
namespace ipsec::ike {

/// Which exchange a child is negotiated in.
enum class ChildExchange : uint8_t {
  kIkeAuth,     ///< No key exchange of its own (RFC 7296 section 1.2).
  kCreateChild  ///< With one where the child policy has PFS.
};

/// A peer's request for a child.
struct ChildRequest {
  const std::vector<policy::Proposal>& offered;  ///< WireProposal::offered() of each.
  const std::vector<Bytes>& spis;                ///< Their SPIs, in the same order.
  const policy::SelectorList& ts_i;
  const policy::SelectorList& ts_r;
  bool wants_transport = false;
  ChildExchange exchange = ChildExchange::kIkeAuth;
  const policy::ChildSpec* replaced = nullptr;  ///< Rekey: the child that is replaced. nullptr: any of the tunnel's.
};

struct ChildDecision {
  const policy::ChildConfig* config = nullptr;
  size_t offered_index = 0;
  policy::Proposal chosen;
  policy::EspSuite suite;
  uint16_t group = 0;  ///< Key exchange method; 0: none.
  policy::EspMode mode = policy::EspMode::kTunnel;
  ChildSpi spi_out;
  policy::SelectorList local, remote;
  bool left_out = false;  ///< policy::SelectedTraffic::left_out
};

/// Why there is no child, with what was compared.
struct ChildRefusal {
  Error error;
  std::shared_ptr<const policy::Negotiation> negotiation;
};

/// Responder: picks the first configured child whose selectors and proposals meet the request (RFC 7296
/// sections 2.9, 3.3). A rekeyed child keeps at least the selectors that it had, where the request has them (2.9.2).
/// Refusals: kTsUnacceptable, kSelectorCount, kSelectorType, kSinglePairRequired, kNoProposalChosen,
/// kProtocolNotServed, kPfsMismatch, kModeMismatch.
std::variant<ChildDecision, ChildRefusal> decide_child(const policy::Tunnel& tunnel, const ChildRequest& request);

/// Reports that a child carries less than both sides allow, because of a limit of ours.
void report_left_out(EngineCore& core, const IkeSa& sa, const ChildDecision& decision);

/// The ESP proposals of a child policy as they are offered in an exchange.
std::vector<policy::Proposal> esp_offer(const policy::ChildPolicy& policy, ChildExchange exchange);

/// From a chosen ESP proposal.
Result<policy::EspSuite> esp_suite_of(const policy::Proposal& chosen);

/// The other way: one transform of each type, as a response names them.
policy::Proposal esp_proposal_of(const policy::EspSuite& suite);

/// A peer's ESP SPI: 4 bytes, not in the reserved range (RFC 4303 section 2.1).
Result<ChildSpi> parse_esp_spi(ByteView spi);

/// Adds SA (with our SPI in each proposal), to a request.
void add_offer(PayloadWriter& out, const std::vector<policy::Proposal>& offered, ChildSpi spi_in);

/// The selectors of a request: those of the packet that asked for the child first (RFC 7296 section 2.9), then
/// `wanted`, as many as one payload takes.
policy::SelectorList offered_selectors(const policy::SelectorList& trigger, const policy::SelectorList& wanted);

/// What we offered, and what came back.
struct ChildAnswer {
  const policy::Tunnel& tunnel;
  const policy::ChildConfig& config;
  const std::vector<policy::Proposal>& offered;
  const policy::SelectorList& offered_local;
  const policy::SelectorList& offered_remote;
  const Payloads& answer;
  const policy::ChildSpec* replaced = nullptr;  ///< Rekey: the old one, which the new one may not be narrower than.
};
struct ChildAccepted {
  policy::EspSuite suite;
  uint16_t group = 0;
  ChildSpi spi_out;
  policy::EspMode mode = policy::EspMode::kTunnel;
};
/// Initiator: whether the response gives a child that we offered (RFC 7296 sections 2.7, 2.9).
std::variant<ChildAccepted, ChildRefusal> read_child_answer(const ChildAnswer& answer);

/// A child's spec, on the path of its IKE SA.
policy::ChildSpec child_spec(const IkeSa& sa, const policy::ChildConfig& config);

/// Derives both keys of a child (RFC 7296 section 2.17). `shared`: of its own key exchange (PFS), else empty.
Result<PendingChild> make_pending(EngineCore& core, const IkeSa& sa, std::shared_ptr<const policy::ChildSpec> spec,
                                  ByteView ni, ByteView nr, ByteView shared = {});

/// Asks for the inbound half.
void ask_install(EngineCore& core, const IkeSa& sa, const PendingChild& child, AskId ask);

/// The child has its inbound half and is agreed on: into the list, outbound not yet.
ChildSa make_child(EngineCore& core, Instant now, PendingChild pending);

/// Orders the outbound half: from now on the child is used. Its predecessor, if still there, sends no more.
void use_child(EngineCore& core, Instant now, IkeSa& sa, std::vector<ChildSa>& children, ChildId id);

/// "0x" is not shown; eight digits.
std::string hex(ChildSpi spi);

}  // namespace ipsec::ike
