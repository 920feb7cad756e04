#include "netlink/policy_hash.h"

#include <linux/xfrm.h>

#include <optional>
#include <sstream>

namespace ipsec::netlink {
namespace {

struct Change {
  policy::PolicyHash before, set;
};

std::string to_text(const Change& change) {
  std::string text;
  for (const policy::PolicyHash* each : {&change.before, &change.set})
    for (const uint8_t bits : {each->local_v4, each->remote_v4, each->local_v6, each->remote_v6})
      text.append(text.empty() ? "" : " ").append(std::to_string(bits));
  return text;
}

std::optional<Change> from_text(const std::string& text) {
  std::istringstream in(text);
  Change change;
  for (policy::PolicyHash* each : {&change.before, &change.set})
    for (uint8_t* bits : {&each->local_v4, &each->remote_v4, &each->local_v6, &each->remote_v6}) {
      unsigned value = 0;
      if (!(in >> value) || value > 128) return std::nullopt;
      *bits = static_cast<uint8_t>(value);
    }
  return change;
}

}  // namespace

ObjectKey policy_hash_key(const std::string& netns) {
  return {.netns = netns, .kind = std::string(kPolicyHashKind), .name = "thresholds"};
}

Result<policy::PolicyHash> read_policy_hash(Socket& xfrm) {
  Message message(XFRM_MSG_GETSPDINFO);
  message.header(uint32_t{0});
  TRY_ASSIGN(const auto reply, xfrm.transact(std::move(message)), "read the policy hash thresholds");
  for (const Reply::Data& each : reply) {
    if (each.type != XFRM_MSG_NEWSPDINFO) continue;
    TRY_ASSIGN(const Attributes attributes, attributes_behind(each.payload.expose(), sizeof(uint32_t)), "policy hash");
    TRY_ASSIGN(const auto v4, attributes.get<xfrmu_spdhthresh>(XFRMA_SPD_IPV4_HTHRESH), "policy hash");
    TRY_ASSIGN(const auto v6, attributes.get<xfrmu_spdhthresh>(XFRMA_SPD_IPV6_HTHRESH), "policy hash");
    if (!v4 || !v6) break;
    return policy::PolicyHash{
        .local_v4 = v4->lbits, .remote_v4 = v4->rbits, .local_v6 = v6->lbits, .remote_v6 = v6->rbits};
  }
  return Error(Reason::kKernelMissingFeature, "the kernel does not tell its policy hash thresholds");
}

Status write_policy_hash(Socket& xfrm, const policy::PolicyHash& hash) {
  Message message(XFRM_MSG_NEWSPDINFO);
  message.header(uint32_t{0});
  message.put_struct(XFRMA_SPD_IPV4_HTHRESH, xfrmu_spdhthresh{.lbits = hash.local_v4, .rbits = hash.remote_v4});
  message.put_struct(XFRMA_SPD_IPV6_HTHRESH, xfrmu_spdhthresh{.lbits = hash.local_v6, .rbits = hash.remote_v6});
  TRY(xfrm.transact(std::move(message)), "set the policy hash thresholds");
  return {};
}

Status set_policy_hash(Socket& xfrm, Journal& journal, const std::string& netns, const policy::PolicyHash& hash) {
  TRY_ASSIGN(const policy::PolicyHash there, read_policy_hash(xfrm), "");
  const ObjectKey key = policy_hash_key(netns);
  const Journal::Entry* entry = journal.find(key);
  const auto known = entry != nullptr ? from_text(entry->fingerprint) : std::nullopt;
  if (!known && there == hash) return {};
  const Change change{.before = known ? known->before : there, .set = hash};
  if (!known || !(known->set == hash)) TRY(journal.intend(key, to_text(change)), "");
  if (there == hash) return {};
  return write_policy_hash(xfrm, hash);
}

Status restore_policy_hash(Socket& xfrm, Journal& journal, const std::string& netns) {
  const ObjectKey key = policy_hash_key(netns);
  const Journal::Entry* entry = journal.find(key);
  if (entry == nullptr) return {};
  if (const auto change = from_text(entry->fingerprint)) {
    TRY_ASSIGN(const policy::PolicyHash there, read_policy_hash(xfrm), "");
    if (there == change->set && !(there == change->before)) TRY(write_policy_hash(xfrm, change->before), "");
  }
  return journal.forget(key);
}

}  // namespace ipsec::netlink
