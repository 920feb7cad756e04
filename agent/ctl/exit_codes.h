#pragma once

namespace ipsec::agent::ctl {

/// What ipsecctl ends with; documented in ipsecctl(1) and stable.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;  ///< The daemon refused, or it did not succeed; of `drift`: something differs.
inline constexpr int kExitUsage = 2;
inline constexpr int kExitNotReachable = 3;  ///< No daemon, or no answer in time.
inline constexpr int kExitNoPermission = 4;
inline constexpr int kExitDegraded = 10;  ///< Only of `status`.
inline constexpr int kExitUnhealthy = 11;

}  // namespace ipsec::agent::ctl
