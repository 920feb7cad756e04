#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "policy/algorithms.h"

/// Every key of the configuration, once: what the parser checks and what the published schema says come from these
/// tables.
namespace ipsec::policy {

enum class KeyKind : uint8_t {
  kText,
  kWord,
  kFlag,
  kNumber,
  kDuration,
  kTextList,
  kObject,
  kNamedObjects,
  kObjectList
};

struct KeySpec {
  std::string_view key;
  KeyKind kind;
  std::string_view meaning;
  std::string_view fallback = {};           ///< The default, as it would be written.
  int64_t least = 0, most = 0;              ///< Numbers: as they are. Durations: milliseconds. Lists: elements.
  std::string_view words = {};              ///< kWord: the words allowed, separated by blanks.
  std::span<const KeySpec> members = {};    ///< kObject, kNamedObjects, kObjectList.
  Protocol proposals_of = Protocol::kNone;  ///< kTextList: its elements are proposals.
  bool required = false;
  bool served = true;  ///< false: known, not supported in this version.
};

/// The top level of a document.
std::span<const KeySpec> config_keys();
/// The table of one kind of object: "tunnel_groups", "ike_policies", ...
std::span<const KeySpec> config_keys(std::string_view object);

/// The table of `node.offload.devices`.
std::span<const KeySpec> offload_device_keys();

/// A JSON Schema (draft 2020-12) of the whole document, made from the tables.
std::string config_schema();

}  // namespace ipsec::policy
