#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/config_parser.h"
#include "policy/json_source.h"

namespace ipsec::agent {

/// Where the parts of a configuration stand in its files. Made for one question of an operator and thrown away: it
/// reads the texts when it is first asked. Files above kLocatedBytesMax are passed over, for the main thread waits.
class ConfigPlaces {
 public:
  struct Place {
    std::string file;
    size_t line = 0;  ///< From 1.
  };
  /// `files` must outlive this.
  explicit ConfigPlaces(const std::vector<policy::ConfigFile>& files) : files_(files) {}

  /// The line of a JSON pointer (RFC 6901); where the key is not written, of the nearest object around it. Nothing when
  /// not even the section is written.
  std::optional<Place> find(std::string_view pointer);

 private:
  void read();
  const std::vector<policy::ConfigFile>& files_;
  bool read_ = false;
  std::vector<policy::JsonNode> documents_;
};

}  // namespace ipsec::agent
