#pragma once

#include <sys/stat.h>

#include <string>

#include "netlink/unique_fd.h"
#include "policy/base/result.h"

/// Files that others put where we read: a pipe or a device must not hold the daemon up, and an error in the middle
/// must not look like the end.
namespace ipsec::agent {

/// A regular file that is open for reading.
struct OpenFile {
  netlink::UniqueFd fd;
  struct stat about {};
};

/// Opens `name`, relative to the folder `folder_fd` unless it begins with '/' (AT_FDCWD: the working folder). `flags`
/// are added to those that keep the call from waiting. Error `reason`, whose detail does not contain the name: it
/// cannot be opened, or is no regular file.
Result<OpenFile> open_regular(int folder_fd, const std::string& name, Reason reason, int flags = 0);

/// All bytes up to the end. Error `reason`: reading failed. Error kLimitReached: more than `bytes_max`.
Result<std::string> read_all(const OpenFile& file, size_t bytes_max, Reason reason);

}  // namespace ipsec::agent
