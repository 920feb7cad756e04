#pragma once

#include <linux/bpf.h>

#include <string>
#include <vector>

#include "netlink/unique_fd.h"
#include "policy/base/bytes.h"
#include "policy/base/result.h"

/// The system call bpf, as far as it is needed here. Internal (kernel structures). Errors: kPermission (with the
/// capabilities that it takes), kKernelMissingFeature, else kKernelRefused.
namespace ipsec::netlink {

struct BpfMapShape {
  bpf_map_type type = BPF_MAP_TYPE_HASH;
  uint32_t key_bytes = 0;
  uint32_t entries = 0;  ///< At most; memory is taken as they come.
};
/// A map whose values are one byte.
Result<UniqueFd> make_bpf_map(const BpfMapShape& shape);
/// Puts a key there. E2BIG or ENOSPC (os_errno): the map is full.
Status put_bpf_key(const UniqueFd& map, ByteView key);
/// Success too when it is not there.
Status remove_bpf_key(const UniqueFd& map, ByteView key);
/// All keys. Only while nobody else changes the map.
Result<std::vector<Bytes>> read_bpf_keys(const UniqueFd& map, size_t key_bytes);

enum class BpfWay : uint8_t { kReceived, kSent };
/// A program for packets of a device, accepted by the kernel's verifier.
Result<UniqueFd> load_bpf_program(const std::vector<bpf_insn>& code, BpfWay way);
/// Puts the program (with tcx, Linux 6.6) behind those that are on the device already, in the calling thread's network
/// namespace. It stands as long as the descriptor of the link is open. ENODEV (os_errno): there is no such device.
Result<UniqueFd> attach_bpf_program(const UniqueFd& program, BpfWay way, int interface);
/// The interface on which it stands; 0: none any more.
Result<int> interface_of_bpf_link(const UniqueFd& link);
/// What becomes of an Ethernet frame that the program sees.
Result<Bytes> try_bpf_program(const UniqueFd& program, ByteView frame);

}  // namespace ipsec::netlink
