#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "netlink/unique_fd.h"
#include "policy/base/result.h"

namespace ipsec::netlink {

/// Names one kernel object: namespace, kind ("sa", "policy", "link", "route") and what identifies it there. Any bytes
/// are allowed in the parts.
struct ObjectKey {
  std::string netns;
  std::string kind;
  std::string name;
  friend auto operator<=>(const ObjectKey&, const ObjectKey&) = default;
};

/// What of the kernel's state is ours: the proof of ownership. One file of lines under /run, written before the kernel
/// call that makes an object and after the one that removes it, so that a daemon killed at any point knows what it may
/// have made. Holds no secrets. Of another boot it is worthless and dropped. One writer: the file is locked.
class Journal {
 public:
  enum class Origin : uint8_t {
    kThisRun,     ///< Made by this process, and the kernel said so.
    kUnconfirmed  ///< Of an earlier run, or the kernel's answer is still out: compare before touching it.
  };
  struct Entry {
    Origin origin = Origin::kUnconfirmed;
    std::string fingerprint;  ///< What of the object's configuration a read-back can be compared with.
  };

  /// Opens or makes the file. `boot_id` is that of this boot (`read_boot_id()`).
  static Result<Journal> open(const std::string& path, const std::string& boot_id);
  static Result<std::string> read_boot_id();

  bool owns(const ObjectKey& key) const { return find(key) != nullptr; }
  const Entry* find(const ObjectKey& key) const;
  /// Before the kernel call that makes the object; again, to change the fingerprint.
  Status intend(const ObjectKey& key, const std::string& fingerprint);
  /// The kernel has made it. Memory only: after a crash everything is compared anyway.
  void confirm(const ObjectKey& key);
  /// Somebody else may have taken it out, or put something else in its place: compared before it is touched again.
  void doubt(const ObjectKey& key);
  /// The same, of all objects of a kind in a namespace.
  void doubt_all(const std::string& netns, std::string_view kind);
  /// It is gone, or was never made.
  Status forget(const ObjectKey& key);
  /// All objects of a namespace that is gone.
  Status forget_namespace(const std::string& netns);
  /// Keys of one kind, of all namespaces; all of them with an empty kind.
  std::vector<ObjectKey> all(std::string_view kind = {}) const;

  size_t size() const { return entries_.size(); }
  /// Lines that could not be read when the file was opened (the last one may have been cut off by a crash).
  size_t damaged_lines() const { return damaged_; }

 private:
  Journal(std::string path, std::string boot_id) : path_(std::move(path)), boot_id_(std::move(boot_id)) {}
  Status load();
  void apply(std::string_view line);
  Status append(const std::string& line);
  Status rewrite();

  std::string path_, boot_id_;
  UniqueFd file_;
  std::unordered_map<std::string, Entry> entries_;  // by the key as it stands in the file
  size_t lines_ = 0;
  size_t damaged_ = 0;
  bool torn_ = false;
};

}  // namespace ipsec::netlink
