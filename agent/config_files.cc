#include "agent/config_files.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace ipsec::agent {
namespace {

Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error(Reason::kNotFound, path + ": cannot be read", errno);
  std::ostringstream content;
  content << file.rdbuf();
  return std::move(content).str();
}

}  // namespace

Result<std::vector<policy::ConfigFile>> read_config_files(const std::string& main_file, const std::string& folder) {
  std::vector<policy::ConfigFile> files;
  TRY_ASSIGN(std::string text, read_file(main_file), "configuration");
  files.push_back({main_file, std::move(text)});
  std::vector<std::string> names;
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator(folder, failed))
    if (entry.path().extension() == ".json") names.push_back(entry.path().string());
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    TRY_ASSIGN(std::string part, read_file(name), "configuration");
    files.push_back({name, std::move(part)});
  }
  return files;
}

}  // namespace ipsec::agent
