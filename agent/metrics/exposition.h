#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "agent/metrics/families.h"

namespace ipsec::agent::metrics {

enum class Format : uint8_t {
  kOpenMetrics,  ///< OpenMetrics 1.0.
  kPrometheus,   ///< The older text format 0.0.4, which node_exporter's textfile collector reads: it knows neither
                 ///< infos nor statesets, and refuses a whole file for one of them.
};
/// "openmetrics", "prometheus".
std::string_view to_string(Format format);

/// The numbers of one moment, to be written as text. A value; sorted, so that the same numbers give the same text.
/// Label values may be anything: what is no UTF-8, and control characters, are replaced, long ones are cut.
class Exposition {
 public:
  /// Whole numbers stay exact.
  using Value = std::variant<uint64_t, double>;

  /// One series of a counter, gauge or info (whose value is 1). `labels`: the values, in the order of the family's
  /// names. What would be one too many of limits.h, or is there already, is left out and counted.
  void set(MetricFamily family, std::initializer_list<std::string_view> labels, Value value = uint64_t{1});
  /// A stateset: all its series, 1 for `state` and 0 for the others; none if it has no such state.
  void set_state(MetricFamily family, std::initializer_list<std::string_view> labels, std::string_view state);

  size_t series() const { return series_; }
  size_t left_out() const { return left_out_; }
  /// The value of a series; of a stateset with its state as the last label. Nothing: it is not there.
  const Value* find(MetricFamily family, std::initializer_list<std::string_view> labels) const;

  /// All families in their order, also those without series: that they are not known is told by their absence.
  std::string text(Format format) const;

 private:
  using Labels = std::vector<std::string>;
  void put(MetricFamily family, Labels labels, Value value);

  std::array<std::map<Labels, Value>, kFamilyCount> samples_;
  size_t series_ = 0, left_out_ = 0;
};

}  // namespace ipsec::agent::metrics
