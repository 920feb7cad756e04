#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/leftovers.h"
#include "agent/tunnel_manager.h"
#include "tests/manager/recorded_workers.h"
#include "tests/support/fake_kernel.h"

namespace ipsec::testing {

/// One tunnel of a test's configuration; all have a child "lan".
struct TunnelText {
  std::string name = "a";
  std::string remote = "198.51.100.7";
  std::string selector = "10.2.0.0/16";
  std::string start = "respond";
  std::map<std::string, std::string> more = {};  ///< Further children: name and remote selector.
  std::string local = "10.1.0.0/16";
  /// The SPIs of child "lan", in and out, when its keys are manual; "start" does not count then.
  std::optional<std::pair<uint32_t, uint32_t>> manual = {};
  std::string members = {};  ///< Further members of the tunnel: ", "routes": ...".
};

/// One child SA that IKE speaks of.
struct ChildShape {
  ike::IkeSaId ike;
  uint32_t id = 0;
  std::optional<uint32_t> replaces = {};
  std::string child = "lan", tunnel = "a";
};

/// All routes that are held, read as people's lists are: some places at a time.
inline std::vector<agent::SharedObjects::RouteRow> all_routes(const agent::SharedObjects& shared) {
  std::vector<agent::SharedObjects::RouteRow> all;
  std::optional<agent::SharedObjects::RoutePlace> last;
  for (auto some = shared.routes(last, 2); !some.empty(); some = shared.routes(last, 2))
    all.insert(all.end(), some.begin(), some.end());
  return all;
}

/// A manager between a fake kernel and recorded workers. The public side is namespace "pub" with device "ens1", the
/// private side VRF "red" of namespace "priv".
class ManagerWorld {
 public:
  explicit ManagerWorld(std::string offload = "none");

  void start(const std::vector<TunnelText>& tunnels);
  /// The configuration of these tunnels.
  std::shared_ptr<const policy::Config> parse(const std::vector<TunnelText>& tunnels) const {
    return config_of(tunnels);
  }
  /// The daemon is killed and started again: the kernel keeps what stands, nobody remembers an IKE SA.
  agent::Leftovers restart(const std::vector<TunnelText>& tunnels);
  /// Another configuration, read by the manager while it runs.
  void reconfigure(const std::vector<TunnelText>& tunnels);
  void run() { manager->run(now); }
  /// Turns until all tunnels follow the configuration.
  void roll_out() {
    while (manager->is_rolling_out()) run();
  }
  void pass(Duration time) {
    now = now + time;
    run();
  }

  /// Objects of other programs in both namespaces; `route_device`: of their route.
  void put_foreign_objects(const std::string& route_device);

  // What the workers report.
  void initiated(ike::IkeSaId ike, const std::string& tunnel = "a");
  void refuse_initiation(Error error, const std::string& tunnel = "a");
  void ike_failed(ike::IkeSaId ike, Reason reason, const std::string& tunnel = "a");
  void install_inbound(ike::IkeSaId ike, uint32_t child, const std::string& tunnel = "a");
  void install_outbound(ike::IkeSaId ike, uint32_t child, const std::string& tunnel = "a");
  /// Both halves.
  void install(ike::IkeSaId ike, uint32_t child, const std::string& tunnel = "a");
  void remove_child(ike::IkeSaId ike, uint32_t child, const std::string& tunnel = "a");
  void inbound(const ChildShape& shape);
  void outbound(const ChildShape& shape);
  void stop_outbound(const ChildShape& shape);
  void remove(const ChildShape& shape, Reason reason);
  void identity(ike::IkeSaId ike, bool has_child = true, const std::string& tunnel = "a");
  void child_failed(ike::IkeSaId ike, Reason reason, const std::string& child = "lan");
  void act(ike::Action action) {
    manager->on_action(now, 1, std::move(action));
    run();
  }
  void ike_gone(ike::IkeSaId ike);

  /// A packet met the trap of this tunnel.
  policy::Acquire acquire_for(const std::string& tunnel = "a") const;
  std::string state(const std::string& tunnel = "a") const {
    return std::string(agent::TunnelManager::state_of(manager->tunnels().at(tunnel)));
  }
  /// The last answer to an InstallInbound: "installed", or the text of the refusal.
  std::string last_answer() const;
  FakeKernel::Namespace& pub() { return kernel.in("pub"); }
  FakeKernel::Namespace& priv() { return kernel.in("priv"); }
  std::vector<Event> events_of(Reason reason) const;
  /// Where the kernel was first asked for something that reads so; behind the last one if it never was.
  size_t asked_at(std::string_view part) const;
  /// What has to change for the kernel to hold exactly what the manager's rows say, foreign objects aside: nothing,
  /// when nothing is under way.
  std::vector<std::string> differences() const;

  FakeKernel kernel;
  SeededRandom random{1};
  RecordedWorkers workers;
  Counters counters;
  EventRing events{1000};
  Log log{LogLevel::kError, [](LogLevel, std::string_view, const std::vector<Field>&) {}};
  /// Members of the tunnels' group, besides its public side.
  std::string group = R"("private": { "netns": "priv", "vrf": "red" })";
  /// Further members of its public side: ", "vrf": ...".
  std::string public_more;
  std::string public_netns = "pub";
  std::string top;  ///< Further members of the configuration: ", "carriers": ...". Child policy "host": transport mode.
  /// What IKE narrows the remote selector of these tunnels to.
  std::map<std::string, std::string> narrowed;
  std::vector<hwoffload::DeviceFacts> devices;
  bool devices_read = true, settings_read = true;  ///< Whether a look at them finds out anything.
  std::string budget;                              ///< Members of node.offload.
  hwoffload::KernelFacts kernel_facts;
  uint64_t out_drops = 0, sent_packets = 0;
  std::vector<policy::Acquire> cleared;
  std::vector<std::string> heard;  ///< Of namespaces: "NAME gone", "NAME present".
  Instant now{1000s};
  std::function<Instant()> clock;  ///< The monotonic clock, to see how long something takes; none: nothing does.
  std::function<void(std::function<void()> work, std::function<void()> then)> aside;  ///< None: at once.
  std::unique_ptr<agent::TunnelManager> manager;
  std::optional<uint8_t> manual_key = 0x41;  ///< All bytes of the manual keys; nothing: their file is missing.
  uint32_t spi_out_offset = 0x1000;          ///< The peer's SPI is ours plus this.
  /// Changes the policies of all tunnels before the start.
  std::function<void(policy::IkePolicy&, policy::ChildPolicy&)> adjust;
  Duration orphan_grace{10min};
  policy::EspSuite suite{policy::kEncrAesGcm16, 256, policy::kAuthNone, false};

 private:
  std::shared_ptr<const policy::ChildSpec> spec(uint32_t id, const std::string& tunnel,
                                                const std::string& child = "lan") const;
  std::shared_ptr<const policy::Config> config_of(const std::vector<TunnelText>& tunnels) const;
  std::shared_ptr<const policy::Config> adjusted(const policy::Config& config) const;
  std::unique_ptr<agent::TunnelManager> make_manager();
  policy::LinkConfig wanted_link(const agent::TunnelRow& row) const;
  std::string offload_;
  uint64_t asks_ = 0;
  /// As IKE has negotiated them, whatever the configuration says later.
  mutable std::map<std::pair<uint32_t, std::string>, std::shared_ptr<const policy::ChildSpec>> specs_;
};

}  // namespace ipsec::testing
