#include "agent/secret_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <deque>
#include <filesystem>

#include "agent/files/read_file.h"
#include "agent/limits.h"

namespace ipsec::agent {
namespace {

Error refused(std::string detail, int os_errno = 0) {
  return Error(Reason::kConfigSecretFile, std::move(detail), os_errno);
}

bool is_trusted(uid_t owner) { return owner == 0 || owner == geteuid(); }

Status check_owner(const std::string& shown, const struct stat& about) {
  if (is_trusted(about.st_uid)) return {};
  return refused(shown + " belongs to user " + std::to_string(about.st_uid) + ": chown root " + shown);
}

/// With the sticky bit users remove and rename nothing but their own; what they add there is theirs and refused.
Status check_folder(const std::string& shown, const struct stat& about) {
  TRY(check_owner(shown, about), "");
  const bool by_group = (about.st_mode & S_IWGRP) != 0 && about.st_gid != 0 && about.st_gid != getegid();
  if ((about.st_mode & S_ISVTX) != 0 || (!by_group && (about.st_mode & S_IWOTH) == 0)) return {};
  return refused(shown + " may be written to by other users: chmod go-w " + shown);
}

/// From the root of the file system to a file, one name at a time.
class Way {
 public:
  Result<OpenFile> open(const std::string& path) {
    std::error_code failed;
    add(std::filesystem::absolute(path, failed).string());
    TRY(begin(), "");
    while (true) {
      const std::string name = std::move(names_.front());
      names_.pop_front();
      struct stat about {};
      const bool last = names_.empty() && name != "." && name != "..";
      if (last && fstatat(at_.get(), name.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0) return missing();
      if (last && !S_ISLNK(about.st_mode)) {
        shown_ = below(name);
        TRY_ASSIGN(OpenFile file, open_regular(at_.get(), name, Reason::kConfigSecretFile, O_NOFOLLOW), shown_);
        return file;
      }
      TRY(step(name), "");
      if (names_.empty()) return refused(shown_ + " is a folder");
    }
  }
  const std::string& shown() const { return shown_; }

 private:
  /// Puts the parts of a path in front of what is left.
  void add(const std::string& path) {
    std::deque<std::string> parts;
    for (const auto& part : std::filesystem::path(path).relative_path())
      if (!part.empty()) parts.push_back(part.string());
    if (parts.empty()) parts.emplace_back(".");
    names_.insert(names_.begin(), parts.begin(), parts.end());
  }

  Status begin() {
    at_.reset(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    shown_ = "/";
    struct stat about {};
    if (!at_.valid() || fstat(at_.get(), &about) != 0) return refused(shown_, errno);
    return check_folder(shown_, about);
  }

  std::string below(const std::string& name) const { return shown_ + (shown_.ends_with('/') ? "" : "/") + name; }
  Error missing() const { return refused("in " + shown_ + ", what the configuration names", errno); }

  /// Goes into a folder, or lays out the link of this name.
  Status step(const std::string& name) {
    netlink::UniqueFd next(openat(at_.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat about {};
    if (!next.valid() || fstat(next.get(), &about) != 0) return missing();
    if (S_ISLNK(about.st_mode)) return follow(name, next, about);
    if (!S_ISDIR(about.st_mode)) return refused(below(name) + " is not a folder");
    shown_ = below(name);
    at_ = std::move(next);
    return check_folder(shown_, about);
  }

  Status follow(const std::string& name, const netlink::UniqueFd& link, const struct stat& about) {
    TRY(check_owner(below(name), about), "");
    if (++links_ > kLinksMax) return refused("more than " + std::to_string(kLinksMax) + " links on the way to it");
    std::array<char, PATH_MAX> target{};
    const ssize_t size = readlinkat(link.get(), "", target.data(), target.size());
    if (size <= 0 || static_cast<size_t>(size) == target.size())
      return refused(below(name) + " is a link that cannot be read", size < 0 ? errno : ENAMETOOLONG);
    const std::string path(target.data(), static_cast<size_t>(size));
    add(path);
    if (path.starts_with('/')) return begin();
    return {};
  }

  netlink::UniqueFd at_;
  std::string shown_;
  std::deque<std::string> names_;
  size_t links_ = 0;
};

}  // namespace

Result<Secret> read_secret_file(const std::string& path) {
  Way way;
  TRY_ASSIGN(const OpenFile file, way.open(path), "");
  const std::string& shown = way.shown();
  if ((file.about.st_mode & 077) != 0) return refused(shown + " may be read by others: chmod 600 " + shown);
  TRY(check_owner(shown, file.about), "");
  std::array<uint8_t, kSecretFileBytesMax + 1> buffer{};
  size_t size = 0;
  ssize_t got = 0;
  while (size < buffer.size() && (got = read(file.fd.get(), buffer.data() + size, buffer.size() - size)) != 0) {
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) break;
    size += static_cast<size_t>(got);
  }
  auto content = got < 0 ? Result<Secret>(refused(shown, errno))
                 : size > kSecretFileBytesMax
                     ? Result<Secret>(refused(shown + ": more than " + std::to_string(kSecretFileBytesMax) + " bytes"))
                     : Result<Secret>(Secret::copy_of(ByteView(buffer).first(size)));
  wipe(buffer);
  return content;
}

}  // namespace ipsec::agent
