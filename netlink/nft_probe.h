#pragma once

#include "policy/base/result.h"

namespace ipsec::netlink {

/// Whether a rule of nf_tables that writes the DF bit does so. Kernels that guard what rules may write into a header
/// take such a rule and pass over it, so that only a packet tells: one is sent within a namespace that is made for it
/// and gone afterwards. Needs CAP_SYS_ADMIN.
Result<bool> probe_df_writes();

}  // namespace ipsec::netlink
