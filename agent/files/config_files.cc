#include "agent/files/config_files.h"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>

#include "agent/files/limits.h"
#include "agent/files/read_file.h"
#include "policy/limits.h"

namespace ipsec::agent {
namespace {

using policy::ConfigError;

ConfigError failure(const std::string& path, const Error& error, std::string_view remedy) {
  std::string what = error.text();
  if (!remedy.empty()) what.append("; ").append(remedy);
  return {.reason = error.reason(), .file = path, .line = 0, .pointer = {}, .found = {}, .allowed = std::move(what)};
}

struct CloseFolder {
  void operator()(DIR* folder) const { closedir(folder); }
};
using Folder = std::unique_ptr<DIR, CloseFolder>;

/// One read of everything; the first thing that fails ends it.
class Reading {
 public:
  Reading() = default;
  explicit Reading(ConfigPaths paths) : paths_(std::move(paths)) {}

  std::optional<ConfigError> run(FolderPresence before) {
    constexpr std::string_view kRemedy = "restore it or its permissions, or take it out of the folder";
    if (auto failed = read(AT_FDCWD, paths_.main_file, paths_.main_file, kRemedy)) return failed;
    Folder folder;
    if (auto failed = open_folder(before, folder)) return failed;
    if (!folder) return std::nullopt;
    std::vector<std::string> names;
    if (auto failed = list(folder.get(), names)) return failed;
    for (const std::string& name : names)
      if (auto failed = read(dirfd(folder.get()), name, paths_.folder + "/" + name, kRemedy)) return failed;
    return std::nullopt;
  }
  std::optional<ConfigError> run(const std::vector<std::string>& names) {
    for (const std::string& name : names)
      if (auto failed = read(AT_FDCWD, name, name, "name a file that can be read")) return failed;
    return std::nullopt;
  }
  ConfigOnDisk take() { return std::move(found_); }

 private:
  std::optional<ConfigError> read(int folder, const std::string& name, const std::string& path,
                                  std::string_view remedy) {
    const auto file = open_regular(folder, name, Reason::kConfigFolder);
    if (!file.ok()) return failure(path, file.error(), remedy);
    auto text = read_all(*file, policy::kConfigBytesMax, Reason::kConfigFolder);
    if (!text.ok()) return failure(path, text.error(), text.error().reason() == Reason::kLimitReached ? "" : remedy);
    total_ += text->size();
    if (total_ > kConfigTotalBytesMax)
      return failure(path,
                     Error(Reason::kLimitReached, "with this file the configuration has more than " +
                                                      std::to_string(kConfigTotalBytesMax) + " bytes"),
                     {});
    found_.files.push_back({path, std::move(*text)});
    return std::nullopt;
  }

  /// Leaves `folder` empty where there is none and there need not be one.
  std::optional<ConfigError> open_folder(FolderPresence before, Folder& folder) {
    netlink::UniqueFd fd(open(paths_.folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK));
    const int failed = errno;
    struct stat about {};
    // A link to nothing is something that has gone.
    const bool absent = !fd.valid() && failed == ENOENT && lstat(paths_.folder.c_str(), &about) != 0 && errno == ENOENT;
    if (absent && before == FolderPresence::kAbsent) return std::nullopt;
    if (absent)
      return failure(paths_.folder, Error(Reason::kConfigFolder, "the folder is not there any more"),
                     "restore it; one that shall add nothing must be there and empty");
    if (!fd.valid())
      return failure(paths_.folder, Error(Reason::kConfigFolder, "the folder cannot be read", failed),
                     "restore it or its permissions");
    folder.reset(fdopendir(fd.get()));
    if (!folder)
      return failure(paths_.folder, Error(Reason::kConfigFolder, "the folder cannot be read", errno), "try again");
    static_cast<void>(fd.release());  // closed with the folder
    found_.folder = FolderPresence::kPresent;
    return std::nullopt;
  }

  std::optional<ConfigError> list(DIR* folder, std::vector<std::string>& names) {
    while (true) {
      errno = 0;                              // readdir() says "the end" and "an error" alike
      const dirent* entry = readdir(folder);  // NOLINT(concurrency-mt-unsafe): of a stream that is ours alone
      if (entry == nullptr && errno != 0)
        return failure(paths_.folder, Error(Reason::kConfigFolder, "listing the folder failed", errno), "try again");
      if (entry == nullptr) break;
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      (is_config_file_name(name) ? names : found_.passed_over).push_back(name);
      if (names.size() + found_.passed_over.size() > kConfigFilesMax)
        return failure(paths_.folder,
                       Error(Reason::kLimitReached, "more than " + std::to_string(kConfigFilesMax) + " files"), {});
    }
    std::ranges::sort(names);
    std::ranges::sort(found_.passed_over);
    return std::nullopt;
  }

  ConfigPaths paths_;
  ConfigOnDisk found_;
  size_t total_ = 0;
};

}  // namespace

bool is_config_file_name(std::string_view name) {
  return !name.starts_with('.') && !name.starts_with('#') && name.ends_with(".json");
}

std::variant<ConfigOnDisk, ConfigError> read_config_files(const ConfigPaths& paths, FolderPresence before) {
  Reading reading(paths);
  if (auto failed = reading.run(before)) return std::move(*failed);
  return reading.take();
}

std::variant<ConfigOnDisk, ConfigError> read_config_files(const std::vector<std::string>& names) {
  Reading reading;
  if (auto failed = reading.run(names)) return std::move(*failed);
  return reading.take();
}

}  // namespace ipsec::agent
