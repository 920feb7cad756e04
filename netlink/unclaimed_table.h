#pragma once

#include <optional>
#include <string>

namespace ipsec::netlink {

/// Whether a table of packet rules with our comment was in a namespace before this run made one. Asked of the kernel
/// once. For namespaces whose table the journal does not name.
class UnclaimedTable {
 public:
  bool is_there(const std::string& netns);

 private:
  std::optional<bool> there_;
};

}  // namespace ipsec::netlink
