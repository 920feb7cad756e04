#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "policy/desired_state.h"
#include "policy/kernel_port.h"

/// The difference between what is wanted and what stands in a kernel, for people and programs to read. Pure.
namespace ipsec::policy {

enum class DriftVerdict : uint8_t {
  kMissing,    ///< Wanted, and not there.
  kChanged,    ///< Ours, and not as it is wanted.
  kExtra,      ///< Ours, and not wanted.
  kUnclaimed,  ///< Bears our marks, and the journal does not name it: probably ours, no drift, and not touched.
  kForeign     ///< Somebody else's: no drift, and never touched.
};
std::string_view to_string(DriftVerdict verdict);

struct DriftRow {
  std::string kind;  ///< "link", "policy", "route", "rule", "sa".
  std::string netns;
  std::string object;  ///< As object_text() has it.
  DriftVerdict verdict = DriftVerdict::kMissing;
  std::string detail;  ///< What differs, or why it is not there; may be empty.
  friend bool operator==(const DriftRow&, const DriftRow&) = default;
};

// "0xc0000001 to 192.0.2.1", "out 10.1.0.0/16 10.2.0.0/16 if_id 1", "ips1000001", "10.2.0.0/16 vrf blue metric 100".
std::string object_text(const SaKey& key);
std::string object_text(const PolicyKey& key);
std::string object_text(const LinkConfig& link);
std::string object_text(const RouteConfig& route);
std::string object_text(const RuleConfig& rule);  ///< "IPv4 mark 0x69123400/0xffffff00 vrf blue".

/// The object that an operation acts on, and how.
struct ChangeText {
  std::string_view kind;
  std::string object;
  std::string_view verb;  ///< "made", "changed", "removed", "read".
};
ChangeText change_text(const KernelChange& change);

/// All rows: links, policies, routes, rules, SAs; of each kind what is wanted first, in the order of keys, then those
/// that are not proven ours.
std::vector<DriftRow> drift(const std::string& netns, const NamespaceState& desired, const StandingState& standing);
/// Whether any row is of an object that is ours or wanted.
bool has_drift(const std::vector<DriftRow>& rows);

}  // namespace ipsec::policy
