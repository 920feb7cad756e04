#pragma once

#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "policy/traffic_selector.h"

/// What of a child's configured traffic its SAs carry, when the peer has narrowed it (RFC 7296 section 2.9). Pure.
namespace ipsec::policy {

/// Traffic from one local selector to one remote selector.
using TrafficPair = std::pair<TrafficSelector, TrafficSelector>;

/// Comparisons of one call of uncovered(): enough for a few hundred pairs and as many SAs. Beyond them the result is
/// what is left at that moment: too much, never too little.
inline constexpr size_t kCoverageWorkMax = size_t{1} << 16;

/// The part of `configured` that none of `carried` contains, as pairs that do not overlap unless those of `configured`
/// do. A pair of which only some protocols or ports are carried counts as a whole.
std::vector<TrafficPair> uncovered(const SelectorPair& configured, std::span<const SelectorPair> carried);

/// What one more child asks for: the pair that `packet` (local, remote) belongs to; without a packet the first pair,
/// with everything else that goes with its local selector. Nothing when no pair contains the packet, or there is none.
std::optional<SelectorPair> next_request(std::span<const TrafficPair> pairs, const std::optional<TrafficPair>& packet);

/// "10.1.0.0/24 - 10.2.0.0/24, ...": at most `most` pairs, then how many more there are.
std::string to_string(std::span<const TrafficPair> pairs, size_t most);

}  // namespace ipsec::policy
