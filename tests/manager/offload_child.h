#pragma once

#include "tests/manager/manager_world.h"

/// A child whose tunnel may use the NIC "ens1", its rekey, and what happens to them.
namespace ipsec::testing {

using Capability = FakeKernel::Capability;

inline constexpr ike::IkeSaId kIke{7};
inline const ChildShape kOld{.ike = kIke, .id = 0xc1};

inline void begin(ManagerWorld& world, Capability capability = Capability::kPacket) {
  world.pub().devices["ens1"].capability = capability;
  world.start({{.start = "traffic"}});
}

inline void establish(ManagerWorld& world) {
  world.initiated(kIke);
  world.identity(kIke);
  world.inbound(kOld);
  world.outbound(kOld);
  world.run();
}

inline void up(ManagerWorld& world, Capability capability = Capability::kPacket) {
  begin(world, capability);
  establish(world);
}

inline void rekey(ManagerWorld& world, uint32_t from = 0xc1, uint32_t to = 0xc2) {
  const ChildShape old{.ike = kIke, .id = from}, fresh{.ike = kIke, .id = to, .replaces = from};
  world.inbound(fresh);
  world.outbound(fresh);
  world.stop_outbound(old);
  world.remove(old, Reason::kChildRekeyed);
  world.run();
}

/// What its SAs have carried by now; a packet is a thousand bytes.
inline void carried(ManagerWorld& world, uint64_t packets) {
  for (auto& [key, sa] : world.pub().sas) sa.state.packets = packets, sa.state.bytes = packets * 1000;
}

inline void link(ManagerWorld& world, bool up) {
  world.devices[0].up = up;
  world.kernel.emit(policy::LinkChanged{.netns = "pub", .name = "ens1", .up = up, .mtu = 1500});
  world.run();
}

}  // namespace ipsec::testing
