#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <vector>

#include "netlink/socket.h"

namespace ipsec::netlink {

/// A kernel without a family has nothing of it.
inline bool is_missing_family(const Error& error) {
  return error.os_errno() == EAFNOSUPPORT || error.os_errno() == EOPNOTSUPP;
}

/// A complete dump of something that IPv4 and IPv6 have each on its own. `request(family)`: the question;
/// `take(message, found)`: adds what a message holds, or an error.
template <typename T, typename Request, typename Take>
Result<std::vector<T>> dump_families(Socket& dumps, Request request, Take take) {
  std::vector<T> all;
  for (const uint8_t family : {AF_INET, AF_INET6}) {
    std::vector<T> found;
    auto read = dumps.dump([&] { return request(family); },
                           [&](const Received& message) { return take(message, found); }, [&] { found.clear(); });
    if (!read.ok() && !is_missing_family(read.error())) return std::move(read).error();
    std::ranges::move(found, std::back_inserter(all));
  }
  return all;
}

}  // namespace ipsec::netlink
