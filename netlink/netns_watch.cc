#include "netlink/netns_watch.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>

namespace ipsec::netlink {

void NetnsWatch::open() {
  if (inotify_.valid()) return;
  UniqueFd inotify(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!inotify.valid()) return;
  constexpr uint32_t kNames = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR;
  if (::inotify_add_watch(inotify.get(), "/run/netns", kNames) < 0) return;
  inotify_ = std::move(inotify);
}

bool NetnsWatch::drain() {
  if (!inotify_.valid()) return false;
  bool changed = false;
  std::array<char, 4096 + NAME_MAX> events{};  // which name it was shows when all are looked at
  for (;;) {
    const ssize_t count = ::read(inotify_.get(), events.data(), events.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return changed;
    changed = true;
  }
}

}  // namespace ipsec::netlink
