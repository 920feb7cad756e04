#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "netlink/unique_fd.h"
#include "policy/base/result.h"

/// Network namespaces by the names that the configuration uses: "" is the daemon's own, "NAME" is /run/netns/NAME as
/// `ip netns` makes it, "/PATH" a file, "pid:N" that of a process.
namespace ipsec::netlink {

/// A descriptor of the namespace. `kNamespaceMissing` (with the command that makes it), `kPermission`.
Result<UniqueFd> open_netns(const std::string& name);

/// Runs `inside` with the calling thread in the namespace and comes back, whatever happens: a thread that cannot come
/// back aborts the program, because everything it did next would happen in the wrong place. `inside` must not throw.
Status run_in_netns(const std::string& name, const std::function<Status()>& inside);

/// A socket that lives in the namespace, close-on-exec. It keeps the namespace alive as long as it is open.
Result<UniqueFd> socket_in_netns(const std::string& name, int family, int type, int protocol);

/// What tells one namespace from all others on this boot: device and inode of its file.
struct NetnsIdentity {
  uint64_t device = 0, inode = 0;
  friend bool operator==(const NetnsIdentity&, const NetnsIdentity&) = default;
};
Result<NetnsIdentity> netns_identity(const UniqueFd& netns);

}  // namespace ipsec::netlink
