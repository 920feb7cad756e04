#pragma once

#include <cstddef>

/// What it costs to look after a namespace that is full.
namespace ipsec::bench {

struct ReconcileResult {
  size_t objects = 0;             ///< SAs, policies, interfaces and routes of ours, in one namespace.
  double dump = 0;                ///< Milliseconds of CPU to read all of them from the fake kernel and sort them.
  double diff = 0;                ///< To find that nothing differs.
  double drift = 0;               ///< To say the same to people.
  double diff_damaged = 0;        ///< To find what is to be done when one object in a hundred is missing.
  size_t damaged = 0, mends = 0;  ///< How many are, and what the diff does about it.
};

/// `count` objects in all: half of them policies, the rest SAs, interfaces and routes.
ReconcileResult run_reconcile(size_t count);

}  // namespace ipsec::bench
