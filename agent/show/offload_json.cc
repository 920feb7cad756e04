#include "agent/show/offload_json.h"

#include <algorithm>
#include <optional>

#include "agent/limits.h"
#include "agent/offload_needs.h"
#include "agent/show/census.h"
#include "agent/show/limits.h"
#include "agent/show/rows.h"

namespace ipsec::agent {
namespace {

using hwoffload::Known;
using nlohmann::json;

json or_null(std::string_view text) { return text.empty() ? json(nullptr) : json(text); }

uint64_t sas_on(const Census& census, const std::string& netns, const std::string& device) {
  const auto found = census.devices().find({netns, device});
  if (found == census.devices().end()) return 0;
  uint64_t count = 0;
  for (const Census::ByKind& kinds : found->second)
    for (const uint64_t each : kinds) count += each;
  return count;
}

/// What a device can do, as far as that is known without trying.
Known can(const hwoffload::DeviceFacts& facts, policy::OffloadKind kind) {
  if (!facts.present || !facts.cannot_because.empty()) return Known::kNo;
  const Known in = facts.probed.of(kind, policy::Direction::kIn).known;
  const Known out = facts.probed.of(kind, policy::Direction::kOut).known;
  if (in == Known::kYes || out == Known::kYes) return Known::kYes;
  if (in == Known::kNo && out == Known::kNo) return Known::kNo;
  const hwoffload::KnownDriver* driver = hwoffload::find_driver(facts.driver);
  const Known by_driver = driver == nullptr                      ? Known::kUnknown
                          : kind == policy::OffloadKind::kCrypto ? driver->crypto
                                                                 : driver->packet;
  if (by_driver != Known::kUnknown) return by_driver;
  // The feature says crypto; no driver has packet alone.
  if (facts.esp_offload == Known::kNo) return Known::kNo;
  return kind == policy::OffloadKind::kCrypto ? facts.esp_offload : Known::kUnknown;
}

json probed_json(const hwoffload::ProbedDevice& probed) {
  if (!probed.asked) return json("no: node.offload.devices.NAME.active_probe allows it");
  const auto text = [](std::string_view what, const hwoffload::ProbedDevice::Answer& answer) {
    std::string line = std::string(what) + ": " + std::string(hwoffload::to_string(answer.known));
    return answer.words.empty() ? line : line + " (" + answer.words + ")";
  };
  return json::array({text("crypto in", probed.crypto_in), text("crypto out", probed.crypto_out),
                      text("packet in", probed.packet_in), text("packet out", probed.packet_out),
                      text("policies", probed.policy)});
}

json place_json(const hwoffload::Place& place) { return place ? json(*place) : json("software"); }

json device_row(const Census& census, const std::string& group, const OffloadBook::DeviceRow& device) {
  const hwoffload::DeviceFacts& facts = device.facts;
  json row = {{"name", device.name},
              {"netns", or_null(device.netns)},
              {"group", group},
              {"present", facts.present},
              {"up", facts.present ? json(facts.up) : json(nullptr)},
              {"driver", or_null(facts.driver)},
              {"crypto", hwoffload::to_string(can(facts, policy::OffloadKind::kCrypto))},
              {"packet", hwoffload::to_string(can(facts, policy::OffloadKind::kPacket))},
              {"detail", or_null(facts.present ? facts.cannot_because : "there is no device " + device.name)},
              {"sas", sas_on(census, device.netns, device.name)},
              {"room", nullptr},
              {"room_source", "unknown"},
              {"children", 0},
              {"rate", 0},
              {"state", "lost"}};
  if (!device.view) return row;
  const hwoffload::DeviceView& view = *device.view;
  if (view.room) row["room"] = *view.room;
  row["room_source"] = hwoffload::to_string(view.source);
  row["children"] = view.used;
  row["rate"] = static_cast<uint64_t>(view.load);
  if (view.state == hwoffload::DeviceRoom::State::kUsable) row["state"] = view.settles_at ? "settling" : "usable";
  return row;
}

std::string rung_text(const policy::OffloadRequest& request) {
  if (request.kind == policy::OffloadKind::kNone) return "software";
  return std::string(policy::to_string(request.kind)) + " on " + request.device;
}

json rule_json(const hwoffload::Verdict& verdict) {
  return {{"kind", policy::to_string(verdict.kind)},
          {"device", or_null(verdict.device)},
          {"code", code(verdict.reason)},
          {"text", verdict.detail},
          {"remedy", or_null(verdict.remedy)},
          {"source", or_null(verdict.source)}};
}

/// What nobody knows before it is tried, and who could tell.
json unknowns_of(const hwoffload::Situation& situation, const hwoffload::Placement& placement,
                 const hwoffload::SaNeeds& needs) {
  json list = json::array();
  for (const hwoffload::DeviceFacts& facts : situation.devices) {
    const bool tried =
        std::ranges::any_of(placement.attempts, [&](const auto& each) { return each.request.device == facts.name; });
    if (!tried) continue;
    if (hwoffload::find_driver(facts.driver) == nullptr)
      list.push_back("what driver \"" + facts.driver + "\" of " + facts.name +
                     " refuses: there is no rule for it; the first SA will tell");
    else if (can(facts, policy::OffloadKind::kPacket) == Known::kUnknown)
      list.push_back("whether " + facts.name + " has packet offload: its firmware decides; the first SA will tell");
    if (facts.path_device.empty())
      list.push_back("whether packets to the peer leave by " + facts.name + ": there is no route to it yet");
  }
  if (needs.direction == policy::Direction::kIn && needs.has_if_id && situation.kernel.inbound_if_id == Known::kUnknown)
    list.push_back("whether this kernel offloads inbound SAs of xfrm interfaces: it could not be asked");
  return list;
}

json direction_json(const hwoffload::SaNeeds& needs, const hwoffload::Situation& situation, policy::OffloadMode wish,
                    const hwoffload::Effective* effective) {
  const hwoffload::Placement placement = hwoffload::place(needs, situation, wish);
  json rungs = json::array(), rules = json::array();
  for (const hwoffload::Attempt& each : placement.attempts) rungs.push_back(rung_text(each.request));
  for (const hwoffload::Verdict& each : placement.passed_over) rules.push_back(rule_json(each));
  json row = {{"direction", needs.direction == policy::Direction::kIn ? "in" : "out"},
              {"requested", policy::to_string(wish)},
              {"predicted", rungs.front()},
              {"rungs", rungs},
              {"rules", rules},
              {"unknown", unknowns_of(situation, placement, needs)},
              {"effective", nullptr},
              {"device", nullptr},
              {"code", nullptr},
              {"detail", nullptr}};
  if (effective == nullptr) return row;
  row["effective"] = policy::to_string(effective->kind);
  row["device"] = or_null(effective->device);
  row["code"] = code(effective->reason);
  row["detail"] = or_null(effective->detail);
  return row;
}

json explain_child(TunnelManager& manager, Instant now, const TunnelRow& row, const ChildRow& child) {
  const InstalledChild* installed = nullptr;
  if (!child.up.empty())
    if (const auto it = manager.installer().children().find(child.up.back());
        it != manager.installer().children().end())
      installed = it->second.get();
  json explained = {{"tunnel", row.tunnel->name},
                    {"child", child.config->name},
                    {"planned", installed == nullptr},
                    {"requested", policy::to_string(row.tunnel->offload_mode())},
                    {"attachment", policy::to_string(row.tunnel->group->attached)},
                    {"suite", nullptr},
                    {"pin", "none"},
                    {"place", nullptr},
                    {"place_because", nullptr},
                    {"rate", nullptr},
                    {"problem", nullptr},
                    {"directions", json::array()}};
  if (const auto seat = manager.offload().seat(child.ids.reqid)) {
    explained["pin"] = seat->pin == hwoffload::Pin::kNone  ? "none"
                       : seat->pin == hwoffload::Pin::kNic ? "nic"
                                                           : "software";
    explained["place"] = place_json(seat->place);
    explained["place_because"] = hwoffload::to_string(seat->why);
    explained["rate"] = static_cast<uint64_t>(seat->rate);
  }
  std::shared_ptr<const policy::ChildSpec> spec;
  Result<policy::ChildPlan> plan = Error(Reason::kNotFound, "nothing is planned");
  if (installed == nullptr) {
    auto expected = expected_spec(row.tunnel, *child.config);
    if (expected.ok()) spec = *expected;
    plan = expected.ok() ? policy::plan_child(*spec, child.ids) : Result<policy::ChildPlan>(expected.error());
    if (!plan.ok()) {
      explained["problem"] = plan.error().text();
      return explained;
    }
  }
  const policy::ChildSpec& what = installed != nullptr ? *installed->spec : *spec;
  const policy::ChildPlan& objects = installed != nullptr ? installed->plan : *plan;
  explained["suite"] = policy::to_string(what.suite);
  for (const policy::Direction direction : {policy::Direction::kIn, policy::Direction::kOut}) {
    const hwoffload::SaNeeds needs = needs_of(what, objects, direction);
    const hwoffload::Effective* effective = nullptr;
    if (installed != nullptr)
      effective = direction == policy::Direction::kIn ? &installed->inbound : &installed->outbound;
    explained["directions"].push_back(direction_json(needs,
                                                     manager.offload().look(now, child.ids.reqid, *row.tunnel, needs),
                                                     row.tunnel->offload_mode(), effective));
  }
  return explained;
}

std::vector<json> device_rows(TunnelManager& manager, const Census& census) {
  std::vector<json> rows;
  const std::vector<OffloadBook::DeviceRow> devices = manager.offload().devices();
  for (const auto& [name, group] : manager.config().groups)
    for (const std::string& wanted : group->offload_devices)
      for (const OffloadBook::DeviceRow& each : devices)
        if (each.name == wanted && each.netns == group->public_place.netns)
          rows.push_back(device_row(census, name, each));
  return rows;
}

}  // namespace

std::unique_ptr<control::RowSource> device_rows(TunnelManager& manager, Instant now) {
  manager.read_offload_devices(now, kOffloadReadAsked);
  return std::make_unique<show::PreparedRows>(
      [&manager, census = std::make_shared<Census>(manager)]() -> std::optional<std::vector<json>> {
        if (!census->step()) return std::nullopt;
        return device_rows(manager, *census);
      });
}

json device_in_full(TunnelManager& manager, const json& row) {
  json full = row;
  const std::string name = row.at("name"), netns = row.at("netns").is_null() ? "" : row.at("netns");
  full["rules"] = json::array();
  full["children_on_it"] = json::array();
  for (const OffloadBook::DeviceRow& each : manager.offload().devices()) {
    if (each.name != name || each.netns != netns) continue;
    full["bus"] = or_null(each.facts.bus);
    full["firmware"] = or_null(each.facts.firmware);
    full["devlink"] = or_null(each.facts.devlink);
    full["eswitch"] = or_null(each.facts.eswitch);
    full["flow_steering"] = or_null(each.facts.flow_steering);
    full["works_through"] = or_null(each.facts.worker);
    full["esp_hw_offload"] = hwoffload::to_string(each.facts.esp_offload);
    full["inbound_if_id"] = hwoffload::to_string(manager.offload().kernel_facts(netns).inbound_if_id);
    full["refusals_remembered"] = each.refusals;
    const OffloadCounts::OfDevice counts = manager.offload().counts().of({netns, name});
    json refused = json::array();
    for (const auto& [reason, count] : counts.refusals)
      refused.push_back(std::to_string(count) + " " + std::string(code(reason)));
    full["refused"] = std::move(refused);
    full["losses"] = counts.losses;
    full["disproved_sas"] = counts.disproved;
    full["probed"] = probed_json(each.facts.probed);
    for (const hwoffload::DriverRule& rule : hwoffload::driver_rules())
      if (rule.driver == each.facts.driver)
        full["rules"].push_back(std::string(rule.says) + " (" + std::string(rule.source) + ")");
  }
  for (const auto& [id, child] : manager.installer().children()) {
    if (full["children_on_it"].size() >= kChildrenOnDeviceNamed) break;
    for (const auto* each : {&child->inbound, &child->outbound})
      if (each->kind != policy::OffloadKind::kNone && each->device == name &&
          child->spec->tunnel->group->public_place.netns == netns)
        full["children_on_it"].push_back(child->spec->tunnel->name + "/" + child->spec->child + " " +
                                         (each == &child->inbound ? "in" : "out") + ", " +
                                         std::string(policy::to_string(each->kind)));
  }
  return full;
}

namespace {

/// The children that may be on a NIC, gathered in steps and shown by their rate.
class SeatRows final : public control::RowSource {
 public:
  explicit SeatRows(const TunnelManager& manager) : manager_(manager) {}
  More next(std::vector<json>& rows) override {
    if (!gathered_) {
      gather();
      return More::kYes;
    }
    for (size_t i = 0; i < control::kRowsPerStep && at_ < found_.size(); ++i) add_row(found_[at_++], rows);
    return at_ == found_.size() ? More::kNo : More::kYes;
  }

 private:
  struct Found {
    double rate = 0;
    uint32_t reqid = 0;
    std::string tunnel, child;
  };
  void gather() {
    const auto& tunnels = manager_.tunnels();
    auto it = last_ ? tunnels.upper_bound(*last_) : tunnels.begin();
    for (size_t left = kLookedAtPerStep; it != tunnels.end() && left != 0; ++it, --left) {
      for (const auto& [name, child] : it->second.children)
        if (const auto seat = manager_.offload().seat(child.ids.reqid))
          found_.push_back({seat->rate, child.ids.reqid, it->first, name});
      last_ = it->first;
    }
    gathered_ = it == tunnels.end();
    if (gathered_) std::ranges::stable_sort(found_, [](const Found& a, const Found& b) { return a.rate > b.rate; });
  }
  void add_row(const Found& found, std::vector<json>& rows) const {
    const auto seat = manager_.offload().seat(found.reqid);
    if (!seat) return;  // it has gone meanwhile
    rows.push_back({{"tunnel", found.tunnel},
                    {"child", found.child},
                    {"place", place_json(seat->place)},
                    {"going_to", seat->going_to ? place_json(*seat->going_to) : json(nullptr)},
                    {"rate", static_cast<uint64_t>(seat->rate)},
                    {"pin", seat->pin == hwoffload::Pin::kNone  ? "none"
                            : seat->pin == hwoffload::Pin::kNic ? "nic"
                                                                : "software"},
                    {"because", hwoffload::to_string(seat->why)}});
  }
  const TunnelManager& manager_;
  std::optional<std::string> last_;
  bool gathered_ = false;
  std::vector<Found> found_;
  size_t at_ = 0;
};

}  // namespace

std::unique_ptr<control::RowSource> seat_rows(const TunnelManager& manager) {
  return std::make_unique<SeatRows>(manager);
}

json explain_offload(TunnelManager& manager, Instant now, const TunnelRow& row) {
  manager.read_offload_devices(now, kOffloadReadAsked);
  json children = json::array();
  for (const auto& [name, child] : row.children) children.push_back(explain_child(manager, now, row, child));
  return children;
}

}  // namespace ipsec::agent
