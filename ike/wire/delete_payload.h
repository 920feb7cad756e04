#pragma once

#include <vector>

#include "policy/base/bytes.h"
#include "policy/proposal.h"

namespace ipsec::ike {

/// Delete payload (RFC 7296 section 3.11): the IKE SA itself (no SPIs), or child SAs by the sender's inbound SPIs.
/// A protocol that has nothing to delete is kIkeProtocolId, a size of SPIs that the protocol does not have kIkeSpiSize.
///      0                   1                   2                   3
///     | Protocol ID   |   SPI Size    |          Num of SPIs          |
///     ~               Security Parameter Index(es) (SPI)              ~
struct DeletePayload {
  policy::Protocol protocol = policy::Protocol::kIke;
  std::vector<uint32_t> spis;
  static Result<DeletePayload> parse(ByteReader body);
  void write(ByteWriter& out) const;
};

}  // namespace ipsec::ike
