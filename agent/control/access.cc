#include "agent/control/access.h"

#include <grp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace ipsec::agent::control {

namespace {

std::optional<gid_t> group_id(const char* name) {
  group entry{};
  group* found = nullptr;
  std::array<char, 16384> buffer{};
  if (getgrnam_r(name, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) return std::nullopt;
  return found->gr_gid;
}

bool is_member(const Credentials& credentials, const std::optional<gid_t>& group) {
  return group && std::find(credentials.groups.begin(), credentials.groups.end(), *group) != credentials.groups.end();
}

}  // namespace

Result<Credentials> peer_credentials(int fd) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
    return Error(Reason::kSystemCall, "SO_PEERCRED", errno);
  Credentials credentials{.uid = peer.uid, .groups = {}};
  constexpr size_t kGroupsMax = 65536;  // NGROUPS_MAX of the kernel
  credentials.groups.resize(64);
  length = static_cast<socklen_t>(credentials.groups.size() * sizeof(gid_t));
  int failed = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, credentials.groups.data(), &length);
  if (failed != 0 && errno == ERANGE && length / sizeof(gid_t) <= kGroupsMax) {
    credentials.groups.resize(length / sizeof(gid_t));
    failed = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, credentials.groups.data(), &length);
  }
  if (failed != 0) return Error(Reason::kSystemCall, "SO_PEERGROUPS", errno);
  credentials.groups.resize(length / sizeof(gid_t));
  credentials.groups.push_back(peer.gid);
  return credentials;
}

AccessRules system_access_rules() {
  return {.own_uid = geteuid(), .readers = group_id("ipsecd"), .writers = group_id("ipsecd-admin")};
}

Access access_of(const Credentials& credentials, const AccessRules& rules) {
  if (credentials.uid == 0 || credentials.uid == rules.own_uid) return Access::kWrite;
  if (is_member(credentials, rules.writers)) return Access::kWrite;
  return is_member(credentials, rules.readers) ? Access::kRead : Access::kNone;
}

}  // namespace ipsec::agent::control
