#pragma once

#include <arpa/inet.h>
#include <linux/xfrm.h>
#include <netinet/in.h>

#include <algorithm>

#include "netlink/message.h"
#include "policy/kernel_model.h"

/// Pieces that the two halves of the codec share. Internal to netlink: the kernel's types stay out of public headers.
namespace ipsec::netlink::detail {

// The fixed parts of the kernel's structures that end in a key or a bitmap: a flexible array member has no place in a
// value.
struct CipherHeader {  // xfrm_algo
  std::array<char, 64> alg_name;
  uint32_t alg_key_len;  // bits, as below
};
struct AuthHeader {  // xfrm_algo_auth
  std::array<char, 64> alg_name;
  uint32_t alg_key_len, alg_trunc_len;
};
struct AeadHeader {  // xfrm_algo_aead
  std::array<char, 64> alg_name;
  uint32_t alg_key_len, alg_icv_len;
};
struct LegacyReplay {  // xfrm_replay_state
  uint32_t oseq, seq, bitmap;
};
struct ReplayHeader {  // xfrm_replay_state_esn
  uint32_t bmp_len, oseq, seq, oseq_hi, seq_hi, replay_window;
};
static_assert(sizeof(CipherHeader) == sizeof(xfrm_algo) && sizeof(AuthHeader) == sizeof(xfrm_algo_auth) &&
              sizeof(AeadHeader) == sizeof(xfrm_algo_aead) && sizeof(ReplayHeader) == sizeof(xfrm_replay_state_esn) &&
              sizeof(LegacyReplay) == sizeof(xfrm_replay_state));

inline constexpr uint8_t kEsp = IPPROTO_ESP;
inline constexpr uint64_t kUnlimited = UINT64_MAX;  // XFRM_INF

inline uint16_t family_of(const IpAddress& address) { return address.is_v4() ? AF_INET : AF_INET6; }

inline xfrm_address_t to_kernel(const IpAddress& address) {
  std::array<uint8_t, sizeof(xfrm_address_t)> raw{};
  std::ranges::copy(address.bytes(), raw.begin());
  return std::bit_cast<xfrm_address_t>(raw);
}

inline Result<IpAddress> from_kernel(const xfrm_address_t& address, uint16_t family) {
  if (family != AF_INET && family != AF_INET6)
    return Error(Reason::kMalformed, "address family " + std::to_string(family));
  const auto raw = to_bytes(address);
  return IpAddress::from_bytes({raw.data(), family == AF_INET ? size_t{4} : size_t{16}});
}

inline xfrm_usersa_id to_kernel_id(const policy::SaKey& key) {
  xfrm_usersa_id id{};
  id.daddr = to_kernel(key.destination);
  id.spi = htonl(key.spi.value());
  id.family = family_of(key.destination);
  id.proto = kEsp;
  return id;
}

inline uint8_t to_kernel(policy::EspMode mode) {
  return mode == policy::EspMode::kTunnel ? XFRM_MODE_TUNNEL : XFRM_MODE_TRANSPORT;
}

/// All fields zero, whatever the kernel's header of the day has in it.
template <PlainStruct T>
T zeroed() {
  return std::bit_cast<T>(std::array<uint8_t, sizeof(T)>{});
}

}  // namespace ipsec::netlink::detail
