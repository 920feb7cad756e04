#include "agent/show/orphans_json.h"

#include <doctest/doctest.h>

#include <set>

#include "agent/ctl/columns.h"

using namespace ipsec;
using namespace ipsec::agent;

namespace {

policy::SaState sa(uint32_t spi, Duration made_at, Duration lifetime) {
  policy::SaState state;
  state.key = {IpAddress::parse("192.0.2.1").value(), policy::ChildSpi(spi)};
  state.source = IpAddress::parse("198.51.100.7").value();
  state.made_at = {made_at};
  state.hard_lifetime = lifetime;
  state.packets = 7;
  return state;
}

Orphans::Kept kept_for(Duration grace) {
  Orphans::Kept kept{.child = {}, .since = {0s}, .until = {grace}};
  kept.child.tunnel = "a";
  kept.child.child = "lan";
  for (const policy::SaState& each : {sa(0xc1, 1000s, 3600s), sa(0xc2, 2000s, 3600s)})
    kept.child.inbound.emplace(each.key, each);
  return kept;
}

std::set<std::string> keys(const nlohmann::json& row) {
  std::set<std::string> all;
  for (const auto& [key, value] : row.items()) all.insert(key);
  return all;
}

}  // namespace

TEST_CASE("orphans: rows have the keys of their kind") {
  const Orphans::Kept kept = kept_for(600s);
  const Moment moment{.now = {10s}, .wall = {2100s}};

  const auto rows = orphan_sa_rows(kept, kept.child.inbound, moment);
  const auto child = orphan_child_row(kept, moment);

  REQUIRE(rows.size() == 2);
  for (const auto& column : ctl::columns_of("sas")) CHECK(keys(rows[0]).contains(std::string(column.key)));
  for (const auto& column : ctl::columns_of("children")) CHECK(keys(child).contains(std::string(column.key)));
  CHECK(rows[0]["state"] == "orphaned");
  CHECK(rows[0]["packets"] == 7);
}

TEST_CASE("orphans: the age is the kernel's, and they end with the grace or the lifetime, whichever is first") {
  const Moment moment{.now = {10s}, .wall = {2100s}};

  CHECK(orphan_child_row(kept_for(600s), moment)["ends_in_seconds"] == 590);
  CHECK(orphan_child_row(kept_for(9000s), moment)["ends_in_seconds"] == 3500);
  CHECK(orphan_child_row(kept_for(600s), moment)["age_seconds"] == 100);
}

TEST_CASE("orphans: of several pairs a child shows the newest; a direction without SA is not known") {
  const auto row = orphan_child_row(kept_for(600s), {.now = {0s}, .wall = {2100s}});

  CHECK(row["spi_in"] == "000000c2");
  CHECK(row["spi_out"].is_null());
}

TEST_CASE("orphans: an SA that the kernel does not show any more has no row") {
  CHECK(orphan_sa_rows(kept_for(600s), {}, {.now = {0s}, .wall = {2100s}}).empty());
}
