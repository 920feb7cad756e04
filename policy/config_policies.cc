#include "policy/config_policies.h"

namespace ipsec::policy {
namespace {

template <typename E>
void read_word(ObjectReader& reader, std::string_view key, E& target) {
  if (auto word = reader.word(key)) target = static_cast<E>(*word);
}

void read_rekey(ObjectReader& reader, RekeyPolicy& policy) {
  auto rekey = reader.object("rekey");
  if (!rekey) return;
  rekey->flag("enabled", policy.enabled);
  rekey->number("share", policy.share_percent);
  rekey->number("jitter", policy.jitter_percent);
  if (policy.jitter_percent >= policy.share_percent)
    rekey->error("jitter", Reason::kConfigConflict,
                 std::to_string(policy.jitter_percent) + " of " + std::to_string(policy.share_percent),
                 "less than share, else an SA might be replaced at once");
}

void read_retransmit(ObjectReader& reader, RetransmitPolicy& policy) {
  auto retransmit = reader.object("retransmit");
  if (!retransmit) return;
  retransmit->duration("first", policy.first);
  retransmit->number("factor_percent", policy.factor_percent);
  retransmit->duration("most", policy.most);
  retransmit->number("tries", policy.tries);
  if (policy.most < policy.first)
    retransmit->error("most", Reason::kConfigConflict, "less than first", "at least first");
}

void read_retry(ObjectReader& reader, RetryPolicy& policy) {
  auto retry = reader.object("retry");
  if (!retry) return;
  retry->duration("first", policy.first);
  retry->duration("most", policy.most);
  retry->number("tries", policy.tries);
  if (policy.most < policy.first) retry->error("most", Reason::kConfigConflict, "less than first", "at least first");
}

}  // namespace

void read_ike_policy(ObjectReader& reader, IkePolicy& policy) {
  reader.duration("lifetime", policy.lifetime);
  read_rekey(reader, policy.rekey);
  reader.duration("dpd", policy.dpd);
  read_word(reader, "dpd_mode", policy.dpd_mode);
  reader.number("dpd_tries", policy.dpd_tries);
  read_retransmit(reader, policy.retransmit);
  read_word(reader, "role", policy.role);
  reader.duration("setup_timeout", policy.setup_timeout);
  read_retry(reader, policy.retry);
  read_word(reader, "on_failure", policy.on_failure);
  read_word(reader, "on_close", policy.on_close);
  read_word(reader, "duplicates", policy.duplicates);
  read_word(reader, "childless", policy.childless);
  reader.number("children_max", policy.children_max);
  read_word(reader, "children_overload", policy.children_overload);
}

void read_child_policy(ObjectReader& reader, ChildPolicy& policy) {
  reader.flag("pfs", policy.pfs);
  reader.duration("lifetime", policy.lifetime);
  reader.number("lifetime_bytes", policy.lifetime_bytes);
  reader.number("lifetime_packets", policy.lifetime_packets);
  read_rekey(reader, policy.rekey);
  read_word(reader, "idle", policy.idle);
  reader.number("policies_max", policy.policies_max);
  reader.number("replay_window", policy.replay_window);
  read_word(reader, "df", policy.df);
  read_word(reader, "dscp", policy.dscp);
  read_word(reader, "mode", policy.mode);
  if (policy.mode == EspMode::kTransport)
    reader.error("mode", Reason::kConfigNotSupported, "\"transport\"",
                 "tunnel; transport mode does not go with an xfrm interface between sites and is not supported in "
                 "this version");
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
}

}  // namespace ipsec::policy
