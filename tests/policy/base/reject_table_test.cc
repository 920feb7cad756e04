#include <doctest/doctest.h>

#include <set>
#include <string>

#include "tests/support/reject_table.h"

// Each row of the table has a code, with words that say what happened and what to do.

using namespace ipsec;
using namespace ipsec::testing;

TEST_CASE("reasons: every way in which a message is rejected has a code, a sentence and something to do") {
  int row = 0;
  for (const Rejected& each : kRejected) {
    CAPTURE(std::string(each.what));
    CHECK(each.row == ++row);
    const ReasonInfo& known = info(each.reason);
    CHECK(each.reason != Reason::kInternal);
    CHECK(known.reason == each.reason);
    CHECK(reason_from_code(known.code) == each.reason);
    CHECK_FALSE(known.text.empty());
    CHECK_FALSE(known.remedy.empty());
    CHECK_FALSE(known.fields.empty());
  }
  CHECK(row == 60);
}

TEST_CASE("reasons: what operators act on differently is told apart") {
  std::set<Reason> reasons;
  for (const Rejected& each : kRejected) reasons.insert(each.reason);
  CHECK(reasons.size() >= 24);
}
