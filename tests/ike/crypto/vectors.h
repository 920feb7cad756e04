#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <string>

#include "policy/base/bytes.h"
#include "policy/base/random.h"
#include "tests/support/source_folder.h"

namespace ipsec::test {

/// The vectors of one file of tests/vectors: "[section]", then "name = hex" lines; lines with a name that is already
/// there continue its value; '#' begins a comment line.
class Vectors {
 public:
  explicit Vectors(const std::string& file) {
    std::ifstream in(testing::in_source_folder("tests/vectors/" + file));
    REQUIRE_MESSAGE(in.good(), "cannot read " << file);
    std::string section;
    for (std::string line; std::getline(in, line);) {
      if (line.empty() || line[0] == '#') continue;
      if (line[0] == '[') {
        section = line.substr(1, line.size() - 2);
        continue;
      }
      const size_t equals = line.find(" =");
      REQUIRE(equals != std::string::npos);
      const Bytes value = *from_hex(line.substr(equals + 2));
      Bytes& whole = values_[section + "." + line.substr(0, equals)];
      whole.insert(whole.end(), value.begin(), value.end());
    }
  }
  /// The value of "section.name".
  const Bytes& operator()(const std::string& name) const {
    auto found = values_.find(name);
    REQUIRE_MESSAGE(found != values_.end(), "no vector " << name);
    return found->second;
  }

 private:
  std::map<std::string, Bytes> values_;
};

/// Gives the bytes that it was made with, then zeros.
class ScriptedRandom final : public Random {
 public:
  explicit ScriptedRandom(Bytes script) : script_(std::move(script)) {}
  void fill(std::span<uint8_t> out) override {
    for (uint8_t& byte : out) byte = next_ < script_.size() ? script_[next_++] : uint8_t{0};
  }

 private:
  Bytes script_;
  size_t next_ = 0;
};

inline Bytes joined(std::initializer_list<ByteView> parts) {
  Bytes whole;
  for (ByteView part : parts) whole.insert(whole.end(), part.begin(), part.end());
  return whole;
}

/// A copy as a value that doctest can compare and print.
inline std::string hex(ByteView bytes) { return to_hex(bytes); }

}  // namespace ipsec::test
