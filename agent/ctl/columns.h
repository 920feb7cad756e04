#pragma once

#include <span>
#include <string_view>

namespace ipsec::agent::ctl {

struct Column {
  std::string_view key;     ///< Of the row's JSON.
  std::string_view header;  ///< Empty: not in the table, only a key to sort and filter by.
};

/// The columns of a kind ("tunnels"), in the table's order; empty for an unknown kind.
std::span<const Column> columns_of(std::string_view kind);
/// Every row has the key, or none.
bool has_column(std::string_view kind, std::string_view key);

}  // namespace ipsec::agent::ctl
