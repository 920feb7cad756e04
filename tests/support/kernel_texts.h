#pragma once

#include <string>

#include "policy/kernel_port.h"

/// Kernel objects and operations as the short lines of golden checks.
namespace ipsec::testing {

std::string hex(uint32_t value);  ///< "0x000000c1"
std::string selector(const policy::PolicyKey& key);
std::string text_of(const policy::SaConfig& sa);
std::string text_of(const policy::PolicyConfig& policy);
std::string text_of(const policy::RouteConfig& route);
/// "add-sa in 0x000000c1 software", "delete-route 10.2.0.0/16 dev ips1 metric 100".
std::string describe(const policy::KernelChange& change);

}  // namespace ipsec::testing
