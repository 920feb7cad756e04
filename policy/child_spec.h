#pragma once

#include <memory>

#include "policy/base/ip.h"
#include "policy/base/secret.h"
#include "policy/base/strong.h"
#include "policy/config.h"

namespace ipsec::policy {

using ChildSpi = Strong<struct ChildSpiTag, uint32_t>;  ///< Host byte order; 0 and 1 to 255 are never used.

/// A negotiated child SA without its keys: what the kernel's objects are derived from.
struct ChildSpec {
  std::shared_ptr<const Tunnel> tunnel;
  std::string child;  ///< Name of the ChildConfig in the tunnel.
  ChildSpi spi_in;    ///< Chosen by us.
  ChildSpi spi_out;   ///< Chosen by the peer.
  EspSuite suite;
  EspMode mode = EspMode::kTunnel;
  SelectorList local;
  SelectorList remote;
  Endpoint local_endpoint;  ///< Outer address; the port only matters with UDP encapsulation.
  Endpoint remote_endpoint;
  bool udp_encapsulation = false;  ///< A NAT is on the path (RFC 7296 section 2.23).
  bool initiator = false;          ///< We started the exchange that made it.
};

/// Keys of one direction: encryption key, salt, integrity key, one after the other.
struct ChildKeys {
  Secret material;
};

}  // namespace ipsec::policy
