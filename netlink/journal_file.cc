#include "netlink/journal_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

#include "netlink/limits.h"

namespace ipsec::netlink {
namespace {

constexpr size_t kChunkBytes = 64 << 10;

bool is_lack_of_space(int os_errno) { return os_errno == ENOSPC || os_errno == EDQUOT; }

Error failed(const std::string& doing, int os_errno) {
  if (is_lack_of_space(os_errno)) return Error(Reason::kJournalRoom, doing, os_errno);
  return Error(os_errno == EACCES ? Reason::kPermission : Reason::kSystemCall, doing, os_errno);
}

Status write_at(int fd, std::string_view text, size_t at) {
  while (!text.empty()) {
    const ssize_t count = ::pwrite(fd, text.data(), text.size(), static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed("write", errno);
    text.remove_prefix(static_cast<size_t>(count));
    at += static_cast<size_t>(count);
  }
  return {};
}

Status write_zeros(int fd, size_t from, size_t to) {
  const std::string zeros(kChunkBytes, '\0');
  for (size_t at = from; at < to; at += kChunkBytes)
    TRY(write_at(fd, std::string_view(zeros).substr(0, std::min(kChunkBytes, to - at)), at), "");
  return {};
}

Result<UniqueFd> open_locked(const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.valid()) return failed("open " + path, errno);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0)
    return Error(Reason::kExists, path + ": another process uses it; is a second ipsecd running?", errno);
  return file;
}

Result<size_t> size_of(const UniqueFd& file) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return failed("fstat", errno);
  return static_cast<size_t>(status.st_size);
}

bool has_name(const UniqueFd& file) {
  struct stat status {};
  return ::fstat(file.get(), &status) != 0 || status.st_nlink != 0;
}

/// The size is the old one again when it fails.
Status grow(const UniqueFd& file, size_t& size, size_t wanted) {
  if (size >= wanted) return {};
  // From the beginning: no part of the file may be a hole.
  const int os_errno = ::posix_fallocate(file.get(), 0, static_cast<off_t>(wanted));
  if (os_errno != 0) {
    if (::ftruncate(file.get(), static_cast<off_t>(size)) != 0) return failed("truncate", errno);
    return failed("take " + std::to_string(wanted) + " bytes of the file system", os_errno);
  }
  size = wanted;
  return {};
}

void cut(const UniqueFd& file, size_t& size, size_t wanted) {
  if (size > wanted && ::ftruncate(file.get(), static_cast<off_t>(wanted)) == 0) size = wanted;
}

/// Cuts a text into lines, whatever the chunks that it comes in.
class LineCutter {
 public:
  LineCutter(const std::function<bool(std::string_view)>& line, JournalFile::Reading& reading)
      : line_(line), reading_(reading) {}
  /// False: no more is wanted.
  bool add(std::string_view text) {
    while (!text.empty()) {
      const size_t newline = text.find('\n');
      const std::string_view part = text.substr(0, newline);
      if (pending_.size() + part.size() > kJournalLineMax) overlong_ = true;
      if (!overlong_) pending_.append(part);
      bytes_ += part.size();
      if (newline == std::string_view::npos) return true;
      text.remove_prefix(newline + 1);
      ++bytes_;
      reading_.bytes = bytes_;
      const bool wanted = overlong_ ? (++reading_.overlong, true) : line_(pending_);
      pending_.clear();
      overlong_ = false;
      if (!wanted) return false;
    }
    return true;
  }
  /// Of complete lines and of what follows them.
  size_t bytes() const { return bytes_; }

 private:
  const std::function<bool(std::string_view)>& line_;
  JournalFile::Reading& reading_;
  std::string pending_;
  bool overlong_ = false;
  size_t bytes_ = 0;
};

}  // namespace

Result<JournalFile> JournalFile::open(const std::string& path) {
  JournalFile journal(path);
  TRY_ASSIGN(journal.file_, open_locked(path), "");
  TRY_ASSIGN(journal.file_size_, size_of(journal.file_), "");
  journal.dirty_end_ = journal.file_size_;
  // Without one there is a journal all the same; reserve() tries again.
  if (Status opened = journal.open_spare(); !opened.ok() && opened.error().reason() == Reason::kExists)
    return std::move(opened).error();
  return journal;
}

Status JournalFile::open_spare() {
  if (spare_.valid() && has_name(spare_)) return {};
  spare_.reset();
  TRY_ASSIGN(spare_, open_locked(spare_path()), "");
  TRY_ASSIGN(spare_size_, size_of(spare_), "");
  spare_end_ = spare_size_;
  return {};
}

Result<JournalFile::Reading> JournalFile::read(size_t most, const std::function<bool(std::string_view)>& line) {
  Reading reading;
  LineCutter cutter(line, reading);
  std::array<char, kChunkBytes> chunk{};
  for (size_t at = 0;;) {
    const ssize_t count = ::pread(file_.get(), chunk.data(), chunk.size(), static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed("read", errno);
    std::string_view text(chunk.data(), static_cast<size_t>(count));
    const size_t zero = text.find('\0');
    text = text.substr(0, zero);
    if (!cutter.add(text) || at + text.size() > most) {
      reading.is_cut_short = true;
      break;
    }
    at += text.size();
    if (count == 0 || zero != std::string_view::npos) break;
  }
  reading.has_rest = !reading.is_cut_short && cutter.bytes() != reading.bytes;
  end_ = reading.bytes;
  return reading;
}

Status JournalFile::append(std::string_view text) {
  VERIFY(has_space_for(text.size()));
  dirty_end_ = std::max(dirty_end_, end_ + text.size());  // until it is known to be complete
  TRY(write_at(file_.get(), text, end_), "");
  // The rest of a line that was cut off, and whatever else stands where the text has never been.
  TRY(write_zeros(file_.get(), end_ + text.size(), dirty_end_), "");
  end_ += text.size();
  dirty_end_ = end_;
  return {};
}

Status JournalFile::Writer::add(std::string_view text) {
  if (at_ + buffer_.size() + text.size() > limit_)
    return Error(Reason::kJournalRoom, "the records do not fit into " + std::to_string(limit_) + " bytes", ENOSPC);
  buffer_.append(text);
  return buffer_.size() < kChunkBytes ? Status{} : flush();
}

Status JournalFile::Writer::flush() {
  TRY(write_at(fd_, buffer_, at_), "");
  at_ += buffer_.size();
  buffer_.clear();
  return {};
}

Status JournalFile::replace(const std::function<Status(Writer&)>& write) {
  if (!spare_.valid() || !has_name(spare_)) {
    TRY(open_spare(), "");
    TRY(grow(spare_, spare_size_, file_size_), "");
  }
  Writer writer(spare_.get(), spare_size_);
  Status written = write(writer);
  if (written.ok()) written = writer.flush();
  if (written.ok()) written = write_zeros(spare_.get(), writer.at_, spare_end_);
  spare_end_ = std::max(spare_end_, writer.at_);
  TRY(std::move(written), "");
  spare_end_ = writer.at_;
  const size_t end = writer.at_;
  TRY(exchange(), "");
  end_ = dirty_end_ = end;
  return {};
}

/// From now on the spare file is the file. Some file systems cannot exchange names, and somebody may have removed one.
Status JournalFile::exchange() {
  const std::string spare = spare_path();
  if (::renameat2(AT_FDCWD, spare.c_str(), AT_FDCWD, path_.c_str(), RENAME_EXCHANGE) == 0) {
    std::swap(file_, spare_);
    std::swap(file_size_, spare_size_);
    spare_end_ = dirty_end_;
    return {};
  }
  if (::rename(spare.c_str(), path_.c_str()) != 0) return failed("rename " + spare, errno);
  file_ = std::move(spare_);
  file_size_ = spare_size_;
  // As far as there is space for another one; else reserve() tries again.
  if (!open_spare().ok() || !grow(spare_, spare_size_, file_size_).ok()) spare_.reset();
  return {};
}

Status JournalFile::reserve(size_t capacity) {
  TRY(open_spare(), "");
  const size_t before = spare_size_;
  TRY(grow(spare_, spare_size_, capacity), "");
  if (Status grown = grow(file_, file_size_, capacity); !grown.ok()) {
    cut(spare_, spare_size_, before);
    return grown;
  }
  return {};
}

void JournalFile::shrink(size_t capacity) {
  VERIFY(capacity >= end_);
  cut(file_, file_size_, capacity);
  dirty_end_ = std::min(dirty_end_, file_size_);
  if (!spare_.valid()) return;
  cut(spare_, spare_size_, capacity);
  spare_end_ = std::min(spare_end_, spare_size_);
}

size_t JournalFile::capacity() const { return spare_.valid() ? std::min(file_size_, spare_size_) : 0; }

bool JournalFile::is_linked() const { return has_name(file_); }

Result<uint64_t> JournalFile::free_bytes() const {
  struct statvfs status {};
  if (::fstatvfs(file_.get(), &status) != 0) return failed("fstatvfs", errno);
  return uint64_t{status.f_bavail} * status.f_frsize;
}

Status JournalFile::remove() {
  for (const std::string& path : {spare_path(), path_})
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return failed("remove " + path, errno);
  return {};
}

}  // namespace ipsec::netlink
