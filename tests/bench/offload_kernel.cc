#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "agent/device_probe.h"
#include "agent/event_loop.h"
#include "hwoffload/placement.h"
#include "netlink/devlink.h"
#include "netlink/xfrm_kernel.h"
#include "policy/algorithms.h"
#include "tests/bench/offload.h"

// What it costs to find out what a device can, on a real kernel and beside what that kernel needs for simpler things.
namespace ipsec::bench {
namespace {

/// Microseconds of one of `count`, by the clock on the wall: the kernel's part is most of it.
template <typename Work>
double each_us(size_t count, Work work) {
  const Instant start = agent::monotonic_now();
  for (size_t i = 0; i < count; ++i) work();
  return std::chrono::duration<double, std::micro>(agent::monotonic_now() - start).count() / static_cast<double>(count);
}

/// Until the kernel has answered everything.
void settle(netlink::XfrmKernel& kernel, agent::KernelQueue& queue) {
  for (queue.drain(); queue.in_flight() != 0; queue.drain()) {
    std::vector<pollfd> descriptors;
    for (const int fd : kernel.poll_fds()) descriptors.push_back({.fd = fd, .events = POLLIN, .revents = 0});
    ::poll(descriptors.data(), descriptors.size(), 100);
    kernel.process();
  }
}

policy::SaConfig plain_sa() {
  policy::SaConfig sa;
  sa.key = {IpAddress::v4(0xcb0071fe), policy::ChildSpi(4096)};  // 203.0.113.254
  sa.source = IpAddress::v4(0xc63364fe);
  sa.direction = policy::Direction::kOut;
  sa.suite = {policy::kEncrAesGcm16, 128, policy::kAuthNone, false};
  sa.reqid = 1;
  sa.keys = Secret(sa.suite.key_material_bytes());
  return sa;
}

}  // namespace

int print_device_probe(const std::string& device, size_t count, bool json) {
  const std::string journal = "/run/bench-journal-" + std::to_string(::getpid());
  auto made = netlink::XfrmKernel::create({.journal_path = journal, .boot_id = "bench"});
  VERIFY(made.ok());
  netlink::XfrmKernel& kernel = **made;
  agent::KernelQueue queue(kernel);
  size_t failed = 0;
  const double links = each_us(count, [&] { failed += kernel.dump_links("").ok() ? 0 : 1; });
  std::string bus;
  const double read = each_us(count, [&] {
    const auto reading = kernel.read_device("", device);
    failed += reading.ok() ? 0 : 1;
    if (reading.ok()) bus = reading->bus;
  });
  const double devlink = each_us(count, [&] { failed += netlink::read_devlink("", bus).ok() ? 0 : 1; });
  const double if_id = each_us(count, [&] { failed += kernel.takes_inbound_if_id("").ok() ? 0 : 1; });
  const double sa = each_us(count, [&] {
    queue.submit("", policy::AddSa{plain_sa()}, [&](const auto& added) { failed += added.ok() ? 0 : 1; });
    queue.submit("", policy::DeleteSa{plain_sa().key}, {});
    settle(kernel, queue);
  });
  hwoffload::ProbedDevice last;
  const double trial = each_us(count, [&] {
    agent::DeviceProbe::run(queue, "", device, [&](const hwoffload::ProbedDevice& found) { last = found; });
    settle(kernel, queue);
    failed += last.asked && !last.left_behind ? 0 : 1;
  });
  ::unlink(journal.c_str());
  std::printf(json ? "{\"what\": \"probe\", \"read_us\": %.0f, \"links_us\": %.0f, \"read_ratio\": %.2f, "
                     "\"devlink_us\": %.0f, \"if_id_us\": %.0f, \"trial_us\": %.0f, \"sa_us\": %.0f, \"trial_ratio\": "
                     "%.2f, \"failed\": %zu}\n"
                   : "probe: device read %.0f us, links dumped %.0f us (%.2f times)  devlink asked %.0f us, inbound "
                     "if_id %.0f us\n"
                     "       all trials %.0f us, one plain SA made and taken out %.0f us (%.2f times)  failed %zu\n",
              read, links, read / links, devlink, if_id, trial, sa, trial / sa, failed);
  // No limit to the ratios: an idle machine takes its time to wake up, which falls now on the one, now on the other.
  return failed == 0 ? 0 : 1;
}

}  // namespace ipsec::bench
