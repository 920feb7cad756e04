#include "agent/last_applied.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "agent/files/read_file.h"
#include "agent/limits.h"
#include "policy/base/bytes.h"
#include "policy/json_source.h"

namespace ipsec::agent {
namespace {

using nlohmann::json;
using policy::JsonNode;

constexpr std::string_view kHeading = "ipsecd last applied configuration 1 ";
constexpr const char* kPresent = "present";
constexpr const char* kNotKept = "(not kept: its file could not be loaded)";

/// Writes a document so that each value stands in the line in which it stood.
class Printer {
 public:
  explicit Printer(const std::set<std::string>& unusable) : unusable_(unusable) {}

  void write(const JsonNode& node, size_t depth) {
    go_to(node.line);
    switch (node.kind) {
      case JsonNode::Kind::kObject: return write_object(node, depth);
      case JsonNode::Kind::kList: return write_list(node, depth);
      case JsonNode::Kind::kText: return write_text(hidden_ ? kNotKept : node.text);
      case JsonNode::Kind::kNull:
      case JsonNode::Kind::kBoolean:
      case JsonNode::Kind::kNumber: text_ += node.text;
    }
  }
  std::string take() { return std::move(text_); }

 private:
  void go_to(size_t line) {
    for (; line_ < line; ++line_) text_ += '\n';
  }
  void write_text(const std::string& text) { text_ += json(text).dump(); }

  void write_object(const JsonNode& node, size_t depth) {
    text_ += '{';
    bool first = true;
    for (const auto& [key, value] : node.members) {
      if (!std::exchange(first, false)) text_ += ',';
      if (depth == 0) credentials_ = key == "credentials";
      if (depth == 1) hidden_ = credentials_ && unusable_.contains(key);
      go_to(value.line);
      write_text(key);
      text_ += ':';
      write(value, depth + 1);
      if (depth <= 1) hidden_ = false;
    }
    text_ += '}';
  }
  void write_list(const JsonNode& node, size_t depth) {
    text_ += '[';
    bool first = true;
    for (const JsonNode& each : node.elements) {
      if (!std::exchange(first, false)) text_ += ',';
      write(each, depth + 1);
    }
    text_ += ']';
  }

  const std::set<std::string>& unusable_;
  std::string text_;
  size_t line_ = 1;
  bool credentials_ = false, hidden_ = false;
};

std::string digest_of(std::string_view text) {
  std::array<uint8_t, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  VERIFY(EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr) == 1);
  return to_hex(ByteView(digest).first(size));
}

Error failed(const std::string& path, std::string_view what, int os_errno = 0) {
  return Error(Reason::kConfigFolder, path + ": " + std::string(what), os_errno);
}

Status write_all(const netlink::UniqueFd& file, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t sent = write(file.get(), text.data(), text.size());
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return failed(path, "writing failed", errno);
    text.remove_prefix(static_cast<size_t>(sent));
  }
  if (fsync(file.get()) != 0) return failed(path, "writing failed", errno);
  return {};
}

/// Made where it is missing. Who may write to it could give us a configuration.
Result<netlink::UniqueFd> open_state_folder(const std::string& path) {
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return failed(path, "the folder cannot be made", errno);
  netlink::UniqueFd folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat about {};
  if (!folder.valid() || fstat(folder.get(), &about) != 0) return failed(path, "the folder cannot be used", errno);
  if ((about.st_uid != 0 && about.st_uid != geteuid()) || (about.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return failed(path, "the folder may be written to by others: chown root, chmod 700");
  return folder;
}

std::string text_at(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

Result<ConfigOnDisk> understand(const std::string& text, const ConfigPaths& paths, const std::string& path) {
  const size_t end = text.find('\n');
  const std::string_view body = end == std::string::npos ? std::string_view() : std::string_view(text).substr(end + 1);
  if (text.substr(0, std::min(end, text.size())) != std::string(kHeading) + digest_of(body))
    return failed(path, "damaged, or of another version");
  const json kept = json::parse(body, nullptr, false);
  const auto files = kept.is_object() ? kept.find("files") : kept.end();
  if (files == kept.end() || !files->is_array()) return failed(path, "damaged");
  if (text_at(kept, "main_file") != paths.main_file || text_at(kept, "folder") != paths.folder)
    return Error(Reason::kNotFound, path + " is of another configuration, " + text_at(kept, "main_file"));
  ConfigOnDisk disk;
  if (text_at(kept, "folder_is") == kPresent) disk.folder = FolderPresence::kPresent;
  for (const json& each : *files) {
    if (!each.is_object()) return failed(path, "damaged");
    disk.files.push_back({text_at(each, "name"), text_at(each, "text")});
  }
  return disk;
}

}  // namespace

std::string without_mistakes(const std::string& text, const std::set<std::string>& unusable) {
  const auto parsed = policy::parse_json(text, 0);
  const auto* document = std::get_if<JsonNode>(&parsed);
  VERIFY(document != nullptr);  // it was applied
  Printer printer(unusable);
  printer.write(*document, 0);
  return printer.take();
}

Status LastApplied::save(const ConfigPaths& paths, const ConfigOnDisk& disk,
                         const std::set<std::string>& unusable) const {
  json files = json::array();
  for (const policy::ConfigFile& each : disk.files)
    files.push_back({{"name", each.name}, {"text", without_mistakes(each.text, unusable)}});
  const json kept = {{"main_file", paths.main_file},
                     {"folder", paths.folder},
                     {"folder_is", disk.folder == FolderPresence::kPresent ? kPresent : "absent"},
                     {"files", std::move(files)}};
  // Names of files may be any bytes.
  const std::string body = kept.dump(-1, ' ', false, json::error_handler_t::replace);
  const std::string text = std::string(kHeading) + digest_of(body) + "\n" + body;
  TRY_ASSIGN(const netlink::UniqueFd folder, open_state_folder(state_dir_), "");
  const std::string fresh = path() + ".new";
  unlinkat(folder.get(), "last-applied.new", 0);
  const netlink::UniqueFd file(
      openat(folder.get(), "last-applied.new", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.valid()) return failed(fresh, "cannot be made", errno);
  TRY(write_all(file, text, fresh), "");
  if (renameat(folder.get(), "last-applied.new", folder.get(), "last-applied") != 0)
    return failed(path(), "cannot be replaced", errno);
  if (fsync(folder.get()) != 0) return failed(state_dir_, "writing failed", errno);
  return {};
}

Result<ConfigOnDisk> LastApplied::load(const ConfigPaths& paths) const {
  struct stat about {};
  if (lstat(path().c_str(), &about) != 0 && errno == ENOENT) return Error(Reason::kNotFound, "none is kept");
  TRY_ASSIGN(const netlink::UniqueFd folder, open_state_folder(state_dir_), "");
  TRY_ASSIGN(const OpenFile file, open_regular(folder.get(), "last-applied", Reason::kConfigFolder, O_NOFOLLOW),
             path());
  const bool ours = file.about.st_uid == 0 || file.about.st_uid == geteuid();
  if (!ours || (file.about.st_mode & (S_IWGRP | S_IWOTH)) != 0) return failed(path(), "others may have written it");
  TRY_ASSIGN(const std::string text, read_all(file, kStateBytesMax, Reason::kConfigFolder), path());
  return understand(text, paths, path());
}

}  // namespace ipsec::agent
