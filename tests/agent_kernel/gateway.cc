#include "tests/agent_kernel/gateway.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <linux/netlink.h>
#include <linux/xfrm.h>
#include <poll.h>
#include <unistd.h>

#include "netlink/message.h"
#include "netlink/socket.h"
#include "netlink/xfrm_structs.h"
#include "policy/config_parser.h"
#include "tests/kernel/lab_network.h"

namespace ipsec::lab {
namespace {

constexpr ike::IkeSaId kIke{0x11};
constexpr uint32_t kOtherWay = 0x1000;  // what the left side sends with is this much more than what it receives with
const policy::EspSuite kSuite{policy::kEncrAesGcm16, 256, policy::kAuthNone, false};

std::string document(bool left) {
  const std::string side = left ? "left" : "right";
  const std::string ours = left ? "1" : "2", theirs = left ? "2" : "1";
  return R"({ "version": 1,
    "tunnel_groups": { "core": { "public": { "netns": ")" +
         side + R"(-pub", "addresses": ["192.0.2.)" + ours + R"("] },
      "private": { "netns": ")" +
         side + R"(-priv", "vrf": "blue" } } },
    "credentials": { "key": { "psk": { "file": "key" } } },
    "tunnels": { "t": { "group": "core", "remote": "192.0.2.)" +
         theirs + R"(", "credential": "key", "children": { "lan": {
      "local": ["10.)" +
         ours + R"(.0.0/16"], "remote": ["10.)" + theirs + R"(.0.0/16"], "start": "respond" } } } } })";
}

std::shared_ptr<const policy::Config> config(bool left, const ChildVolume& volume) {
  auto outcome = policy::parse_config({{.name = "lab.json", .text = document(left)}});
  REQUIRE_MESSAGE(outcome.config != nullptr, outcome.errors.front().text());
  auto copy = std::make_shared<policy::Config>(*outcome.config);
  auto tunnel = std::make_shared<policy::Tunnel>(*copy->tunnels.at("t"));
  auto child = std::make_shared<policy::ChildPolicy>(*tunnel->children[0].policy);
  child->lifetime_bytes = volume.bytes;
  child->lifetime_packets = volume.packets;
  child->rekey = {.enabled = true, .share_percent = 90, .jitter_percent = 0};
  tunnel->children[0].policy = std::move(child);
  copy->tunnels["t"] = std::move(tunnel);
  return copy;
}

policy::ChildKeys keys_of(const policy::SaKey& key) {
  Secret material(kSuite.key_material_bytes());
  for (uint8_t& byte : material.writable()) byte = static_cast<uint8_t>(key.spi.value() * 7);
  return {std::move(material)};
}

std::optional<ike::ChildId> child_id(std::optional<uint32_t> child) {
  if (!child) return std::nullopt;
  return ike::ChildId(*child);
}

}  // namespace

Gateway::Gateway(std::string side, ChildVolume volume, int receive_buffer_bytes, Run which) : side_(std::move(side)) {
  const std::string journal = "/run/kernel-test/manager-" + side_;
  if (which == Run::kFirst) ::unlink(journal.c_str());
  auto made = netlink::XfrmKernel::create(
      {.journal_path = journal, .boot_id = "test", .receive_buffer_bytes = receive_buffer_bytes});
  REQUIRE_MESSAGE(made.ok(), (made.ok() ? std::string() : made.error().text()));
  kernel = std::move(made).value();
  REQUIRE(kernel->watch(public_netns()).ok());
  manager = std::make_unique<agent::TunnelManager>(agent::TunnelManager::Services{
      .kernel = *kernel,
      .workers = workers,
      .random = random_,
      .log = log_,
      .events = events_,
      .counters = counters_,
      .wall_clock = [] { return WallTime{}; },
      .offload = {.read_device = [](const std::string&,
                                    const std::string&) { return agent::OffloadBook::DeviceLook(); },
                  .kernel_facts = [](const std::string&) { return hwoffload::KernelFacts(); }},
      .out_drops = [](const std::string&) { return Result<uint64_t>(uint64_t{0}); },
      .sent_packets = [](const std::string&, const std::string&) { return Result<uint64_t>(uint64_t{0}); },
      .clear_acquire = [](const policy::Acquire&) {},
      .namespace_changed = [](const std::string&, bool) {},
      .underlay_gone = [](const policy::RoutingPlace&) {}});
  const auto configured = config(side_ == "left", volume);
  agent::Leftovers leftovers = agent::take_over(*kernel, *configured);
  not_removed = std::move(leftovers.failed);
  manager->start(now, configured, std::move(leftovers.adoption));
  run();
  REQUIRE(manager->tunnels().at("t").link_ready);
}

void Gateway::run() {
  for (int tries = 0; tries < 50; ++tries) {
    kernel->process();
    manager->run(now);
    if (manager->kernel_idle()) return;
    std::vector<pollfd> entries;
    for (const int fd : kernel->poll_fds()) entries.push_back({.fd = fd, .events = POLLIN, .revents = 0});
    ::poll(entries.data(), entries.size(), 100);
  }
}

void Gateway::act(ike::Action action) {
  manager->on_action(now, 1, std::move(action));
  run();
}

policy::SaKey Gateway::in_key(uint32_t child) const {
  const bool left = side_ == "left";
  return {address(left ? "192.0.2.1" : "192.0.2.2"), policy::ChildSpi(left ? child : child + kOtherWay)};
}

policy::SaKey Gateway::out_key(uint32_t child) const {
  const bool left = side_ == "left";
  return {address(left ? "192.0.2.2" : "192.0.2.1"), policy::ChildSpi(left ? child + kOtherWay : child)};
}

std::shared_ptr<const policy::ChildSpec> Gateway::spec(uint32_t child) const {
  auto made = std::make_shared<policy::ChildSpec>();
  made->tunnel = manager->config().tunnels.at("t");
  made->child = "lan";
  made->spi_in = in_key(child).spi;
  made->spi_out = out_key(child).spi;
  made->suite = kSuite;
  made->local = made->tunnel->children[0].local;
  made->remote = made->tunnel->children[0].remote;
  made->local_endpoint = {*made->tunnel->local_address(), 500};
  made->remote_endpoint = {*made->tunnel->remote, 500};
  return made;
}

void Gateway::inbound(uint32_t child, std::optional<uint32_t> replaces) {
  act(ike::InstallInbound{.id = ike::AskId(++asks_),
                          .ike = kIke,
                          .child = ike::ChildId(child),
                          .replaces = child_id(replaces),
                          .spec = spec(child),
                          .keys = keys_of(in_key(child))});
  REQUIRE_FALSE(workers.answers.empty());
  const auto* refused = std::get_if<ike::Refused>(&workers.answers.back().value);
  REQUIRE_MESSAGE(refused == nullptr, (refused != nullptr ? refused->error.text() : std::string()));
}

void Gateway::outbound(uint32_t child, std::optional<uint32_t> replaces) {
  act(ike::InstallOutbound{.ike = kIke,
                           .child = ike::ChildId(child),
                           .replaces = child_id(replaces),
                           .spec = spec(child),
                           .keys = keys_of(out_key(child))});
}

void Gateway::stop_outbound(uint32_t child) {
  act(ike::StopOutbound{.ike = kIke, .child = ike::ChildId(child), .spec = spec(child)});
}

void Gateway::remove(uint32_t child, Reason reason) {
  act(ike::RemoveChild{.ike = kIke, .child = ike::ChildId(child), .spec = spec(child), .reason = reason});
}

void Gateway::watch_inbound(uint32_t child) { act(ike::WatchInbound{.ike = kIke, .child = ike::ChildId(child)}); }

void Gateway::end() {
  manager->begin_shutdown();
  manager->remove_all();
  run();
}

std::optional<policy::SaState> Gateway::shown(const policy::SaKey& key) {
  auto all = kernel->dump_sas(public_netns());
  REQUIRE(all.ok());
  for (policy::SaState& each : *all)
    if (each.key == key) return std::move(each);
  return std::nullopt;
}

Meanwhile::Meanwhile(std::string line) : thread_([this, line = std::move(line)] { output_ = shell_output(line); }) {}

const std::string& Meanwhile::join() {
  if (thread_.joinable()) thread_.join();
  return output_;
}

Status set_sequence_sent(const std::string& netns, const policy::SaKey& key, uint32_t sequence) {
  TRY_ASSIGN(netlink::Socket socket, netlink::Socket::open({.protocol = NETLINK_XFRM, .netns = netns, .groups = {}}),
             "");
  netlink::Message message(XFRM_MSG_NEWAE, NLM_F_REPLACE);
  auto id = netlink::detail::zeroed<xfrm_aevent_id>();
  id.sa_id = netlink::detail::to_kernel_id(key);
  message.header(id);
  message.put_struct(XFRMA_REPLAY_VAL, netlink::detail::LegacyReplay{.oseq = sequence, .seq = 0, .bitmap = 0});
  auto answer = socket.transact(std::move(message));
  if (!answer.ok()) return std::move(answer).error();
  return {};
}

}  // namespace ipsec::lab
