#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "agent/reconciliation.h"

namespace ipsec::agent {

/// Objects of the type NamespaceDrift of agent/control/net.ipsecd.control.varlink. Error kNotFound when one namespace
/// was asked for and there is none such.
Result<nlohmann::json> drift_json(const std::vector<NamespaceDrift>& found, const std::optional<std::string>& netns);

/// What is said when a namespace that is not looked after was asked for.
std::string no_such_namespace(const std::string& netns);

}  // namespace ipsec::agent
