#include "netlink/netns.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>

#include "policy/base/bytes.h"
#include "policy/base/verify.h"

namespace ipsec::netlink {
namespace {

constexpr const char* kOwn = "/proc/thread-self/ns/net";

std::string path_of(const std::string& name) {
  if (name.empty()) return kOwn;
  if (name.front() == '/') return name;
  if (name.starts_with("pid:")) return "/proc/" + name.substr(4) + "/ns/net";
  return "/run/netns/" + name;
}

Error cannot_open(const std::string& name, const std::string& path, int code) {
  const std::string shown = "network namespace " + printable(as_bytes(name));
  if (code == ENOENT || code == ENOTDIR || code == ESRCH) {
    const bool plain = path.starts_with("/run/netns/");
    return Error(Reason::kNamespaceMissing,
                 shown + " does not exist" + (plain ? "; create it with `ip netns add " + name + "`" : ""), code);
  }
  if (code == EACCES || code == EPERM) return Error(Reason::kPermission, "open " + shown, code);
  return Error(Reason::kSystemCall, "open " + shown, code);
}

// The names come from a configuration: one that could climb out of /run/netns is not a name.
bool is_safe(const std::string& name) {
  if (name.empty() || name.front() == '/') return true;
  if (name.starts_with("pid:")) return name.find_first_not_of("0123456789", 4) == std::string::npos && name.size() > 4;
  return name.find('/') == std::string::npos && name != "." && name != "..";
}

/// The thread in another namespace until this goes.
class NetnsScope {
 public:
  NetnsScope() = default;
  NetnsScope(const NetnsScope&) = delete;
  NetnsScope& operator=(const NetnsScope&) = delete;
  ~NetnsScope() { VERIFY(!home_.valid() || ::setns(home_.get(), CLONE_NEWNET) == 0); }

  Status enter(const std::string& name) {
    TRY_ASSIGN(const UniqueFd there, open_netns(name), "");
    TRY_ASSIGN(UniqueFd home, open_netns(""), "remember the own namespace");
    if (::setns(there.get(), CLONE_NEWNET) != 0) {
      const int code = errno;
      return Error(
          code == EPERM ? Reason::kPermission : Reason::kNamespaceMissing,
          "enter network namespace " + printable(as_bytes(name)) + (code == EPERM ? " (needs CAP_SYS_ADMIN)" : ""),
          code);
    }
    home_ = std::move(home);
    return {};
  }

 private:
  UniqueFd home_;
};

}  // namespace

Result<UniqueFd> open_netns(const std::string& name) {
  if (!is_safe(name))
    return Error(Reason::kNamespaceMissing, "\"" + printable(as_bytes(name)) + "\" cannot name a network namespace");
  const std::string path = path_of(name);
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return cannot_open(name, path, errno);
  return fd;
}

Status run_in_netns(const std::string& name, const std::function<Status()>& inside) {
  if (name.empty()) return inside();
  NetnsScope scope;
  TRY(scope.enter(name), "");
  return inside();
}

Result<UniqueFd> socket_in_netns(const std::string& name, int family, int type, int protocol) {
  UniqueFd fd;
  TRY(run_in_netns(name,
                   [&]() -> Status {
                     fd.reset(::socket(family, type | SOCK_CLOEXEC, protocol));
                     if (fd.valid()) return {};
                     const int code = errno;
                     return Error(code == EPERM || code == EACCES ? Reason::kPermission : Reason::kSystemCall,
                                  "open a socket", code);
                   }),
      "");
  return fd;
}

Result<NetnsIdentity> netns_identity(const UniqueFd& netns) {
  struct stat status {};
  if (::fstat(netns.get(), &status) != 0) return Error(Reason::kSystemCall, "fstat of a namespace", errno);
  return NetnsIdentity{.device = status.st_dev, .inode = status.st_ino};
}

}  // namespace ipsec::netlink
