#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "netlink/namespace_port.h"

namespace ipsec::netlink {

/// A complete read of one namespace in parts, on sockets of its own. The kernel keeps the place of a dump between two
/// pieces of it. A kind of object is shown once its dump has ended and was consistent.
class KernelRead final : public policy::NamespaceRead {
 public:
  /// The port of the namespace; an error when that is another one than at the beginning.
  using PortNow = std::function<Result<NamespacePort*>()>;
  static Result<std::unique_ptr<KernelRead>> begin(const std::string& netns, const std::set<uint8_t>& protocols,
                                                   PortNow port);

  Result<More> next(std::vector<policy::StandingObject>& objects, size_t most) override;

 private:
  enum class Phase : uint8_t {
    kReadLinks,
    kReadAddresses,
    kShowLinks,
    kReadPolicies,
    kShowPolicies,
    kReadRoutes,
    kShowRoutes,
    kPacketRules,
    kRules,
    kReadSas,
    kShowSas,
    kEnd
  };
  /// What was decoded and is to be shown.
  template <typename T>
  struct Decoded {
    std::vector<T> objects;
    size_t shown = 0;

    void restart() { objects.clear(); }
    size_t left() const { return objects.size() - shown; }
  };
  struct Sa {
    policy::SaState state;
    int device = 0;
  };
  struct Policy {
    policy::PolicyConfig config;
    int device = 0;
  };

  KernelRead(Socket xfrm, Socket route, const std::set<uint8_t>& protocols, PortNow port);
  Status step(NamespacePort& port, std::vector<policy::StandingObject>& objects, size_t most);
  Status read_links(NamespacePort& port);
  Status read_addresses();
  Status read_policies();
  Status read_routes();
  Status read_sas();
  Status show_links(NamespacePort& port, std::vector<policy::StandingObject>& objects, size_t most);
  Status show_policies(std::vector<policy::StandingObject>& objects, size_t most);
  void show_routes(std::vector<policy::StandingObject>& objects, size_t most);
  Status show_packet_rules(NamespacePort& port, std::vector<policy::StandingObject>& objects);
  Status show_rules(std::vector<policy::StandingObject>& objects);
  Status show_sas(std::vector<policy::StandingObject>& objects, size_t most);
  enum class Dumped : uint8_t { kInPart, kWhole };
  Result<Dumped> dump(Socket& socket, const std::function<Message()>& request,
                      const std::function<Status(const Received&)>& each, const std::function<void()>& restart);
  Result<std::string> device_name(int index);

  Socket xfrm_, route_;
  PortNow port_;
  Phase phase_ = Phase::kReadLinks;
  bool dumping_ = false;
  int tries_ = 0;  // of the present dump
  bool some_ours_ = false;
  std::vector<std::pair<uint8_t, uint8_t>> routes_left_;  // families and protocols
  NamesOfNumbers names_;
  std::map<int, std::string> offload_devices_;
  NamespacePort::AddressesOfDevices addresses_;
  Decoded<LinkInfo> links_;
  Decoded<Policy> policies_;
  Decoded<DecodedRoute> routes_;
  std::vector<DecodedRoute> routes_of_dump_;
  Decoded<Sa> sas_;
};

}  // namespace ipsec::netlink
