#include "ike/sa/transitions.h"

#include <array>

#include "ike/exchange/create_child.h"
#include "ike/exchange/ike_auth.h"
#include "ike/exchange/ike_sa_init.h"
#include "ike/exchange/informational.h"

namespace ipsec::ike {
namespace {

constexpr std::array kAuthRequest = {PayloadType::kIdI};

constexpr std::array kCreateChildRequest = {PayloadType::kSa, PayloadType::kNonce};

constexpr std::array kTransitions = {
    // I: <-- HDR, SAr1, KEr, Nr | N(COOKIE) | N(error): which of them, the handler looks (RFC 7296 1.2, 2.6)
    Transition{.story = "IKE_SA_INIT answered",
               .from = StateId::kInitSent,
               .exchange = Exchange::kIkeSaInit,
               .role = MessageRole::kResponse,
               .required = {},
               .handle = &on_init_response},
    // R: --> HDR, SK {IDi, [IDr,] AUTH, SAi2, TSi, TSr}. Without AUTH the peer wants EAP (2.16), which the handler
    // refuses.
    Transition{.story = "IKE_AUTH requested; asking who the peer is",
               .from = StateId::kInitAnswered,
               .exchange = Exchange::kIkeAuth,
               .role = MessageRole::kRequest,
               .required = kAuthRequest,
               .handle = &on_auth_request},
    Transition{.story = "IKE_AUTH answered; verifying the peer",
               .from = StateId::kAuthSent,
               .exchange = Exchange::kIkeAuth,
               .role = MessageRole::kResponse,
               .required = {},
               .handle = &on_auth_response},
    Transition{.story = "INFORMATIONAL requested",
               .from = StateId::kEstablished,
               .exchange = Exchange::kInformational,
               .role = MessageRole::kRequest,
               .required = {},
               .handle = &on_informational_request},
    Transition{.story = "INFORMATIONAL answered",
               .from = StateId::kEstablished,
               .exchange = Exchange::kInformational,
               .role = MessageRole::kResponse,
               .required = {},
               .handle = &on_informational_response},
    // --> HDR, SK {[N(REKEY_SA),] SA, Ni, [KEi,] [TSi, TSr]} (RFC 7296 1.3)
    Transition{.story = "a further child or a rekey requested",
               .from = StateId::kEstablished,
               .exchange = Exchange::kCreateChildSa,
               .role = MessageRole::kRequest,
               .required = kCreateChildRequest,
               .handle = &on_create_child_request},
    Transition{.story = "our CREATE_CHILD_SA answered",
               .from = StateId::kEstablished,
               .exchange = Exchange::kCreateChildSa,
               .role = MessageRole::kResponse,
               .required = {},
               .handle = &on_create_child_response},
    Transition{.story = "INFORMATIONAL requested for an IKE SA that was rekeyed: its Delete, most likely",
               .from = StateId::kRekeyed,
               .exchange = Exchange::kInformational,
               .role = MessageRole::kRequest,
               .required = {},
               .handle = &on_informational_request},
    Transition{.story = "INFORMATIONAL from before the rekey answered",
               .from = StateId::kRekeyed,
               .exchange = Exchange::kInformational,
               .role = MessageRole::kResponse,
               .required = {},
               .handle = &on_informational_response},
    Transition{.story = "something new wanted in an IKE SA that was rekeyed; put off",
               .from = StateId::kRekeyed,
               .exchange = Exchange::kCreateChildSa,
               .role = MessageRole::kRequest,
               .required = {},
               .handle = &on_create_child_too_late},
    Transition{.story = "our crossing rekey answered after the peer's took its place",
               .from = StateId::kRekeyed,
               .exchange = Exchange::kCreateChildSa,
               .role = MessageRole::kResponse,
               .required = {},
               .handle = &on_create_child_ignored},
    Transition{.story = "something new wanted in an IKE SA that we close; put off",
               .from = StateId::kDeleting,
               .exchange = Exchange::kCreateChildSa,
               .role = MessageRole::kRequest,
               .required = {},
               .handle = &on_create_child_too_late},
    Transition{.story = "our CREATE_CHILD_SA answered when we close the IKE SA already",
               .from = StateId::kDeleting,
               .exchange = Exchange::kCreateChildSa,
               .role = MessageRole::kResponse,
               .required = {},
               .handle = &on_create_child_ignored},
    // Both sides may delete at once (RFC 7296 2.25.2: a request for a closing IKE SA is answered all the same).
    Transition{.story = "INFORMATIONAL requested while ours to delete is under way",
               .from = StateId::kDeleting,
               .exchange = Exchange::kInformational,
               .role = MessageRole::kRequest,
               .required = {},
               .handle = &on_informational_request},
    Transition{.story = "our Delete answered",
               .from = StateId::kDeleting,
               .exchange = Exchange::kInformational,
               .role = MessageRole::kResponse,
               .required = {},
               .handle = &on_informational_response},
};

}  // namespace

std::span<const Transition> all_transitions() { return kTransitions; }

const Transition* find_transition(StateId from, Exchange exchange, MessageRole role) {
  for (const Transition& row : kTransitions)
    if (row.from == from && row.exchange == exchange && row.role == role) return &row;
  return nullptr;
}

}  // namespace ipsec::ike
