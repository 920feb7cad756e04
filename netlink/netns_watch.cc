#include "netlink/netns_watch.h"

#include <poll.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>

namespace ipsec::netlink {

bool NetnsWatch::follow(const std::string& netns) {
  constexpr std::string_view kPid = "pid:";
  if (netns.starts_with(kPid)) return follow_process(netns.substr(kPid.size()));
  if (!netns.starts_with('/')) return follow_folder("/run/netns");
  return follow_folder(netns.substr(0, std::max<size_t>(netns.rfind('/'), 1)));
}

bool NetnsWatch::follow_folder(const std::string& folder) {
  if (folders_.contains(folder)) return false;
  const bool fresh = !inotify_.valid();
  UniqueFd made(fresh ? ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC) : -1);
  const int fd = fresh ? made.get() : inotify_.get();
  constexpr uint32_t kNames = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR;
  if (fd < 0 || ::inotify_add_watch(fd, folder.c_str(), kNames) < 0) return false;
  if (fresh) inotify_ = std::move(made);
  folders_.insert(folder);
  return fresh;
}

bool NetnsWatch::follow_process(const std::string& pid) {
  pid_t number = 0;
  const char* const end = pid.data() + pid.size();
  if (processes_.contains(pid) || std::from_chars(pid.data(), end, number).ec != std::errc{}) return false;
  UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, number, 0)));
  if (!process.valid()) return false;
  processes_.emplace(pid, std::move(process));
  return true;
}

std::vector<int> NetnsWatch::fds() const {
  std::vector<int> all;
  if (inotify_.valid()) all.push_back(inotify_.get());
  for (const auto& [pid, process] : processes_) all.push_back(process.get());
  return all;
}

bool NetnsWatch::drain() {
  // One that has ended can be read for ever.
  bool changed = std::erase_if(processes_, [](const auto& each) {
                   pollfd ended{each.second.get(), POLLIN, 0};
                   return ::poll(&ended, 1, 0) > 0;
                 }) != 0;
  if (!inotify_.valid()) return changed;
  std::array<char, 4096 + NAME_MAX> events{};  // which name it was shows when all are looked at
  for (;;) {
    const ssize_t count = ::read(inotify_.get(), events.data(), events.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return changed;
    changed = true;
  }
}

}  // namespace ipsec::netlink
