#pragma once

#include <string>
#include <vector>

#include "netlink/socket.h"
#include "netlink/xfrm_codec.h"

/// What the running kernel can do, found by asking it for things that it must refuse and looking at how it does so.
/// Nothing is left behind.
namespace ipsec::netlink {

struct KernelFeatures {
  bool esp4 = false, esp6 = false;
  bool xfrm_interface = false;
  bool sa_direction = false;
  bool offload = false;  ///< The kernel's half; whether a device can is another question.
  /// One `kKernelMissingFeature` for each that is missing and needed, with what to load.
  std::vector<Error> missing;
};

/// Whether inbound offload takes an SA with an interface id: newer kernels say no before they look at the device. The
/// loopback device has no packet offload, so that no kernel installs anything. Nothing: the kernel has no offload.
Result<std::optional<bool>> probe_inbound_if_id(Socket& xfrm);
Result<SaDirection> probe_sa_direction(Socket& xfrm);
Result<KernelFeatures> probe_features(Socket& xfrm, Socket& route);

}  // namespace ipsec::netlink
