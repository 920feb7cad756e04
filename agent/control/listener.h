#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "agent/control/descriptor.h"
#include "policy/base/result.h"

namespace ipsec::agent::control {

/// The listening socket in the file system. Mode 0660 and the group given, or 0600 without one. A lock beside it
/// (`PATH.lock`) makes sure that two daemons never take it from each other; a socket that nobody answers is replaced.
class Listener {
 public:
  /// Error kExists when another process answers there or holds the lock.
  static Result<Listener> create(const std::string& path, std::optional<gid_t> group);
  /// A listening socket that somebody else has made (socket activation); its file is not ours to remove.
  static Result<Listener> adopt(int fd);
  Listener(Listener&&) = default;
  Listener& operator=(Listener&&) = delete;
  /// Removes the socket from the file system if it is still ours.
  ~Listener();

  int fd() const { return socket_.get(); }

 private:
  Listener() = default;
  Descriptor socket_;
  Descriptor lock_;
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace ipsec::agent::control
