#pragma once

#include <cstdint>
#include <optional>

#include "netlink/message.h"
#include "policy/kernel_model.h"
#include "policy/kernel_port.h"

/// XFRM messages to and from the values of policy/kernel_model.h. Pure: no socket, no clock, no state.
namespace ipsec::netlink {

/// Whether the kernel knows XFRMA_SA_DIR. It changes what an SA must say: with a direction an outbound SA must not have
/// a replay window, without one an outbound SA with ESN must have one.
enum class SaDirection : uint8_t { kUnknown, kKnown };

/// What only the namespace can tell about an SA or policy.
struct EncodeContext {
  SaDirection sa_direction = SaDirection::kUnknown;
  int offload_ifindex = 0;  ///< Of OffloadRequest::device.
};

/// NEWSA: creates, never replaces. Error when key material or addresses do not fit the suite.
Result<Message> encode_new_sa(const policy::SaConfig& sa, const EncodeContext& context);
Message encode_delete_sa(const policy::SaKey& key);
Message encode_get_sa(const policy::SaKey& key);
Message encode_dump_sas();

enum class PolicyWrite : uint8_t { kCreate, kReplace };
Result<Message> encode_policy(const policy::PolicyConfig& policy, PolicyWrite write, const EncodeContext& context);
Message encode_delete_policy(const policy::PolicyKey& key);
Message encode_get_policy(const policy::PolicyKey& key);
Message encode_dump_policies();

/// ALLOCSPI in the SPI range given, for the state that an acquire left: it takes over a larval SA that has no SPI, or
/// makes one.
struct LarvalKey {
  IpAddress source, destination;
  uint32_t reqid = 0, if_id = 0;
  policy::Mark mark;
  policy::EspMode mode = policy::EspMode::kTunnel;
};
Message encode_adopt_larval(const LarvalKey& key);
/// DELSA with the mark under which a larval SA is found.
Message encode_delete_larval(const policy::SaKey& key, const policy::Mark& mark);

/// An SA without its keys. The device is named by the caller: `offload_ifindex` is 0 without offload.
struct DecodedSa {
  policy::SaState state;
  int offload_ifindex = 0;
  bool is_esp = false;  ///< Others (AH, IPComp) are not ours to look at.
};
Result<DecodedSa> decode_sa(ByteView payload);

struct DecodedPolicy {
  policy::PolicyConfig config;
  int offload_ifindex = 0;
  bool ordinary = true;  ///< Not a socket policy, not a "sub" type, at most one template, all of ESP.
};
Result<DecodedPolicy> decode_policy(ByteView payload);

/// Events; the caller fills in the namespace.
Result<policy::Acquire> decode_acquire(ByteView payload);
struct DecodedExpire {
  policy::SaExpired event;
  bool is_esp = false;
};
Result<DecodedExpire> decode_expire(ByteView payload);
Result<policy::SaMappingChanged> decode_mapping(ByteView payload);
/// DELSA as it is told to others; nothing when it is not of ESP.
Result<std::optional<policy::SaKey>> decode_sa_removed(ByteView payload);
/// DELPOLICY and UPDPOLICY as they are told to others.
Result<policy::PolicyKey> decode_policy_removed(ByteView payload);
Result<policy::PolicyKey> decode_policy_overwritten(ByteView payload);
/// POLEXPIRE; nothing at a soft limit, at which the policy stays.
Result<std::optional<policy::PolicyKey>> decode_policy_expired(ByteView payload);

}  // namespace ipsec::netlink
