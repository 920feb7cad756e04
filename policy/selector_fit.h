#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "policy/config.h"
#include "policy/traffic_selector.h"

/// Selectors and the number of kernel policies they take: a range is many prefixes, a port range many blocks, and every
/// local one meets every remote one. Pure, and counted without making any.
namespace ipsec::policy {

/// How many policies per direction policy_keys() would make of these lists before it drops equal ones; 0 when no pair
/// has one family and protocol. Error kTsUnacceptable where the kernel cannot express a pair.
Result<size_t> policies_needed(const SelectorPair& selectors);

/// Whether a child of this configuration may carry any of an offer: a cheap question, before its answer is worked out.
bool traffic_meets(const ChildConfig& child, const SelectorPair& offered);

struct SelectedTraffic : SelectorPair {
  bool left_out = false;  ///< More is allowed, and does not fit into one child SA: ADDITIONAL_TS_POSSIBLE.
};

/// What a responder answers: narrow() of both lists, without what has no counterpart on the other side. Where that
/// takes more than `policies_max` kernel policies it is narrowed further: the selectors of the packet that caused the
/// offer stay (the first of each list, RFC 7296 section 2.9), then in the order of the offer whatever fits. Errors:
/// kTsUnacceptable when nothing is left, or nothing that the kernel can express; kSelectorCount, with the number needed
/// and allowed, when the packet's own do not fit.
Result<SelectedTraffic> narrow_to_fit(const SelectorPair& configured, const SelectorPair& offered, size_t policies_max);

/// For a child that carries one pair of addresses per SA (`single_pair`): the one pair that both sides allow, or that
/// of the packet that caused the offer. Error kSinglePairRequired when the offer names no single pair (RFC 7296 section
/// 2.9), kTsUnacceptable when nothing is allowed.
Result<SelectorPair> single_pair(const SelectorPair& configured, const SelectorPair& offered);

/// What a responder answers for a child of this configuration: single_pair() or narrow_to_fit().
Result<SelectedTraffic> select_traffic(const ChildConfig& child, const SelectorPair& offered);

/// The child itself, or, where it takes more than `policies_max` kernel policies, several that share its traffic and do
/// not overlap unless its selectors do: NAME.1, NAME.2, ... Error kTsUnacceptable as policies_needed();
/// kSelectorCount when more than kChildPartsMax would be needed.
Result<std::vector<ChildConfig>> split_child(const ChildConfig& child, size_t policies_max);

}  // namespace ipsec::policy
