#include "agent/show/metrics_view.h"

#include <algorithm>
#include <array>
#include <set>

#include "agent/show/metrics_groups.h"

namespace ipsec::agent {
namespace {

using metrics::Exposition;
using metrics::MetricFamily;

/// The parts of the catalogue, by the reason that each begins with (policy/base/reasons.h): a new reason is counted in
/// its part without a word here.
struct Part {
  Reason first;
  MetricFamily family;
};
constexpr std::array kParts = {
    Part{Reason::kMalformed, MetricFamily::kGeneralEvents},
    Part{Reason::kConfigSyntax, MetricFamily::kConfigurationEvents},
    Part{Reason::kIkeShort, MetricFamily::kMessageEvents},
    Part{Reason::kNoProposalChosen, MetricFamily::kNegotiationEvents},
    Part{Reason::kIkeEstablished, MetricFamily::kLifecycleEvents},
    Part{Reason::kKernelRefused, MetricFamily::kKernelEvents},
    Part{Reason::kOffloadNotRequested, MetricFamily::kOffloadEvents},
    Part{Reason::kControlBadRequest, MetricFamily::kControlEvents},
};

/// Those that alerts are made of are there from the start, so that the first one is an increase; each of these is
/// counted whenever it happens. Others appear when they happen: many reasons only explain, and a 0 would claim more.
constexpr std::array kFromTheStart = {
    Reason::kIkeUnknownSpi,    Reason::kIkeNotAuthentic, Reason::kIkeHalfOpenLimit,   Reason::kIkeSaLimit,
    Reason::kIkeCookieSent,    Reason::kIkeCookieBad,    Reason::kIkePrefixLimit,     Reason::kIkeInitRate,
    Reason::kNoProposalChosen, Reason::kAuthFailed,      Reason::kPeerAuthFailed,     Reason::kTsUnacceptable,
    Reason::kSetupTimeout,     Reason::kIkeEstablished,  Reason::kChildEstablished,   Reason::kChildRekeyed,
    Reason::kIkeRekeyed,       Reason::kRekeyFailed,     Reason::kLifetimeEnded,      Reason::kPeerUnreachable,
    Reason::kTunnelUp,         Reason::kTunnelDown,      Reason::kDriftMended,        Reason::kDriftStays,
    Reason::kSaLost,           Reason::kRouteConflict,   Reason::kOffloadNotCounting, Reason::kOffloadDeviceLost,
    Reason::kOffloadMoved,
};

MetricFamily family_of(Reason reason) {
  const auto next = std::ranges::upper_bound(kParts, reason, {}, &Part::first);
  return std::prev(next)->family;  // only kNone comes before the first part
}

void add_events(const MetricsSources& sources, Exposition& out) {
  for (size_t i = 1; i < kReasonCount; ++i) {
    const auto reason = static_cast<Reason>(i);
    const uint64_t count = sources.count(reason);
    if (count != 0 || std::ranges::find(kFromTheStart, reason) != kFromTheStart.end())
      out.set(family_of(reason), {code(reason)}, count);
  }
}

void add_daemon(const MetricsSources& sources, Exposition& out) {
  const TunnelManager& manager = sources.manager;
  out.set(MetricFamily::kBuild, {sources.version});
  out.set(MetricFamily::kStartTime, {}, std::chrono::duration<double>(sources.started_at.since_epoch).count());
  out.set_state(MetricFamily::kHealth, {}, sources.health);
  out.set(MetricFamily::kWarnings, {}, sources.warnings);
  out.set(MetricFamily::kWorkers, {}, sources.workers.workers);
  out.set(MetricFamily::kLongestTurn, {}, std::chrono::duration<double>(sources.longest_turn).count());
  std::map<std::string_view, uint64_t> carriers{{"up", 0}, {"idle", 0}, {"down", 0}, {"failed", 0}, {"disabled", 0}};
  for (const auto& [name, row] : manager.carriers().rows()) ++carriers[Carriers::state_of(row)];
  for (const auto& [state, count] : carriers) out.set(MetricFamily::kCarriers, {state}, count);
  out.set(MetricFamily::kRoutesWaiting, {}, sources.census.waiting_routes());
  out.set(MetricFamily::kOrphanSas, {}, manager.orphans().sas());
}

void add_ike(const MetricsSources& sources, Exposition& out) {
  out.set(MetricFamily::kIkeEstablishing, {}, sources.census.ike_establishing());
  out.set(MetricFamily::kIkeHalfOpen, {}, sources.workers.half_open);
  out.set(MetricFamily::kIkeHalfOpenLimit, {}, uint64_t{sources.manager.config().admission.half_open_max});
  out.set(MetricFamily::kIkeCookieWorkers, {}, sources.workers.asking_for_cookies);
  out.set(MetricFamily::kIkeDatagrams, {"in"}, sources.workers.received);
  out.set(MetricFamily::kIkeDatagrams, {"out"}, sources.workers.sent);
}

std::string_view state_word(policy::Reconciler::State state) {
  switch (state) {
    case policy::Reconciler::State::kAwaiting: return "awaiting";
    case policy::Reconciler::State::kSyncing: return "syncing";
    case policy::Reconciler::State::kSynced: return "synced";
  }
  return "";
}

void add_kernel(const MetricsSources& sources, Exposition& out) {
  for (const auto& [netns, state] : sources.manager.reconciliation().states())
    out.set_state(MetricFamily::kNamespaceState, {netns}, state_word(state));
  std::set<std::string> namespaces;
  for (const auto& [name, group] : sources.manager.config().groups)
    if (group->enabled) namespaces.insert(group->public_place.netns);
  size_t read = 0;
  for (const std::string& netns : namespaces) {
    if (++read > kMetricsNamespacesMax) break;
    const auto counters = sources.xfrm_stat(netns);
    if (!counters.ok()) continue;  // a namespace that is gone, a kernel without them: not known
    for (const auto& [error, count] : *counters) out.set(MetricFamily::kXfrmErrors, {netns, error}, count);
  }
}

void add_moves(const OffloadBook::DeviceRow& device, const OffloadCounts::OfDevice& counts, Exposition& out) {
  for (const auto& [move, count] : counts.moves)
    out.set(MetricFamily::kMoves,
            {device.netns, device.name, move.onto_nic ? "nic" : "software", word_of(move.why), to_string(move.result)},
            count);
}

void add_device(const OffloadBook::DeviceRow& device, const OffloadCounts::OfDevice& counts, Exposition& out) {
  const std::string_view netns = device.netns, name = device.name;
  const hwoffload::DeviceFacts& facts = device.facts;
  if (facts.present) out.set(MetricFamily::kDevice, {netns, name, facts.driver, facts.bus, facts.firmware});
  out.set(MetricFamily::kDeviceLosses, {netns, name}, counts.losses);
  out.set(MetricFamily::kDisproved, {netns, name}, counts.disproved);
  out.set(MetricFamily::kRefusalsRemembered, {netns, name}, device.refusals);
  // Of these two each driver has its own; a refusal of either sort is counted whenever it happens.
  for (const Reason reason : {Reason::kOffloadRefused, Reason::kOffloadTableFull})
    if (!counts.refusals.contains(reason)) out.set(MetricFamily::kRefusals, {netns, name, code(reason)}, uint64_t{0});
  for (const auto& [reason, count] : counts.refusals)
    out.set(MetricFamily::kRefusals, {netns, name, code(reason)}, count);
  add_moves(device, counts, out);
  if (!device.view) return;  // more devices than the budget takes
  const hwoffload::DeviceView& view = *device.view;
  const bool usable = view.state == hwoffload::DeviceRoom::State::kUsable;
  out.set_state(MetricFamily::kDeviceState, {netns, name}, !usable ? "lost" : view.settles_at ? "settling" : "usable");
  out.set(MetricFamily::kDeviceChildren, {netns, name}, view.used);
  if (view.room) out.set(MetricFamily::kDeviceRoom, {netns, name, hwoffload::to_string(view.source)}, *view.room);
  out.set(MetricFamily::kDeviceLoad, {netns, name}, view.load);
}

void add_devices(const MetricsSources& sources, Exposition& out) {
  OffloadBook& book = sources.manager.offload();
  std::set<OffloadCounts::Device> devices;
  for (const OffloadBook::DeviceRow& device : book.devices()) {
    add_device(device, book.counts().of({device.netns, device.name}), out);
    devices.emplace(device.netns, device.name);
  }
  out.set(MetricFamily::kMovesUnderWay, {}, book.moves_under_way());
  add_device_sas(sources.census, devices, out);
}

void add_control(const MetricsSources& sources, Exposition& out) {
  const control::ServerCounters& counters = sources.control;
  out.set(MetricFamily::kControlClients, {}, sources.clients);
  out.set(MetricFamily::kControlConnections, {}, counters.accepted);
  out.set(MetricFamily::kControlCalls, {}, counters.calls);
  for (const auto& [why, count] :
       {std::pair("too-many-clients", counters.refused_clients), std::pair("not-a-call", counters.bad_messages),
        std::pair("no-permission", counters.denied_calls), std::pair("flood", counters.floods),
        std::pair("slow-client", counters.slow_clients), std::pair("reply-too-large", counters.replies_too_large)})
    out.set(MetricFamily::kControlRefusals, {why}, count);
}

}  // namespace

Exposition collect_metrics(const MetricsSources& sources) {
  Exposition out;
  add_daemon(sources, out);
  add_ike(sources, out);
  add_events(sources, out);
  add_kernel(sources, out);
  add_devices(sources, out);
  add_control(sources, out);
  add_groups(sources.manager, sources.census,
             out);  // the most series, so the last: what there is no room for is of these
  return out;
}

void finish_metrics(Exposition& numbers, Duration took) {
  numbers.set(MetricFamily::kCollectTime, {}, std::chrono::duration<double>(took).count());
  numbers.set(MetricFamily::kLeftOut, {}, uint64_t{numbers.left_out()});
}

}  // namespace ipsec::agent
