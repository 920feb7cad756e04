#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <regex>
#include <set>

#include "agent/metrics/exposition.h"
#include "agent/metrics/limits.h"

using namespace ipsec::agent::metrics;

namespace {

/// The lines of one family, as they stand in the text.
std::string lines_of(const Exposition& numbers, const std::string& family, Format format = Format::kOpenMetrics) {
  const std::string text = numbers.text(format);
  const size_t begin = text.find("# TYPE " + family + " ");
  REQUIRE(begin != std::string::npos);
  const size_t end = text.find("\n# TYPE ", begin);
  return text.substr(begin, end == std::string::npos ? end : end + 1 - begin);
}

std::vector<std::string> words(std::string_view list) {
  std::vector<std::string> all;
  const std::string text(list);
  const std::regex word("[^,]+");
  for (std::sregex_iterator it(text.begin(), text.end(), word), end; it != end; ++it) all.push_back(it->str());
  return all;
}

/// What stands between the quotes of the only label of ipsecd_build.
std::string label_of(std::string_view value) {
  Exposition numbers;
  numbers.set(MetricFamily::kBuild, {value});
  const std::string text = lines_of(numbers, "ipsecd_build");
  const size_t begin = text.find('{') + std::string_view("{version=\"").size();
  return text.substr(begin, text.rfind("\"} 1\n") - begin);
}

}  // namespace

TEST_CASE("metrics: a family is its type, unit and help, then its series in a fixed order") {
  Exposition numbers;
  numbers.set(MetricFamily::kTrafficBytes, {"core", "out", "packet"}, uint64_t{7});
  numbers.set(MetricFamily::kTrafficBytes, {"core", "in", "none"}, std::numeric_limits<uint64_t>::max());
  numbers.set(MetricFamily::kStartTime, {}, 1795238030.125);
  numbers.set(MetricFamily::kBuild, {"1.2.3"});
  numbers.set_state(MetricFamily::kHealth, {}, "degraded");

  CHECK(lines_of(numbers, "ipsecd_traffic_bytes") ==
        "# TYPE ipsecd_traffic_bytes counter\n# UNIT ipsecd_traffic_bytes bytes\n# HELP ipsecd_traffic_bytes " +
            std::string(info(MetricFamily::kTrafficBytes).help) +
            "\n"
            "ipsecd_traffic_bytes_total{group=\"core\",direction=\"in\",mode=\"none\"} 18446744073709551615\n"
            "ipsecd_traffic_bytes_total{group=\"core\",direction=\"out\",mode=\"packet\"} 7\n");
  CHECK(lines_of(numbers, "ipsecd_start_time_seconds").ends_with("\nipsecd_start_time_seconds 1795238030.125\n"));
  CHECK(lines_of(numbers, "ipsecd_build").ends_with("\nipsecd_build_info{version=\"1.2.3\"} 1\n"));
  CHECK(lines_of(numbers, "ipsecd_health")
            .ends_with("\nipsecd_health{ipsecd_health=\"degraded\"} 1\nipsecd_health{ipsecd_health=\"failed\"} 0\n"
                       "ipsecd_health{ipsecd_health=\"ok\"} 0\n"));
  CHECK(numbers.text(Format::kOpenMetrics).ends_with("\n# EOF\n"));
  CHECK(numbers.series() == 7);
}

TEST_CASE("metrics: the older format has neither units, infos nor statesets, and other names of counters") {
  Exposition numbers;
  numbers.set(MetricFamily::kBuild, {"1"});
  numbers.set(MetricFamily::kControlCalls, {}, uint64_t{2});
  numbers.set_state(MetricFamily::kHealth, {}, "ok");
  const std::string text = numbers.text(Format::kPrometheus);

  CHECK(text.find("# UNIT") == std::string::npos);
  CHECK(text.find(" info\n") == std::string::npos);
  CHECK(text.find(" stateset\n") == std::string::npos);
  CHECK(lines_of(numbers, "ipsecd_build_info", Format::kPrometheus) ==
        "# TYPE ipsecd_build_info gauge\n# HELP ipsecd_build_info The running version.\n"
        "ipsecd_build_info{version=\"1\"} 1\n");
  CHECK(lines_of(numbers, "ipsecd_control_calls_total", Format::kPrometheus)
            .ends_with("\nipsecd_control_calls_total 2\n"));
  CHECK(lines_of(numbers, "ipsecd_health", Format::kPrometheus).find("# TYPE ipsecd_health gauge\n") == 0);
}

TEST_CASE("metrics: whatever a label's value is, it is escaped, valid UTF-8, and short") {
  CHECK(label_of("a\"b\\c") == R"(a\"b\\c)");
  CHECK(label_of("a\nb\tc\x7f") == "a?b?c?");
  CHECK(label_of("Zürich – 東京 🙂") == "Zürich – 東京 🙂");
  for (const std::string_view broken :
       {"\x80", "\xc0\xaf", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xff"}) {
    const std::string shown = label_of(broken);
    CAPTURE(shown);
    CHECK(shown == std::string(broken.size(), '?'));
  }
  CHECK(label_of(std::string(1000, 'a')) == std::string(kLabelBytesMax, 'a'));
  CHECK(label_of(std::string(kLabelBytesMax - 1, 'a') + "ü") == std::string(kLabelBytesMax - 1, 'a'));
}

TEST_CASE("metrics: numbers that are none are written as the standard says") {
  for (const auto& [value, text] :
       {std::pair(std::numeric_limits<double>::quiet_NaN(), "NaN"),
        std::pair(std::numeric_limits<double>::infinity(), "+Inf"),
        std::pair(-std::numeric_limits<double>::infinity(), "-Inf"), std::pair(0.1, "0.1"), std::pair(0.0, "0")}) {
    Exposition numbers;
    numbers.set(MetricFamily::kCollectTime, {}, value);
    CHECK(lines_of(numbers, "ipsecd_metrics_collect_seconds")
              .ends_with("ipsecd_metrics_collect_seconds " + std::string(text) + "\n"));
  }
}

TEST_CASE("metrics: no series comes twice, and none beyond the limit but those that tell of it") {
  Exposition numbers;
  numbers.set(MetricFamily::kWorkers, {}, uint64_t{1});
  numbers.set(MetricFamily::kWorkers, {}, uint64_t{2});
  CHECK(std::get<uint64_t>(*numbers.find(MetricFamily::kWorkers, {})) == 1);
  CHECK(numbers.left_out() == 1);

  for (size_t i = 2; i < kSeriesMax; ++i) numbers.set(MetricFamily::kTunnelsLimit, {std::to_string(i)}, i);
  CHECK(numbers.series() == kSeriesMax - 1);
  numbers.set_state(MetricFamily::kHealth, {}, "ok");  // three series, whole or not at all
  CHECK(numbers.find(MetricFamily::kHealth, {"ok"}) == nullptr);
  numbers.set(MetricFamily::kWarnings, {}, uint64_t{0});
  numbers.set(MetricFamily::kControlClients, {}, uint64_t{0});
  CHECK(numbers.left_out() == 5);
  numbers.set(MetricFamily::kLeftOut, {}, uint64_t{numbers.left_out()});
  CHECK(std::get<uint64_t>(*numbers.find(MetricFamily::kLeftOut, {})) == 5);
}

TEST_CASE("metrics: a state that a family does not have gives no series at all") {
  Exposition numbers;
  numbers.set_state(MetricFamily::kHealth, {}, "splendid");
  CHECK(numbers.series() == 0);
}

TEST_CASE("metrics: every family is documented and named as the standard wants it") {
  const std::regex name("ipsecd_[a-z]+(_[a-z]+)*"), word("[a-z]+(-[a-z]+)*");
  const std::set<std::string_view> units{"", "seconds", "bytes", "bytes_per_second"};
  std::set<std::string> names;
  for (const FamilyInfo& family : families()) {
    CAPTURE(family.name);
    CHECK(std::regex_match(std::string(family.name), name));
    CHECK(names.insert(std::string(family.name)).second);
    CHECK(units.contains(family.unit));
    // In base units, and nothing that looks as if it had a unit without one.
    if (!family.unit.empty()) CHECK(family.name.ends_with("_" + std::string(family.unit)));
    for (const char* other : {"_seconds", "_bytes", "_second"})
      if (family.unit.empty()) CHECK_FALSE(family.name.ends_with(other));
    for (const char* wrong : {"_milliseconds", "_ms", "_bits", "_percent", "_minutes"})
      CHECK_FALSE(family.name.ends_with(wrong));
    CHECK(family.help.size() > 10);
    CHECK(family.help.ends_with('.'));
    CHECK((family.type == Type::kStateSet) == !family.states.empty());
    for (const std::string& state : words(family.states)) CHECK(std::regex_match(state, word));
  }
  // Names of series of different families must not meet.
  for (const FamilyInfo& family : families())
    for (const char* suffix : {"_total", "_info", "_created", "_count", "_sum", "_bucket"}) {
      CHECK_FALSE(family.name.ends_with(suffix));
      CHECK_FALSE(names.contains(std::string(family.name) + suffix));
    }
}

TEST_CASE("metrics: no label can have as many values as there are tunnels, SAs or peers") {
  const std::set<std::string> bounded{
      "group", "public_netns", "public_vrf", "private_netns", "private_vrf", "attachment", "offload",  // groups
      "netns", "device",       "driver",     "bus",           "firmware",                              // NICs
      "state", "direction",    "wanted",     "mode",          "reason",      "error",      "source",
      "to",    "why",          "result",     "version"};
  for (const FamilyInfo& family : families()) {
    const std::vector<std::string> labels = words(family.labels);
    for (const std::string& label : labels) CHECK_MESSAGE(bounded.contains(label), family.name, " has label ", label);
    CHECK(std::set<std::string>(labels.begin(), labels.end()).size() == labels.size());
  }
}
