#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "netlink/message.h"
#include "policy/packet_rules.h"

/// Our table of packet rules to nf_tables' bytes and back. Pure.
///
/// The table is two base chains that look packets up in maps (by interface, reqid, or address and SPI), and one chain
/// for each thing that is done to packets, which the maps name. So SAs and interfaces come and go as map elements, and
/// rules only change with what is configured.
namespace ipsec::netlink {

inline constexpr const char* kNftTable = "ipsecd";  ///< Of the family inet.

/// The rules of a table apart from the elements of its maps.
struct NftStructure {
  std::set<policy::MssLimits> mss;      ///< Chains that clamp.
  std::set<policy::OuterHeader> outer;  ///< Chains that write headers; udp_encapsulation is not part of it.
  std::set<policy::PacketRules::Clearing> inner_df;
  bool seals = false;
  bool by_interface = false, by_reqid = false;
  friend bool operator==(const NftStructure&, const NftStructure&) = default;

  static NftStructure of(const policy::PacketRules& rules);
  /// Whether a table of this structure can hold what needs `other`.
  bool has(const NftStructure& other) const;
};

/// The messages of one transaction, with its beginning and end.
using NftBatch = std::vector<Message>;
/// The whole table, in place of one that may be there.
NftBatch encode_nft_table(const policy::PacketRules& rules);
/// Removes the table; fails when there is none.
NftBatch encode_nft_removal();
/// Elements that come and go; a table with a structure for them is there. `before`: what is in it.
NftBatch encode_nft_change(const policy::PacketRules& before, const policy::PacketRuleChange& change);

/// A table (of our name, for a namespace of its own) in which each UDP packet that is sent has its DF bit written and
/// is dropped then: for probe_df_writer().
NftBatch encode_df_probe();

// Requests for what stands.
Message encode_get_nft_table();
Message encode_dump_nft_chains();
Message encode_dump_nft_rules();
Message encode_dump_nft_elements(const std::string& map);
/// The maps of our table: for what leaves, and for what comes in. The latter have the interfaces and reqids of the
/// former once more.
const std::vector<std::string>& nft_maps_out();
const std::vector<std::string>& nft_maps_in();

/// The payload of NFT_MSG_NEWTABLE: whether it bears the comment that ours has.
Result<bool> is_our_nft_table(ByteView payload);
/// The payload of NFT_MSG_NEWCHAIN or NFT_MSG_NEWRULE as bytes that are the same as long as the object is; empty for
/// one of another table.
Result<Bytes> nft_object_bytes(uint16_t type, ByteView payload);
/// The elements in a payload of NFT_MSG_NEWSETELEM, added to `rules`; kMalformed for what we never put there.
Status decode_nft_elements(const std::string& map, ByteView payload, policy::PacketRules& rules);

/// The payload of a message from the group of nf_tables' news: whether it is about our table.
bool concerns_nft_table(const Received& message);

}  // namespace ipsec::netlink
