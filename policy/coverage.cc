#include "policy/coverage.h"

#include <algorithm>
#include <string>

#include "policy/limits.h"

namespace ipsec::policy {
namespace {

/// Whether protocol and ports of `outer` allow those of `inner`, whatever their addresses.
bool allows_ports(TrafficSelector outer, const TrafficSelector& inner) {
  outer.addresses = inner.addresses;
  return outer.contains(inner);
}

bool one_family(const TrafficSelector& a, const TrafficSelector& b) {
  return a.addresses.first.family() == b.addresses.first.family();
}

TrafficSelector with_addresses(TrafficSelector selector, const IpAddress& first, const IpAddress& last) {
  selector.addresses = {first, last};
  return selector;
}

/// Appends the parts of `whole` below and above `cut`, and returns the part within it; nothing when they do not meet.
template <typename Append>
std::optional<TrafficSelector> split_at(const TrafficSelector& whole, const IpRange& cut, const Append& append) {
  if (whole.addresses.first.family() != cut.first.family()) return std::nullopt;
  const IpAddress first = std::max(whole.addresses.first, cut.first), last = std::min(whole.addresses.last, cut.last);
  if (last < first) return std::nullopt;
  if (whole.addresses.first < first) append(with_addresses(whole, whole.addresses.first, first.previous()));
  if (last < whole.addresses.last) append(with_addresses(whole, last.next(), whole.addresses.last));
  return with_addresses(whole, first, last);
}

/// Appends what of `pair` lies outside of the traffic between `local` and `remote`.
void subtract(const TrafficPair& pair, const TrafficSelector& local, const TrafficSelector& remote,
              std::vector<TrafficPair>& rest) {
  const bool meet = allows_ports(local, pair.first) && allows_ports(remote, pair.second) &&
                    intersect(local, pair.first) && intersect(remote, pair.second);
  if (!meet) return rest.push_back(pair);
  const auto inside = split_at(pair.first, local.addresses,
                               [&](const TrafficSelector& beside) { rest.emplace_back(beside, pair.second); });
  (void)split_at(pair.second, remote.addresses,
                 [&](const TrafficSelector& beside) { rest.emplace_back(*inside, beside); });
}

bool covers_all(const SelectorPair& carried, const SelectorPair& configured) {
  return carried == configured ||
         (all_within(configured.local, carried.local) && all_within(configured.remote, carried.remote));
}

}  // namespace

std::vector<TrafficPair> uncovered(const SelectorPair& configured, std::span<const SelectorPair> carried) {
  if (std::ranges::any_of(carried, [&](const SelectorPair& each) { return covers_all(each, configured); })) return {};
  std::vector<TrafficPair> left, rest;
  for (const TrafficSelector& local : configured.local)
    for (const TrafficSelector& remote : configured.remote)
      if (one_family(local, remote)) left.emplace_back(local, remote);
  size_t work = kCoverageWorkMax;
  for (const SelectorPair& each : carried)
    for (const TrafficSelector& local : each.local)
      for (const TrafficSelector& remote : each.remote) {
        if (work < left.size()) return left;
        work -= left.size();
        rest.clear();
        for (const TrafficPair& pair : left) subtract(pair, local, remote, rest);
        std::swap(left, rest);
      }
  return left;
}

std::optional<SelectorPair> next_request(std::span<const TrafficPair> pairs, const std::optional<TrafficPair>& packet) {
  if (pairs.empty()) return std::nullopt;
  if (packet) {
    const auto of_packet = std::ranges::find_if(pairs, [&](const TrafficPair& each) {
      return each.first.contains(packet->first) && each.second.contains(packet->second);
    });
    if (of_packet == pairs.end()) return std::nullopt;
    return SelectorPair{{of_packet->first}, {of_packet->second}};
  }
  SelectorPair request{{pairs.front().first}, {}};
  for (const TrafficPair& each : pairs)
    if (each.first == pairs.front().first && request.remote.size() < kSelectorsMax)
      request.remote.push_back(each.second);
  return request;
}

std::string to_string(std::span<const TrafficPair> pairs, size_t most) {
  std::string text;
  for (const TrafficPair& each : pairs.first(std::min(most, pairs.size()))) {
    if (!text.empty()) text.append(", ");
    text.append(to_string(each.first)).append(" - ").append(to_string(each.second));
  }
  if (pairs.size() > most) text.append(" and ").append(std::to_string(pairs.size() - most)).append(" more");
  return text;
}

}  // namespace ipsec::policy
