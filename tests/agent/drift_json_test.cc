#include "agent/show/drift_json.h"

#include <doctest/doctest.h>

#include "agent/ctl/render.h"

using namespace ipsec;
using namespace ipsec::agent;
using nlohmann::json;
using policy::DriftVerdict;

namespace {

NamespaceDrift space(std::vector<policy::DriftRow> rows) {
  return {.netns = "priv",
          .state = policy::Reconciler::State::kSynced,
          .obstacle = {},
          .rows = std::make_shared<const std::vector<policy::DriftRow>>(std::move(rows))};
}

const policy::DriftRow kForeign{
    .kind = "policy", .netns = "priv", .object = "out a b", .verdict = DriftVerdict::kForeign, .detail = {}};
const policy::DriftRow kChanged{
    .kind = "link", .netns = "priv", .object = "ips1", .verdict = DriftVerdict::kChanged, .detail = "mtu 1, wanted 2"};

}  // namespace

TEST_CASE("drift as JSON: what is not known is null, foreign objects are no drift, and the obstacle is named") {
  const json calm = drift_json({space({kForeign})}, {}).value().at(0);
  CHECK(calm["drift"] == false);
  CHECK(calm["code"].is_null());
  CHECK(calm["rows"][0]["detail"].is_null());
  CHECK(calm["state"] == "synced");

  NamespaceDrift waits = space({kForeign, kChanged});
  waits.state = policy::Reconciler::State::kAwaiting;
  waits.obstacle = Error(Reason::kVrfMissing, "there is no VRF red");
  const json found = drift_json({waits}, "priv").value().at(0);
  CHECK(found["drift"] == true);
  CHECK(found["state"] == "awaiting");
  CHECK(found["code"] == "vrf-missing");
  CHECK(found["rows"][1]["detail"] == "mtu 1, wanted 2");
}

TEST_CASE("drift as JSON: a namespace in which nothing of ours belongs is not found") {
  CHECK(drift_json({}, "elsewhere").error().reason() == Reason::kNotFound);
  CHECK(drift_json({}, {}).value().empty());
}

TEST_CASE("drift as text: what differs comes first, and nothing in it moves the cursor") {
  NamespaceDrift own = space({kForeign, kChanged});
  own.netns.clear();
  const json found = drift_json({own}, {}).value();
  CHECK(ctl::render_drift(found, ctl::Color::kOff) ==
        "Namespace (own): synced, drift\n"
        "         KIND    OBJECT   DETAIL\n"
        "changed  link    ips1     mtu 1, wanted 2\n"
        "foreign  policy  out a b  \n");
  CHECK(ctl::has_drift(found));
  CHECK(ctl::render_drift(json::array(), ctl::Color::kOff) == "No namespace has anything of ours.\n");
  CHECK(ctl::render_drift(json(), ctl::Color::kOff) == "No namespace has anything of ours.\n");
  CHECK_FALSE(ctl::has_drift(json(7)));
  const json hostile =
      json::parse(R"([{"netns": "x\u001b[2J", "detail": "\u0007", "rows": [{"object": "\u001b[31m"}, 7]}])");
  const std::string text = ctl::render_drift(hostile, ctl::Color::kOff);
  for (const char each : {'\x1b', '\x07'}) CHECK(text.find(each) == std::string::npos);
}
