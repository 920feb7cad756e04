#include "policy/selector_fit.h"

#include <algorithm>
#include <array>
#include <bitset>
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

size_t port_block_count(const TrafficSelector& selector) {
  if (selector.opaque() || selector.any_port() || is_icmp(selector.protocol)) return 1;
  return port_blocks(selector.port_first, selector.port_last).size();
}

/// A selector with what its pairs are counted from, found out once: a peer may offer hundreds.
struct Measured {
  TrafficSelector selector;
  size_t prefixes = 0, blocks = 0;

  explicit Measured(const TrafficSelector& its_selector)
      : selector(its_selector),
        prefixes(its_selector.addresses.prefix_count()),
        blocks(port_block_count(its_selector)) {}
};
using MeasuredList = std::vector<Measured>;

MeasuredList measured(const SelectorList& list) { return {list.begin(), list.end()}; }

/// Kernel policies of a pair: none where they do not meet; nothing when the kernel cannot express it.
std::optional<size_t> policies_of(const Measured& local, const Measured& remote) {
  const TrafficSelector &ours = local.selector, &theirs = remote.selector;
  if (!can_meet(ours, theirs)) return 0;
  if (ours.opaque() || theirs.opaque()) return std::nullopt;
  if (is_icmp(std::max(ours.protocol, theirs.protocol)))
    return icmp_is_expressible(ours, theirs) ? std::optional(local.prefixes * remote.prefixes) : std::nullopt;
  return local.prefixes * remote.prefixes * local.blocks * remote.blocks;
}

Error not_expressible(const Measured& local, const Measured& remote) {
  return Error(Reason::kTsUnacceptable,
               "the kernel cannot express " + to_string(local.selector) + " with " + to_string(remote.selector));
}

Result<size_t> policies_of(const MeasuredList& local, const MeasuredList& remote) {
  size_t needed = 0;
  for (const Measured& ours : local)
    for (const Measured& theirs : remote) {
      const auto policies = policies_of(ours, theirs);
      if (!policies) return not_expressible(ours, theirs);
      needed += *policies;
    }
  return needed;
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

SelectorPair narrow_both(const SelectorPair& configured, const SelectorPair& offered, bool* left_out = nullptr) {
  return with_counterparts(
      {narrow(configured.local, offered.local, left_out), narrow(configured.remote, offered.remote, left_out)});
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

bool fits(const Result<size_t>& needed, size_t policies_max) {
  return needed.ok() && *needed != 0 && *needed <= policies_max;
}

/// A pair of lists that grows as long as it fits, and what it needs: counted anew only where it changes.
class Growing {
 public:
  /// `begin` fits.
  Growing(SelectorPair begin, size_t policies_max)
      : pair_(std::move(begin)),
        local_(measured(pair_.local)),
        remote_(measured(pair_.remote)),
        needed_(policies_of(local_, remote_).value()),
        policies_max_(policies_max) {}

  void add_local(const Measured& more) { add(pair_.local, local_, remote_, more); }
  void add_remote(const Measured& more) { add(pair_.remote, remote_, local_, more); }
  SelectorPair take() && { return std::move(pair_); }

 private:
  /// As add_selector() does it, if the result fits.
  void add(SelectorList& list, MeasuredList& side, const MeasuredList& other, const Measured& more) {
    size_t needed = needed_;
    for (const Measured& each : side) {
      if (each.selector.contains(more.selector)) return;
      if (more.selector.contains(each.selector)) needed -= sum(each, other).value_or(0);  // it stood: it can be counted
    }
    const auto added = sum(more, other);
    if (!added || needed + *added == 0 || needed + *added > policies_max_) return;
    needed_ = needed + *added;
    add_selector(list, more.selector);
    auto within = [&](const Measured& each) { return more.selector.contains(each.selector); };
    const auto first = std::find_if(side.begin(), side.end(), within);
    if (first == side.end()) return side.push_back(more);
    *first = more;
    side.erase(std::remove_if(first + 1, side.end(), within), side.end());
  }
  /// The count of a pair is the same whichever side is called local.
  static std::optional<size_t> sum(const Measured& one, const MeasuredList& other) {
    size_t policies = 0;
    for (const Measured& each : other) {
      const auto more = policies_of(one, each);
      if (!more) return std::nullopt;
      policies += *more;
    }
    return policies;
  }

  SelectorPair pair_;
  MeasuredList local_, remote_;
  size_t needed_;
  size_t policies_max_;
};

/// Adds in turn of what both lists have left, in their order, as long as it fits.
SelectorPair fill(SelectorPair chosen, const MeasuredList& local, const MeasuredList& remote, size_t policies_max) {
  Growing growing(std::move(chosen), policies_max);
  for (size_t i = 0; i < std::max(local.size(), remote.size()); ++i) {
    if (i < local.size()) growing.add_local(local[i]);
    if (i < remote.size()) growing.add_remote(remote[i]);
  }
  return with_counterparts(std::move(growing).take());
}

/// Of which families and protocols what two lists have in common is.
struct Common {
  std::array<std::bitset<256>, 2> protocols;  ///< IPv4, IPv6.

  bool meets(const Common& other) const {
    for (size_t family = 0; family < protocols.size(); ++family) {
      const auto &ours = protocols[family], &theirs = other.protocols[family];
      if (ours.none() || theirs.none()) continue;
      if (ours[TrafficSelector::kAnyProtocol] || theirs[TrafficSelector::kAnyProtocol] || (ours & theirs).any())
        return true;
    }
    return false;
  }
};

Common common(const SelectorList& configured, const SelectorList& offered) {
  Common common;
  for (const TrafficSelector& theirs : offered)
    for (const TrafficSelector& ours : configured)
      if (const auto both = intersect(ours, theirs))
        common.protocols[both->addresses.first.is_v4() ? 0 : 1].set(both->protocol);
  return common;
}

/// One address, and one port or any.
bool is_single(const SelectorList& list) {
  if (list.size() != 1) return false;
  const TrafficSelector& only = list.front();
  return only.addresses.first == only.addresses.last &&
         (only.any_port() || only.opaque() || only.port_first == only.port_last);
}

size_t weight(const TrafficSelector& selector) {
  return selector.addresses.prefix_count() * port_block_count(selector);
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
  return policies_of(measured(selectors.local), measured(selectors.remote));
}

bool traffic_meets(const ChildConfig& child, const SelectorPair& offered) {
  // The families and protocols that each side is left with; what only the other side lacks does not count.
  const Common local = common(child.local, offered.local), remote = common(child.remote, offered.remote);
  return local.meets(remote);
}

Result<SelectedTraffic> narrow_to_fit(const SelectorPair& configured, const SelectorPair& offered,
                                      size_t policies_max) {
  bool left_out = false;
  SelectorPair all = narrow_both(configured, offered, &left_out);
  if (all.local.empty() || all.remote.empty()) return nothing_common(configured, offered);
  const MeasuredList local = measured(all.local), remote = measured(all.remote);
  if (fits(policies_of(local, remote), policies_max)) return SelectedTraffic{std::move(all), left_out};

  const auto packet = packet_pair(configured, offered);
  std::optional<Error> refusal;
  if (packet) {
    const auto needed = policies_needed(*packet);
    if (fits(needed, policies_max)) return SelectedTraffic{fill(*packet, local, remote, policies_max), true};
    // What the packet needs cannot be had: a child without it would help nobody.
    if (!needed.ok()) return needed.error();
    return too_many(*needed, policies_max);
  }
  for (const Measured& ours : local) {
    for (const Measured& theirs : remote) {
      if (!can_meet(ours.selector, theirs.selector)) continue;
      const auto needed = policies_of(ours, theirs);
      if (needed && *needed <= policies_max)
        return SelectedTraffic{fill({{ours.selector}, {theirs.selector}}, local, remote, policies_max), true};
      if (!refusal) refusal.emplace(needed ? too_many(*needed, policies_max) : not_expressible(ours, theirs));
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

Result<SelectedTraffic> select_traffic(const ChildConfig& child, const SelectorPair& offered) {
  const SelectorPair configured{child.local, child.remote};
  if (!child.policy->single_pair) return narrow_to_fit(configured, offered, child.policy->policies_max);
  TRY_ASSIGN(SelectorPair pair, single_pair(configured, offered), "");
  TRY(policies_needed(pair), "");
  return SelectedTraffic{std::move(pair), false};
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
