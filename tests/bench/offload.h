#pragma once

#include <cstddef>
#include <string>
#include <vector>

/// What the decisions about offload cost and what they bring. One section of figures after the other, so that others
/// find a place beside them.
namespace ipsec::bench {

/// Placement of one SA: rules and ladder, once per install.
struct PlacementResult {
  double per_second = 0;  ///< Decisions, each with a ladder over two devices.
};
PlacementResult run_placements(size_t count);

/// The budget with so many tunnels and room for a tenth of them, in the simulation of tests/hwoffload/budget_sim.h.
struct BudgetResult {
  size_t seats = 0, room = 0;
  double decide_ms = 0, decide_worst_ms = 0;  ///< CPU of one decide(), in steady state, on average and at worst.
  double observe_ns = 0;                      ///< Of one observe().
  double seat_for_ns = 0;                     ///< Of one seat_for().
  double lost_ms = 0;                         ///< Of the decide() that empties the device.
  size_t fled = 0;                            ///< Seats that it sends away.
  double share = 0;                           ///< Bytes on the NIC against those of an oracle.
  double share_of_all = 0;                    ///< Against all bytes.
  double moves_per_minute = 0;
  size_t moves_most = 0;  ///< In any minute.
};
BudgetResult run_budget(size_t seats, size_t intervals);

/// `bench offload`: all sections, as a table or as one line of JSON each. 0 when all limits are kept.
int print_offload(size_t count, bool json);

/// `bench probe DEVICE`, where the kernel has one with offload: what reading it and asking it costs, as ratios to a
/// dump of links and to one plain SA. 0 when nothing failed. Needs CAP_NET_ADMIN.
int print_device_probe(const std::string& device, size_t count, bool json);

}  // namespace ipsec::bench
