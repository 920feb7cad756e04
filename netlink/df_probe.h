#pragma once

#include <cstdint>

#include "policy/base/result.h"

namespace ipsec::netlink {

/// What writes DF bits on this kernel.
enum class DfWriter : uint8_t {
  kRules,    ///< The rules of our nf_tables table.
  kPrograms  ///< DfPrograms.
};

/// By effect: kernels that guard what rules may write into a header take a rule that writes DF and pass over it, so
/// that only a packet tells. One is sent within a namespace that is made for it and gone afterwards; if that does not
/// help, a program is tried on another one and put on a device there. Needs CAP_SYS_ADMIN. The error says why neither
/// works.
Result<DfWriter> probe_df_writer();

}  // namespace ipsec::netlink
