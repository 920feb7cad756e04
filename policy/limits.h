#pragma once

#include <cstddef>
#include <cstdint>

#include "policy/base/time.h"

namespace ipsec::policy {

inline constexpr size_t kConfigBytesMax = 64 << 20;  ///< Bytes of one configuration file.
inline constexpr size_t kConfigDepthMax = 16;        ///< Nesting of objects and lists.
inline constexpr size_t kConfigErrorsMax = 100;      ///< Errors reported for one document.
inline constexpr size_t kConfigWarningsMax = 100;    ///< Warnings of one kind that are looked for in a private place.
inline constexpr size_t kWarningsNamedMax = 4;       ///< Warnings of one kind in full; the others are counted.
inline constexpr size_t kNamesNamedMax = 5;          ///< Names in one warning; the others are counted.
inline constexpr size_t kConfigComparisonsMax = 4'000'000;  ///< Pairs of selectors compared for warnings.
inline constexpr size_t kHintCharactersMax = 4'000'000;     ///< Pairs of characters compared for hints to wrong names.
inline constexpr size_t kTunnelsMax = 1'000'000;            ///< Tunnels of one configuration.
inline constexpr size_t kSelectorsMax = 255;                ///< Traffic selectors per list: as many as a payload takes.
inline constexpr size_t kStaticRoutesMax = 256;             ///< Of one tunnel.
inline constexpr size_t kCarriersMax = 10'000;              ///< Carriers of one configuration.
inline constexpr size_t kAddressesMax = 16;                 ///< Of one interface.
inline constexpr size_t kExceptionsMax = 256;               ///< Exceptions of a tunnel group.
inline constexpr size_t kProposalsMax = 32;                 ///< Proposals per list.
inline constexpr size_t kTransformsMax = 64;                ///< Transforms per proposal.
inline constexpr size_t kPoliciesPerChildMax = 4096;        ///< Kernel policies per child SA and direction.
inline constexpr size_t kChildPartsMax = 256;               ///< Children that one configured child is split into.
inline constexpr size_t kChangesPerRound = 4096;            ///< Of a namespace, between two reads of it.
inline constexpr Duration kReadGap = 1s;                    ///< Between two reads of a namespace ...
inline constexpr Duration kReadGapShort = 50ms;             ///< ... when something of ours is known to be gone.
inline constexpr int64_t kReadRest = 10;                    ///< Such a gap is at least as many times the last read.
inline constexpr size_t kKeyedRepairsMax = 100;             ///< Objects put right by their keys in one kReadGap.
inline constexpr Duration kAuditInterval = 60s;             ///< Between reads without any sign of a change.
inline constexpr Duration kAuditPerObject = 1ms;            ///< Of that, at least: many objects are read more rarely.
inline constexpr Duration kRoundTimeout = 10s;              ///< For the kernel's answers to one round of changes.
inline constexpr Duration kRepairFirst = 100ms;             ///< Before what failed is tried again; doubles, ...
inline constexpr Duration kRepairMost = 60s;                ///< ... up to this, ...
inline constexpr Duration kAwaitMost = 5s;                  ///< ... or this, while something is not there.
inline constexpr Duration kReplaceSaFirst = 2s;             ///< For IKE to replace an SA, before it is asked again;
inline constexpr Duration kReplaceSaMost = 60s;             ///< doubles, up to this.
inline constexpr size_t kReplaceSasAtOnce = 2048;           ///< Asked of IKE at a time; ...
inline constexpr Duration kReplaceSasGap = 500ms;           ///< ... the next ones after this.
inline constexpr uint32_t kSpiMin = 256;                    ///< The lower ones are reserved (RFC 4303 section 2.1).
inline constexpr size_t kObjectNameMax = 64;                ///< Characters of an object's name.

}  // namespace ipsec::policy
