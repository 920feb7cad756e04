#!/bin/bash
# Packet handling where policies decide and there is no interface: the kernel goes by the path to the peer, our packet rules
# tell tunnels by reqid. What is too large, the MTU of the path, segment sizes of TCP in both directions, DSCP and DF outside.
. "$(dirname "$0")/checks.sh"
. tests/interop/policy_world.sh
. tests/interop/packets_world.sh
plain_network; secret gw peer.psk
listen host; watch

calm() { ctl gw drift; }
rules() { ip netns exec gw nft list table inet ipsecd; }
CHILDREN='{
  "a": { "local": ["10.1.0.0/24"], "remote": ["10.2.0.0/24"], "start": "now" },
  "d": { "local": ["fd00:1::/64"], "remote": ["fd00:2::/64"], "start": "now" } }'
site_peer "$(child a 10.2.0.0/24 10.1.0.0/24) $(child d fd00:2::/64 fd00:1::/64)" || exit 1
site_gateway "$CHILDREN" '{}' '{}' '{"attachment": "policy"}' || exit 1
check "both children come up" wait_for 10 "two children" are ad
check "their MTU is what is left of 1500 bytes" is "$(shown mtu)" 1446
for inside in 10.2.0.1 fd00:2::1; do
  check "$inside: a packet of that size passes" sized whole 1446 $inside
  check "$inside: of one byte more the sender is told" is "$(told 1447 $inside)" 1446
  forget_paths
  [[ $inside != *:* ]] || sized parts 3000 $inside > /dev/null
  check "$inside: without DF large ones pass" sized parts 3000 $inside
done
check "nothing needs packet rules" not rules

edit 'group["mss"] = "mtu"; policy.update(dscp="ef", df="set")'
check "the headers change by a rekey" wait_for 10 "the table" rules
check "two children again" wait_for 20 "the end of the old ones" are ad
reset
check "packets pass" pings 10.2.0.1
check "and IPv6" pings fd00:2::1
check "all with the DSCP" is "$(counted ef)" "$(counted esp)"
reset; sized parts 500 10.2.0.1 > /dev/null
check "and with DF, whatever the packet had inside" is "$(counted df)" "$(counted esp)"
for ns in peer host; do for family in 4 6; do sizes $ns $family > /dev/null; done; done
check "a connection to the peer" connects host 10.2.0.1
check "over IPv6" connects host fd00:2::1
check "both sides hear of segments that fit" is "$(sizes peer 4) $(sizes host 4)" "1406 1406"
check "over IPv6 of theirs" is "$(sizes peer 6) $(sizes host 6)" "1386 1386"
edit 'tunnel["mss"] = "1200"'
check "a connection from the peer" connects peer 10.1.0.2
check "has the configured segments" is "$(sizes peer 4) $(sizes host 4)" "1200 1200"
check "nothing differs" calm

ip -n gw link set veth-gw mtu 1400
check "another MTU of the device changes what is told of the tunnel" wait_for 3 "1346" is_shown mtu 1346
check "and what senders are told" is "$(told 1400 10.2.0.1)" 1346
ip -n gw link set veth-gw mtu 1500
edit 'policy["mtu"] = 1300'
check "an MTU that nothing could be set on is refused" grep -q 'child policy std with mtu' /run/apply.out
edit 'del policy["mtu"]; tunnel["mss"] = "none"; policy.update(dscp="copy", df="copy")'
check "without need for them the rules go" wait_for 20 "the end of the table" not rules
check "two children again" wait_for 20 "the end of the old ones" are ad
reset; sized parts 500 10.2.0.1 > /dev/null
check "and DF is copied" is "$(counted esp) $(counted df)" "1 0"
check "nothing differs" calm
finish
