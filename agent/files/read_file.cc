#include "agent/files/read_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace ipsec::agent {

Result<OpenFile> open_regular(int folder_fd, const std::string& name, Reason reason, int flags) {
  // O_NONBLOCK: opening a pipe would wait for its writer.
  OpenFile file{
      netlink::UniqueFd(openat(folder_fd, name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags)), {}};
  if (!file.fd.valid() || fstat(file.fd.get(), &file.about) != 0) return Error(reason, "cannot be read", errno);
  if (S_ISDIR(file.about.st_mode)) return Error(reason, "a folder, not a file");
  if (!S_ISREG(file.about.st_mode)) return Error(reason, "not a regular file (a pipe, a socket or a device)");
  return file;
}

Result<std::string> read_all(const OpenFile& file, size_t bytes_max, Reason reason) {
  constexpr size_t kStep = 1 << 16;
  std::string content;
  // The size is a hint only: the file may grow meanwhile.
  content.reserve(std::min(static_cast<size_t>(file.about.st_size), bytes_max) + 1);
  while (true) {
    const size_t before = content.size();
    if (before > bytes_max) return Error(Reason::kLimitReached, "larger than " + std::to_string(bytes_max) + " bytes");
    content.resize(before + kStep);
    const ssize_t got = read(file.fd.get(), content.data() + before, kStep);
    if (got < 0 && errno != EINTR) return Error(reason, "reading failed", errno);
    content.resize(before + (got > 0 ? static_cast<size_t>(got) : 0));
    if (got == 0) return content;
  }
}

}  // namespace ipsec::agent
