#pragma once

#include <optional>

#include "ike/numbers.h"
#include "policy/base/bytes.h"

namespace ipsec::ike {

/// The one map from what went wrong to what the peer is told. Nothing: the peer is told nothing (RFC 7296
/// section 2.21).
std::optional<NotifyType> notify_for_error(Reason reason);

/// The data of UNSUPPORTED_CRITICAL_PAYLOAD: the one byte of the payload's type, which parse_payloads() puts in front
/// of its error's detail as a decimal number (RFC 7296 section 2.5).
Bytes critical_payload_of(const Error& error);

/// The reason that stands for an error which a peer sent.
Reason reason_for_notify(NotifyType type);

}  // namespace ipsec::ike
