#include "policy/selector_fit.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "policy/limits.h"
#include "policy/plan.h"

namespace ipsec::policy {
namespace {

constexpr uint8_t kIcmp = 1, kIcmpV6 = 58;

bool is_icmp(uint8_t protocol) { return protocol == kIcmp || protocol == kIcmpV6; }

/// Whether packets exist that go from one to the other.
bool can_meet(const TrafficSelector& local, const TrafficSelector& remote) {
  return local.addresses.first.family() == remote.addresses.first.family() &&
         (local.protocol == remote.protocol || local.protocol == TrafficSelector::kAnyProtocol ||
          remote.protocol == TrafficSelector::kAnyProtocol);
}

/// The kernel compares ICMP's type and code once for both ends: one type, with one code or all, alike on both sides.
bool icmp_is_expressible(const TrafficSelector& local, const TrafficSelector& remote) {
  const TrafficSelector& with = local.any_port() ? remote : local;
  if (!local.any_port() && !remote.any_port() &&
      (local.port_first != remote.port_first || local.port_last != remote.port_last))
    return false;
  return with.any_port() || with.port_first == with.port_last ||
         ((with.port_first & 0xff) == 0 && with.port_last == (with.port_first | 0xff));
}

/// Blocks of ports of a pair; nothing when the kernel cannot express it.
std::optional<size_t> port_pair_count(const TrafficSelector& local, const TrafficSelector& remote) {
  if (local.opaque() || remote.opaque()) return std::nullopt;
  if (is_icmp(std::max(local.protocol, remote.protocol)))
    return icmp_is_expressible(local, remote) ? std::optional<size_t>(1) : std::nullopt;
  return port_blocks(local.port_first, local.port_last).size() *
         port_blocks(remote.port_first, remote.port_last).size();
}

Error nothing_common(const SelectorPair& configured, const SelectorPair& offered) {
  return Error(Reason::kTsUnacceptable, "offered local " + to_string(offered.local) + " remote " +
                                            to_string(offered.remote) + "; configured local " +
                                            to_string(configured.local) + " remote " + to_string(configured.remote));
}

Error too_many(size_t needed, size_t allowed) {
  return Error(Reason::kSelectorCount, std::to_string(needed) + " kernel policies would be needed, at most " +
                                           std::to_string(allowed) + " are allowed");
}

/// Drops what meets nothing on the other side: it would be promised and never carried.
SelectorPair with_counterparts(SelectorPair pair) {
  auto drop = [](SelectorList& list, const SelectorList& other) {
    std::erase_if(list, [&](const TrafficSelector& each) {
      return std::none_of(other.begin(), other.end(), [&](const TrafficSelector& its) { return can_meet(each, its); });
    });
  };
  drop(pair.local, pair.remote);
  drop(pair.remote, pair.local);
  return pair;
}

SelectorPair narrow_both(const SelectorPair& configured, const SelectorPair& offered) {
  return with_counterparts({narrow(configured.local, offered.local), narrow(configured.remote, offered.remote)});
}

/// The packet's own selectors as far as they are allowed; nothing where they are not.
std::optional<SelectorPair> packet_pair(const SelectorPair& configured, const SelectorPair& offered) {
  if (offered.local.empty() || offered.remote.empty()) return std::nullopt;
  const SelectorPair first = narrow_both(configured, {{offered.local.front()}, {offered.remote.front()}});
  for (const TrafficSelector& local : first.local)
    for (const TrafficSelector& remote : first.remote)
      if (can_meet(local, remote)) return SelectorPair{{local}, {remote}};
  return std::nullopt;
}

bool fits(const SelectorPair& pair, size_t policies_max) {
  const auto needed = policies_needed(pair);
  return needed.ok() && *needed != 0 && *needed <= policies_max;
}

/// Adds in turn of what both lists have left, in their order, as long as it fits.
SelectorPair fill(SelectorPair chosen, const SelectorPair& all, size_t policies_max) {
  for (size_t i = 0; i < std::max(all.local.size(), all.remote.size()); ++i) {
    for (SelectorList SelectorPair::*side : {&SelectorPair::local, &SelectorPair::remote}) {
      if (i >= (all.*side).size()) continue;
      SelectorPair more = chosen;
      add_selector(more.*side, (all.*side)[i]);
      if (fits(more, policies_max)) chosen = std::move(more);
    }
  }
  return with_counterparts(std::move(chosen));
}

/// One address, and one port or any.
bool is_single(const SelectorList& list) {
  if (list.size() != 1) return false;
  const TrafficSelector& only = list.front();
  return only.addresses.first == only.addresses.last &&
         (only.any_port() || only.opaque() || only.port_first == only.port_last);
}

size_t weight(const TrafficSelector& selector) {
  const size_t blocks =
      is_icmp(selector.protocol) || selector.opaque() ? 1 : port_blocks(selector.port_first, selector.port_last).size();
  return selector.addresses.prefix_count() * blocks;
}

size_t weight(const SelectorList& list) {
  size_t sum = 0;
  for (const TrafficSelector& each : list) sum += weight(each);
  return sum;
}

/// One selector as two, cut where a prefix or a block of ports ends. Only for one of a weight above 1.
std::array<SelectorList, 2> halves(const TrafficSelector& selector) {
  TrafficSelector lower = selector, upper = selector;
  if (const auto prefixes = selector.addresses.prefixes(); prefixes.size() > 1) {
    lower.addresses.last = prefixes[prefixes.size() / 2 - 1].last();
    upper.addresses.first = prefixes[prefixes.size() / 2].address;
  } else {
    const auto blocks = port_blocks(selector.port_first, selector.port_last);
    upper.port_first = blocks[blocks.size() / 2].value;
    lower.port_last = static_cast<uint16_t>(upper.port_first - 1);
  }
  return {SelectorList{lower}, SelectorList{upper}};
}

/// A list as two of about the same weight.
std::array<SelectorList, 2> halves(const SelectorList& list) {
  if (list.size() == 1) return halves(list.front());
  const size_t whole = weight(list);
  size_t count = 0, sum = 0;
  while (count + 1 < list.size() && (count == 0 || 2 * (sum + weight(list[count])) <= whole))
    sum += weight(list[count++]);
  const auto cut = list.begin() + static_cast<std::ptrdiff_t>(count);
  return {SelectorList(list.begin(), cut), SelectorList(cut, list.end())};
}

Status split(const SelectorPair& pair, size_t policies_max, std::vector<SelectorPair>& parts) {
  TRY_ASSIGN(const size_t needed, policies_needed(pair), "");
  if (needed == 0) return {};
  if (needed <= policies_max) {
    if (parts.size() == kChildPartsMax)
      return Error(Reason::kSelectorCount, "more than " + std::to_string(kChildPartsMax) + " children of at most " +
                                               std::to_string(policies_max) + " kernel policies would be needed");
    parts.push_back(with_counterparts(pair));
    return {};
  }
  // More than one policy is needed, so that one of the sides has more than one piece.
  const bool local = weight(pair.local) >= weight(pair.remote);
  for (SelectorList& half : halves(local ? pair.local : pair.remote)) {
    SelectorPair part = pair;
    (local ? part.local : part.remote) = std::move(half);
    TRY(split(part, policies_max, parts), "");
  }
  return {};
}

}  // namespace

Result<size_t> policies_needed(const SelectorPair& selectors) {
  std::vector<size_t> destinations;
  destinations.reserve(selectors.remote.size());
  for (const TrafficSelector& remote : selectors.remote) destinations.push_back(remote.addresses.prefix_count());
  size_t needed = 0;
  for (const TrafficSelector& local : selectors.local) {
    const size_t sources = local.addresses.prefix_count();
    for (size_t i = 0; i < selectors.remote.size(); ++i) {
      const TrafficSelector& remote = selectors.remote[i];
      if (!can_meet(local, remote)) continue;
      const auto ports = port_pair_count(local, remote);
      if (!ports)
        return Error(Reason::kTsUnacceptable,
                     "the kernel cannot express " + to_string(local) + " with " + to_string(remote));
      needed += sources * destinations[i] * *ports;
    }
  }
  return needed;
}

Result<SelectorPair> narrow_to_fit(const SelectorPair& configured, const SelectorPair& offered, size_t policies_max) {
  SelectorPair all = narrow_both(configured, offered);
  if (all.local.empty() || all.remote.empty()) return nothing_common(configured, offered);
  if (fits(all, policies_max)) return all;

  const auto packet = packet_pair(configured, offered);
  std::optional<Error> refusal;
  if (packet) {
    if (fits(*packet, policies_max)) return fill(*packet, all, policies_max);
    // What the packet needs cannot be had: a child without it would help nobody.
    TRY_ASSIGN(const size_t needed, policies_needed(*packet), "");
    return too_many(needed, policies_max);
  }
  for (const TrafficSelector& local : all.local) {
    for (const TrafficSelector& remote : all.remote) {
      if (!can_meet(local, remote)) continue;
      const SelectorPair first{{local}, {remote}};
      if (fits(first, policies_max)) return fill(first, all, policies_max);
      const auto needed = policies_needed(first);
      if (!refusal) refusal.emplace(needed.ok() ? too_many(*needed, policies_max) : needed.error());
    }
  }
  VERIFY(refusal.has_value());  // each list has only what meets something in the other
  return std::move(*refusal);
}

Result<SelectorPair> single_pair(const SelectorPair& configured, const SelectorPair& offered) {
  SelectorPair all = narrow_both(configured, offered);
  if (all.local.empty() || all.remote.empty()) return nothing_common(configured, offered);
  if (is_single(all.local) && is_single(all.remote)) return all;
  auto packet = packet_pair(configured, offered);
  if (packet && is_single(packet->local) && is_single(packet->remote)) return std::move(*packet);
  return Error(Reason::kSinglePairRequired,
               "offered local " + to_string(offered.local) + " remote " + to_string(offered.remote));
}

Result<SelectorPair> select_traffic(const ChildConfig& child, const SelectorPair& offered) {
  const SelectorPair configured{child.local, child.remote};
  if (!child.policy->single_pair) return narrow_to_fit(configured, offered, child.policy->policies_max);
  TRY_ASSIGN(SelectorPair pair, single_pair(configured, offered), "");
  TRY(policies_needed(pair), "");
  return pair;
}

Result<std::vector<ChildConfig>> split_child(const ChildConfig& child, size_t policies_max) {
  VERIFY(policies_max > 0);
  TRY_ASSIGN(const size_t needed, policies_needed({child.local, child.remote}), "");
  if (needed <= policies_max) return std::vector<ChildConfig>{child};
  SelectorPair whole;
  for (const TrafficSelector& each : child.local) add_selector(whole.local, each);
  for (const TrafficSelector& each : child.remote) add_selector(whole.remote, each);
  std::vector<SelectorPair> pieces;
  TRY(split(whole, policies_max, pieces), "");
  if (pieces.size() == 1) return std::vector<ChildConfig>{child};
  std::vector<ChildConfig> parts;
  for (SelectorPair& each : pieces) {
    ChildConfig part = child;
    part.name = child.name + "." + std::to_string(parts.size() + 1);
    part.split_from = child.name;
    part.local = std::move(each.local);
    part.remote = std::move(each.remote);
    parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace ipsec::policy
