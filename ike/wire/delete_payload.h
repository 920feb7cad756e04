#pragma once

#include <vector>

#include "policy/base/bytes.h"
#include "policy/proposal.h"

namespace ipsec::ike {

/// Delete payload (RFC 7296 section 3.11): the IKE SA itself (no SPIs), or child SAs by the sender's inbound SPIs.
/// What names nothing that we have is read and names nothing: a protocol without SAs, SPIs of a size that their
/// protocol does not have. A Delete of the IKE SA means the one under which it comes, whatever SPIs stand in it.
///      0                   1                   2                   3
///     | Protocol ID   |   SPI Size    |          Num of SPIs          |
///     ~               Security Parameter Index(es) (SPI)              ~
struct DeletePayload {
  policy::Protocol protocol = policy::Protocol::kIke;
  std::vector<uint32_t> spis;
  Reason oddity = Reason::kNone;  ///< kIkeProtocolId or kIkeSpiSize, if that is what was wrong with it.

  static Result<DeletePayload> parse(ByteReader body);
  void write(ByteWriter& out) const;
};

}  // namespace ipsec::ike
