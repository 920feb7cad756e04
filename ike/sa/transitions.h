#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "ike/core.h"

/// The IKE SA's state machine as data: which message may come in which state, what it must hold, and who handles it.
namespace ipsec::ike {

enum class MessageRole : uint8_t { kRequest, kResponse };

struct Transition {
  std::string_view story;  ///< What happens, for logs.
  StateId from;
  Exchange exchange;
  MessageRole role;
  std::span<const PayloadType> required;  ///< All of them must be there.
  void (*handle)(EngineCore&, Instant, IkeSa&, const Message&);
};

/// The row for a message in a state; nullptr: the message does not belong there.
const Transition* find_transition(StateId from, Exchange exchange, MessageRole role);
std::span<const Transition> all_transitions();

}  // namespace ipsec::ike
