#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "netlink/bpf_calls.h"
#include "netlink/df_code.h"
#include "netlink/links.h"
#include "netlink/socket.h"
#include "policy/packet_rules.h"

namespace ipsec::netlink {

/// The DF bits of one namespace, written by programs of ours on its devices, for kernels whose packet rules cannot
/// (policy::only_df()). They stand on devices that can send what is to have DF (all but tunnels' interfaces), or
/// receive what is to lose it (members of the VRF, or what is in none), and follow devices that come, go or change
/// their VRF. Fragments outside, and what comes out of a tunnel's interface, are left as they are.
///
/// Why so. tcx needs no qdisc, and programs of others on the device see each packet too. What is received could lose DF
/// by nft's ingress hook as well, whose rules still write: but it knows no VRF and no route, and would be a second
/// thing that follows devices. Links are held by descriptors alone: no file system and no device keeps anything, so
/// that nothing outlives the process, whatever ends it; after a kill DF bits are copied until the next run. A link
/// costs the kernel a grace period of RCU, some milliseconds: hence kDfDevicesMax, and no program on tunnels'
/// interfaces, of which there are thousands. Sixty instructions, put together by hand, need neither a compiler for BPF
/// nor libbpf.
class DfPrograms {
 public:
  /// Everything made and put in place, or nothing. Whether rules have more parts does not matter. kPermission,
  /// kKernelMissingFeature, kLimitReached (kDfDevicesMax, kDfSasMax, kDfPlacesMax), kKernelRefused.
  static Result<std::unique_ptr<DfPrograms>> create(const std::string& netns, const policy::PacketRules& rules);

  /// After an error it is not known how much of it stands; read() says that not all does.
  Status change(const policy::PacketRuleChange& change);
  bool is_idle() const { return wanted_.empty(); }
  /// What stands, as the kernel shows it; not intact when something is missing or is there that should not be.
  Result<policy::PacketRules> read();

  /// Readable when devices have changed.
  int fd() const { return news_.fd(); }
  /// Follows them. Whether that has failed since the last call: then read() does not show what is wanted.
  bool take_disturbed();

 private:
  struct Maps {
    UniqueFd sas, destinations, interfaces;
  };
  struct Spot {
    BpfWay way = BpfWay::kSent;
    int interface = 0;
    friend auto operator<=>(const Spot&, const Spot&) = default;
  };
  struct Standing {
    DfPlace place;
    UniqueFd link;
  };

  DfPrograms(std::string netns, Socket news, Maps maps)
      : netns_(std::move(netns)), news_(std::move(news)), maps_(std::move(maps)) {}
  Status read_devices();
  bool follow_devices();
  bool take_news(const Received& message);
  bool note_device(LinkInfo link);
  bool forget_device(int index);
  Status change_sa(const policy::SaKey& key, const std::optional<policy::OuterHeader>& header);
  Status settle();
  Status settle_maps();
  std::map<Spot, DfPlace> wanted_spots() const;
  Status settle_spots();
  Status attach(const Spot& spot, const DfPlace& place);
  Result<const UniqueFd*> program(BpfWay way, const DfPlace& place);
  std::optional<int> scope_of(const std::string& vrf) const;
  Result<bool> stands();

  std::string netns_;
  Socket news_;
  Maps maps_;
  struct Device {
    std::string name;
    std::optional<DfPlace> place;
    friend bool operator==(const Device&, const Device&) = default;
  };
  std::map<int, Device> devices_;  // all of the namespace, by index
  std::map<std::string, int> indices_;
  policy::PacketRules wanted_;  // outer: as in the map
  std::set<DfDestinationKey> destinations_;
  std::set<DfInterfaceKey> interfaces_;
  std::map<std::pair<BpfWay, DfPlace>, UniqueFd> programs_;
  std::map<Spot, Standing> spots_;
  bool healthy_ = true;
};

}  // namespace ipsec::netlink
