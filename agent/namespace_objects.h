#pragma once

#include <string>
#include <vector>

#include "policy/desired_state.h"
#include "policy/kernel_port.h"

namespace ipsec::agent {

/// Objects of one namespace.
struct NamespaceObjects {
  policy::NamespaceState state;
  std::vector<policy::SaState> sas;  ///< The SAs of `state`, in full.
};

enum class Ownership : uint8_t { kOurs, kOthers };  ///< Whether KernelPort::owns() says that an object is ours.

/// Reads all objects of one namespace that are ours, or all others, without larval SAs. Blocks until everything is
/// read.
Result<NamespaceObjects> read_objects(policy::KernelPort& kernel, const std::string& netns, Ownership whose);

}  // namespace ipsec::agent
