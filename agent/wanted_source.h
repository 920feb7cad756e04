#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "ike/actions.h"
#include "policy/desired_state.h"
#include "policy/kernel_model.h"

namespace ipsec::agent {

/// What is wanted in one namespace. Packet rules are not in it: they are one object, asked for when it is read.
struct Desired {
  policy::NamespaceState state;
  std::map<policy::SaKey, ike::ChildId> children;  ///< The child of each SA.
  std::set<policy::SaKey> under_way;               ///< May be there or not.
  std::set<std::string> devices;                   ///< NICs that SAs are on: one that goes down drops them unasked.
};

/// Collects what is wanted in steps: 100,000 tunnels are too much for one turn of the main thread. Objects may come and
/// go between two steps.
class WantedSource {
 public:
  virtual ~WantedSource() = default;
  enum class More : uint8_t { kNo, kYes };
  /// Adds some objects, with work for about `most` of them.
  virtual More collect(Desired& into, size_t most) = 0;
};

}  // namespace ipsec::agent
