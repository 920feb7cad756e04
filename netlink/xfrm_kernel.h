#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "netlink/devices.h"
#include "netlink/df_probe.h"
#include "netlink/journal.h"
#include "netlink/limits.h"
#include "netlink/links.h"
#include "netlink/namespace_port.h"
#include "netlink/netns.h"
#include "netlink/netns_watch.h"
#include "netlink/probe.h"
#include "netlink/route_watch.h"
#include "netlink/xfrm_events.h"
#include "policy/kernel_port.h"
#include "policy/policy_hash.h"

namespace ipsec::netlink {

/// The real kernel behind policy::KernelPort: one set of netlink sockets per namespace, opened on first use; a journal
/// of what is ours; events of the namespaces that are watched. For one thread; each worker has its own, with its own
/// journal file.
class XfrmKernel final : public policy::KernelPort {
 public:
  struct Options {
    std::string journal_path = "/run/ipsecd/journal";
    std::string boot_id;  ///< Empty: read from /proc.
    int receive_buffer_bytes = kReceiveBufferBytes;
  };
  static Result<std::unique_ptr<XfrmKernel>> create(const Options& options);

  // policy::KernelPort
  void submit(policy::KernelOperation operation) override;
  void flush() override;
  bool has_unsent() const override;
  std::optional<policy::KernelCompletion> poll_completion() override;
  std::optional<policy::KernelEvent> poll_event() override;
  Result<std::unique_ptr<policy::NamespaceRead>> begin_read(const std::string& netns) override;
  Result<std::vector<policy::SaState>> dump_sas(const std::string& netns) override;
  /// Those of these that are there now, with what they have carried. Waits for each answer, some microseconds: for a
  /// few.
  Result<std::map<policy::SaKey, policy::SaState>> read_sas(const std::string& netns,
                                                            const std::vector<policy::SaKey>& keys);
  Result<std::vector<policy::PolicyConfig>> dump_policies(const std::string& netns) override;
  Result<std::vector<policy::LinkConfig>> dump_links(const std::string& netns) override;
  Result<std::vector<policy::RouteConfig>> dump_routes(const std::string& netns) override;
  Result<policy::PacketRules> dump_packet_rules(const std::string& netns) override;
  Result<policy::PathFacts> path_to(const policy::RoutingPlace& place, const IpAddress& destination) override;
  Result<bool> is_on_link(const policy::RoutingPlace& place, const IpAddress& destination) override;
  Status writes_df() override;
  Result<std::vector<policy::RuleConfig>> dump_rules(const std::string& netns) override;
  bool owns(const std::string& netns, const policy::SaState& sa) const override;
  bool owns(const std::string& netns, const policy::PolicyConfig& policy) const override;
  bool owns(const std::string& netns, const policy::LinkConfig& link) const override;
  bool owns(const std::string& netns, const policy::RouteConfig& route) const override;
  bool owns(const std::string& netns, const policy::PacketRules& rules) const override;
  bool owns(const std::string& netns, const policy::RuleConfig& rule) const override;
  Status claim(const std::string& netns, const policy::NamespaceState& objects) override;

  /// The descriptors to wait on for reading; `process()` when one of them is readable, and at least every second while
  /// something is in flight. `fds_changed()` is true once after each change of the list.
  std::vector<int> poll_fds() const;
  bool fds_changed() { return std::exchange(fds_changed_, false); }
  void process();
  /// Whether operations are queued or in flight.
  bool busy() const;

  /// Begins to report acquires, expiries, NAT mappings, link changes and what others remove in the namespace; the first
  /// event is ResyncNeeded, because nobody knows what happened before.
  Status watch(const std::string& netns) override;
  Status watch_routes(const std::string& netns) override;
  /// The namespace is gone, or nothing in it concerns us any more: closes its sockets (open ones keep a namespace
  /// alive) and, when it is gone, forgets what was ours in it.
  enum class Leave : uint8_t { kCloseOnly, kIsGone };
  Status leave(const std::string& netns, Leave how);

  /// Strikes off what the journal names in these namespaces and the kernel does not show: it was never made, or has
  /// gone while nobody looked. Only while nothing is under way.
  Status forget_absent(const std::set<std::string>& namespaces);

  /// Removes the state without SPI that an unanswered acquire leaves, and which keeps the kernel from asking again for
  /// 30 s.
  Status clear_acquire(const policy::Acquire& acquire);
  Result<KernelFeatures> probe(const std::string& netns);

  /// Looks at the journal, not at the kernel: which of what a dump shows is ours.
  bool owns(const std::string& netns, const policy::SaKey& key) const;
  bool owns(const std::string& netns, const policy::PolicyKey& key) const;
  Journal& journal() { return journal_; }

  /// Which policies of a namespace the kernel finds by a hash; restored as it was before the first set, also after a
  /// kill in between.
  Result<policy::PolicyHash> policy_hash(const std::string& netns);
  Status set_policy_hash(const std::string& netns, const policy::PolicyHash& hash);
  Status restore_policy_hash(const std::string& netns);
  /// Where it was set, by this run or a killed one, and not put back.
  std::set<std::string> hashed_namespaces() const;

  // Questions about a namespace, answered at once.
  Result<bool> address_exists(const std::string& netns, const IpAddress& address);
  Result<LinkInfo> device(const std::string& netns, const std::string& name);
  Result<DeviceReading> read_device(const std::string& netns, const std::string& name);
  Result<uint64_t> sent_packets(const std::string& netns, const std::string& name);
  /// Whether inbound offload takes SAs with an interface id; nothing: it cannot be told.
  Result<std::optional<bool>> takes_inbound_if_id(const std::string& netns);
  Result<uint32_t> vrf_table(const std::string& netns, const std::string& vrf);

 private:
  XfrmKernel(Options options, Journal journal) : options_(std::move(options)), journal_(std::move(journal)) {}
  Result<NamespacePort*> port(const std::string& netns);
  /// The port for a complete read, after a look whether the namespace is still the one of this name.
  Result<NamespacePort*> port_to_read(const std::string& netns, const char* doing);
  bool is_same_namespace(const std::string& netns) const;
  void look_at_namespaces();
  void give_up(const std::string& netns);
  Result<std::set<ObjectKey>> keys_of(const std::string& netns);
  bool concerns_us(const policy::KernelEvent& event);
  void follow_routes(uint8_t protocol);
  void note_rules_fds();
  const Result<DfWriter>& df_writer();

  Options options_;
  Journal journal_;
  std::deque<policy::KernelCompletion> completions_;
  EventQueue events_;
  std::map<std::string, std::unique_ptr<NamespacePort>> ports_;
  std::map<std::string, uint64_t> openings_;  // of those: a number that tells a port from an earlier one of its name
  uint64_t last_opening_ = 0;
  std::string last_flushed_;  // the namespace whose operations left last
  std::map<std::string, EventSource> sources_;
  std::map<std::string, RouteWatch> route_watches_;
  std::map<std::string, NetnsIdentity> identities_;    // of the namespaces that are open
  std::set<uint8_t> route_protocols_{kRouteProtocol};  // of our routes, earlier runs included
  std::set<std::string> awaited_;                      // namespaces that were asked for and are not there
  NetnsWatch names_;
  bool fds_changed_ = false;
  std::optional<Result<DfWriter>> df_writer_;  // once it was asked
};

}  // namespace ipsec::netlink
