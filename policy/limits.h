#pragma once

#include <cstddef>
#include <cstdint>

namespace ipsec::policy {

inline constexpr size_t kConfigBytesMax = 64 << 20;  ///< Bytes of one configuration file.
inline constexpr size_t kConfigDepthMax = 16;        ///< Nesting of objects and lists.
inline constexpr size_t kConfigErrorsMax = 100;      ///< Errors reported for one document.
inline constexpr size_t kConfigWarningsMax = 100;    ///< Warnings of one kind for one document and private place.
inline constexpr size_t kConfigComparisonsMax = 4'000'000;  ///< Pairs of selectors compared for warnings.
inline constexpr size_t kTunnelsMax = 1'000'000;            ///< Tunnels of one configuration.
inline constexpr size_t kSelectorsMax = 32;                 ///< Traffic selectors per list.
inline constexpr size_t kProposalsMax = 32;                 ///< Proposals per list.
inline constexpr size_t kTransformsMax = 64;                ///< Transforms per proposal.
inline constexpr size_t kPoliciesPerChildMax = 4096;        ///< Kernel policies per child SA and direction.
inline constexpr size_t kChildPartsMax = 256;               ///< Children that one configured child is split into.
inline constexpr size_t kObjectNameMax = 64;                ///< Characters of an object's name.

}  // namespace ipsec::policy
