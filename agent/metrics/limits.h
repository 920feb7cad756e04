#pragma once

#include <cstddef>

namespace ipsec::agent::metrics {

/// Series of one exposition; what comes beyond is left out and counted (`ipsecd_metrics_left_out_series`).
inline constexpr size_t kSeriesMax = 50'000;
/// Bytes of a label's value before it is escaped; longer ones are cut.
inline constexpr size_t kLabelBytesMax = 128;

}  // namespace ipsec::agent::metrics
