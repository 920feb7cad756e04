#pragma once

#include <cstdint>

#include "policy/desired_state.h"

/// What this daemon leaves on each object that it makes. A mark proves nothing, for others may use the same numbers and
/// names; the journal proves. Without a journal marks say what is probably ours. Pure.
namespace ipsec::policy {

/// Numbers that the daemon gives out (reqid, if_id) are above this one, where other daemons hardly count to, ...
inline constexpr uint32_t kNumbersBegin = 0x1000000;
/// ... and below this one.
inline constexpr uint32_t kNumbersEnd = 0x2000000;
constexpr bool is_own_number(uint32_t number) { return number > kNumbersBegin && number < kNumbersEnd; }

/// The protocol of our addresses, our rules, and of our routes unless configured otherwise.
inline constexpr uint8_t kOwnProtocol = 50;

/// By reqid and if_id. An SPI says nothing.
bool has_own_mark(const SaIdentity& sa);
/// By reqid and if_id; of a guard by its user. Blocks and exceptions of groups have no mark.
bool has_own_mark(const PolicyConfig& policy);
/// By name and alternative name, which must belong together.
bool has_own_mark(const LinkConfig& link);
/// By protocol, and by where it leads: into an interface named as ours, nowhere, or to the peer itself.
bool has_own_mark(const RouteConfig& route);
/// By protocol, priority and mark.
bool has_own_mark(const RuleConfig& rule);

/// Those objects of a namespace that have one; packet rules as they are, for only a table with our comment is read.
NamespaceState with_own_marks(const NamespaceState& objects);

}  // namespace ipsec::policy
