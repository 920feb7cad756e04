#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <vector>

#include "policy/base/result.h"

namespace ipsec::agent::control {

/// What a caller may do. The order counts: each one includes those before.
enum class Access : uint8_t { kNone, kRead, kWrite };

/// Who is at the other end, as the kernel says.
struct Credentials {
  uid_t uid = 0;
  std::vector<gid_t> groups;  ///< The primary one and all others.
};

/// Asks who is behind a connected socket. Injected by tests.
using CredentialLookup = std::function<Result<Credentials>(int fd)>;

/// SO_PEERCRED and SO_PEERGROUPS: as they were when the peer connected.
Result<Credentials> peer_credentials(int fd);

/// Who may do what besides root and the user that the daemon runs as.
struct AccessRules {
  uid_t own_uid = 0;
  std::optional<gid_t> readers;  ///< Group `ipsecd`.
  std::optional<gid_t> writers;  ///< Group `ipsecd-admin`; its members must be in `ipsecd` too to open the socket.
};

/// The rules of this machine.
AccessRules system_access_rules();
Access access_of(const Credentials& credentials, const AccessRules& rules);

}  // namespace ipsec::agent::control
