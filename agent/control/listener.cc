#include "agent/control/listener.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>

#include "agent/control/limits.h"
#include "agent/control/socket_address.h"

namespace ipsec::agent::control {

namespace {

/// Makes room at the address: nothing there, or a socket that nobody answers. The lock is held.
Status clear_stale(const std::string& path, const sockaddr_un& address) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return {};
    return Error(Reason::kSystemCall, path, errno);
  }
  if (!S_ISSOCK(info.st_mode)) return Error(Reason::kExists, path + " exists and is not a socket");
  const Descriptor probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return Error(Reason::kSystemCall, "socket", errno);
  const int error = connect_unix(probe.get(), address);
  if (error != ECONNREFUSED) return Error(Reason::kExists, "another program answers at " + path);
  if (unlink(path.c_str()) != 0) return Error(Reason::kSystemCall, "remove the stale socket " + path, errno);
  return {};
}

Status make_folder(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos || slash == 0) return {};
  const std::string folder = path.substr(0, slash);
  if (mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) return Error(Reason::kSystemCall, folder, errno);
  return {};
}

}  // namespace

Result<Listener> Listener::create(const std::string& path, std::optional<gid_t> group) {
  TRY_ASSIGN(const sockaddr_un address, socket_address(path), "control socket");
  TRY(make_folder(path), "folder of the control socket");
  Listener listener;
  const std::string lock_path = path + ".lock";
  listener.lock_ = Descriptor(open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!listener.lock_) return Error(Reason::kSystemCall, lock_path, errno);
  if (flock(listener.lock_.get(), LOCK_EX | LOCK_NB) != 0)
    return Error(Reason::kExists, "another ipsecd holds " + lock_path);
  TRY(clear_stale(path, address), "control socket");

  listener.socket_ = Descriptor(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int fd = listener.fd();
  if (fd < 0) return Error(Reason::kSystemCall, "socket", errno);
  // The file gets the mode of the socket: nobody else can open it before owner and group are set.
  if (fchmod(fd, 0600) != 0) return Error(Reason::kSystemCall, "fchmod", errno);
  const void* plain = &address;
  if (bind(fd, static_cast<const sockaddr*>(plain), sizeof address) != 0)
    return Error(Reason::kSystemCall, "bind to " + path, errno);
  listener.path_ = path;
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return Error(Reason::kSystemCall, path, errno);
  listener.device_ = info.st_dev;
  listener.inode_ = info.st_ino;
  const bool shared = group && chown(path.c_str(), static_cast<uid_t>(-1), *group) == 0;
  if (shared && chmod(path.c_str(), 0660) != 0) return Error(Reason::kSystemCall, "chmod " + path, errno);
  if (listen(fd, kBacklog) != 0) return Error(Reason::kSystemCall, "listen on " + path, errno);
  return listener;
}

Result<Listener> Listener::adopt(int fd) {
  int listening = 0;
  socklen_t length = sizeof listening;
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) != 0 || listening == 0)
    return Error(Reason::kMalformed, "the descriptor handed over is not a listening socket");
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
    return Error(Reason::kSystemCall, "make the control socket non-blocking", errno);
  Listener listener;
  listener.socket_ = Descriptor(fd);
  return listener;
}

Listener::~Listener() {
  if (!socket_ || path_.empty()) return;
  struct stat info {};
  if (lstat(path_.c_str(), &info) == 0 && info.st_dev == device_ && info.st_ino == inode_) unlink(path_.c_str());
}

}  // namespace ipsec::agent::control
