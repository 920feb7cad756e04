#include <doctest/doctest.h>

#include "tests/kernel/lab_network.h"

using namespace ipsec;
using namespace ipsec::lab;
using namespace ipsec::policy;

namespace {

constexpr PolicyHash kWanted{.local_v4 = 16, .remote_v4 = 24, .local_v6 = 48, .remote_v6 = 64};
constexpr PolicyHash kOther{.local_v4 = 8, .remote_v4 = 8, .local_v6 = 32, .remote_v6 = 32};

}  // namespace

TEST_CASE("policy hash: set, set otherwise, and put back as it was") {
  Namespace netns("hash");
  REQUIRE(netns.ip("xfrm policy set hthresh4 20 21 hthresh6 90 91") == 0);
  const PolicyHash before{.local_v4 = 20, .remote_v4 = 21, .local_v6 = 90, .remote_v6 = 91};
  Port port;
  REQUIRE(port.kernel->set_policy_hash("hash", kOther).ok());
  REQUIRE(port.kernel->set_policy_hash("hash", kWanted).ok());
  CHECK(port.kernel->policy_hash("hash").value() == kWanted);
  CHECK(port.kernel->restore_policy_hash("hash").ok());
  CHECK(port.kernel->policy_hash("hash").value() == before);
  CHECK(port.kernel->restore_policy_hash("hash").ok());  // nothing is ours any more
  CHECK(port.kernel->policy_hash("hash").value() == before);
}

TEST_CASE("policy hash: after a kill the next run puts back what was before the first one") {
  Namespace netns("hash");
  {
    Port killed("hash");
    REQUIRE(killed.kernel->set_policy_hash("hash", kOther).ok());
  }
  Port port("hash");
  REQUIRE(port.kernel->forget_absent({"hash"}).ok());
  REQUIRE(port.kernel->set_policy_hash("hash", kWanted).ok());
  CHECK(port.kernel->restore_policy_hash("hash").ok());
  CHECK(port.kernel->policy_hash("hash").value() == PolicyHash{});
}

TEST_CASE("policy hash: what somebody else has set meanwhile stays") {
  Namespace netns("hash");
  Port port;
  REQUIRE(port.kernel->set_policy_hash("hash", kWanted).ok());
  REQUIRE(netns.ip("xfrm policy set hthresh4 8 8 hthresh6 32 32") == 0);
  CHECK(port.kernel->restore_policy_hash("hash").ok());
  CHECK(port.kernel->policy_hash("hash").value() == kOther);
}
