#pragma once

#include <cstddef>

namespace ipsec::agent {

inline constexpr size_t kConfigTotalBytesMax = 256 << 20;  ///< Bytes of all files of a configuration.
inline constexpr size_t kConfigFilesMax = 10'000;          ///< Files in the folder of a configuration.

}  // namespace ipsec::agent
