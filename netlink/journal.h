#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "netlink/journal_file.h"
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

/// What the journal's file system has left, and whether that is enough.
struct JournalRoom {
  uint64_t free_bytes = 0;
  bool is_low = false;   ///< The journal could soon grow no more, or cannot now.
  bool refuses = false;  ///< The last object that was not an SA was refused.
};

/// What of the kernel's state is ours: the proof of ownership. One file of lines under /run, written before the kernel
/// call that makes an object and after the one that removes it, so that a daemon killed at any point knows what it may
/// have made. Holds no secrets. Of another boot it is worthless and dropped. One writer: the file is locked.
///
/// Space is taken from the file system beforehand, with a reserve that only SAs may use, and new fingerprints of
/// objects that are known: when the file system is full, new objects are refused (kJournalRoom), rekeys go on.
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
  /// What stood in the file when it was opened.
  enum class Found : uint8_t {
    kComplete,   ///< All records of an earlier run of this boot.
    kNothing,    ///< No file, or an empty one.
    kOtherBoot,  ///< That of another boot.
    kDamaged     ///< Not a journal, or not all of its records could be read: objects of ours may be missing.
  };

  /// Opens or makes the file. `boot_id` is that of this boot (`read_boot_id()`). Whatever stands in the file, and
  /// however full the file system is, is no error.
  static Result<Journal> open(const std::string& path, const std::string& boot_id);
  static Result<std::string> read_boot_id();

  bool owns(const ObjectKey& key) const { return find(key) != nullptr; }
  const Entry* find(const ObjectKey& key) const;
  /// Before the kernel call that makes the object; again, to change the fingerprint. When it fails nothing is recorded.
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
  Found found() const { return found_; }
  /// Lines that could not be read when the file was opened (the last one may have been cut off by a crash).
  size_t damaged_lines() const { return damaged_; }

  /// Asks the file system, and writes the file anew when somebody has removed it. Now and then.
  JournalRoom check();
  /// Counts up when the journal has taken more space, or could not: a good moment for check().
  uint64_t growths() const { return growths_; }

  /// At the end of a run: removes the file when it names no object. With objects it stays, for the next run.
  Status close();

 private:
  using Entries = std::unordered_map<std::string, Entry>;  // by the key as it stands in the file
  enum class Claim : uint8_t { kNewObject, kReserve };
  Journal(std::string path, std::string boot_id, JournalFile file)
      : path_(std::move(path)), boot_id_(std::move(boot_id)), file_(std::move(file)) {}
  Status load();
  bool take_line(std::string_view line, const std::string& head);
  void apply(std::string_view line);
  Status append(const std::string& line);
  Status rewrite();
  Status make_room(size_t bytes, Claim claim);
  Status grow(size_t records);
  void put(const std::string& key, Entry entry);
  bool drop(const std::string& key);
  bool is_one_too_many(const std::string& key) const;
  std::string head() const;
  size_t text_bytes() const;

  std::string path_, boot_id_;
  JournalFile file_;
  Entries entries_;
  size_t record_bytes_ = 0;  // of the text that names all entries
  Found found_ = Found::kNothing;
  size_t damaged_ = 0;
  uint64_t growths_ = 0;
  bool is_stale_ = true;  // the file does not say what entries_ says, and is to be written anew
  bool is_full_ = false;  // the last try to take more space has failed
  bool refuses_ = false;
};

}  // namespace ipsec::netlink
