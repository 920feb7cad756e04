#include "netlink/nft_table.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <array>
#include <cerrno>

namespace ipsec::netlink {
namespace {

/// What is told of requests of this socket is dropped; netlink has its number in the order of the host.
std::array<sock_filter, 4> not_of(uint32_t port) {
  return {{{.code = BPF_LD | BPF_W | BPF_ABS, .jt = 0, .jf = 0, .k = offsetof(nlmsghdr, nlmsg_pid)},
           {.code = BPF_JMP | BPF_JEQ | BPF_K, .jt = 0, .jf = 1, .k = htonl(port)},
           {.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = 0},
           {.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = UINT32_MAX}}};
}

Error refused(const Error& why) {
  const std::string detail = why.text();
  return Error(Reason::kPacketRulesRefused, "table inet " + std::string(kNftTable) + ": " + detail, why.os_errno());
}

}  // namespace

Result<std::unique_ptr<NftTable>> NftTable::open(const std::string& netns) {
  auto socket = Socket::open({.protocol = NETLINK_NETFILTER, .netns = netns, .groups = {}});
  if (!socket.ok()) return refused(std::move(socket).error());
  const auto filter = not_of(socket->port_id());
  auto news =
      Socket::open({.protocol = NETLINK_NETFILTER, .netns = netns, .groups = {NFNLGRP_NFTABLES}, .filter = filter});
  if (!news.ok()) return refused(std::move(news).error());
  return std::unique_ptr<NftTable>(new NftTable(std::move(*socket), std::move(*news)));
}

bool NftTable::take_disturbed() {
  bool ours = false;
  while (news_.poll_event([&](const Received& message) { ours = ours || concerns_nft_table(message); })) continue;
  return news_.take_overrun() || ours;
}

Result<NftTable::Standing> NftTable::look() {
  auto reply = socket_.transact(encode_get_nft_table());
  if (!reply.ok()) {
    if (reply.error().os_errno() == ENOENT) return Standing::kNone;
    return refused(std::move(reply).error());
  }
  for (const Reply::Data& data : *reply) {
    TRY_ASSIGN(const bool ours, is_our_nft_table(data.payload.expose()), "");
    return ours ? Standing::kOurs : Standing::kForeign;
  }
  return Standing::kNone;
}

Status NftTable::put(const policy::PacketRules& rules) {
  known_ = false;
  if (rules.empty()) {
    Status gone = socket_.transact_batch(encode_nft_removal());
    if (!gone.ok() && gone.error().os_errno() != ENOENT) return refused(std::move(gone).error());
    rules_ = {}, structure_ = {}, bytes_.clear();
    return {};
  }
  if (Status made = socket_.transact_batch(encode_nft_table(rules)); !made.ok())
    return refused(std::move(made).error());
  rules_ = rules;
  structure_ = NftStructure::of(rules);
  TRY_ASSIGN(bytes_, read_structure(), "read back");
  known_ = true;
  return {};
}

Status NftTable::change(const policy::PacketRuleChange& change) {
  policy::PacketRules wanted = rules_;
  change.apply_to(wanted);
  if (wanted.empty() || !structure_.has(NftStructure::of(wanted))) return put(wanted);
  NftBatch batch = encode_nft_change(rules_, change);
  // An element that others have taken out fails here; everything is put there anew then.
  if (!batch.empty() && !socket_.transact_batch(std::move(batch)).ok()) return put(wanted);
  rules_ = std::move(wanted);
  return {};
}

Result<Bytes> NftTable::read_structure() {
  Bytes found;
  const auto each = [&](const Received& message) -> Status {
    TRY_ASSIGN(const Bytes bytes, nft_object_bytes(message.type, message.payload), "");
    found.insert(found.end(), bytes.begin(), bytes.end());
    return {};
  };
  TRY(socket_.dump(encode_dump_nft_chains, each, [&] { found.clear(); }), "chains");
  const Bytes chains = found;
  TRY(socket_.dump(encode_dump_nft_rules, each, [&] { found = chains; }), "rules");
  return found;
}

Result<std::optional<policy::PacketRules>> NftTable::read() {
  TRY_ASSIGN(const Standing standing, look(), "read packet rules");
  if (standing == Standing::kNone) return std::optional<policy::PacketRules>();
  policy::PacketRules changed;
  changed.intact = false;
  TRY_ASSIGN(const Bytes structure, read_structure(), "read packet rules");
  if (!known_ || standing == Standing::kForeign || structure != bytes_) return std::optional(changed);
  policy::PacketRules out, in;
  out.inner_df = structure_.inner_df;
  Status understood;
  for (auto* rules : {&out, &in})
    for (const std::string& map : rules == &out ? nft_maps_out() : nft_maps_in()) {
      const policy::PacketRules before = *rules;
      const auto each = [&](const Received& message) -> Status {
        Status taken = decode_nft_elements(map, message.payload, *rules);
        if (understood.ok() && !taken.ok()) understood = std::move(taken);
        return {};
      };
      Status dumped = socket_.dump([&] { return encode_dump_nft_elements(map); }, each, [&] { *rules = before; });
      if (!dumped.ok() && dumped.error().os_errno() == ENOENT) return std::optional(changed);  // somebody took the map
      TRY(std::move(dumped), "read packet rules");
    }
  if (!understood.ok() || in.interfaces != out.interfaces || in.reqids != out.reqids) return std::optional(changed);
  return std::optional(std::move(out));
}

}  // namespace ipsec::netlink
