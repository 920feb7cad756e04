#include "netlink/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

#include "netlink/limits.h"
#include "policy/base/bytes.h"

// The file: a line "ipsecd-journal 1 BOOT-ID", then one line per change,
//   + NETNS KIND NAME FINGERPRINT     to be made
//   - NETNS KIND NAME                 gone
// with single spaces, and % escapes in the fields, so that a field is never empty and holds no space.
namespace ipsec::netlink {
namespace {

constexpr std::string_view kMagic = "ipsecd-journal 1 ";

std::string escape(std::string_view text) {
  if (text.empty()) return "%";
  std::string out;
  for (const char c : text) {
    if (c > ' ' && c != '%' && c != '\x7f')
      out.push_back(c);
    else
      out.append("%").append(to_hex(as_bytes({&c, 1})));
  }
  return out;
}

std::optional<std::string> unescape(std::string_view text) {
  if (text == "%") return std::string();
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    const auto byte = from_hex(text.substr(i + 1, 2));
    if (!byte.ok() || byte->size() != 1) return std::nullopt;
    out.push_back(static_cast<char>(byte->front()));
    i += 2;
  }
  return out;
}

std::string encode(const ObjectKey& key) { return escape(key.netns) + " " + escape(key.kind) + " " + escape(key.name); }

/// The fields of a line; at most five, and an empty one is a sign of damage.
std::vector<std::string_view> split(std::string_view line) {
  std::vector<std::string_view> fields;
  for (size_t at = 0; at <= line.size() && fields.size() < 6;) {
    const size_t end = std::min(line.find(' ', at), line.size());
    fields.push_back(line.substr(at, end - at));
    at = end + 1;
  }
  return fields;
}

std::optional<ObjectKey> decode(std::string_view text) {
  const auto fields = split(text);
  if (fields.size() != 3) return std::nullopt;
  auto netns = unescape(fields[0]), kind = unescape(fields[1]), name = unescape(fields[2]);
  if (!netns || !kind || !name) return std::nullopt;
  return ObjectKey{.netns = *netns, .kind = *kind, .name = *name};
}

Result<std::string> read_all(int fd, size_t max) {
  std::string text;
  std::array<char, 65536> chunk{};
  for (;;) {
    const ssize_t count = ::read(fd, chunk.data(), chunk.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Error(Reason::kSystemCall, "read", errno);
    if (count == 0) return text;
    if (text.size() + static_cast<size_t>(count) > max) return Error(Reason::kLimitReached, "the file is too large");
    text.append(chunk.data(), static_cast<size_t>(count));
  }
}

Status write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(fd, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Error(Reason::kSystemCall, "write", errno);
    text.remove_prefix(static_cast<size_t>(count));
  }
  return {};
}

}  // namespace

Result<std::string> Journal::read_boot_id() {
  const UniqueFd file(::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return Error(Reason::kSystemCall, "open /proc/sys/kernel/random/boot_id", errno);
  TRY_ASSIGN(std::string text, read_all(file.get(), kJournalLineMax), "boot id");
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

Result<Journal> Journal::open(const std::string& path, const std::string& boot_id) {
  Journal journal(path, boot_id);
  const size_t slash = path.rfind('/');
  if (slash != std::string::npos && slash != 0 && ::mkdir(path.substr(0, slash).c_str(), 0700) != 0 && errno != EEXIST)
    return Error(errno == EACCES ? Reason::kPermission : Reason::kSystemCall,
                 "journal: make folder " + path.substr(0, slash), errno);
  TRY(journal.load(), "journal " + path);
  return journal;
}

Status Journal::load() {
  file_.reset(::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file_.valid()) return Error(errno == EACCES ? Reason::kPermission : Reason::kSystemCall, "open", errno);
  if (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0)
    return Error(Reason::kExists, "another process uses it; is a second ipsecd running?", errno);
  TRY_ASSIGN(const std::string text, read_all(file_.get(), kJournalBytesMax), "");
  std::string_view rest = text;
  const std::string first = std::string(kMagic) + boot_id_ + "\n";
  if (!rest.starts_with(first)) return rewrite();  // new, of another boot, or cut off before its first object
  rest.remove_prefix(first.size());
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    if (end == std::string_view::npos) {  // cut off while it was written: its kernel call was never made
      ++damaged_;
      break;
    }
    apply(rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
  return rewrite();
}

void Journal::apply(std::string_view line) {
  const auto fields = split(line);
  const bool adds = fields.size() == 5 && fields[0] == "+", removes = fields.size() == 4 && fields[0] == "-";
  if ((!adds && !removes) || std::ranges::any_of(fields, &std::string_view::empty)) {
    ++damaged_;
    return;
  }
  const std::string key = std::string(fields[1]) + " " + std::string(fields[2]) + " " + std::string(fields[3]);
  if (removes) {
    entries_.erase(key);
    return;
  }
  const auto fingerprint = unescape(fields[4]);
  if (!fingerprint || !decode(key)) {
    ++damaged_;
    return;
  }
  entries_[key] = {.origin = Origin::kUnconfirmed, .fingerprint = *fingerprint};
}

const Journal::Entry* Journal::find(const ObjectKey& key) const {
  const auto found = entries_.find(encode(key));
  return found == entries_.end() ? nullptr : &found->second;
}

Status Journal::intend(const ObjectKey& key, const std::string& fingerprint) {
  const std::string encoded = encode(key);
  Entry& entry = entries_[encoded];
  entry = {.origin = Origin::kUnconfirmed, .fingerprint = fingerprint};
  return append("+ " + encoded + " " + escape(fingerprint) + "\n");
}

void Journal::confirm(const ObjectKey& key) {
  const auto found = entries_.find(encode(key));
  if (found != entries_.end()) found->second.origin = Origin::kThisRun;
}

void Journal::doubt(const ObjectKey& key) {
  const auto found = entries_.find(encode(key));
  if (found != entries_.end()) found->second.origin = Origin::kUnconfirmed;
}

void Journal::doubt_all(const std::string& netns, std::string_view kind) {
  const std::string prefix = escape(netns) + " " + escape(kind) + " ";
  for (auto& [key, entry] : entries_)
    if (key.starts_with(prefix)) entry.origin = Origin::kUnconfirmed;
}

Status Journal::forget(const ObjectKey& key) {
  const std::string encoded = encode(key);
  if (entries_.erase(encoded) == 0) return {};
  return append("- " + encoded + "\n");
}

Status Journal::forget_namespace(const std::string& netns) {
  const std::string prefix = escape(netns) + " ";
  std::erase_if(entries_, [&](const auto& entry) { return entry.first.starts_with(prefix); });
  return rewrite();
}

std::vector<ObjectKey> Journal::all(std::string_view kind) const {
  std::vector<ObjectKey> keys;
  for (const auto& [encoded, entry] : entries_) {
    auto key = decode(encoded);
    if (key && (kind.empty() || key->kind == kind)) keys.push_back(std::move(*key));
  }
  std::ranges::sort(keys);
  return keys;
}

Status Journal::append(const std::string& line) {
  if (torn_) return rewrite();
  if (Status written = write_all(file_.get(), line); !written.ok()) {
    torn_ = true;  // half a line may stand there; the next record must not be glued to it
    return std::move(written).error().context("journal " + path_);
  }
  if (++lines_ > 2 * entries_.size() + kJournalSlack) return rewrite();
  return {};
}

Status Journal::rewrite() {
  // A new file that takes the old one's place, so that there is a complete one at any time.
  const std::string fresh = path_ + ".new";
  UniqueFd file(::open(fresh.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.valid()) return Error(Reason::kSystemCall, "open " + fresh, errno);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) return Error(Reason::kExists, "lock " + fresh, errno);
  std::string text = std::string(kMagic) + boot_id_ + "\n";
  for (const auto& [key, entry] : entries_) text += "+ " + key + " " + escape(entry.fingerprint) + "\n";
  TRY(write_all(file.get(), text), "write " + fresh);
  if (::rename(fresh.c_str(), path_.c_str()) != 0) return Error(Reason::kSystemCall, "rename " + fresh, errno);
  file_ = std::move(file);
  lines_ = entries_.size();
  torn_ = false;
  return {};
}

}  // namespace ipsec::netlink
