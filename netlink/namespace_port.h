#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "netlink/addresses.h"
#include "netlink/df_programs.h"
#include "netlink/journal.h"
#include "netlink/limits.h"
#include "netlink/links.h"
#include "netlink/nft_table.h"
#include "netlink/routes.h"
#include "netlink/socket.h"
#include "netlink/unclaimed_table.h"
#include "netlink/xfrm_codec.h"
#include "policy/kernel_port.h"

namespace ipsec::netlink {

/// The key under which an object stands in the journal, and what of it is compared after a restart.
ObjectKey journal_key(const std::string& netns, const policy::SaKey& key);
ObjectKey journal_key(const std::string& netns, const policy::PolicyKey& key);
ObjectKey journal_key(const std::string& netns, const policy::RouteConfig& route);
ObjectKey journal_rules_key(const std::string& netns);
ObjectKey journal_key(const std::string& netns, const policy::RuleConfig& rule);
ObjectKey journal_link_key(const std::string& netns, const std::string& name);
/// The protocol that the key of a route names.
std::optional<uint8_t> journal_route_protocol(const ObjectKey& key);
std::string fingerprint(const policy::SaConfig& sa);
std::string fingerprint(const policy::SaState& sa);
std::string fingerprint(const policy::SaIdentity& sa);
std::string fingerprint(const policy::PolicyConfig& policy);
/// Of an xfrm interface its if_id, of a VRF its table; of a GRE or IP-in-IP one its kind and our end, for the other end
/// may move.
std::string fingerprint(const policy::LinkConfig& link);
std::string tunnel_fingerprint(std::string_view kind, const IpAddress& local);

/// The names of what the kernel shows as numbers: devices, and VRFs by their tables. What has no name is "#" and its
/// number.
struct NamesOfNumbers {
  std::unordered_map<int, std::string> devices;
  std::map<uint32_t, std::string> vrfs;

  void add(const LinkInfo& link);
  std::string device(int index) const;
  std::string vrf(uint32_t table) const;  ///< Empty: the main table.
  policy::RouteConfig named(DecodedRoute route) const;
};

/// The operations of one namespace: its sockets, its queue, what is in flight. XFRM requests leave many at a time and
/// their answers are collected later; links and routes are done at their turn, within the call.
class NamespacePort {
 public:
  struct Options {
    std::string netns;
    int receive_buffer_bytes = kReceiveBufferBytes;
    std::set<uint8_t> route_protocols = {kRouteProtocol};  ///< Of our routes, as far as they are known.
    std::function<bool()> df_by_programs;                  ///< Whether DF bits are not for rules to write.
  };
  /// `journal` and `completions` must outlive it.
  static Result<std::unique_ptr<NamespacePort>> open(const Options& options, Journal& journal,
                                                     std::deque<policy::KernelCompletion>& completions);

  void submit(policy::KernelOperation operation);
  /// Sends as much of the queue as may be in flight, and collects the answers that are there. Begins no further
  /// operation after `until`: those on links take the kernel up to milliseconds each.
  using TimePoint = std::chrono::steady_clock::time_point;
  void flush(TimePoint until = TimePoint::max());
  /// Whether `until` came before the end of the queue.
  bool has_more() const { return has_more_; }
  /// Collects answers; sends what they made room for.
  void process(std::chrono::steady_clock::time_point now);
  size_t queued() const { return queued_.size(); }
  bool idle() const { return queued_.empty() && running_.empty(); }
  /// Whether the kernel had to drop answers since the last call.
  bool take_overrun() { return xfrm_.take_overrun(); }

  Result<std::vector<policy::SaState>> dump_sas();
  /// Those of these that are there, each asked for by its key.
  Result<std::map<policy::SaKey, policy::SaState>> read_sas(const std::vector<policy::SaKey>& keys);
  Result<std::vector<policy::PolicyConfig>> dump_policies();
  Result<std::vector<policy::LinkConfig>> dump_links();
  Result<std::vector<policy::RouteConfig>> dump_routes();
  Result<policy::PacketRules> dump_packet_rules();
  Result<policy::PathFacts> path_to(const std::string& vrf, const IpAddress& destination);
  Result<bool> is_on_link(const std::string& vrf, const IpAddress& destination);
  /// Of the news of packet rules, and of the devices of programs; none as long as there are none of ours.
  void add_rules_fds(std::vector<int>& fds) const;
  /// Whether they are others since the last call, even of the same numbers.
  bool take_rules_fds_changed() { return std::exchange(rules_fds_changed_, false); }
  bool take_disturbed_rules();
  bool has_df_programs() const { return df_ != nullptr; }
  Result<std::vector<policy::RuleConfig>> dump_rules();
  /// A link as readers of the namespace see it; nothing: it is of no kind that we make. `addresses`: of all devices,
  /// when one link at least is_ours() and no VRF.
  using AddressesOfDevices = std::unordered_map<int, std::vector<AddressInfo>>;
  std::optional<policy::LinkConfig> shown(const LinkInfo& link, const NamesOfNumbers& names,
                                          const AddressesOfDevices& addresses);
  /// Whether the journal knows it.
  bool is_ours(const LinkInfo& link) const;
  /// Forgets what was looked up of devices below links: they may be others after the present piece of work.
  void end_of_reading() { public_sides_.clear(); }
  /// The protocols whose routes a dump shows: those of the routes made here.
  const std::set<uint8_t>& route_protocols() const { return route_protocols_; }
  /// Ends everything that is queued or in flight with this error.
  void abandon(const Error& why);
  Status clear_acquire(const policy::Acquire& acquire);

  int xfrm_fd() const { return xfrm_.fd(); }
  const std::string& netns() const { return netns_; }
  Socket& xfrm() { return xfrm_; }
  Socket& route() { return route_; }
  SaDirection sa_direction() const { return sa_direction_; }

 private:
  using Outcome = Result<policy::KernelReply>;
  /// Of an operation that was done at once.
  static Outcome done(Status status) {
    if (!status.ok()) return std::move(status).error();
    return policy::KernelReply{};
  }
  /// An operation that was started: it is complete when it has all its answers, or was decided without the kernel.
  struct Running {
    uint64_t id = 0;
    policy::KernelChange change;
    size_t requests = 0;
    std::vector<Reply> replies;
    std::optional<Outcome> decided;
    bool owned_before = false;  ///< The journal knew the object when the operation began.
    int offload_ifindex = 0;
  };

  /// What a link was made over: the kernel's numbers, and the names that were used.
  struct Underside {
    std::optional<uint32_t> netns_id;
    std::string netns;
    int device_index = 0;
    std::string device, altname;
    std::vector<policy::InterfaceAddress> addresses;  ///< Wanted on it.
    bool addresses_stand = false;                     ///< As far as the last look shows.
  };

  NamespacePort(const Options& options, Socket xfrm, Socket route, Journal& journal,
                std::deque<policy::KernelCompletion>& completions);

  void start(policy::KernelOperation operation);
  // One per operation: what to send, or the decision.
  void start(Running& running, policy::AddSa& add);
  void start(Running& running, policy::DeleteSa& remove);
  void start(Running& running, policy::ReadSa& read);
  void start(Running& running, policy::AddPolicy& add);
  void start(Running& running, policy::UpdatePolicy& update);
  void start(Running& running, policy::DeletePolicy& remove);
  void start(Running& running, policy::AddLink& add);
  void start(Running& running, policy::UpdateLink& update);
  void start(Running& running, policy::DeleteLink& remove);
  void start(Running& running, policy::AddRoute& add);
  void start(Running& running, policy::DeleteRoute& remove);
  void start(Running& running, policy::SetPacketRules& set);
  void start(Running& running, policy::ChangePacketRules& change);
  void start(Running& running, policy::AddRule& add);
  void start(Running& running, policy::DeleteRule& remove);
  void request(Running& running, Message message);

  // What the answers mean.
  Outcome finish(Running& running, const policy::AddSa& add);
  Outcome finish(Running& running, const policy::DeleteSa& remove);
  Outcome finish(Running& running, const policy::ReadSa& read);
  Outcome finish(Running& running, const policy::AddPolicy& add);
  Outcome finish(Running& running, const policy::UpdatePolicy& update);
  Outcome finish(Running& running, const policy::DeletePolicy& remove);
  Outcome finish_removal(Running& running, const ObjectKey& key, const std::string& doing);

  enum class Ours : uint8_t { kYes, kNo, kGone };
  Result<Ours> check_sa(const policy::SaKey& key);
  Result<Ours> check_policy(const policy::PolicyKey& key);
  Result<PublicSide> public_side_of(const policy::LinkConfig& link);
  Status add_link(const policy::LinkConfig& link, const PublicSide& public_side);
  Status update_link(const policy::LinkConfig& link, const LinkInfo& there);
  Status settle_link_addresses(const policy::LinkConfig& link, const LinkInfo& there);
  Status delete_link(const LinkInfo& there);
  Status take_over_link(const policy::LinkConfig& link, const PublicSide& public_side, const LinkInfo& there);
  void note_underside(const policy::LinkConfig& link, const PublicSide& public_side);
  Status check_table(const policy::LinkConfig& link);
  Status add_vrf(const policy::LinkConfig& link);
  Status delete_vrf(const LinkInfo& vrf);
  std::vector<policy::KernelOperation> take_removals();
  void remove_links(std::vector<policy::KernelOperation> removals);
  Status remove_at_once(const std::vector<policy::KernelOperation>& removals);
  bool stands_over(const Underside& made, int device_index);
  void name_underside(const LinkInfo& link, policy::LinkConfig& config);
  Result<NftTable*> nft();
  Status put_packet_rules(const policy::PacketRules& rules);
  Status put_table(const policy::PacketRules& rules);
  Status put_programs(const policy::PacketRules& rules);
  void drop_programs();
  Status change_table(const policy::PacketRuleChange& change);
  Status change_programs(const policy::PacketRuleChange& change);
  Result<Socket*> dumps_of(int protocol);
  Result<policy::SaState> read_state(const Reply& reply, const policy::OffloadRequest* requested, int ifindex);
  Result<std::string> device_name(int ifindex);
  Result<int> offload_ifindex(const policy::OffloadRequest& request);
  bool is_being_removed(const policy::KernelChange& change) const;
  bool collect();
  void complete_front();

  std::string netns_;
  Socket xfrm_, route_;
  std::optional<Socket> xfrm_dumps_, route_dumps_;
  std::unique_ptr<NftTable> nft_;  // once there are packet rules
  bool without_table_ = false;     // what was wanted last needs no table, and there is none
  UnclaimedTable unclaimed_table_;
  std::unique_ptr<DfPrograms> df_;  // as long as there are DF bits for them to write
  bool rules_fds_changed_ = false, has_more_ = false;
  Journal& journal_;
  std::function<bool()> df_by_programs_;
  std::deque<policy::KernelCompletion>& completions_;
  SaDirection sa_direction_ = SaDirection::kUnknown;
  std::map<std::string, Underside> undersides_;                             // of the links made here
  std::map<std::pair<std::string, std::string>, PublicSide> public_sides_;  // by namespace and device, within a flush
  std::set<uint8_t> route_protocols_;                                       // of our routes
  std::deque<policy::KernelOperation> queued_;
  std::deque<Running> running_;  // in the order of submission
};

}  // namespace ipsec::netlink
