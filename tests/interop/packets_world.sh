# shellcheck shell=bash
# What the tests of packet handling share, sourced after checks.sh: sizes, counters on the peer and the host.

# edit PYTHON: changes the configuration `config`, and the gateway takes it.
edit() {
  python3 - "$1" <<'P'
import json, sys
with open("/run/gw.json") as file: config = json.load(file)
policy, group, tunnel = config["child_policies"]["std"], config["tunnel_groups"]["core"], config["tunnels"]["site"]
exec(sys.argv[1])
with open("/run/gw.json", "w") as file: json.dump(config, file)
P
  ctl gw config apply > /run/apply.out || cat /run/apply.out
}
shown() { ctl gw --json show tunnel site | python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
is_shown() { is "$(shown "$1")" "$2"; }
link_mtu() { ip -n customers -o link show type xfrm | sed -n 's/.* mtu \([0-9]*\) .*/\1/p'; }
link_mtu_is() { is "$(link_mtu)" "$1"; }
mtus_are() { is "$(shown mtu) $(link_mtu)" "$1 $1"; }
forget_paths() { ip -n host route flush cache; ip -n host -6 route flush cache; }
# sized whole|parts BYTES ADDRESS: a ping whose packet has this size with all headers, with DF or without, is answered.
sized() {
  local headers=28 way='do'; [[ $3 != *:* ]] || headers=48
  [ "$1" = whole ] || way=dont
  ip netns exec host ping -q -c 1 -W 1 -M "$way" -s $(($2 - headers)) "$3"
}
# told BYTES ADDRESS: of which MTU the sender of such a packet, with DF, is told.
told() {
  local headers=28; [[ $2 != *:* ]] || headers=48
  forget_paths
  ip netns exec host ping -c 1 -W 1 -M 'do' -s $(($1 - headers)) "$2" 2>&1 | grep -o 'mtu *= *[0-9]*' | tr -dc '0-9\n' | head -1
}
# learns BYTES ADDRESS: the size that passes in the end when a sender of such packets, with DF, does as it is told.
learns() {
  local bytes=$1 headers=28 more; [[ $2 != *:* ]] || headers=48
  forget_paths
  for _ in 1 2 3 4; do
    sized whole "$bytes" "$2" > /dev/null && { echo "$bytes"; return; }
    more=$(ip netns exec host ping -c 1 -W 1 -M 'do' -s $((bytes - headers)) "$2" 2>&1 | grep -o 'mtu *= *[0-9]*' | tr -dc '0-9\n' | head -1)
    bytes=${more:-$bytes}
  done
}
# df_by_rules: whether this kernel lets a rule write the DF bit.
df_by_rules() {
  [ -n "${WRITES_DF:-}" ] || {
    ip netns exec host nft 'add table inet t { chain c { type filter hook output priority 0; udp dport 9 ip frag-off set 0x4000 counter; }; }'
    ip netns exec host bash -c 'echo > /dev/udp/10.1.0.1/9'
    WRITES_DF=$(ip netns exec host nft list table inet t | sed -n 's/.*counter packets \([0-9]*\) .*/\1/p')
    ip netns exec host nft delete table inet t
  }
  [ "$WRITES_DF" != 0 ]
}
# listen NAMESPACE: takes connections of both families on port 80.
listen() {
  ip netns exec "$1" python3 -c '
import socket
listener = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)
while True: listener.accept()[0].close()' &
}
connects() { # FROM-NAMESPACE ADDRESS
  ip netns exec "$1" python3 -c 'import socket, sys; socket.create_connection((sys.argv[1], 80), 2)' "$2"
}
# watch: counters on what comes to the peer (and to the host), before anything is done to it.
watch() {
  ip netns exec peer nft -f - <<N
table inet watch {
  counter seen_esp { }; counter seen_fragments { }; counter seen_df { }; counter seen_ef { }; counter seen_cs5 { }; counter seen_cs0 { }
  counter seen_inner_fragments { }; counter seen_inner_df { }
  chain outer {
    ip dscp ef counter name seen_ef
    ip6 dscp ef counter name seen_ef
    ip dscp cs5 counter name seen_cs5
    ip6 dscp cs5 counter name seen_cs5
    ip dscp cs0 counter name seen_cs0
    ip6 dscp cs0 counter name seen_cs0
    ip frag-off & 0x4000 != 0 counter name seen_df
  }
  chain in { type filter hook prerouting priority raw; policy accept;
    ip saddr 192.0.2.1 ip frag-off & 0x3fff != 0 counter name seen_fragments
    ip6 saddr 2001:db8::1 exthdr frag exists counter name seen_fragments
    ip saddr 10.1.0.0/24 ip frag-off & 0x3fff != 0 counter name seen_inner_fragments
    ip saddr 10.1.0.0/24 ip frag-off & 0x4000 != 0 counter name seen_inner_df
    meta l4proto esp counter name seen_esp jump outer
    udp dport 4500 @th,64,32 != 0 udp length > 40 counter name seen_esp jump outer
  }
}
N
  for ns in peer host; do
    ip netns exec $ns nft -f - <<N
table inet mss {
  set sizes4 { typeof tcp option maxseg size; flags dynamic; size 64; }
  set sizes6 { typeof tcp option maxseg size; flags dynamic; size 64; }
  chain sizes { type filter hook prerouting priority mangle; policy accept;
    tcp flags & (syn | rst) == syn ip saddr 10.0.0.0/8 add @sizes4 { tcp option maxseg size }
    tcp flags & (syn | rst) == syn ip6 saddr fd00::/16 add @sizes6 { tcp option maxseg size }
  }
}
N
  done
}
counted() { ip netns exec peer nft list counter inet watch "seen_$1" | sed -n 's/.*packets \([0-9]*\) .*/\1/p'; }
reset() { ip netns exec peer nft reset counters > /dev/null; }
# sizes NAMESPACE 4|6: the segment sizes that SYN packets have named there, since the last call.
sizes() {
  ip netns exec "$1" nft list set inet mss "sizes$2" | tr ',{}' '\n' | sed -n 's/^ *\(elements = *\)\?\([0-9][0-9]*\) *$/\2/p' | sort -n | paste -sd' '
  ip netns exec "$1" nft flush set inet mss "sizes$2"
}
