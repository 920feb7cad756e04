#pragma once

#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "agent/offload_counts.h"
#include "agent/tunnel_manager.h"

namespace ipsec::agent {

/// What is counted over all tunnels, IKE SAs, children and routes: for `status`, groups, devices and metrics. Counting
/// 100,000 of each takes longer than the main thread may be away, so it goes in steps. Each object is counted once, as
/// it is when its turn comes; one that comes or goes meanwhile may be missing.
class Census {
 public:
  static constexpr size_t kDirections = 2, kKinds = 3, kModes = 4;  ///< Of SAs; as the enumerations have them.
  using ByState = std::map<std::string_view, uint64_t>;
  using ByKind = std::array<uint64_t, kKinds>;

  /// One group. All states are there from the start: of what is looked at, none is a known 0.
  struct Group {
    ByState tunnels{{"up", 0}, {"establishing", 0}, {"idle", 0}, {"failed", 0}, {"down", 0}, {"disabled", 0}};
    ByState ike_sas{{"established", 0}, {"ending", 0}};
    ByState children{{"establishing", 0}, {"up", 0}, {"replacing", 0}, {"replaced", 0}, {"orphaned", 0}};
    uint64_t child_sas = 0;             ///< Without those of an earlier run.
    std::array<bool, kModes> wanted{};  ///< By tunnels.
    std::array<std::array<ByKind, kModes>, kDirections> sas{};
    std::array<std::map<Reason, uint64_t>, kDirections> reasons;
    uint64_t all_tunnels() const;
  };
  using OnDevice = std::array<ByKind, kDirections>;

  explicit Census(const TunnelManager& manager);
  /// Goes on counting, `kCountedPerStep` objects at most. True: it is complete.
  bool step();
  /// One that is complete. For few objects, and for tests.
  static Census taken(const TunnelManager& manager);

  const std::map<std::string, Group, std::less<>>& groups() const { return groups_; }  ///< Of the configuration.
  const ByState& tunnels() const { return tunnels_; }
  uint64_t ike_sas() const { return ike_sas_; }                ///< Established.
  uint64_t ike_establishing() const { return establishing_; }  ///< All others.
  const ByKind& sas() const { return sas_; }
  uint64_t silently_in_software() const { return silently_; }  ///< SAs for which something else is configured.
  uint64_t waiting_routes() const { return waiting_routes_; }
  uint64_t partial_children() const { return partial_; }  ///< Up, and do not carry all that is configured.
  /// Tunnels of which an IKE SA or a child SA uses a weak algorithm, with all of theirs: the first kWeakTunnelsNamed
  /// that are met. Of the others the SAs are counted.
  using Weak = std::map<std::string, std::set<std::string>>;
  const Weak& weak() const { return weak_; }
  uint64_t weak_sas_more() const { return weak_sas_more_; }
  /// By namespace and name; a device without SAs is not in it.
  const std::map<OffloadCounts::Device, OnDevice>& devices() const { return devices_; }

 private:
  enum class Part : uint8_t { kTunnels, kIkeSas, kChildren, kOrphans, kRoutes, kDone };
  void note_weak(const std::string& tunnel, std::string_view suite);
  Group* find(const policy::TunnelGroup& group);
  void count(const TunnelRow& row);
  void count(const IkeRow& row);
  void count(ike::ChildId id, const InstalledChild& child);
  void count(const Orphans::Kept& kept);
  template <typename Map, typename Last>
  void count_some(const Map& map, std::optional<Last>& last);
  void count_routes();

  const TunnelManager& manager_;
  Part part_ = Part::kTunnels;
  size_t left_ = 0;  // of this step
  std::optional<std::string> last_tunnel_;
  std::optional<ike::IkeSaId> last_ike_;
  std::optional<ike::ChildId> last_child_;
  std::optional<uint32_t> last_orphan_;
  std::optional<SharedObjects::RoutePlace> last_route_;
  std::map<std::string, Group, std::less<>> groups_;
  Group* last_group_ = nullptr;  // most neighbours are of one group
  std::string_view last_name_;
  ByState tunnels_{{"up", 0}, {"down", 0}, {"establishing", 0}, {"idle", 0}, {"failed", 0}, {"disabled", 0}};
  uint64_t ike_sas_ = 0, establishing_ = 0, silently_ = 0, waiting_routes_ = 0, partial_ = 0;
  ByKind sas_{};
  Weak weak_;
  uint64_t weak_sas_more_ = 0;
  std::map<OffloadCounts::Device, OnDevice> devices_;
};

}  // namespace ipsec::agent
