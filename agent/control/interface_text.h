#pragma once

#include <string_view>

namespace ipsec::agent::control {

/// net.ipsecd.control.varlink and org.varlink.service.varlink, as they were when this was built.
std::string_view control_interface();
std::string_view service_interface();

}  // namespace ipsec::agent::control
