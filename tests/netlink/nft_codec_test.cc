#include "netlink/nft_codec.h"

#include <doctest/doctest.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <algorithm>

#include "netlink/paths.h"

using namespace ipsec;
using namespace ipsec::netlink;
using namespace ipsec::policy;

namespace {

SaKey sa(const char* address, uint32_t spi) { return {IpAddress::parse(address).value(), ChildSpi(spi)}; }

PacketRules rich() {
  PacketRules rules;
  rules.interfaces = {{"ips1000001", {1406, 1386}}, {"ips1000002", {1200, 1200}}};
  rules.reqids = {{0x1000003, {1406, 1386}}};
  rules.outer = {{sa("192.0.2.2", 0xc0000001), {.df_set = true}},
                 {sa("192.0.2.2", 0xc0000002), {.dscp = uint8_t{46}, .udp_encapsulation = true}},
                 {sa("2001:db8::2", 0xc0000003), {.df_set = true, .dscp = uint8_t{0}}},
                 {sa("2001:db8::2", 0xc0000004), {.dscp = uint8_t{46}, .udp_encapsulation = true}}};
  rules.sealed = {{IpAddress::parse("192.0.2.2").value(), IpAddress::parse("192.0.2.1").value()}};
  return rules;
}

/// What the kernel takes from a message: its header says how long it is.
Received received(const Message& message) {
  ByteView bytes = message.bytes();
  return take_message(bytes).value();
}

uint16_t kind(const Message& message) { return received(message).type & 0xff; }

/// As reading the maps back would find it; the entries of the maps for what comes in are in `in`.
PacketRules read_back(const NftBatch& batch, PacketRules* in = nullptr) {
  PacketRules out;
  for (const Message& message : batch) {
    if (received(message).type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM)) continue;
    const auto attributes = attributes_behind(received(message).payload, sizeof(nfgenmsg)).value();
    const std::string map = attributes.text(NFTA_SET_ELEM_LIST_SET);
    CHECK(attributes.text(NFTA_SET_ELEM_LIST_TABLE) == "ipsecd");
    const bool inward = std::ranges::count(nft_maps_in(), map) != 0;
    PacketRules unused;
    PacketRules& target = !inward ? out : in != nullptr ? *in : unused;
    CHECK(decode_nft_elements(map, received(message).payload, target).ok());
  }
  return out;
}

std::vector<std::string> chains_of(const NftBatch& batch) {
  std::vector<std::string> names;
  for (const Message& message : batch)
    if (received(message).type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN))
      names.push_back(attributes_behind(received(message).payload, sizeof(nfgenmsg)).value().text(NFTA_CHAIN_NAME));
  return names;
}

}  // namespace

TEST_CASE("nft: a transaction has a beginning, an end, and one acknowledgement for all of it") {
  const NftBatch batch = encode_nft_table(rich());
  CHECK(received(batch.front()).type == NFNL_MSG_BATCH_BEGIN);
  CHECK(received(batch.back()).type == NFNL_MSG_BATCH_END);
  for (size_t i = 0; i < batch.size(); ++i)
    CHECK(((received(batch[i]).flags & NLM_F_ACK) != 0) == (i + 2 == batch.size()));
  // Whatever stands there is replaced in the same transaction, whether it stands or not.
  CHECK(kind(batch[1]) == NFT_MSG_NEWTABLE);
  CHECK(kind(batch[2]) == NFT_MSG_DELTABLE);
  CHECK(kind(batch[3]) == NFT_MSG_NEWTABLE);
}

TEST_CASE("nft: what is put into the maps is what is read out of them") {
  PacketRules in;
  const PacketRules out = read_back(encode_nft_table(rich()), &in);
  CHECK(out == rich());
  CHECK(in.interfaces == rich().interfaces);
  CHECK(in.reqids == rich().reqids);
  CHECK(in.outer.empty());
}

TEST_CASE("nft: very many elements are told in several messages, none of them too long") {
  PacketRules rules;
  for (uint32_t i = 0; i < 3000; ++i) rules.outer[sa("2001:db8::2", 0xc0000000 + i)] = {.dscp = uint8_t{46}};
  const NftBatch batch = encode_nft_table(rules);
  CHECK(read_back(batch) == rules);
  CHECK(std::ranges::count_if(batch, [](const Message& each) { return kind(each) == NFT_MSG_NEWSETELEM; }) == 8);
}

TEST_CASE("nft: there is one chain for each thing that is done, and two that see all packets") {
  const std::vector<std::string> chains = chains_of(encode_nft_table(rich()));
  CHECK(chains == std::vector<std::string>{"protected_only", "mss_1200_1200", "mss_1406_1386", "outer_46", "outer_df",
                                           "outer_df_0", "leaving", "entering"});
}

TEST_CASE("nft: a table holds what needs no other chains than it has") {
  const NftStructure whole = NftStructure::of(rich());
  PacketRules other = rich();
  other.outer.erase(other.outer.begin());
  CHECK(whole.has(NftStructure::of(other)));
  other.outer[sa("192.0.2.9", 0xc0000009)] = {.df_set = true};
  CHECK(whole.has(NftStructure::of(other)));
  other.outer[sa("192.0.2.9", 0xc0000009)] = {.dscp = uint8_t{10}};
  CHECK_FALSE(whole.has(NftStructure::of(other)));
  other = rich();
  other.interfaces["ips1000003"] = {1000, 1000};
  CHECK_FALSE(whole.has(NftStructure::of(other)));
  other = rich();
  other.inner_df.insert({.interface = "ips1000001"});
  CHECK_FALSE(whole.has(NftStructure::of(other)));
  other = rich();
  other.reqids.clear(), other.interfaces.clear();
  CHECK(whole.has(NftStructure::of(other)));
  CHECK_FALSE(NftStructure::of(other).has(whole));
}

TEST_CASE("nft: a change takes out what was there before it puts another in its place, and leaves the rest") {
  PacketRuleChange change;
  change.outer[sa("192.0.2.2", 0xc0000001)] = std::nullopt;
  change.outer[sa("192.0.2.9", 0xc0000009)] = OuterHeader{.df_set = true};
  change.outer[sa("192.0.2.8", 0xc0000008)] = std::nullopt;  // was never there
  change.interfaces["ips1000001"] = MssLimits{1200, 1200};
  change.interfaces["ips1000002"] = MssLimits{1200, 1200};  // is so already
  const NftBatch batch = encode_nft_change(rich(), change);

  std::vector<uint16_t> kinds;
  for (size_t i = 1; i + 1 < batch.size(); ++i) kinds.push_back(kind(batch[i]));
  using Kinds = std::vector<uint16_t>;
  CHECK(kinds == Kinds{NFT_MSG_DELSETELEM, NFT_MSG_DELSETELEM, NFT_MSG_DELSETELEM, NFT_MSG_NEWSETELEM,
                       NFT_MSG_NEWSETELEM, NFT_MSG_NEWSETELEM});
  PacketRules fresh;
  fresh.outer[sa("192.0.2.9", 0xc0000009)] = {.df_set = true};
  fresh.interfaces["ips1000001"] = {1200, 1200};
  CHECK(read_back(batch) == fresh);
  CHECK(encode_nft_change(rich(), {}).empty());
}

TEST_CASE("nft: elements that we never put there are malformed") {
  PacketRules rules;
  const NftBatch batch = encode_nft_table(rich());
  for (const Message& message : batch) {
    if (kind(message) != NFT_MSG_NEWSETELEM) continue;
    const auto map =
        attributes_behind(received(message).payload, sizeof(nfgenmsg)).value().text(NFTA_SET_ELEM_LIST_SET);
    // Keys of another length, chains of another meaning.
    const std::string other = map == "esp4" || map == "udp4" ? "esp6" : map.starts_with("esp") ? "esp4" : "udp4";
    CHECK_FALSE(decode_nft_elements(other, received(message).payload, rules).ok());
  }
}

TEST_CASE("nft: elements cut off anywhere are an error, or a part of what was there") {
  for (const Message& message : encode_nft_table(rich())) {
    if (kind(message) != NFT_MSG_NEWSETELEM) continue;
    const ByteView payload = received(message).payload;
    const auto map = attributes_behind(payload, sizeof(nfgenmsg)).value().text(NFTA_SET_ELEM_LIST_SET);
    for (size_t length = 0; length < payload.size(); ++length) {
      PacketRules rules;
      if (decode_nft_elements(map, payload.first(length), rules).ok()) CHECK(rules.empty());
    }
  }
}

TEST_CASE("nft: our table is told from others by its name, its family and its comment") {
  const NftBatch batch = encode_nft_table(rich());
  CHECK(is_our_nft_table(received(batch[1]).payload).value());
  CHECK(concerns_nft_table(received(batch[1])));
  Message other(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE);
  other.header(nfgenmsg{.nfgen_family = 1, .version = 0, .res_id = 0});
  other.put_text(NFTA_TABLE_NAME, "ipsecd2");
  CHECK_FALSE(is_our_nft_table(received(other).payload).value());
  CHECK_FALSE(concerns_nft_table(received(other)));
  Message elsewhere(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE);
  elsewhere.header(nfgenmsg{.nfgen_family = 2, .version = 0, .res_id = 0});
  elsewhere.put_text(NFTA_TABLE_NAME, "ipsecd");
  CHECK_FALSE(concerns_nft_table(received(elsewhere)));
  CHECK_FALSE(concerns_nft_table(received(batch.front())));
}

TEST_CASE("nft: of chains and rules those of other tables are left out") {
  const NftBatch batch = encode_nft_table(rich());
  for (const Message& message : batch) {
    if (kind(message) != NFT_MSG_NEWRULE && kind(message) != NFT_MSG_NEWCHAIN) continue;
    if (received(message).type < 0x100) continue;
    CHECK_FALSE(nft_object_bytes(received(message).type, received(message).payload).value().empty());
  }
  Message other(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE);
  other.header(nfgenmsg{.nfgen_family = 1, .version = 0, .res_id = 0});
  other.put_text(NFTA_RULE_TABLE, "filter");
  other.put_text(NFTA_RULE_CHAIN, "input");
  CHECK(nft_object_bytes(received(other).type, received(other).payload).value().empty());
}

TEST_CASE("path: the question names the address and the VRF, the answer device and MTU") {
  const Message question = encode_get_path(IpAddress::parse("198.51.100.7").value(), 5);
  const Received asked = received(question);
  CHECK(asked.type == RTM_GETROUTE);
  const auto attributes = attributes_behind(asked.payload, sizeof(rtmsg)).value();
  CHECK(to_hex(*attributes.find(RTA_DST)) == "c6336407");
  CHECK(attributes.get<uint32_t>(RTA_OIF).value() == 5U);
  CHECK_FALSE(
      attributes_behind(received(encode_get_path(IpAddress::parse("2001:db8::7").value(), 0)).payload, sizeof(rtmsg))
          .value()
          .find(RTA_OIF));

  Message answer(RTM_NEWROUTE);
  answer.header(rtmsg{});
  answer.put_u32(RTA_OIF, 3);
  CHECK(decode_path(received(answer).payload)->mtu == 0);
  answer.nest(RTA_METRICS, [&] { answer.put_u32(RTAX_MTU, 1400); });
  CHECK(decode_path(received(answer).payload)->device_index == 3);
  CHECK(decode_path(received(answer).payload)->mtu == 1400);
  const ByteView whole = received(answer).payload;
  for (size_t length = 0; length < whole.size(); ++length)
    if (const auto cut = decode_path(whole.first(length)); cut.ok()) CHECK(cut->mtu == 0);
}
