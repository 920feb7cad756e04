#include "netlink/df_code.h"

#include <doctest/doctest.h>
#include <net/if_arp.h>

#include <algorithm>
#include <set>

using namespace ipsec;
using namespace ipsec::netlink;
using namespace ipsec::policy;

namespace {

SaKey sa(const char* address, uint32_t spi) { return {IpAddress::parse(address).value(), ChildSpi(spi)}; }
IpPrefix prefix(const char* text) { return IpPrefix::parse(text).value(); }

LinkInfo device(uint16_t hardware, std::string kind = {}, std::string member_kind = {}, int master = 0) {
  LinkInfo link;
  link.hardware = hardware, link.kind = std::move(kind), link.member_kind = std::move(member_kind);
  link.master = master;
  return link;
}

uint8_t class_of(const bpf_insn& each) { return BPF_CLASS(each.code); }
bool is_call(const bpf_insn& each) { return each.code == (BPF_JMP | BPF_CALL); }
bool is_exit(const bpf_insn& each) { return each.code == (BPF_JMP | BPF_EXIT); }
bool is_wide(const bpf_insn& each) { return each.code == (BPF_LD | BPF_IMM | BPF_DW); }

std::vector<int> calls_of(const std::vector<bpf_insn>& code) {
  std::vector<int> calls;
  for (const bpf_insn& each : code)
    if (is_call(each)) calls.push_back(each.imm);
  return calls;
}

std::vector<int> maps_of(const std::vector<bpf_insn>& code) {
  std::vector<int> maps;
  for (const bpf_insn& each : code)
    if (is_wide(each) && each.src_reg == BPF_PSEUDO_MAP_FD) maps.push_back(each.imm);
  return maps;
}

/// The instructions in which two programs of one length differ, by the numbers that they have in the first and second.
std::vector<std::pair<int, int>> differences(const std::vector<bpf_insn>& a, const std::vector<bpf_insn>& b) {
  std::vector<std::pair<int, int>> found;
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].imm != b[i].imm) found.emplace_back(a[i].imm, b[i].imm);
  return found;
}

}  // namespace

TEST_CASE("DF: the key of an SA is what its packets show, and only IPv4 has one") {
  const auto plain = df_key(sa("192.0.2.2", 0xc0000001), OuterHeader{.df_set = true});
  CHECK(plain == DfSaKey{192, 0, 2, 2, 0xc0, 0, 0, 1, 50, 0, 0, 0});
  const OuterHeader in_udp{.df_set = true, .dscp = {}, .udp_encapsulation = true};
  CHECK(df_key(sa("192.0.2.2", 0xc0000001), in_udp) == DfSaKey{192, 0, 2, 2, 0xc0, 0, 0, 1, 17, 0, 0, 0});
  CHECK_FALSE(df_key(sa("2001:db8::2", 0xc0000001), OuterHeader{.df_set = true}));
}

TEST_CASE("DF: a key is read back as the SA that it was made for, and what is none of ours as nothing") {
  const OuterHeader in_udp{.df_set = true, .dscp = {}, .udp_encapsulation = true};
  const auto read = sa_of(*df_key(sa("192.0.2.2", 0xc0000001), in_udp));
  REQUIRE(read);
  CHECK(read->first == sa("192.0.2.2", 0xc0000001));
  CHECK(read->second == in_udp);
  CHECK_FALSE(sa_of({192, 0, 2, 2, 0xc0, 0, 0, 1, 6, 0, 0, 0}));
  CHECK_FALSE(sa_of({192, 0, 2, 2, 0xc0, 0, 0, 1, 50, 0, 0, 1}));
}

TEST_CASE("DF: a destination's bits count from the scope on, which counts as a whole") {
  const DfDestinationKey key = df_key(0x01010101, prefix("10.2.0.0/16"));
  const uint32_t bits = 48;
  CHECK(std::equal(key.begin(), key.begin() + 4, to_bytes(bits).begin()));
  CHECK(DfDestinationKey{key}[4] == 1);
  CHECK(std::equal(key.begin() + 8, key.end(), std::array<uint8_t, 4>{10, 2, 0, 0}.begin()));
  CHECK(df_key(1, prefix("10.2.0.0/16")) != df_key(2, prefix("10.2.0.0/16")));
  CHECK(df_key(7) == DfInterfaceKey(to_bytes(7)));
}

TEST_CASE("DF: programs stand where IPv4 packets come and go, once for each packet") {
  CHECK(df_place(device(ARPHRD_ETHER)) == DfPlace{14, 0});
  CHECK(df_place(device(ARPHRD_ETHER, "veth", "vrf", 9)) == DfPlace{14, 9});
  CHECK(df_place(device(ARPHRD_ETHER, "vlan")) == DfPlace{14, 0});
  CHECK(df_place(device(ARPHRD_ETHER, "bond", "vrf", 9)) == DfPlace{14, 9});
  CHECK(df_place(device(ARPHRD_NONE, "tun")) == DfPlace{0, 0});
  CHECK(df_place(device(ARPHRD_PPP)) == DfPlace{0, 0});
  CHECK(df_place(device(ARPHRD_IPGRE, "gre", "vrf", 9)) == DfPlace{0, 9});
  for (const LinkInfo& none :
       {device(ARPHRD_LOOPBACK), device(ARPHRD_NONE, "xfrm"), device(ARPHRD_NONE, "xfrm", "vrf", 9),
        device(ARPHRD_ETHER, "vrf"), device(ARPHRD_ETHER, "", "bond", 9), device(ARPHRD_ETHER, "veth", "bridge", 9),
        device(ARPHRD_INFINIBAND)})
    CHECK_FALSE(df_place(none));
}

TEST_CASE("DF: a program only goes forward, ends within itself, and lets every packet go on") {
  for (const auto& code : {set_df_code(3, 14), set_df_code(3, 0), clear_df_code(4, 5, {14, 0})}) {
    std::set<size_t> second_halves;
    for (size_t i = 0; i < code.size(); ++i)
      if (is_wide(code[i])) second_halves.insert(i + 1);
    for (size_t i = 0; i < code.size(); ++i) {
      const bool jumps = class_of(code[i]) == BPF_JMP && !is_call(code[i]) && !is_exit(code[i]);
      if (!jumps) continue;
      const size_t to = i + 1 + static_cast<size_t>(code[i].off);
      CHECK(code[i].off >= 0);
      CHECK(to < code.size());
      CHECK_FALSE(second_halves.contains(to));
    }
    CHECK(std::ranges::count_if(code, is_exit) == 1);
    CHECK(is_exit(code.back()));
    CHECK(code[code.size() - 2].imm == -1);  // TCX_NEXT: the programs of others see it too
    CHECK(code.size() < 96);
  }
}

TEST_CASE("DF: what a program asks the kernel, in which order, and where the link header counts") {
  using Calls = std::vector<int>;
  CHECK(calls_of(set_df_code(3, 14)) == Calls{BPF_FUNC_skb_load_bytes, BPF_FUNC_skb_load_bytes,
                                              BPF_FUNC_map_lookup_elem, BPF_FUNC_skb_store_bytes,
                                              BPF_FUNC_l3_csum_replace});
  CHECK(calls_of(clear_df_code(4, 5, {14, 9})) == Calls{BPF_FUNC_skb_load_bytes, BPF_FUNC_map_lookup_elem,
                                                        BPF_FUNC_fib_lookup, BPF_FUNC_map_lookup_elem,
                                                        BPF_FUNC_skb_store_bytes, BPF_FUNC_l3_csum_replace});
  CHECK(maps_of(set_df_code(3, 14)) == std::vector<int>{3});
  CHECK(maps_of(clear_df_code(4, 5, {14, 9})) == std::vector<int>{4, 5});
  using Pairs = std::vector<std::pair<int, int>>;
  // The header, where the SPI is counted from, flags, checksum.
  CHECK(differences(set_df_code(3, 14), set_df_code(3, 0)) == Pairs{{14, 0}, {14, 0}, {20, 6}, {24, 10}});
  CHECK(differences(clear_df_code(4, 5, {14, 9}), clear_df_code(4, 5, {14, 0})) == Pairs{{9, 0}});
}
