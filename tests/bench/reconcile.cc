#include "tests/bench/reconcile.h"

#include "policy/diff.h"
#include "policy/drift.h"
#include "tests/bench/limits.h"
#include "tests/support/fake_kernel.h"

namespace ipsec::bench {

using namespace policy;

namespace {

constexpr size_t kObjectsPerTunnel = 8;  // interface, route, two SAs, four policies

IpAddress address(uint32_t number) {
  const std::array<uint8_t, 4> bytes{static_cast<uint8_t>(number >> 24), static_cast<uint8_t>(number >> 16),
                                     static_cast<uint8_t>(number >> 8), static_cast<uint8_t>(number)};
  return IpAddress::from_bytes(bytes).value();
}

void add_tunnel(NamespaceState& state, uint32_t number) {
  const std::string device = "ips" + std::to_string(number);
  const IpPrefix local{address(0x0a000000), 16}, remote{address(0x14000000 + (number << 8)), 24};
  const IpAddress gateway = address(0xc0000201), peer = address(0xc6120000 + number);
  state.add(LinkConfig{.name = device, .altname = "t" + std::to_string(number), .if_id = number + 1});
  state.add(RouteConfig{.destination = remote, .device = device, .preferred_source = {}});
  for (const bool in : {true, false})
    state.sas[SaKey{in ? gateway : peer, ChildSpi(0x1000 + number)}] =
        SaIdentity{.source = in ? peer : gateway, .reqid = number + 1, .if_id = number + 1};
  const std::array sides{std::pair(Direction::kOut, true), std::pair(Direction::kIn, false),
                         std::pair(Direction::kForward, false)};
  for (const auto& [direction, outbound] : sides) {
    PolicyConfig policy;
    policy.key = {.source = outbound ? local : remote,
                  .destination = outbound ? remote : local,
                  .direction = direction,
                  .if_id = number + 1};
    policy.reqid = number + 1;
    state.add(policy);
  }
  PolicyConfig ports;
  ports.key = {.source = local, .destination = remote, .protocol = 6, .if_id = number + 1};
  state.add(ports);
}

/// Milliseconds of CPU.
template <typename Work>
double timed(Work work) {
  const double start = thread_cpu();
  work();
  return (thread_cpu() - start) / 1000;
}

void fill(testing::FakeKernel& kernel, const NamespaceState& state) {
  kernel.add_namespace("n");
  uint64_t id = 0;
  const auto submit = [&](KernelChange change) {
    kernel.submit({.id = ++id, .netns = "n", .change = std::move(change)});
  };
  for (const auto& [name, link] : state.links) {
    LinkConfig made = link;
    made.public_netns = "n";
    submit(AddLink{made});
  }
  for (const auto& [key, policy] : state.policies) submit(AddPolicy{policy});
  for (const auto& [key, route] : state.routes) submit(AddRoute{route});
  for (const auto& [key, identity] : state.sas) {
    SaConfig sa;
    sa.key = key;
    sa.source = identity.source;
    sa.reqid = identity.reqid;
    sa.if_id = identity.if_id;
    sa.suite = {.encryption = kEncrAesGcm16, .key_bits = 256};
    sa.keys = Secret(36);
    submit(AddSa{std::move(sa)});
  }
  kernel.flush();
  while (const auto completion = kernel.poll_completion()) VERIFY(completion->result.ok());
}

StandingState read(testing::FakeKernel& kernel) {
  StandingState standing;
  const auto links = kernel.dump_links("n").value();
  const auto policies = kernel.dump_policies("n").value();
  const auto routes = kernel.dump_routes("n").value();
  const auto sas = kernel.dump_sas("n").value();
  for (const LinkConfig& each : links) standing.ours.add(each);
  for (const PolicyConfig& each : policies) standing.ours.add(each);
  for (const RouteConfig& each : routes) standing.ours.add(each);
  for (const SaState& each : sas) standing.ours.sas.emplace(each.key, SaIdentity::of(each));
  return standing;
}

}  // namespace

ReconcileResult run_reconcile(size_t count) {
  ReconcileResult result;
  NamespaceState state;
  for (uint32_t number = 0; number < count / kObjectsPerTunnel; ++number) add_tunnel(state, number);
  testing::FakeKernel kernel;
  fill(kernel, state);
  StandingState standing;
  result.dump = timed([&] { standing = read(kernel); });
  const NamespaceState wanted = standing.ours;
  result.objects = wanted.sas.size() + wanted.policies.size() + wanted.links.size() + wanted.routes.size();
  result.diff = timed([&] { VERIFY(diff(wanted, standing.ours).empty()); });
  result.drift = timed([&] { VERIFY(!has_drift(drift("n", wanted, standing))); });
  size_t at = 0;
  for (auto it = standing.ours.policies.begin(); it != standing.ours.policies.end();)
    it = at++ % 50 == 0 ? standing.ours.policies.erase(it) : std::next(it);
  result.damaged = wanted.policies.size() - standing.ours.policies.size();
  result.diff_damaged = timed([&] { result.mends = diff(wanted, standing.ours).changes.size(); });
  return result;
}

}  // namespace ipsec::bench
