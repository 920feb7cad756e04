#include "netlink/journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "netlink/limits.h"
#include "policy/base/bytes.h"

// The file: a line "ipsecd-journal 1 BOOT-ID", then one line per change,
//   + NETNS KIND NAME FINGERPRINT     to be made
//   - NETNS KIND NAME                 gone
// with single spaces, and % escapes in the fields, so that a field is never empty and holds no space. Zeros follow.
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

/// The bytes that the text needs for these records, with what may be written before it is written anew.
constexpr size_t space_for(size_t records) { return records + records / 2 + kJournalReserve; }
/// How far the reserve may be used: a new text must leave space for lines behind it.
constexpr size_t most_in(size_t capacity) { return capacity - capacity / 16; }
constexpr size_t rounded(size_t bytes) { return (bytes + kJournalStep - 1) / kJournalStep * kJournalStep; }

std::string record(std::string_view key, std::string_view fingerprint) {
  return std::string("+ ").append(key).append(" ").append(escape(fingerprint)).append("\n");
}

}  // namespace

Result<std::string> Journal::read_boot_id() {
  const UniqueFd file(::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return Error(Reason::kSystemCall, "open /proc/sys/kernel/random/boot_id", errno);
  std::array<char, 64> text{};
  const ssize_t count = ::read(file.get(), text.data(), text.size());
  if (count < 0) return Error(Reason::kSystemCall, "read the boot id", errno);
  const std::string_view read(text.data(), static_cast<size_t>(count));
  return std::string(read.substr(0, read.find('\n')));
}

Result<Journal> Journal::open(const std::string& path, const std::string& boot_id) {
  const size_t slash = path.rfind('/');
  if (slash != std::string::npos && slash != 0 && ::mkdir(path.substr(0, slash).c_str(), 0700) != 0 && errno != EEXIST)
    return Error(errno == EACCES ? Reason::kPermission : Reason::kSystemCall,
                 "journal: make folder " + path.substr(0, slash), errno);
  TRY_ASSIGN(JournalFile file, JournalFile::open(path), "journal " + path);
  Journal journal(path, boot_id, std::move(file));
  TRY(journal.load(), "journal " + path);
  return journal;
}

std::string Journal::head() const { return std::string(kMagic) + boot_id_; }
size_t Journal::text_bytes() const { return head().size() + 1 + record_bytes_; }

Status Journal::load() {
  const std::string head = this->head();
  TRY_ASSIGN(const JournalFile::Reading reading,
             file_.read(kJournalBytesMax, [&](std::string_view line) { return take_line(line, head); }), "");
  damaged_ += reading.overlong;
  if (found_ == Found::kComplete && (damaged_ != 0 || reading.is_cut_short)) found_ = Found::kDamaged;
  if (found_ == Found::kNothing && (reading.has_rest || reading.overlong != 0)) found_ = Found::kDamaged;
  // A line that was cut off while it was written: its kernel call was never made.
  if (reading.has_rest) ++damaged_;
  is_stale_ = found_ == Found::kNothing || found_ == Found::kOtherBoot || reading.is_cut_short;
  Status written = grow(text_bytes());
  if (written.ok()) written = rewrite();
  if (written.ok()) file_.shrink(2 * rounded(space_for(2 * text_bytes())));
  if (!written.ok() && written.error().reason() != Reason::kJournalRoom) return written;
  return {};
}

/// False: what follows is not for us.
bool Journal::take_line(std::string_view line, const std::string& head) {
  if (found_ == Found::kComplete) {
    apply(line);
    return true;
  }
  found_ = line == head ? Found::kComplete : line.starts_with(kMagic) ? Found::kOtherBoot : Found::kDamaged;
  return found_ == Found::kComplete;
}

void Journal::put(const std::string& key, Entry entry) {
  const auto known = entries_.find(key);
  if (known != entries_.end()) record_bytes_ -= record(key, known->second.fingerprint).size();
  record_bytes_ += record(key, entry.fingerprint).size();
  entries_.insert_or_assign(key, std::move(entry));
}

bool Journal::drop(const std::string& key) {
  const auto known = entries_.find(key);
  if (known == entries_.end()) return false;
  record_bytes_ -= record(key, known->second.fingerprint).size();
  entries_.erase(known);
  return true;
}

bool Journal::is_one_too_many(const std::string& key) const {
  return entries_.size() >= kJournalObjectsMax && !entries_.contains(key);
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
    drop(key);
    return;
  }
  const auto fingerprint = unescape(fields[4]);
  if (!fingerprint || !decode(key) || is_one_too_many(key)) {
    ++damaged_;
    return;
  }
  put(key, {.origin = Origin::kUnconfirmed, .fingerprint = *fingerprint});
}

const Journal::Entry* Journal::find(const ObjectKey& key) const {
  const auto found = entries_.find(encode(key));
  return found == entries_.end() ? nullptr : &found->second;
}

Status Journal::intend(const ObjectKey& key, const std::string& fingerprint) {
  const std::string encoded = encode(key), line = record(encoded, fingerprint);
  if (line.size() > kJournalLineMax || is_one_too_many(encoded))
    return Error(Reason::kLimitReached, "journal: a record of " + std::to_string(line.size()) + " bytes beside " +
                                            std::to_string(entries_.size()) + " others");
  const auto known = entries_.find(encoded);
  const std::optional<Entry> before = known != entries_.end() ? std::optional(known->second) : std::nullopt;
  // A rekey makes SAs, and brings policies that stand to what is wanted now.
  const size_t replaced = before ? record(encoded, before->fingerprint).size() : 0;
  TRY(make_room(line.size() - std::min(line.size(), replaced),
                before || key.kind == "sa" ? Claim::kReserve : Claim::kNewObject),
      "");
  put(encoded, {.origin = Origin::kUnconfirmed, .fingerprint = fingerprint});
  Status written = append(line);
  if (written.ok()) return written;
  if (before)
    put(encoded, *before);
  else
    drop(encoded);
  return written;
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
  if (!drop(encoded)) return {};
  return append("- " + encoded + "\n");
}

Status Journal::forget_namespace(const std::string& netns) {
  const std::string prefix = escape(netns) + " ";
  const size_t erased = std::erase_if(entries_, [&](const auto& entry) {
    const bool goes = entry.first.starts_with(prefix);
    if (goes) record_bytes_ -= record(entry.first, entry.second.fingerprint).size();
    return goes;
  });
  return erased != 0 ? rewrite() : Status{};
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

/// Space for one more record, taken from the file system if there is not enough.
Status Journal::make_room(size_t bytes, Claim claim) {
  const size_t records = text_bytes() + bytes;
  const bool has_reserve = space_for(records) <= file_.capacity();
  const bool fits = has_reserve || (claim == Claim::kReserve && records <= most_in(file_.capacity()));
  // For a rekey it is not tried again and again.
  if (fits && (has_reserve || is_full_)) {
    refuses_ = refuses_ && claim != Claim::kNewObject;
    return {};
  }
  Status grown = grow(records);
  if (claim == Claim::kNewObject) refuses_ = !grown.ok();
  if (grown.ok() || fits) return {};
  if (grown.error().reason() != Reason::kJournalRoom) return grown;
  return std::move(grown).error().context("journal " + path_ +
                                          (claim == Claim::kReserve
                                               ? ": no space for another SA, not even in what is kept for rekeys"
                                               : ": no space for another object; what is left is kept for rekeys"));
}

/// To twice of what these records need now, or at least to that.
Status Journal::grow(size_t records) {
  const size_t least = rounded(space_for(records));
  if (least <= file_.capacity()) return {};
  ++growths_;
  Status grown = file_.reserve(rounded(space_for(2 * records)));
  if (!grown.ok() && grown.error().reason() == Reason::kJournalRoom) grown = file_.reserve(least);
  is_full_ = !grown.ok();
  return grown;
}

/// When it fails the file is written anew before the next record.
Status Journal::append(const std::string& line) {
  if (is_stale_ || !file_.has_space_for(line.size())) return rewrite();
  Status written = file_.append(line);
  if (written.ok()) return written;
  is_stale_ = true;
  return std::move(written).error().context("journal " + path_);
}

Status Journal::rewrite() {
  is_stale_ = true;
  const auto write = [this](JournalFile::Writer& text) -> Status {
    TRY(text.add(head() + "\n"), "");
    for (const auto& [key, entry] : entries_) TRY(text.add(record(key, entry.fingerprint)), "");
    return {};
  };
  TRY(file_.replace(write), "journal " + path_);
  is_stale_ = false;
  return {};
}

JournalRoom Journal::check() {
  // Whoever removes it takes away the proof of what stands.
  if (is_stale_ || !file_.is_linked()) (void)rewrite();  // tried again at the next check, and with the next record
  if (is_full_ && file_.reserve(rounded(space_for(2 * text_bytes()))).ok()) is_full_ = refuses_ = false;
  const auto free = file_.free_bytes();
  const bool is_low = free.ok() && *free < std::max<uint64_t>(kJournalFreeLow, 2 * file_.capacity());
  return {.free_bytes = free.ok() ? *free : 0, .is_low = is_full_ || is_low, .refuses = refuses_};
}

Status Journal::close() {
  if (!entries_.empty()) return {};
  TRY(file_.remove(), "journal " + path_);
  return {};
}

}  // namespace ipsec::netlink
