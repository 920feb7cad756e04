#pragma once

#include <memory>
#include <string>
#include <vector>

#include "netlink/xfrm_kernel.h"

/// Networks for tests against a real kernel: made with `ip`, as an operator would, and removed at the end.
namespace ipsec::lab {

/// Runs a line of shell; its exit status.
int shell(const std::string& line);
/// The same, and what it printed on both outputs.
std::string shell_output(const std::string& line);

/// Two gateways and their networks. In each of "left" and "right": `public` side "left-pub" with 192.0.2.1 (right: .2)
/// and 2001:db8::1 (::2) on veth "wan"; private side "left-priv" with VRF "blue" (table 1001) and a dummy "lan" in it
/// that has 10.1.0.1 (10.2.0.1) and fd01::1 (fd02::1).
class Network {
 public:
  Network();
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;
};

/// Two linked ports of the lab's netdevsim, "nic" with 198.51.100.1 in "nic-a" and with 198.51.100.2 in "nic-b".
class NicPair {
 public:
  NicPair();
  ~NicPair();
  NicPair(const NicPair&) = delete;
  NicPair& operator=(const NicPair&) = delete;
  bool made() const { return made_; }

 private:
  bool made_ = false;
};

/// A namespace that goes at the end.
class Namespace {
 public:
  explicit Namespace(std::string name);
  ~Namespace();
  Namespace(const Namespace&) = delete;
  Namespace& operator=(const Namespace&) = delete;
  const std::string& name() const { return name_; }
  /// Runs `ip -n NAME LINE`.
  int ip(const std::string& line) const { return shell("ip -n " + name_ + " " + line); }

 private:
  std::string name_;
};

/// A kernel port with a journal of its own. Without a name the journal begins empty; with one it is that of an earlier
/// port of this name, as after a restart of the daemon.
struct Port {
  explicit Port(const std::string& journal_name = {}, int receive_buffer_bytes = netlink::kReceiveBufferBytes);
  ~Port();
  /// One operation, waited for.
  Result<policy::KernelReply> run(const std::string& netns, policy::KernelChange change);
  Status done(const std::string& netns, policy::KernelChange change);
  /// All completions of what was submitted; in order.
  std::vector<policy::KernelCompletion> finish();

  std::string path;
  std::unique_ptr<netlink::XfrmKernel> kernel;
  uint64_t next_id = 1;
};

/// What went wrong, for comparisons that must not abort when nothing did.
template <typename T>
Reason reason_of(const Result<T>& result) {
  return result.ok() ? Reason::kNone : result.error().reason();
}
template <typename T>
std::string error_of(const Result<T>& result) {
  return result.ok() ? std::string() : result.error().text();
}

/// An SA with made-up keys that depend on its SPI only.
struct SaShape {
  std::string source = "192.0.2.1", destination = "192.0.2.2";
  uint32_t spi = 0xc0000001;
  policy::Direction direction = policy::Direction::kOut;
  policy::EspSuite suite{.encryption = policy::kEncrAesGcm16, .key_bits = 256};
  uint32_t if_id = 0, reqid = 7;
};
policy::SaConfig make_sa(const SaShape& shape);

IpAddress address(const std::string& text);
IpPrefix prefix(const std::string& text);

/// A tunnel policy.
struct PolicyShape {
  std::string source = "10.1.0.0/16", destination = "10.2.0.0/16";
  std::string tunnel_source = "192.0.2.1", tunnel_destination = "192.0.2.2";
  policy::Direction direction = policy::Direction::kOut;
  uint32_t if_id = 0, reqid = 7;
};
policy::PolicyConfig make_policy(const PolicyShape& shape);

}  // namespace ipsec::lab
