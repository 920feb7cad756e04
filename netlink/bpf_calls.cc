#include "netlink/bpf_calls.h"

#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace ipsec::netlink {
namespace {

// Newer than the headers that this is built with may be.
constexpr uint32_t kTcxReceived = 46, kTcxSent = 47;  // BPF_TCX_INGRESS, BPF_TCX_EGRESS
constexpr const char* kLicence = "GPL v2";            // df_code.cc is offered under it too
constexpr const char* kName = "ipsecd_df";

uint64_t pointer(const void* to) { return reinterpret_cast<uintptr_t>(to); }  // NOLINT: what the kernel takes

int64_t call(bpf_cmd command, bpf_attr& attributes) {
  return ::syscall(SYS_bpf, command, &attributes, sizeof(attributes));
}

Error failed(const std::string& doing, int code) {
  if (code == EPERM || code == EACCES)
    return Error(Reason::kPermission, "bpf: " + doing + " (needs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN)", code);
  if (code == ENOSYS)
    return Error(Reason::kKernelMissingFeature, "bpf: this kernel has no such system call (CONFIG_BPF_SYSCALL)", code);
  return Error(Reason::kKernelRefused, "bpf: " + doing, code);
}

Result<UniqueFd> opened(bpf_cmd command, bpf_attr& attributes, const char* doing) {
  const int64_t fd = call(command, attributes);
  if (fd < 0) return failed(doing, errno);
  return UniqueFd(static_cast<int>(fd));
}

template <size_t Size>
void set_name(char (&name)[Size]) {  // NOLINT: the kernel's own array
  const std::string_view text(kName);
  std::copy_n(text.begin(), std::min(text.size(), Size - 1), std::begin(name));
}

/// The last line but one of what the verifier says: why it refused.
std::string verdict_of(std::string_view log) {
  std::string_view last;
  while (!log.empty()) {
    const size_t end = std::min(log.find('\n'), log.size());
    const std::string_view line = log.substr(0, end);
    if (!line.empty() && !line.starts_with("processed ")) last = line;
    log.remove_prefix(std::min(end + 1, log.size()));
  }
  return last.empty() ? std::string() : ": " + printable(as_bytes(last));
}

}  // namespace

Result<UniqueFd> make_bpf_map(const BpfMapShape& shape) {
  bpf_attr attributes{};
  attributes.map_type = shape.type;
  attributes.key_size = shape.key_bytes;
  attributes.value_size = 1;
  attributes.max_entries = shape.entries;
  attributes.map_flags = BPF_F_NO_PREALLOC;
  set_name(attributes.map_name);
  return opened(BPF_MAP_CREATE, attributes, "make a map");
}

Status put_bpf_key(const UniqueFd& map, ByteView key) {
  const uint8_t value = 1;
  bpf_attr attributes{};
  attributes.map_fd = static_cast<uint32_t>(map.get());
  attributes.key = pointer(key.data());
  attributes.value = pointer(&value);
  if (call(BPF_MAP_UPDATE_ELEM, attributes) != 0) return failed("put something into a map", errno);
  return {};
}

Status remove_bpf_key(const UniqueFd& map, ByteView key) {
  bpf_attr attributes{};
  attributes.map_fd = static_cast<uint32_t>(map.get());
  attributes.key = pointer(key.data());
  if (call(BPF_MAP_DELETE_ELEM, attributes) != 0 && errno != ENOENT)
    return failed("take something out of a map", errno);
  return {};
}

Result<std::vector<Bytes>> read_bpf_keys(const UniqueFd& map, size_t key_bytes) {
  std::vector<Bytes> keys;
  Bytes next(key_bytes);
  bpf_attr attributes{};
  attributes.map_fd = static_cast<uint32_t>(map.get());
  attributes.next_key = pointer(next.data());
  while (call(BPF_MAP_GET_NEXT_KEY, attributes) == 0) {
    keys.push_back(next);
    attributes.key = pointer(keys.back().data());
  }
  if (errno != ENOENT) return failed("read a map", errno);
  return keys;
}

Result<UniqueFd> load_bpf_program(const std::vector<bpf_insn>& code, BpfWay way) {
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_SCHED_CLS;
  attributes.expected_attach_type = way == BpfWay::kReceived ? kTcxReceived : kTcxSent;
  attributes.insn_cnt = static_cast<uint32_t>(code.size());
  attributes.insns = pointer(code.data());
  attributes.license = pointer(kLicence);
  set_name(attributes.prog_name);
  auto program = opened(BPF_PROG_LOAD, attributes, "load a program");
  if (program.ok()) return program;
  // Once more, so that the verifier says why.
  std::string log(64 << 10, '\0');
  attributes.log_buf = pointer(log.data());
  attributes.log_size = static_cast<uint32_t>(log.size());
  attributes.log_level = 1;
  const int64_t again = call(BPF_PROG_LOAD, attributes);
  if (again >= 0) return UniqueFd(static_cast<int>(again));
  log.resize(std::min(log.find('\0'), log.size()));
  return failed("load a program" + verdict_of(log), program.error().os_errno());
}

Result<UniqueFd> attach_bpf_program(const UniqueFd& program, BpfWay way, int interface) {
  bpf_attr attributes{};
  attributes.link_create.prog_fd = static_cast<uint32_t>(program.get());
  attributes.link_create.target_ifindex = static_cast<uint32_t>(interface);
  attributes.link_create.attach_type = way == BpfWay::kReceived ? kTcxReceived : kTcxSent;
  auto link = opened(BPF_LINK_CREATE, attributes, "put a program on a device");
  if (!link.ok() && link.error().os_errno() == EINVAL)
    return Error(Reason::kKernelMissingFeature, "bpf: this kernel has no programs on devices with tcx (Linux 6.6)",
                 EINVAL);
  return link;
}

Result<int> interface_of_bpf_link(const UniqueFd& link) {
  struct {
    uint32_t type = 0, id = 0, program = 0, unused = 0;
    uint32_t interface = 0, way = 0;
    std::array<uint64_t, 12> more{};
  } info;
  bpf_attr attributes{};
  attributes.info.bpf_fd = static_cast<uint32_t>(link.get());
  attributes.info.info_len = sizeof(info);
  attributes.info.info = pointer(&info);
  if (call(BPF_OBJ_GET_INFO_BY_FD, attributes) != 0) return failed("look at a link", errno);
  return static_cast<int>(info.interface);
}

Result<Bytes> try_bpf_program(const UniqueFd& program, ByteView frame) {
  Bytes after(frame.size());
  bpf_attr attributes{};
  attributes.test.prog_fd = static_cast<uint32_t>(program.get());
  attributes.test.data_in = pointer(frame.data());
  attributes.test.data_size_in = static_cast<uint32_t>(frame.size());
  attributes.test.data_out = pointer(after.data());
  attributes.test.data_size_out = static_cast<uint32_t>(after.size());
  if (call(BPF_PROG_TEST_RUN, attributes) != 0) return failed("try a program", errno);
  return after;
}

}  // namespace ipsec::netlink
