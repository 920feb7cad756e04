#!/bin/bash
# Packet handling where a tunnel has an interface: its MTU, computed and configured; what is too large, with DF and without;
# the MTU of the path, as it changes and as ICMP tells it; segment sizes of TCP in both directions; DF and DSCP outside. IPv4
# and IPv6 inside, over IPv4, IPv6 and in UDP.
. "$(dirname "$0")/checks.sh"
. tests/interop/packets_world.sh
make_network veth; peer_inside; secret gw peer.psk
listen peer; listen host; watch

calm() { ctl gw drift; }
rules() { ip netns exec "$1" nft list table inet ipsecd; }
CHILDREN='{"a": {"local": ["10.1.0.0/24", "fd00:1::/64"], "remote": ["10.2.0.0/24", "fd00:2::/64"], "start": "now"}}'

for outside in "1446 192.0.2.2 192.0.2.1" "1426 2001:db8::2 2001:db8::1" "1438 192.0.2.2 192.0.2.1 encap=yes"; do
  read -r MTU PEER GATEWAY more <<< "$outside"
  what="to $PEER${more:+ in UDP}"
  site_peer "$(child a '10.2.0.0/24, fd00:2::/64' '10.1.0.0/24, fd00:1::/64')" "${more/=/ = }" || exit 1
  site_gateway "$CHILDREN" || exit 1
  check "$what: the tunnel comes up" wait_for 10 "a" are a
  check "$what: its MTU is what is left of 1500 bytes" mtus_are "$MTU"
  for inside in 10.2.0.1 fd00:2::1; do
    check "$what: $inside: a packet of that size passes" sized whole "$MTU" $inside
    check "$what: $inside: of one byte more the sender is told" is "$(told $((MTU + 1)) $inside)" "$MTU"
    forget_paths; reset
    # IPv6 has no fragments but those of the sender, which has to hear of the size first.
    [[ $inside != *:* ]] || sized parts 3000 $inside > /dev/null
    check "$what: $inside: without DF large ones pass" sized parts 3000 $inside
  done
  check "$what: cut up before they are encrypted" is "$(counted fragments)" 0
  check "$what: nothing needs packet rules" not rules customers
  check "$what: nor in the public namespace" not rules gw

  edit 'policy.update(df="set", dscp="ef"); group["mss"] = "mtu"'
  check "$what: the headers change by a rekey" wait_for 10 "the table" rules gw
  check "$what: one child again" wait_for 20 "the end of the old one" are a
  reset
  check "$what: packets pass" pings 10.2.0.1
  check "$what: and IPv6" pings fd00:2::1
  check "$what: all with the DSCP" is "$(counted ef)" "$(counted esp)"
  if [[ $GATEWAY != *:* ]]; then
    reset; sized parts 500 10.2.0.1 > /dev/null
    check "$what: with DF, whatever the packet had inside" is "$(counted df)" "$(counted esp)"
  fi
  sizes peer 4 > /dev/null; sizes host 4 > /dev/null; sizes peer 6 > /dev/null; sizes host 6 > /dev/null
  check "$what: a connection to the peer" connects host 10.2.0.1
  check "$what: over IPv6" connects host fd00:2::1
  check "$what: both sides hear of segments that fit" is "$(sizes peer 4) $(sizes host 4)" "$((MTU - 40)) $((MTU - 40))"
  check "$what: over IPv6 of theirs" is "$(sizes peer 6) $(sizes host 6)" "$((MTU - 60)) $((MTU - 60))"
  edit 'tunnel["mss"] = "1200"; policy["dscp"] = "cs5"'
  check "$what: a connection from the peer" connects peer 10.1.0.2
  check "$what: has the configured segments" is "$(sizes peer 4) $(sizes host 4)" "1200 1200"
  reset
  check "$what: another DSCP counts at once" pings 10.2.0.1
  check "$what: for all" is "$(counted cs5)" "$(counted esp)"
  check "$what: nothing differs" calm
  if [ -n "$more" ]; then break; fi
  stop_ipsecd gw; stop_strongswan
  check "$what: the end leaves no rules" not rules gw
  check "$what: nor there" not rules customers
done
stop_ipsecd gw; stop_strongswan

# ---- what is configured, and what happens to the path
PEER=192.0.2.2 GATEWAY=192.0.2.1
site_peer "$(child a '10.2.0.0/24, fd00:2::/64' '10.1.0.0/24, fd00:1::/64')" || exit 1
site_gateway "$CHILDREN" '{}' '{"mtu": 1300}' || exit 1
check "the tunnel comes up" wait_for 10 "a" are a
check "with the configured MTU" mtus_are 1300
check "T16: with DF, ICMP" is "$(told 1301 10.2.0.1)" 1300
forget_paths; reset
check "T16: without DF, fragments" sized parts 1301 10.2.0.1
check "T16: before they are encrypted" is "$(counted fragments) $(counted inner_fragments)" "0 2"
edit 'policy["inner_df"] = "clear"'
forget_paths; reset
check "T16: with the DF bit cleared, fragments" sized whole 1301 10.2.0.1
check "T16: of which none has it" is "$(counted inner_fragments) $(counted inner_df)" "2 0"
# The tunnel's interface, and the one by which packets come, are made anew.
ip -n customers link del "$(ip -n customers -o link show type xfrm | cut -d' ' -f2 | cut -d@ -f1)"
check "T16: the interface is back" wait_for 10 "the interface" link_mtu_is 1300
forget_paths; reset
check "T16: still fragments" wait_for 5 "an answer" sized whole 1301 10.2.0.1
edit 'policy["inner_df"] = "keep"'
check "T16: with the bit kept, ICMP" is "$(told 1301 10.2.0.1)" 1300
edit 'policy["inner_df"] = "clear"'; forget_paths
check "T16: cleared again" sized whole 1301 10.2.0.1
edit 'policy["inner_df"] = "keep"'; forget_paths
for df in "copy 1 0" "set 1 1" "clear 0 0"; do
  read -r word with without <<< "$df"
  edit "policy['df'] = '$word'"
  check "df $word" wait_for 20 "one child" are a
  reset; sized whole 500 10.2.0.1 > /dev/null
  check "df $word: a packet with DF" is "$(counted df)" "$with"
  reset; sized parts 500 10.2.0.1 > /dev/null
  check "df $word: a packet without" is "$(counted df)" "$without"
done
edit 'policy["df"] = "copy"; policy["dscp"] = "zero"'
check "dscp zero" wait_for 20 "one child" are a
reset; ip netns exec host ping -q -c 1 -W 1 -Q 0xb8 10.2.0.1 > /dev/null
check "dscp zero: whatever it was inside" is "$(counted cs0) $(counted ef)" "1 0"
edit 'policy["dscp"] = "copy"'
check "dscp copy" wait_for 20 "one child" are a
reset; ip netns exec host ping -q -c 1 -W 1 -Q 0xb8 10.2.0.1 > /dev/null
check "dscp copy: that of the packet" is "$(counted cs0) $(counted ef)" "0 1"
edit 'policy["mtu"] = 1000'
check "below what IPv6 needs" wait_for 3 "1000" is_shown mtu 1000
check "the interface has that" is "$(link_mtu)" 1280
check "T17: 1281 bytes of IPv6 are too big" is "$(told 1281 fd00:2::1)" 1280
forget_paths
check "T17: 1280 bytes pass" sized whole 1280 fd00:2::1
check "nothing differs" calm
edit 'policy["mtu"] = 0'
check "computed again" wait_for 3 "1446" mtus_are 1446

ip -n gw link set veth-gw mtu 1400
check "another MTU of the device changes that of the tunnel" wait_for 3 "1346" mtus_are 1346
check "and of what senders are told" is "$(told 1400 10.2.0.1)" 1346
ip -n gw link set veth-gw mtu 1500
check "and back" wait_for 3 "1446" mtus_are 1446
edit 'group["mss"] = "mtu"'
check "with segments" wait_for 3 "the table" rules customers
# What ICMP tells of the path to the peer is the kernel's knowledge first, and then ours: as soon as we have looked, the
# interface has the least that IPv6 needs, and tells senders that first. Either way they come to what passes.
ip -n gw route add 192.0.2.2/32 dev veth-gw mtu 1300
check "a smaller path is told to senders at once" is "$(learns 1446 10.2.0.1)" 1246
forget_paths
check "without DF they still pass" sized parts 1446 10.2.0.1
check "a rekey looks at the path" ctl gw rekey site --child a
check "and so the tunnel gets its MTU" wait_for 5 "1246" is_shown mtu 1246
check "and its interface the least that IPv6 needs" is "$(link_mtu)" 1280
check "which is what a sender is told first" is "$(told 1446 10.2.0.1)" 1280
check "and then what passes" is "$(learns 1446 10.2.0.1)" 1246
forget_paths
sizes peer 4 > /dev/null
check "connections too" connects host 10.2.0.1
check "have the smaller segments" is "$(sizes peer 4)" 1206
check "nothing differs" calm

# ---- an interface for all tunnels, whose routes say more than where they lead
edit 'group["interfaces"] = "external"; policy["inner_df"] = "clear"'
check "an external interface" wait_for 20 "its interface" ip -n customers link show ipsx-core
check "the tunnel is up again" wait_for 20 "one child" are a
reset
check "packets with DF pass" wait_for 5 "an answer" sized whole 500 10.2.0.1
check "without it" is "$(counted inner_df)" 0
edit 'group["interfaces"] = "tunnel"; policy["inner_df"] = "keep"'
check "and back" wait_for 20 "one child" are a
reset
check "packets with DF pass" wait_for 5 "an answer" sized whole 500 10.2.0.1
check "with it" is "$(counted inner_df)" 1
check "nothing differs" calm

# ---- what others do to our table, and a kill
ip netns exec customers nft add table inet others
ip netns exec customers nft delete table inet ipsecd
check "a table that others delete is back at once" wait_for 3 "the table" rules customers
ip netns exec customers nft flush chain inet ipsecd leaving
check "a chain that others empty is filled" wait_for 3 "the rule" bash -c "ip netns exec customers nft list chain inet ipsecd leaving | grep -q vmap"
check "that is told" test "$(events drift-mended)" -ge 2
edit 'policy.update(dscp="ef", df="set")'
check "a DSCP and DF" wait_for 10 "the table" rules gw
check "one child again" wait_for 20 "the end of the old one" are a
kill -9 "$(cat /run/ipsecd-gw/pid)"; rm -f /run/ipsecd-gw/control
reset
check "a killed daemon leaves packets as they are" sized parts 500 10.2.0.1
check "marked" is "$(counted ef)" "$(counted esp)"
# What a program writes ends with the daemon, what a rule writes does not.
check "with DF only by rules" is "$(counted df)" "$(if df_by_rules; then counted esp; else echo 0; fi)"
start_ipsecd gw /run/gw.json
reset
check "the next one too" sized parts 500 10.2.0.1
check "marked, from the first one on" is "$(counted ef)" "$(counted esp)"
check "with DF" is "$(counted df)" "$(counted esp)"
check "it has the tunnel up again" wait_for 20 "a" state_is site up
reset
check "packets pass" sized parts 500 10.2.0.1
check "marked" is "$(counted ef)" "$(counted esp)"
check "with DF" is "$(counted df)" "$(counted esp)"
check "nothing differs" calm
check "DF was never out of reach" is "$(events packet-rules-refused)" 0
stop_ipsecd gw
check "the end leaves no rules" not rules gw
check "nor there" not rules customers
check "and those of others" ip netns exec customers nft list table inet others
finish
