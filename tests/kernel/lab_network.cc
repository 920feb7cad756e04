#include "tests/kernel/lab_network.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>

namespace ipsec::lab {

int shell(const std::string& line) {
  const int status =
      std::system(("{ " + line + "\n} >/dev/null 2>&1").c_str());  // NOLINT(concurrency-mt-unsafe,cert-env33-c)
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::string shell_output(const std::string& line) {
  std::string text;
  FILE* pipe = ::popen(("{ " + line + "; } 2>&1").c_str(), "r");  // NOLINT(cert-env33-c)
  if (pipe == nullptr) return text;
  std::array<char, 4096> chunk{};
  while (const size_t count = std::fread(chunk.data(), 1, chunk.size(), pipe)) text.append(chunk.data(), count);
  ::pclose(pipe);
  return text;
}

Network::Network() {
  shell(R"(set -e
    for side in left right; do
      ip netns add $side-pub; ip netns add $side-priv
      ip -n $side-pub link set lo up; ip -n $side-priv link set lo up
    done
    ip -n left-pub link add wan type veth peer name wan netns right-pub
    n=1
    for side in left right; do
      ip -n $side-pub addr add 192.0.2.$n/24 dev wan
      ip -n $side-pub addr add 2001:db8::$n/64 dev wan nodad
      ip -n $side-pub link set wan up
      ip -n $side-priv link add blue type vrf table 1001
      ip -n $side-priv link set blue up
      ip -n $side-priv link add lan type dummy
      ip -n $side-priv link set lan master blue up
      ip -n $side-priv addr add 10.$n.0.1/16 dev lan
      ip -n $side-priv addr add fd0$n::1/64 dev lan nodad
      n=2
    done)");
}

Network::~Network() { shell("for n in left-pub right-pub left-priv right-priv; do ip netns del $n; done"); }

NicPair::NicPair() {
  made_ = shell(R"(set -e
    for n in 1 2; do
      echo "7$n 1" > /sys/bus/netdevsim/new_device
      for i in 1 2 3 4 5 6 7 8 9 10; do ls /sys/bus/netdevsim/devices/netdevsim7$n/net/* && break; sleep 0.1; done
    done
    ip netns add nic-a; ip netns add nic-b
    n=1
    for ns in nic-a nic-b; do
      dev=$(ls /sys/bus/netdevsim/devices/netdevsim7$n/net)
      ip link set $dev netns $ns name nic
      ip -n $ns addr add 198.51.100.$n/24 dev nic
      ip -n $ns link set lo up; ip -n $ns link set nic up
      n=2
    done
    exec 8</run/netns/nic-a 9</run/netns/nic-b
    a=$(ip netns exec nic-a cat /sys/class/net/nic/ifindex); b=$(ip netns exec nic-b cat /sys/class/net/nic/ifindex)
    echo "8:$a 9:$b" > /sys/bus/netdevsim/link_device)") == 0;
}

NicPair::~NicPair() {
  shell("ip netns del nic-a; ip netns del nic-b; for n in 1 2; do echo 7$n > /sys/bus/netdevsim/del_device; done");
}

Namespace::Namespace(std::string name) : name_(std::move(name)) {
  shell("ip netns add " + name_ + " && ip -n " + name_ + " link set lo up");
}

Namespace::~Namespace() { shell("ip netns del " + name_); }

Port::Port(const std::string& journal_name, int receive_buffer_bytes)
    : path("/run/kernel-test/" + (journal_name.empty() ? "unnamed" : journal_name)) {
  if (journal_name.empty())
    for (const char* suffix : {"", ".spare"}) ::unlink((path + suffix).c_str());
  auto made = netlink::XfrmKernel::create(
      {.journal_path = path, .boot_id = "test", .receive_buffer_bytes = receive_buffer_bytes});
  if (!made.ok()) std::fprintf(stderr, "kernel port: %s\n", made.error().text().c_str());
  VERIFY(made.ok());
  kernel = std::move(made).value();
}

Port::~Port() = default;

std::vector<policy::KernelCompletion> Port::finish() {
  kernel->flush();
  for (int tries = 0; kernel->busy() && tries < 100; ++tries) {
    for (; kernel->has_unsent(); kernel->process()) kernel->flush();  // some at a time
    std::vector<pollfd> entries;
    for (const int fd : kernel->poll_fds()) entries.push_back({.fd = fd, .events = POLLIN, .revents = 0});
    ::poll(entries.data(), entries.size(), 100);
    kernel->process();
  }
  std::vector<policy::KernelCompletion> all;
  while (auto completion = kernel->poll_completion()) all.push_back(std::move(*completion));
  return all;
}

Result<policy::KernelReply> Port::run(const std::string& netns, policy::KernelChange change) {
  kernel->submit({.id = next_id++, .netns = netns, .change = std::move(change)});
  auto all = finish();
  VERIFY(all.size() == 1);
  return std::move(all.front().result);
}

Status Port::done(const std::string& netns, policy::KernelChange change) {
  auto result = run(netns, std::move(change));
  if (!result.ok()) return std::move(result).error();
  return {};
}

IpAddress address(const std::string& text) { return IpAddress::parse(text).value(); }
IpPrefix prefix(const std::string& text) { return IpPrefix::parse(text).value(); }

policy::SaConfig make_sa(const SaShape& shape) {
  policy::SaConfig sa;
  sa.key = {.destination = address(shape.destination), .spi = policy::ChildSpi(shape.spi)};
  sa.source = address(shape.source);
  sa.direction = shape.direction;
  sa.suite = shape.suite;
  sa.reqid = shape.reqid;
  sa.if_id = shape.if_id;
  sa.replay_window = shape.direction == policy::Direction::kIn ? 64 : 0;
  sa.keys = Secret(shape.suite.key_material_bytes());
  uint8_t next = static_cast<uint8_t>(shape.spi);
  for (uint8_t& byte : sa.keys.writable()) byte = next++;
  return sa;
}

policy::PolicyConfig make_policy(const PolicyShape& shape) {
  policy::PolicyConfig config;
  config.key.source = prefix(shape.source);
  config.key.destination = prefix(shape.destination);
  config.key.direction = shape.direction;
  config.key.if_id = shape.if_id;
  config.priority = 1000;
  config.tunnel_source = address(shape.tunnel_source);
  config.tunnel_destination = address(shape.tunnel_destination);
  config.reqid = shape.reqid;
  return config;
}

}  // namespace ipsec::lab
