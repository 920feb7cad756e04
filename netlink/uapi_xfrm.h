#pragma once

#include <cstdint>

/// Numbers of the kernel's user interface that are newer than the headers of the machines we build on, and those whose
/// kernel header cannot be included beside the C library's. Whether the running kernel knows them is probed
/// (netlink/probe.h), never concluded from a version.
namespace ipsec::netlink::uapi {

inline constexpr uint16_t kXfrmaSaDir = 33;  ///< u8: 1 in, 2 out (Linux 6.10). An older kernel skips it unread.
inline constexpr uint8_t kSaDirIn = 1;
inline constexpr uint8_t kSaDirOut = 2;

inline constexpr uint8_t kOffloadIpv6 = 1;  ///< xfrm_user_offload.flags
inline constexpr uint8_t kOffloadInbound = 2;
inline constexpr uint8_t kOffloadPacket = 4;

inline constexpr uint16_t kEncapEspInUdp = 2;     ///< UDP_ENCAP_ESPINUDP of <linux/udp.h>.
inline constexpr uint32_t kReplayBitsMax = 4096;  ///< XFRMA_REPLAY_ESN_MAX.
inline constexpr uint32_t kExtraDontEncapDscp = 1;
inline constexpr uint32_t kExtraSequenceMayWrap = 2;  ///< XFRM_SA_XFLAG_OSEQ_MAY_WRAP (Linux 5.10).

}  // namespace ipsec::netlink::uapi
