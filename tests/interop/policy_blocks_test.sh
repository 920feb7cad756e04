#!/bin/bash
# What never leaves in the clear, and what always may: default blocks of both attachments while a tunnel is down, and
# exceptions while it is up. The peer counts the pings that reach it, so that a leak shows even without an answer.
. "$(dirname "$0")/checks.sh"
. tests/interop/policy_world.sh
plain_network; secret gw peer.psk
for address in 10.2.0.9 10.2.0.10 10.2.1.1 10.3.0.2; do ip -n peer addr add $address/32 dev lo; done

calm() { ctl gw drift; }
blocks() { ip -n gw xfrm policy | grep -c 'action block'; }
SITE='{ "a": { "local": ["10.1.0.0/24"], "remote": ["10.2.0.0/15"] }, "d": { "local": ["fd00:1::/64"], "remote": ["fd00:2::/64"] } }'
PEERS="$(child a 10.2.0.0/24 10.1.0.0/24) $(child d fd00:2::/64 fd00:1::/64)"

# leaks GROUP: the control, without which the tests of blocks below would prove nothing.
leaks() {
  site_gateway "$SITE" '{}' '{}' "{$1}" || exit 1
  check "$1: without a block what is down leaks" reaches 10.2.0.1
  check "$1: IPv6 too" reaches fd00:2::1
  stop_ipsecd gw
}

# By policy.
leaks '"attachment": "policy"'
site_peer "$PEERS" || exit 1
site_gateway "$SITE" '{}' '{}' '{"attachment": "policy", "default_block": true, "exceptions": [
  { "local": ["10.1.0.0/24"], "remote": ["10.2.0.9", "10.3.0.2"], "action": "discard" },
  { "local": ["10.1.0.0/24"], "remote": ["10.3.0.0/24"], "action": "bypass" }]}' || exit 1
check "three blocks for each child, three for each address that is discarded" is "$(blocks)" 12
check "before it is up, nothing leaks" stays 10.2.0.1
check "nor IPv6" stays fd00:2::1
check "nor from the gateway itself" bash -c "$(declare -f seen is); before=\$(seen); ip netns exec gw ping -q -c 1 -W 1 -I 10.1.0.1 10.2.0.1; is \"\$(seen)\" \"\$before\""
check "nothing differs" calm
check "what is excepted passes in the clear" ping_host 10.3.0.1
check "an earlier exception counts before it" stays 10.3.0.2
check "the tunnel comes up" ctl gw up site
check "its packets pass" pings 10.2.0.1
check "IPv6 too" pings fd00:2::1
check "exceptions are discarded below it" stays 10.2.0.9
check "and not their neighbour" ping_host 10.2.0.10
check "what strongSwan left out of it does not leak" stays 10.2.1.1
check "what is excepted passes still" ping_host 10.3.0.1
check "nothing differs while it is up" calm
check "strongSwan ends it" swan --terminate --ike site --timeout 5
check "and nothing leaks" stays 10.2.0.1
check "IPv6 neither" stays fd00:2::1
check "strongSwan brings it up again" swan --initiate --child a --timeout 10
check "its packets pass again" pings 10.2.0.1
ip netns exec host ping -q -i 0.01 -W 1 10.2.0.1 > /dev/null & load=$!
sleep 0.2
swan --terminate --ike site --timeout 5 > /dev/null
sleep 0.2 # packets in flight
before=$(seen); sleep 0.5
check "under load nothing leaks after the end" is "$(seen)" "$before"
kill $load
check "strongSwan brings it up for a daemon that is killed" swan --initiate --child a --timeout 10
kill -KILL "$(cat /run/ipsecd-gw/pid)"
swan --terminate --ike site --force --timeout 2 > /dev/null # so that nothing encrypted counts; its Delete finds nobody
before=$(seen)
ip netns exec host ping -q -i 0.002 -W 1 10.2.0.1 > /dev/null & load=$!
sleep 0.2
start_ipsecd gw /run/gw.json || exit 1
check "the next daemon answers" wait_for 5 "an answer" ctl gw list tunnels
check "and while it takes over, nothing leaks" is "$(seen)" "$before"
kill $load
ip -n gw xfrm policy flush
check "flushed blocks are put right" wait_for 10 "no drift" calm
check "and hold" stays 10.2.0.1

sed -i 's/"action": "bypass"/"action": "discard"/' /run/gw.json
check "an exception is changed in place" bash -c "$(declare -f ctl); BUILD=$BUILD ctl gw config apply | grep -q 'site.*in place'"
check "and counts" stays 10.3.0.1
check "nothing differs after that" calm
stop_ipsecd gw; stop_strongswan
check "nothing stays at the end" is "$(ip -n gw xfrm policy | grep -c 'dir ')" 0

# By interface: another route of the VRF leads to the peer as well.
ip -n gw link add blue type vrf table 20; ip -n gw link set blue up
ip -n gw link set cust master blue
ip -n gw -6 addr replace fd00:1::1/64 dev cust nodad
ip link add out netns gw type veth peer name in netns peer
for each in gw:out:1 peer:in:2; do
  IFS=: read -r ns dev number <<< "$each"
  ip netns exec "$ns" sysctl -qw "net.ipv6.conf.$dev.accept_dad=0"
  ip -n "$ns" addr add "198.51.100.$number/24" dev "$dev"; ip -n "$ns" addr add "2001:db8:7::$number/64" dev "$dev" nodad
  ip -n "$ns" link set "$dev" up
done
ip -n gw link set out master blue
ip -n gw -6 addr replace 2001:db8:7::1/64 dev out nodad
ip -n gw route add default via 198.51.100.2 vrf blue; ip -n gw -6 route add default via 2001:db8:7::2 vrf blue metric 4096
unreachable() { echo "$(ip -n gw route show table 20 proto 50 | grep -c '^unreachable')$(ip -n gw -6 route show table 20 proto 50 | grep -c '^unreachable')"; }
INSIDE='"private": {"vrf": "blue"}, "attachment": "interface"'
leaks "$INSIDE"
site_peer "$PEERS" || exit 1
site_gateway "$SITE" '{}' '{}' "{$INSIDE, \"default_block\": true}" || exit 1
check "by interface: routes lead nowhere" is "$(unreachable)" 11
check "by interface: nothing leaks" stays 10.2.0.1
check "by interface: IPv6 neither" stays fd00:2::1
check "by interface: nothing differs" calm
check "by interface: the tunnel comes up" ctl gw up site
check "by interface: its packets pass" pings 10.2.0.1
check "by interface: strongSwan ends it" swan --terminate --ike site --timeout 5
check "by interface: nothing leaks then" stays 10.2.0.1
check "by interface: IPv6 neither" stays fd00:2::1
ip -n gw route flush table 20 proto 50; ip -n gw -6 route flush table 20 proto 50
check "by interface: flushed routes are put right" wait_for 10 "no drift" calm
check "by interface: both" is "$(unreachable)" 11
check "by interface: routes are shown for what they are" bash -c "$(declare -f ctl); BUILD=$BUILD ctl gw --json list routes | grep -q '\"kind\": *\"unreachable\"'"
kill -KILL "$(cat /run/ipsecd-gw/pid)"
check "by interface: they stand when the daemon is killed" is "$(unreachable)" 11
start_ipsecd gw /run/gw.json || exit 1
unreachable_is() { is "$(unreachable)" "$1"; }
check "by interface: the next one has them" wait_for 5 "the routes" unreachable_is 11
check "by interface: and nothing differs" wait_for 10 "no drift" calm
stop_ipsecd gw; stop_strongswan
check "by interface: nothing stays at the end" is "$(unreachable)" 00
finish
