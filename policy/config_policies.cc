#include "policy/config_policies.h"

#include <algorithm>
#include <vector>

#include "policy/base/bytes.h"
#include "policy/mtu.h"
#include "policy/packet_rules.h"

namespace ipsec::policy {
namespace {

constexpr int kRekeyLeast = 10;  // percent of a lifetime that must pass before an SA is replaced

/// Into `proposals` and `written_at` of a policy.
template <typename Policy>
void read_proposals(ObjectReader& reader, Protocol protocol, std::string_view fallback,
                    std::span<const std::string> allow_weak, Policy& policy) {
  uint16_t index = 0;
  for (const JsonNode* each : reader.texts("proposals")) {
    auto parsed = parse_proposal(protocol, each->text, allow_weak);
    if (!parsed.ok()) {
      reader.error(*each, "proposals", parsed.error().reason(), parsed.error().detail());
    } else {
      policy.proposals.insert(policy.proposals.end(), parsed->begin(), parsed->end());
      policy.written_at.resize(policy.proposals.size(), index);
    }
    ++index;
  }
  if (policy.proposals.empty()) policy.proposals = parse_proposal(protocol, fallback).value();
  policy.written_at.resize(policy.proposals.size(), 0);
}

void read_rekey(ObjectReader& policy, RekeyPolicy& rekey) {
  auto reader = policy.object("rekey");
  if (!reader) return;
  reader->flag("enabled", rekey.enabled);
  reader->number("share_percent", rekey.share_percent);
  reader->number("jitter_percent", rekey.jitter_percent);
  if (rekey.share_percent - rekey.jitter_percent < kRekeyLeast)
    reader->error("jitter_percent", Reason::kConfigConflict, std::to_string(rekey.jitter_percent),
                  "at most " + std::to_string(rekey.share_percent - kRekeyLeast) + ": with share_percent " +
                      std::to_string(rekey.share_percent) + " a tenth of the lifetime must remain to be used");
}

/// What is repeated with growing pauses.
template <typename Repetition>
std::optional<ObjectReader> read_repetition(ObjectReader& policy, const char* key, Repetition& repetition) {
  auto reader = policy.object(key);
  if (!reader) return reader;
  reader->duration("first", repetition.first);
  reader->duration("most", repetition.most);
  reader->number("tries", repetition.tries);
  if (repetition.most < repetition.first)
    reader->error("most", Reason::kConfigConflict, "less than first", "at least first");
  return reader;
}

/// A size that may be left to us: 0, or at least `least`.
void read_size(ObjectReader& reader, const char* key, uint32_t least, uint32_t& size) {
  reader.number(key, size);
  if (size != 0 && size < least)
    reader.error(key, Reason::kConfigBadValue, std::to_string(size),
                 "0, or " + std::to_string(least) + " to " + std::to_string(kMtuMax));
}

void read_packet_handling(ObjectReader& reader, ChildPolicy& policy) {
  if (reader.find("dscp") != nullptr) {
    std::string text = "copy";
    reader.text("dscp", text);
    if (const auto setting = parse_dscp(text))
      policy.dscp = setting->mode, policy.dscp_value = setting->value;
    else
      reader.error("dscp", Reason::kConfigBadValue, "\"" + printable(as_bytes(text)) + "\"",
                   "copy, zero, 0 to 63, cs0 to cs7, af11 to af43, or ef");
  }
  read_size(reader, "mtu", kMtuMin, policy.mtu);
  read_size(reader, "outer_mtu", kOuterMtuMin, policy.outer_mtu);
  if (auto word = reader.word("inner_df")) policy.inner_df = static_cast<InnerDf>(*word);
  if (policy.mtu != 0 && policy.outer_mtu != 0)
    reader.error("outer_mtu", Reason::kConfigConflict, std::to_string(policy.outer_mtu),
                 "0 or nothing, because mtu " + std::to_string(policy.mtu) + " is not computed from it");
}

/// What a peer that never asks, and one that never begins, cannot do. Only what was written is an error, not a default.
void check_roles(ObjectReader& reader, const IkePolicy& policy) {
  if (policy.dpd_mode == DpdMode::kReplyOnly) {
    if (reader.find("dpd") != nullptr && policy.dpd > Duration(0))
      reader.error("dpd", Reason::kConfigConflict, reader.find("dpd")->shown(),
                   "0s or nothing, because dpd_mode reply_only makes no liveness checks");
    if (policy.dpd_tries != 0)
      reader.error("dpd_tries", Reason::kConfigConflict, std::to_string(policy.dpd_tries),
                   "0 or nothing, because dpd_mode reply_only makes no liveness checks");
  }
  if (policy.role != Role::kRespond) return;
  for (const auto& [key, action] : {std::pair("on_failure", policy.on_failure), {"on_close", policy.on_close}})
    if (reader.find(key) != nullptr && action != EndAction::kClear)
      reader.error(key, Reason::kConfigConflict, "\"" + std::string(to_string(action)) + "\"",
                   "clear, because role respond never begins");
}

}  // namespace

std::shared_ptr<const IkePolicy> read_ike_policy(const std::string& name, ObjectReader reader, const Config& config) {
  auto policy = std::make_shared<IkePolicy>();
  policy->name = name;
  read_proposals(reader, Protocol::kIke, kDefaultIkeProposal, config.allow_weak, *policy);
  reader.duration("lifetime", policy->lifetime);
  read_rekey(reader, policy->rekey);
  reader.duration("dpd", policy->dpd);
  if (auto word = reader.word("dpd_mode")) policy->dpd_mode = static_cast<DpdMode>(*word);
  reader.number("dpd_tries", policy->dpd_tries);
  reader.duration("nat_keepalive", policy->nat_keepalive);
  if (auto retransmit = read_repetition(reader, "retransmit", policy->retransmit))
    retransmit->number("factor_percent", policy->retransmit.factor_percent);
  if (auto word = reader.word("role")) policy->role = static_cast<Role>(*word);
  reader.duration("setup_timeout", policy->setup_timeout);
  (void)read_repetition(reader, "retry", policy->retry);
  if (auto word = reader.word("on_failure")) policy->on_failure = static_cast<EndAction>(*word);
  if (auto word = reader.word("on_close")) policy->on_close = static_cast<EndAction>(*word);
  if (auto word = reader.word("duplicates")) policy->duplicates = static_cast<DuplicatePolicy>(*word);
  if (auto word = reader.word("childless")) policy->childless = static_cast<ChildlessPolicy>(*word);
  reader.number("children_max", policy->children_max);
  if (auto word = reader.word("children_overload")) policy->children_overload = static_cast<ChildOverload>(*word);
  check_roles(reader, *policy);
  return policy;
}

namespace {

/// A group in a proposal means PFS. Without a word about it none is offered, and a peer that wants it gets it.
/// Where it is required, a policy that leaves its proposals out has PFS with the groups of the IKE policy.
void read_pfs(ObjectReader& reader, bool required, ChildPolicy& policy) {
  const bool has_group =
      std::ranges::any_of(policy.proposals, [](const Proposal& each) { return each.has(TransformType::kKeyExchange); });
  const bool written = reader.find("proposals") != nullptr;
  policy.pfs = has_group || (required && !written);
  policy.pfs_required = required;
  if (required && written && !has_group && reader.find("pfs") == nullptr)
    reader.error(
        "proposals", Reason::kConfigConflict, "no key exchange method in " + to_string(policy.proposals),
        "one in each proposal, as aes256gcm16-x25519, or \"pfs\": true (the groups of the IKE policy), because "
        "defaults.require_pfs is true");
  if (reader.find("pfs") == nullptr) return;
  reader.flag("pfs", policy.pfs);
  policy.pfs_if_wanted = policy.pfs;
  if (required && !policy.pfs)
    return reader.error("pfs", Reason::kConfigConflict, "false", "true, because defaults.require_pfs is true");
  if (!policy.pfs && has_group)
    reader.error("pfs", Reason::kConfigConflict, "false beside a proposal with a key exchange method",
                 "true, or proposals without one: the method is for PFS alone");
}

/// A limit that is reached before a rekey can end loses packets with each SA.
void check_volumes(ObjectReader& reader, const ChildPolicy& policy) {
  constexpr uint64_t kPacketsLeast = 1000, kBytesLeast = 500'000;
  const auto check = [&](const char* key, uint64_t value, uint64_t least) {
    if (value != 0 && value < least && policy.rekey.enabled)
      reader.error(key, Reason::kConfigBadValue, std::to_string(value),
                   "0, or at least " + std::to_string(least) + ": fewer are gone before a rekey can end");
  };
  check("lifetime_packets", policy.lifetime_packets, kPacketsLeast);
  check("lifetime_bytes", policy.lifetime_bytes, kBytesLeast);
}

}  // namespace

std::shared_ptr<const ChildPolicy> read_child_policy(const std::string& name, ObjectReader reader,
                                                     const Config& config) {
  auto policy = std::make_shared<ChildPolicy>();
  policy->name = name;
  read_proposals(reader, Protocol::kEsp, kDefaultEspProposal, config.allow_weak, *policy);
  read_pfs(reader, config.require_pfs, *policy);
  reader.duration("lifetime", policy->lifetime);
  reader.number("lifetime_bytes", policy->lifetime_bytes);
  reader.number("lifetime_packets", policy->lifetime_packets);
  read_rekey(reader, policy->rekey);
  check_volumes(reader, *policy);
  if (auto word = reader.word("idle")) policy->idle = static_cast<IdleRekey>(*word);
  reader.number("policies_max", policy->policies_max);
  reader.flag("single_pair", policy->single_pair);
  reader.number("replay_window", policy->replay_window);
  if (auto word = reader.word("df")) policy->df = static_cast<DfMode>(*word);
  read_packet_handling(reader, *policy);
  if (auto word = reader.word("mode")) policy->mode = static_cast<EspMode>(*word);
  return policy;
}

void read_algorithm_rules(ObjectReader& defaults, Config& config) {
  defaults.flag("require_pfs", config.require_pfs);
  for (const JsonNode* each : defaults.texts("allow_weak")) {
    const Algorithm* known = find_algorithm(each->text);
    if (known != nullptr && known->weak()) {
      config.allow_weak.push_back(each->text);
    } else if (known != nullptr) {
      defaults.error(*each, "allow_weak", Reason::kConfigBadValue,
                     "names of weak algorithms: " + weak_names() + "; this one is not weak and needs no exception");
    } else if (const RefusedAlgorithm* refused = find_refused(each->text)) {
      defaults.error(*each, "allow_weak", Reason::kConfigBadValue,
                     "names of weak algorithms: " + weak_names() + "; this one is never used: " +
                         std::string(refused->because) + "; use " + std::string(refused->instead));
    } else {
      defaults.error(*each, "allow_weak", Reason::kConfigBadValue, "names of weak algorithms: " + weak_names());
    }
  }
}

void read_mss(ObjectReader& reader, MssClamp& clamp) {
  std::string text = "none";
  reader.text("mss", text);
  if (const auto parsed = parse_mss(text))
    clamp = *parsed;
  else
    reader.error("mss", Reason::kConfigBadValue, "\"" + printable(as_bytes(text)) + "\"",
                 "none, mtu, or bytes: " + std::to_string(kMssMin) + " to " + std::to_string(kMssMax));
}

void read_admission(ObjectReader& reader, AdmissionLimits& limits) {
  reader.number("half_open_max", limits.half_open_max);
  reader.number("half_open_cookie_from", limits.half_open_cookie_from);
  reader.number("half_open_cookie_until", limits.half_open_cookie_until);
  reader.number("half_open_per_prefix", limits.half_open_per_prefix);
  reader.duration("half_open_timeout", limits.half_open_timeout);
  reader.number("init_rate", limits.init_rate);
  reader.number("init_rate_per_address", limits.init_rate_per_address);
  reader.number("rekey_rate", limits.rekey_rate);
  reader.number("decrypt_failures_max", limits.decrypt_failures_max);
  reader.number("ike_sas_max", limits.ike_sas_max);
  if (limits.half_open_cookie_until > limits.half_open_cookie_from)
    reader.error("half_open_cookie_until", Reason::kConfigConflict, std::to_string(limits.half_open_cookie_until),
                 "at most half_open_cookie_from, " + std::to_string(limits.half_open_cookie_from));
  if (limits.half_open_cookie_from > limits.half_open_max)
    reader.error("half_open_cookie_from", Reason::kConfigConflict, std::to_string(limits.half_open_cookie_from),
                 "at most half_open_max, " + std::to_string(limits.half_open_max) +
                     ": beyond it nothing is answered, so that cookies would never be asked for");
}

void read_offload_budget(ObjectReader& reader, ErrorList& errors, OffloadBudget& budget) {
  reader.duration("half_life", budget.half_life);
  reader.duration("stay", budget.stay);
  reader.duration("settle", budget.settle);
  reader.number("moves_per_minute", budget.moves_per_minute);
  if (budget.moves_per_minute == 1)
    reader.error("moves_per_minute", Reason::kConfigBadValue, "1",
                 "0, or at least 2: who takes a place and who gives it up");
  reader.number("hysteresis_percent", budget.hysteresis_percent);
  reader.number("least_rate", budget.least_rate);
  if (const auto choice = reader.word("choice")) budget.spread = *choice == 1;
  reader.flag("peer_routes", budget.peer_routes);
  const JsonNode* devices = reader.find("devices");
  if (devices == nullptr) return;
  if (devices->kind != JsonNode::Kind::kObject)
    return reader.error(*devices, "devices", Reason::kConfigBadValue,
                        "an object of devices: { \"ens1f0np0\": { ... } }");
  for (const auto& [name, node] : devices->members) {
    ObjectReader each(errors, node, reader.pointer("devices") + "/" + pointer_part(name), offload_device_keys());
    if (!each.is_object()) continue;
    OffloadDevice& device = budget.devices[name];
    each.text("netns", device.netns);
    each.number("children_max", device.children_max);
    each.flag("active_probe", device.active_probe);
  }
}

/// The mode of a tunnel and whether its children compete for their places.
void read_tunnel_offload(ObjectReader& reader, Tunnel& tunnel) {
  if (const auto mode = reader.word("mode")) tunnel.offload = static_cast<OffloadMode>(*mode);
  if (const auto pin = reader.word("pin")) tunnel.pin = static_cast<OffloadPin>(*pin);
}

}  // namespace ipsec::policy
