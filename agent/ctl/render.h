#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "agent/control/message.h"
#include "agent/ctl/text.h"

namespace ipsec::agent::ctl {

/// Texts for people, from the JSON of the control socket. All are pure and end with a line feed; what is missing in the
/// JSON is shown as unknown, whatever the daemon's version.
std::string render_status(const nlohmann::json& status, Color color);
int exit_code_of_status(const nlohmann::json& status);

/// Sorts by the key, numbers as numbers, the rest naturally, null last; keeps the order among equals.
void sort_rows(std::vector<nlohmann::json>& rows, std::string_view key);
std::string render_list(std::string_view kind, const std::vector<nlohmann::json>& rows, Color color);

/// `kind` is plural.
std::string render_show(std::string_view kind, const nlohmann::json& item, Color color);

std::string render_event(const nlohmann::json& event, Color color);
std::string render_lost(int64_t lost);
/// A sentence; `verb` is "up" or "down".
std::string render_outcome(std::string_view verb, const nlohmann::json& outcome, Color color);
std::string render_check(const nlohmann::json& reply, Color color);
/// What a configuration changes, or has changed.
std::string render_changes(const nlohmann::json& reply, bool applied, Color color);
std::string render_explain(const nlohmann::json& reply, Color color);
/// Failed negotiations side by side, with what to change; and a line for each.
std::string render_negotiations(const nlohmann::json& failures, Color color);
std::string render_negotiation_list(const nlohmann::json& failures, Color color);
/// Why the SAs of a tunnel are on a NIC or not: each rung and rule, and what to change.
std::string render_offload(const nlohmann::json& children, Color color);
/// What differs from what is wanted, and who is in the way; foreign objects last.
std::string render_drift(const nlohmann::json& namespaces, Color color);
bool has_drift(const nlohmann::json& namespaces);
std::string render_adopted(const nlohmann::json& outcome);
/// An error that the daemon answered with: text, code, remedy.
std::string render_error(const control::Reply& reply, Color color);

}  // namespace ipsec::agent::ctl
