#pragma once

#include <array>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "policy/kernel_port.h"
#include "tests/support/kernel_texts.h"

namespace ipsec::testing {

/// Whose an object is: the daemon under test made it, or somebody else did.
enum class Maker : uint8_t { kOurs, kForeign };

/// A kernel in memory with the semantics of netlink/xfrm_kernel: adding never replaces what is foreign, deleting what
/// is gone succeeds, deleting what is foreign is refused, offload is refused or silently ignored as drivers do it.
/// Operations take effect at flush() in the order of submission; tests decide which fail and when answers come.
class FakeKernel final : public policy::KernelPort {
 public:
  enum class Capability : uint8_t { kIncapable, kCrypto, kPacket };
  struct Device {
    Capability capability = Capability::kIncapable;
    size_t table_size = SIZE_MAX;     ///< SAs that fit; one more is ENOSPC.
    size_t policies_size = SIZE_MAX;  ///< The same of policies.
  };
  struct Sa {
    policy::SaState state;
    policy::SaConfig config;  ///< Keys included, as they were installed.
    Maker maker = Maker::kOurs;
  };
  struct Policy {
    policy::PolicyConfig config;
    Maker maker = Maker::kOurs;
  };
  struct Link {
    policy::LinkConfig config;
    Maker maker = Maker::kOurs;
  };
  struct Route {
    policy::RouteConfig config;
    Maker maker = Maker::kOurs;
  };
  /// What the kernel compares routes by: table, destination, metric.
  struct RouteKey {
    std::string vrf;
    IpPrefix destination;
    uint32_t metric = 0;
    friend auto operator<=>(const RouteKey&, const RouteKey&) = default;
  };
  struct Namespace {
    std::map<policy::SaKey, Sa> sas;
    std::map<policy::PolicyKey, Policy> policies;
    std::map<std::string, Link> links;
    std::map<RouteKey, Route> routes;
    std::map<policy::RuleConfig, Maker> rules;
    std::set<std::string> vrfs;  ///< Those that we made are links as well.
    std::map<std::string, Device> devices;
    policy::PacketRules packet_rules;
    Maker rules_maker = Maker::kOurs;
    policy::PathFacts path{.device = "eth0", .mtu = policy::kUnderlayMtu, .direct = true};  ///< To everywhere.
    std::set<IpAddress> neighbours;                                                         ///< is_on_link()

    bool empty() const {
      return sas.empty() && policies.empty() && links.empty() && routes.empty() && rules.empty() &&
             packet_rules.empty();
    }
  };
  /// At most so many operations take effect with one flush().
  void set_flush_most(size_t most) { flush_most_ = most; }
  /// What an operation does besides what it should.
  struct Fault {
    int os_errno = 0;         ///< Refused with this, without effect.
    bool unanswered = false;  ///< Carried out, but the answer never comes.
    bool lost = false;        ///< Carried out, but the answer says that none came in time.
  };

  FakeKernel() { namespaces_[""]; }

  // policy::KernelPort
  void submit(policy::KernelOperation operation) override { queued_.push_back(std::move(operation)); }
  void flush() override;
  bool has_unsent() const override { return !queued_.empty(); }
  std::optional<policy::KernelCompletion> poll_completion() override;
  std::optional<policy::KernelEvent> poll_event() override;
  Result<std::unique_ptr<policy::NamespaceRead>> begin_read(const std::string& netns) override;
  Result<std::vector<policy::SaState>> dump_sas(const std::string& netns) override;
  Result<std::vector<policy::PolicyConfig>> dump_policies(const std::string& netns) override;
  Result<std::vector<policy::LinkConfig>> dump_links(const std::string& netns) override;
  Result<std::vector<policy::RouteConfig>> dump_routes(const std::string& netns) override;
  Result<policy::PacketRules> dump_packet_rules(const std::string& netns) override;
  Result<policy::PathFacts> path_to(const policy::RoutingPlace& place, const IpAddress& destination) override;
  Result<bool> is_on_link(const policy::RoutingPlace& place, const IpAddress& destination) override;
  Result<std::vector<policy::RuleConfig>> dump_rules(const std::string& netns) override;
  Status watch(const std::string& netns) override;
  Status watch_routes(const std::string&) override { return {}; }
  Status writes_df() override {
    if (refuses_df_) return Error(Reason::kKernelMissingFeature, "neither rules nor programs");
    return {};
  }
  bool owns(const std::string& netns, const policy::SaState& sa) const override;
  bool owns(const std::string& netns, const policy::PolicyConfig& policy) const override;
  bool owns(const std::string& netns, const policy::LinkConfig& link) const override;
  bool owns(const std::string& netns, const policy::RouteConfig& route) const override;
  bool owns(const std::string& netns, const policy::PacketRules& rules) const override;
  bool owns(const std::string& netns, const policy::RuleConfig& rule) const override;
  Status claim(const std::string& netns, const policy::NamespaceState& objects) override;

  // The surroundings.
  Namespace& add_namespace(const std::string& name) { return namespaces_[name]; }
  Namespace& in(const std::string& name) { return namespaces_.at(name); }
  const Namespace& in(const std::string& name) const { return namespaces_.at(name); }
  /// With everything in it, and the links elsewhere that lie over it.
  void remove_namespace(const std::string& name);
  /// `ip xfrm state flush`, `ip xfrm policy flush`: whoever's they are.
  void flush_sas(const std::string& netns) { in(netns).sas.clear(); }
  void flush_policies(const std::string& netns) { in(netns).policies.clear(); }
  /// `ip link del` of a VRF: its members leave it, and lose their routes.
  void remove_vrf(const std::string& netns, const std::string& vrf);
  void put_foreign(const std::string& netns, const policy::SaKey& key);
  void put_foreign(const std::string& netns, const policy::PolicyConfig& policy);
  void put_foreign(const std::string& netns, const policy::LinkConfig& link);
  void put_foreign(const std::string& netns, const policy::RouteConfig& route);
  /// Somebody else has a table of our name.
  void put_foreign(const std::string& netns, const policy::PacketRules& rules);
  /// The journal is lost: what stands is nobody's.
  void lose_journal();
  /// As kernels do that know the direction of an SA: "XFRM if_id is not supported in RX path."
  void refuse_inbound_offload_with_if_id() { refuses_inbound_if_id_ = true; }
  /// As kernels that let packet rules write only some parts of a header, and take no programs.
  void refuse_df() { refuses_df_ = true; }

  // The course of things.
  /// The `position`-th operation from now on, from 1.
  void fail(size_t position, Fault fault) { faults_[done_ + position] = fault; }
  void forget_faults() { faults_.clear(); }
  /// What is submitted for this namespace overtakes what is submitted for others, as far as both leave at once.
  void hurry(const std::string& netns) { hurried_ = netns; }
  /// Whoever submits is killed: of the operations from now on the first `count` are carried out, no answer is heard.
  void die_after(size_t count) { dies_at_ = done_ + count; }
  bool dead() const { return dies_at_ && done_ >= *dies_at_; }
  /// The next run begins: it hears nothing of what the one before has asked.
  void restart();
  void hold_answers() { holding_ = true; }
  /// Lets the next `count` held answers through and goes on holding.
  void release(size_t count);
  void release_all();
  size_t held() const { return held_.size(); }
  void emit(policy::KernelEvent event) { events_.push_back(std::move(event)); }

  // What happened.
  template <typename Change>
  size_t count() const {
    return counts_[policy::KernelChange(Change{}).index()];
  }
  size_t operations() const { return done_; }
  size_t reads() const { return reads_; }                ///< Complete ones, of SAs.
  size_t objects_read() const { return objects_read_; }  ///< By complete reads that go on in parts.
  /// For fake_kernel_read.cc: a complete read has come to the SAs.
  void note_read() { ++reads_; }
  void note_read_objects(size_t count) { objects_read_ += count; }
  bool has_namespace(const std::string& name) const { return namespaces_.contains(name); }
  /// "add-sa in 0xc0000001 software", "delete-route 10.2.0.0/16 metric 100": one line per operation; refused ones end
  /// in " REFUSED".
  const std::vector<std::string>& texts() const { return texts_; }
  void forget_texts() { texts_.clear(); }
  /// Every object of ours, as lines: what a test compares before and after.
  std::vector<std::string> ours() const { return list(Maker::kOurs); }
  std::vector<std::string> foreign() const { return list(Maker::kForeign); }

 private:
  using Outcome = Result<policy::KernelReply>;
  Outcome carry_out(policy::KernelOperation& operation);
  Outcome change(Namespace& space, policy::AddSa& add);
  Outcome change(Namespace& space, policy::DeleteSa& remove);
  Outcome change(Namespace& space, policy::ReadSa& read);
  Outcome change(Namespace& space, policy::AddPolicy& add);
  Outcome change(Namespace& space, policy::UpdatePolicy& update);
  Outcome change(Namespace& space, policy::DeletePolicy& remove);
  Outcome change(Namespace& space, policy::AddLink& add);
  Outcome change(Namespace& space, policy::UpdateLink& update);
  Outcome change(Namespace& space, policy::DeleteLink& remove);
  Outcome change(Namespace& space, policy::AddRoute& add);
  Outcome change(Namespace& space, policy::DeleteRoute& remove);
  Outcome change(Namespace& space, policy::SetPacketRules& set);
  Outcome change(Namespace& space, policy::ChangePacketRules& change);
  Outcome change(Namespace& space, policy::AddRule& add);
  Outcome change(Namespace& space, policy::DeleteRule& remove);
  static Outcome add_vrf(Namespace& space, const policy::LinkConfig& wanted);
  static Outcome delete_vrf(Namespace& space, const std::string& name);
  static Status check_policy(const Namespace& space, const policy::PolicyConfig& policy);
  Status check_sa(const Namespace& space, const policy::SaConfig& sa) const;
  /// Where the SA really ends up; an error where the driver or the kernel refuses.
  Result<policy::OffloadKind> place(const Namespace& space, const policy::SaConfig& sa) const;
  std::vector<std::string> list(Maker maker) const;

  std::map<std::string, Namespace> namespaces_;
  std::deque<policy::KernelOperation> queued_;
  std::deque<policy::KernelCompletion> completions_, held_;
  std::deque<policy::KernelEvent> events_;
  std::map<size_t, Fault> faults_;
  std::vector<std::string> texts_;
  std::array<size_t, std::variant_size_v<policy::KernelChange>> counts_{};
  size_t done_ = 0, reads_ = 0, objects_read_ = 0, flush_most_ = SIZE_MAX;
  std::optional<size_t> dies_at_;
  std::optional<std::string> hurried_;
  bool holding_ = false, refuses_inbound_if_id_ = false, refuses_df_ = false;
};

}  // namespace ipsec::testing
