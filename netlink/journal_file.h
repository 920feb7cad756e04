#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "netlink/unique_fd.h"
#include "policy/base/result.h"

namespace ipsec::netlink {

/// The text of a journal on disk: lines that are added at the end, and now and then a new text in place of the old one.
/// The space for both is taken from the file system beforehand: two files of one size, PATH and PATH.spare, filled with
/// zeros behind the text. Within their size neither a new line nor a new text can fail for want of space. A new text is
/// written into the spare file, then the two files exchange their names, so that PATH is complete at any time. One
/// writer: both files are locked.
class JournalFile {
 public:
  /// Opens or makes the file. kExists: another process has locked it.
  static Result<JournalFile> open(const std::string& path);

  struct Reading {
    size_t bytes = 0;           ///< Of the text that was read.
    size_t overlong = 0;        ///< Lines above kJournalLineMax: they were skipped.
    bool has_rest = false;      ///< The text ends without a newline.
    bool is_cut_short = false;  ///< The text is longer than `most`, or `line` wanted no more of it.
  };
  /// Hands the lines of the text to `line`, without their newlines, until it returns false; at most `most` bytes. One
  /// line and one chunk are in memory at a time. New lines go behind the last complete one.
  Result<Reading> read(size_t most, const std::function<bool(std::string_view)>& line);

  /// Adds a line. After a failure the next one takes its place.
  Status append(std::string_view text);
  bool has_space_for(size_t bytes) const { return end_ + bytes <= file_size_; }

  /// Takes the parts of a new text.
  class Writer {
   public:
    Status add(std::string_view text);

   private:
    friend class JournalFile;
    Writer(int fd, size_t limit) : fd_(fd), limit_(limit) {}
    Status flush();
    int fd_;
    size_t limit_, at_ = 0;
    std::string buffer_;
  };
  /// Puts a new text in place of the present one. kJournalRoom: it is longer than capacity().
  Status replace(const std::function<Status(Writer&)>& write);

  /// Brings both files to at least this size. kJournalRoom: the file system has no space; both files stay as they are.
  Status reserve(size_t capacity);
  /// Gives back what is above this size, which must be that of the text at least.
  void shrink(size_t capacity);
  /// The size that a new text has space in; 0 while there is no spare file.
  size_t capacity() const;

  /// Whether PATH still names the file.
  bool is_linked() const;
  /// Bytes that the file system has left for us.
  Result<uint64_t> free_bytes() const;
  Status remove();

 private:
  explicit JournalFile(std::string path) : path_(std::move(path)) {}
  std::string spare_path() const { return path_ + ".spare"; }
  Status open_spare();
  Status exchange();

  std::string path_;
  UniqueFd file_, spare_;
  size_t file_size_ = 0, spare_size_ = 0;
  size_t end_ = 0;        // of the text in file_
  size_t dirty_end_ = 0;  // of what stands behind it and is no zero
  size_t spare_end_ = 0;  // the same of spare_
};

}  // namespace ipsec::netlink
