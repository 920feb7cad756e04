#include "netlink/nft_codec.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "netlink/nft_expressions.h"

namespace ipsec::netlink {
namespace {

using policy::MssLimits;
using policy::OuterHeader;
using policy::PacketRules;
using Way = NftRule::Way;

constexpr std::string_view kComment = "made by ipsecd, which puts it right when it is changed";
constexpr int32_t kManglePriority = -150;
constexpr size_t kElementsPerMessage = 400;  // one attribute holds them all, of at most 64 KiB
constexpr uint8_t kEsp = 50, kUdp = 17;

// Types of keys as the command nft knows them; the kernel does not care.
constexpr uint32_t kTypeAddress4 = 7, kTypeAddress6 = 8, kTypeMark = 19, kTypeInterface = 41, kTypeBits = 6;

const char* const kOutInterface = "interfaces_out";
const char* const kInInterface = "interfaces_in";
const char* const kOutReqid = "reqids_out";
const char* const kInReqid = "reqids_in";

const char* const kSealed = "sealed";
const char* const kSealedChain = "protected_only";
constexpr uint8_t kIpv6Inside = 41;

struct SaMap {
  const char* name;
  Family family;
  bool udp;
};
constexpr std::array<SaMap, 4> kSaMaps{{{"esp4", Family::kIpv4, false},
                                        {"esp6", Family::kIpv6, false},
                                        {"udp4", Family::kIpv4, true},
                                        {"udp6", Family::kIpv6, true}}};

uint16_t type_of(uint16_t message) { return static_cast<uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | message); }

Message request(uint16_t type, uint16_t flags = 0) {
  Message message(type_of(type), flags);
  message.header(nfgenmsg{.nfgen_family = NFPROTO_INET, .version = NFNETLINK_V0, .res_id = 0});
  return message;
}

Message frame(uint16_t type) {
  Message message(type);
  message.drop_acknowledgement();
  message.header(nfgenmsg{.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(NFNL_SUBSYS_NFTABLES)});
  return message;
}

/// Between its beginning and its end; only the last request is acknowledged, which says that all were taken.
NftBatch framed(std::vector<Message> messages) {
  NftBatch batch;
  batch.push_back(frame(NFNL_MSG_BATCH_BEGIN));
  for (size_t i = 0; i < messages.size(); ++i) {
    if (i + 1 < messages.size()) messages[i].drop_acknowledgement();
    batch.push_back(std::move(messages[i]));
  }
  batch.push_back(frame(NFNL_MSG_BATCH_END));
  return batch;
}

std::string chain_of(const MssLimits& limits) {
  return "mss_" + std::to_string(limits.ipv4) + "_" + std::to_string(limits.ipv6);
}

std::string chain_of(const OuterHeader& header) {
  std::string name = "outer";
  if (header.df_set) name.append("_df");
  if (header.dscp) name.append("_").append(std::to_string(*header.dscp));
  return name;
}

/// Inverse of chain_of().
std::optional<MssLimits> limits_of(std::string_view chain) {
  MssLimits limits;
  if (!chain.starts_with("mss_")) return std::nullopt;
  const char* at = chain.data() + 4;
  const char* const end = chain.data() + chain.size();
  auto parsed = std::from_chars(at, end, limits.ipv4);
  if (parsed.ec != std::errc{} || parsed.ptr == end || *parsed.ptr != '_') return std::nullopt;
  parsed = std::from_chars(parsed.ptr + 1, end, limits.ipv6);
  if (parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
  return limits;
}

std::optional<OuterHeader> header_of(std::string_view chain) {
  OuterHeader header;
  const auto take = [&](std::string_view text) {
    if (!chain.starts_with(text)) return false;
    chain.remove_prefix(text.size());
    return true;
  };
  if (!take("outer")) return std::nullopt;
  header.df_set = take("_df");
  if (chain.empty()) return header;
  uint8_t dscp = 0;
  if (!take("_")) return std::nullopt;
  const auto parsed = std::from_chars(chain.data(), chain.data() + chain.size(), dscp);
  if (parsed.ec != std::errc{} || parsed.ptr != chain.data() + chain.size()) return std::nullopt;
  header.dscp = dscp;
  return header;
}

// ---- keys of maps

Bytes key_of(const std::string& interface) {
  Bytes key(IFNAMSIZ);
  std::copy_n(interface.begin(), std::min(interface.size(), key.size() - 1), key.begin());
  return key;
}

/// As the kernel keeps it: in the machine's own byte order.
Bytes key_of(uint32_t reqid) {
  const auto bytes = to_bytes(reqid);
  return {bytes.begin(), bytes.end()};
}

Bytes key_of(const policy::SaKey& key) {
  ByteWriter writer;
  writer.bytes(key.destination.bytes());
  writer.u32(key.spi.value());
  const ByteView view = writer.view();
  return {view.begin(), view.end()};
}

Bytes key_of(const PacketRules::Sealed& pair) {
  ByteWriter writer;
  writer.bytes(pair.remote.bytes());
  writer.bytes(pair.local.bytes());
  const ByteView view = writer.view();
  return {view.begin(), view.end()};
}

const char* map_of(const policy::SaKey& key, const OuterHeader& header) {
  const auto map = std::ranges::find_if(kSaMaps, [&](const SaMap& each) {
    return each.family == key.destination.family() && each.udp == header.udp_encapsulation;
  });
  return map->name;
}

// ---- objects

Message new_table() {
  Message message = request(NFT_MSG_NEWTABLE, NLM_F_CREATE);
  message.put_text(NFTA_TABLE_NAME, kNftTable);
  // As the command nft writes a comment: type, length, text with its zero.
  std::array<uint8_t, 2 + kComment.size() + 1> comment{0, static_cast<uint8_t>(kComment.size() + 1)};
  std::ranges::copy(kComment, comment.begin() + 2);
  message.put(NFTA_TABLE_USERDATA, comment);
  return message;
}

Message delete_table() {
  Message message = request(NFT_MSG_DELTABLE);
  message.put_text(NFTA_TABLE_NAME, kNftTable);
  return message;
}

/// Of a base chain: where it sees packets, and when.
void put_hook(Message& message, uint32_t hook) {
  message.nest(NFTA_CHAIN_HOOK, [&] {
    put_be32(message, NFTA_HOOK_HOOKNUM, hook);
    put_be32(message, NFTA_HOOK_PRIORITY, static_cast<uint32_t>(kManglePriority));
  });
  put_be32(message, NFTA_CHAIN_POLICY, NF_ACCEPT);
  message.put_text(NFTA_CHAIN_TYPE, "filter");
}

Message new_chain(const std::string& name, std::optional<uint32_t> hook = std::nullopt) {
  Message message = request(NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL);
  message.put_text(NFTA_CHAIN_TABLE, kNftTable);
  message.put_text(NFTA_CHAIN_NAME, name);
  if (hook) put_hook(message, *hook);
  return message;
}

Message new_rule(const std::string& chain, const std::function<void(NftRule&)>& fill) {
  Message message = request(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
  message.put_text(NFTA_RULE_TABLE, kNftTable);
  message.put_text(NFTA_RULE_CHAIN, chain);
  message.nest(NFTA_RULE_EXPRESSIONS, [&] {
    NftRule rule(message);
    fill(rule);
  });
  return message;
}

/// For the command nft, which shows keys by it: their byte order, as type, length and value.
Bytes key_order(uint32_t key_type) {
  constexpr uint8_t kKeyByteOrder = 0;
  constexpr uint32_t kOfHost = 1, kBigEndian = 2;
  const auto value = to_bytes(key_type == kTypeMark || key_type == kTypeInterface ? kOfHost : kBigEndian);
  Bytes bytes{kKeyByteOrder, static_cast<uint8_t>(value.size())};
  bytes.insert(bytes.end(), value.begin(), value.end());
  return bytes;
}

Message new_map(const std::string& name, uint32_t key_type, uint32_t key_bytes, uint32_t id) {
  Message message = request(NFT_MSG_NEWSET, NLM_F_CREATE | NLM_F_EXCL);
  message.put_text(NFTA_SET_TABLE, kNftTable);
  message.put_text(NFTA_SET_NAME, name);
  put_be32(message, NFTA_SET_FLAGS, NFT_SET_MAP);
  put_be32(message, NFTA_SET_KEY_TYPE, key_type);
  put_be32(message, NFTA_SET_KEY_LEN, key_bytes);
  put_be32(message, NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT);
  put_be32(message, NFTA_SET_ID, id);
  message.put(NFTA_SET_USERDATA, key_order(key_type));
  return message;
}

struct Element {
  Bytes key;
  std::string chain;
};
using Elements = std::map<std::string, std::vector<Element>>;  // by map

void add_elements(uint16_t type, const Elements& elements, std::vector<Message>& messages) {
  for (const auto& entry : elements) {
    const std::vector<Element>& list = entry.second;
    for (size_t from = 0; from < list.size(); from += kElementsPerMessage) {
      Message message = request(type, type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0);
      message.put_text(NFTA_SET_ELEM_LIST_TABLE, kNftTable);
      message.put_text(NFTA_SET_ELEM_LIST_SET, entry.first);
      message.nest(NFTA_SET_ELEM_LIST_ELEMENTS, [&] {
        for (size_t i = from; i < std::min(list.size(), from + kElementsPerMessage); ++i)
          message.nest(NFTA_LIST_ELEM, [&] {
            message.nest(NFTA_SET_ELEM_KEY, [&] { message.put(NFTA_DATA_VALUE, list[i].key); });
            if (type != NFT_MSG_NEWSETELEM) return;
            message.nest(NFTA_SET_ELEM_DATA, [&] {
              message.nest(NFTA_DATA_VERDICT, [&] {
                put_be32(message, NFTA_VERDICT_CODE, static_cast<uint32_t>(NFT_JUMP));
                message.put_text(NFTA_VERDICT_CHAIN, list[i].chain);
              });
            });
          });
      });
      messages.push_back(std::move(message));
    }
  }
}

Elements elements_of(const PacketRules& rules) {
  Elements elements;
  const auto both = [&](const char* in, const char* out, const Bytes& key, const MssLimits& limits) {
    elements[in].push_back({key, chain_of(limits)});
    elements[out].push_back({key, chain_of(limits)});
  };
  for (const auto& [name, limits] : rules.interfaces) both(kInInterface, kOutInterface, key_of(name), limits);
  for (const auto& [reqid, limits] : rules.reqids) both(kInReqid, kOutReqid, key_of(reqid), limits);
  for (const auto& [key, header] : rules.outer)
    elements[map_of(key, header)].push_back({key_of(key), chain_of(header)});
  for (const PacketRules::Sealed& pair : rules.sealed) elements[kSealed].push_back({key_of(pair), kSealedChain});
  return elements;
}

void add_base_chains(const NftStructure& structure, std::vector<Message>& messages) {
  const std::string leaving = "leaving", entering = "entering";
  messages.push_back(new_chain(leaving, NF_INET_POST_ROUTING));
  messages.push_back(new_chain(entering, NF_INET_PRE_ROUTING));
  if (!structure.outer.empty())
    for (const SaMap& each : kSaMaps)
      messages.push_back(new_rule(leaving, [&](NftRule& rule) {
        constexpr uint32_t kUdpHeader = 8;
        rule.match_family(each.family);
        rule.match_protocol(each.udp ? kUdp : kEsp);
        rule.lookup_sa(each.name, each.family, each.udp ? kUdpHeader : 0);
      }));
  if (structure.seals)
    messages.push_back(new_rule(entering, [](NftRule& rule) {
      rule.match_family(Family::kIpv4);
      rule.match_protocol(kIpv6Inside);
      rule.lookup_pair(kSealed);
    }));
  for (const Way way : {Way::kOut, Way::kIn}) {
    const std::string& chain = way == Way::kOut ? leaving : entering;
    const auto syn = [&](const auto& then) {
      messages.push_back(new_rule(chain, [&](NftRule& rule) {
        rule.match_syn();
        then(rule);
      }));
    };
    if (structure.by_interface)
      syn([&](NftRule& rule) { rule.lookup_interface(way == Way::kOut ? kOutInterface : kInInterface, way); });
    if (structure.by_reqid)
      syn([&](NftRule& rule) { rule.lookup_reqid(way == Way::kOut ? kOutReqid : kInReqid, way); });
  }
  for (const PacketRules::Clearing& each : structure.inner_df)
    messages.push_back(new_rule(entering, [&](NftRule& rule) {
      rule.match_family(Family::kIpv4);
      if (each.vrf.empty())
        rule.match_route_out(each.interface);
      else
        rule.match_interface_in(each.vrf);
      if (each.destination.length != 0) rule.match_destination(each.destination);
      rule.set_df(NftRule::Df::kClear);
    }));
}

void add_action_chains(const NftStructure& structure, std::vector<Message>& messages) {
  if (structure.seals) {
    messages.push_back(new_chain(kSealedChain));
    messages.push_back(new_rule(kSealedChain, [](NftRule& rule) {
      rule.match_unprotected();
      rule.drop();
    }));
  }
  for (const MssLimits& limits : structure.mss) {
    messages.push_back(new_chain(chain_of(limits)));
    for (const auto& each : {std::pair(Family::kIpv4, limits.ipv4), {Family::kIpv6, limits.ipv6}})
      messages.push_back(new_rule(chain_of(limits), [&](NftRule& rule) {
        rule.match_family(each.first);
        rule.set_mss(each.second);
      }));
  }
  for (const OuterHeader& header : structure.outer) {
    messages.push_back(new_chain(chain_of(header)));
    if (header.df_set)
      messages.push_back(new_rule(chain_of(header), [](NftRule& rule) { rule.set_df(NftRule::Df::kSet); }));
    if (header.dscp)
      for (const Family family : {Family::kIpv4, Family::kIpv6})
        messages.push_back(new_rule(chain_of(header), [&](NftRule& rule) { rule.set_dscp(family, *header.dscp); }));
  }
}

std::optional<std::string> own_text(const Attributes& attributes, uint16_t table, uint16_t what) {
  if (attributes.text(table) != kNftTable) return std::nullopt;
  return attributes.text(what);
}

}  // namespace

NftStructure NftStructure::of(const PacketRules& rules) {
  NftStructure structure{.inner_df = rules.inner_df,
                         .seals = !rules.sealed.empty(),
                         .by_interface = !rules.interfaces.empty(),
                         .by_reqid = !rules.reqids.empty()};
  for (const auto& [name, limits] : rules.interfaces) structure.mss.insert(limits);
  for (const auto& [reqid, limits] : rules.reqids) structure.mss.insert(limits);
  for (const auto& [key, header] : rules.outer) structure.outer.insert({.df_set = header.df_set, .dscp = header.dscp});
  return structure;
}

bool NftStructure::has(const NftStructure& other) const {
  return std::ranges::includes(mss, other.mss) && std::ranges::includes(outer, other.outer) &&
         inner_df == other.inner_df && (seals || !other.seals) && (by_interface || !other.by_interface) &&
         (by_reqid || !other.by_reqid);
}

const std::vector<std::string>& nft_maps_out() {
  static const std::vector<std::string> kMaps{kOutInterface, kOutReqid, "esp4", "esp6", "udp4", "udp6", kSealed};
  return kMaps;
}

const std::vector<std::string>& nft_maps_in() {
  static const std::vector<std::string> kMaps{kInInterface, kInReqid};
  return kMaps;
}

NftBatch encode_nft_table(const PacketRules& rules) {
  constexpr uint32_t kInterfaceBytes = IFNAMSIZ, kReqidBytes = 4, kSpiBytes = 4, kPairBytes = 8;
  const NftStructure structure = NftStructure::of(rules);
  std::vector<Message> messages;
  // Made first, so that there is one to delete; the transaction shows others only its outcome.
  messages.push_back(new_table());
  messages.push_back(delete_table());
  messages.push_back(new_table());
  uint32_t id = 0;
  for (const char* name : {kOutInterface, kInInterface})
    messages.push_back(new_map(name, kTypeInterface, kInterfaceBytes, ++id));
  for (const char* name : {kOutReqid, kInReqid}) messages.push_back(new_map(name, kTypeMark, kReqidBytes, ++id));
  for (const SaMap& each : kSaMaps) {
    const bool v4 = each.family == Family::kIpv4;
    messages.push_back(new_map(each.name, (v4 ? kTypeAddress4 : kTypeAddress6) << kTypeBits | kTypeMark,
                               (v4 ? 4 : 16) + kSpiBytes, ++id));
  }
  messages.push_back(new_map(kSealed, kTypeAddress4 << kTypeBits | kTypeAddress4, kPairBytes, ++id));
  add_action_chains(structure, messages);
  add_base_chains(structure, messages);
  add_elements(NFT_MSG_NEWSETELEM, elements_of(rules), messages);
  return framed(std::move(messages));
}

NftBatch encode_nft_removal() {
  std::vector<Message> messages;
  messages.push_back(delete_table());
  return framed(std::move(messages));
}

NftBatch encode_nft_change(const PacketRules& before, const policy::PacketRuleChange& change) {
  // What is to be another goes first: an element is never changed in place.
  PacketRules gone, fresh;
  const auto sort = [](const auto& changes, const auto& standing, auto& leaves, auto& comes) {
    for (const auto& [key, value] : changes) {
      const auto there = standing.find(key);
      if (there != standing.end() && value && there->second == *value) continue;
      if (there != standing.end()) leaves.insert(*there);
      if (value) comes.emplace(key, *value);
    }
  };
  sort(change.interfaces, before.interfaces, gone.interfaces, fresh.interfaces);
  sort(change.reqids, before.reqids, gone.reqids, fresh.reqids);
  sort(change.outer, before.outer, gone.outer, fresh.outer);
  for (const auto& [pair, wanted] : change.sealed)
    if (wanted != before.sealed.contains(pair)) (wanted ? fresh : gone).sealed.insert(pair);
  std::vector<Message> messages;
  add_elements(NFT_MSG_DELSETELEM, elements_of(gone), messages);
  add_elements(NFT_MSG_NEWSETELEM, elements_of(fresh), messages);
  if (messages.empty()) return {};
  return framed(std::move(messages));
}

NftBatch encode_df_probe() {
  std::vector<Message> messages;
  messages.push_back(new_table());
  messages.push_back(new_chain("probe", NF_INET_LOCAL_OUT));
  messages.push_back(new_rule("probe", [](NftRule& rule) {
    rule.match_protocol(kUdp);
    rule.set_df(NftRule::Df::kSet);
    rule.drop();
  }));
  return framed(std::move(messages));
}

// ---- what stands

Message encode_get_nft_table() {
  Message message = request(NFT_MSG_GETTABLE);
  message.put_text(NFTA_TABLE_NAME, kNftTable);
  return message;
}

Message encode_dump_nft_chains() { return request(NFT_MSG_GETCHAIN); }

Message encode_dump_nft_rules() {
  Message message = request(NFT_MSG_GETRULE);
  message.put_text(NFTA_RULE_TABLE, kNftTable);  // the kernel leaves out those of other tables
  return message;
}

Message encode_dump_nft_elements(const std::string& map) {
  Message message = request(NFT_MSG_GETSETELEM);
  message.put_text(NFTA_SET_ELEM_LIST_TABLE, kNftTable);
  message.put_text(NFTA_SET_ELEM_LIST_SET, map);
  return message;
}

Result<bool> is_our_nft_table(ByteView payload) {
  TRY_ASSIGN(const Attributes table, attributes_behind(payload, sizeof(nfgenmsg)), "table");
  const ByteView comment = table.find(NFTA_TABLE_USERDATA).value_or(ByteView{});
  return comment.size() > 2 && as_text(comment.subspan(2)).starts_with(kComment);
}

Result<Bytes> nft_object_bytes(uint16_t type, ByteView payload) {
  TRY_ASSIGN(const Attributes object, attributes_behind(payload, sizeof(nfgenmsg)), "object of nf_tables");
  const bool is_chain = type == type_of(NFT_MSG_NEWCHAIN);
  const auto name = is_chain ? own_text(object, NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME)
                             : own_text(object, NFTA_RULE_TABLE, NFTA_RULE_CHAIN);
  Bytes bytes;
  if (!name) return bytes;
  const auto append = [&](ByteView more) { bytes.insert(bytes.end(), more.begin(), more.end()); };
  append(as_bytes(*name));
  bytes.push_back(0);
  if (is_chain)  // use counts and handles are left out: they say nothing of what it does
    for (const uint16_t each : {NFTA_CHAIN_HOOK, NFTA_CHAIN_POLICY, NFTA_CHAIN_TYPE})
      append(object.find(each).value_or(ByteView{}));
  else
    append(object.find(NFTA_RULE_EXPRESSIONS).value_or(ByteView{}));
  return bytes;
}

namespace {

Error unexpected(const std::string& map) { return Error(Reason::kMalformed, "an element of map " + map); }

Status take_element(const std::string& map, ByteView key, const std::string& chain, PacketRules& rules) {
  const auto sa_map = std::ranges::find_if(kSaMaps, [&](const SaMap& each) { return each.name == map; });
  if (sa_map != kSaMaps.end()) {
    auto header = header_of(chain);
    const size_t address_bytes = sa_map->family == Family::kIpv4 ? 4 : 16;
    if (!header || key.size() != address_bytes + 4) return unexpected(map);
    header->udp_encapsulation = sa_map->udp;
    TRY_ASSIGN(const IpAddress destination, IpAddress::from_bytes(key.first(address_bytes)), "element");
    TRY_ASSIGN(const uint32_t spi, ByteReader(key.subspan(address_bytes)).u32(), "element");
    rules.outer[{destination, policy::ChildSpi(spi)}] = *header;
    return {};
  }
  if (map == kSealed) {
    if (key.size() != 8 || chain != kSealedChain) return unexpected(map);
    TRY_ASSIGN(const IpAddress remote, IpAddress::from_bytes(key.first(4)), "element");
    TRY_ASSIGN(const IpAddress local, IpAddress::from_bytes(key.subspan(4)), "element");
    rules.sealed.insert({remote, local});
    return {};
  }
  const auto limits = limits_of(chain);
  if (!limits) return unexpected(map);
  if (map == kOutInterface || map == kInInterface) {
    const std::string_view name = as_text(key);
    rules.interfaces[std::string(name.substr(0, name.find('\0')))] = *limits;
    return {};
  }
  TRY_ASSIGN(const uint32_t reqid, from_bytes<uint32_t>(key), "element");
  rules.reqids[reqid] = *limits;
  return {};
}

}  // namespace

Status decode_nft_elements(const std::string& map, ByteView payload, PacketRules& rules) {
  TRY_ASSIGN(const Attributes list, attributes_behind(payload, sizeof(nfgenmsg)), "elements");
  Status outcome;
  const auto each = [&](uint16_t, ByteView bytes) {
    const auto take = [&]() -> Status {
      TRY_ASSIGN(const Attributes element, Attributes::parse(bytes), "element");
      TRY_ASSIGN(const Attributes key, element.nested(NFTA_SET_ELEM_KEY), "element");
      TRY_ASSIGN(const Attributes data, element.nested(NFTA_SET_ELEM_DATA), "element");
      TRY_ASSIGN(const Attributes verdict, data.nested(NFTA_DATA_VERDICT), "element");
      const auto value = key.find(NFTA_DATA_VALUE);
      if (!value) return unexpected(map);
      return take_element(map, *value, verdict.text(NFTA_VERDICT_CHAIN), rules);
    };
    if (outcome.ok()) outcome = take();
  };
  TRY(Attributes::for_each(list.find(NFTA_SET_ELEM_LIST_ELEMENTS).value_or(ByteView{}), each), "elements");
  return outcome;
}

bool concerns_nft_table(const Received& message) {
  if (message.type >> 8 != NFNL_SUBSYS_NFTABLES) return false;
  const uint16_t type = message.type & 0xff;
  // Objects of all these kinds name their table in the first attribute.
  if (type == NFT_MSG_NEWGEN || type == NFT_MSG_GETGEN) return false;
  const auto attributes = attributes_behind(message.payload, sizeof(nfgenmsg));
  const auto header = from_bytes<nfgenmsg>(message.payload);
  return attributes.ok() && header.ok() && header->nfgen_family == NFPROTO_INET && attributes->text(1) == kNftTable;
}

}  // namespace ipsec::netlink
