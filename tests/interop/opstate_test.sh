#!/bin/bash
# Interfaces with addresses, and an operational state that follows the tunnel: FRR beside the gateway has a static route over
# the interface and knows nothing of tunnels. The peer dies and comes back, the daemon is killed, others take addresses away
# and add their own; a tunnel that waits for traffic runs, until its tries are used up.
. "$(dirname "$0")/checks.sh"
. tests/interop/frr.sh
make_network veth; peer_inside; secret gw peer.psk
FAR=10.2.66.0/24
export MORE_OF_SITE='{ "addresses": ["10.255.0.1/30", "fe80::1/64"] }'
CHILD='"local": ["10.1.0.0/24"], "remote": ["10.2.0.0/16"]'
QUICK='"retransmit": { "first": "100ms", "tries": 3 }, "setup_timeout": "2s"'

shown() { ctl gw --json show tunnel site | python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
interface_is() { is "$(shown interface_state)" "$1"; }
operates() { ip -n customers -o link show "$LINK" | grep -q ',UP' && ip -n customers -o link show "$LINK" | grep -q 'state UP\|state UNKNOWN'; }
dormant() { ip -n customers -o link show "$LINK" | grep -q 'state DORMANT'; }
line_protocol() { frr_shows customers "show interface $LINK vrf blue" | sed -n 's/.*line protocol is \([a-z]*\).*/\1/p'; }
frr_sees() { is "$(line_protocol)" "$1"; }
has_static() { ip -n customers route show table 20 $FAR | grep -q "dev $LINK "; }
has() { ip -n customers -o addr show dev "$LINK" | grep -q " $1 "; }
ours() { ip -n customers -o addr show dev "$LINK" | sed -n 's/.* inet6\? \([^ ]*\) .* proto 0x32 .*/\1/p' | sort | tr '\n' ' '; }
are_ours() { is "$(ours)" "$1"; }
rose() { [ "$(counted "$1")" -ge "$2" ]; }
calm() { ctl gw drift; }
counted() { ctl gw status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["counters"].get(sys.argv[1], 0))' "$1"; }
peer_starts() { site_peer "$(child net 10.2.0.0/16 10.1.0.0/24)"; }
peer_dies() { kill -KILL "$(cat /run/strongswan-peer/pid)"; wait_for 5 "its end" not kill -0 "$(cat /run/strongswan-peer/pid)"; ip -n peer xfrm state flush; ip -n peer xfrm policy flush; }

site_gateway "{ \"lan\": { $CHILD, \"start\": \"now\" } }" "{ \"dpd\": \"1s\", \"dpd_tries\": 2, $QUICK, \"retry\": { \"first\": \"500ms\", \"most\": \"1s\" } }" || exit 1
LINK=$(shown interface)
frr customers staticd <<C || exit 1
hostname gateway
vrf blue
 ip route $FAR $LINK
exit-vrf
C
check "without a peer the interface is up and dormant" dormant
check "the operator sees it so, with its addresses" is "$(shown interface_state) $(shown addresses)" "dormant ['10.255.0.1/30', 'fe80::1/64']"
check "FRR sees it not running" wait_for 5 "FRR" frr_sees down
check "and has no route over it" not has_static
check "it has its addresses, by our protocol" are_ours "10.255.0.1/30 fe80::1/64 "
peer_starts || exit 1
check "the tunnel comes up" wait_for 15 "the tunnel" state_is site up
check "and with it the interface" wait_for 5 "it" operates
check "FRR sees it running" wait_for 5 "FRR" frr_sees up
check "and has the route" wait_for 5 "the route" has_static
check "packets pass" pings 10.2.0.1
before=$(counted drift-mended)
check "a rekey changes nothing of that" ctl gw rekey site
check "FRR still sees it running" frr_sees up

for round in 1 2; do
  peer_dies
  check "round $round: the peer's death takes the tunnel" wait_for 20 "its end" not state_is site up
  check "round $round: the interface is dormant" wait_for 5 "it" dormant
  check "round $round: FRR sees it not running" wait_for 5 "FRR" frr_sees down
  check "round $round: and withdraws the route" wait_for 5 "its end" not has_static
  peer_starts || exit 1
  check "round $round: the peer is back, and the tunnel" wait_for 20 "the tunnel" state_is site up
  check "round $round: FRR sees it running" wait_for 5 "FRR" frr_sees up
  check "round $round: the route too" wait_for 5 "the route" has_static
  check "round $round: packets pass" pings 10.2.0.1
done
check "nothing of that was drift" is "$(counted drift-mended)" "$before"

check "down" ctl gw down site
check "an operator's word makes it dormant" wait_for 5 "it" dormant
check "FRR follows" wait_for 5 "FRR" frr_sees down
check "up" ctl gw up site
check "and running" wait_for 5 "FRR" frr_sees up

ip -n customers addr add 10.77.0.1/24 dev "$LINK"
check "an address that somebody adds is no drift" calm
before=$(counted drift-mended)
ip -n customers addr del 10.255.0.1/30 dev "$LINK"
check "one of ours that somebody takes is put back" wait_for 5 "the address" has 10.255.0.1/30
ip -n customers addr del fe80::1/64 dev "$LINK"
check "IPv6 too" wait_for 5 "the address" has fe80::1/64
check "it is counted" wait_for 5 "the count" rose drift-mended $((before + 2))
ip -n customers link set "$LINK" state dormant
check "a state that somebody else says is put right" wait_for 5 "it" operates
ip -n customers link set "$LINK" down
check "down by hand, too, with the addresses" wait_for 5 "them" has fe80::1/64
check "nothing differs any more" wait_for 5 "no drift" calm
check "FRR sees it running" wait_for 5 "FRR" frr_sees up
check "somebody else's address is still there" has 10.77.0.1/24

index=$(ip -n customers -o link show "$LINK" | cut -d: -f1)
kill -KILL "$(cat /run/ipsecd-gw/pid)"; wait_for 5 "the end" not kill -0 "$(cat /run/ipsecd-gw/pid)"; rm -f /run/ipsecd-gw/control
check "killed: the interface runs on with its addresses" operates
ip -n customers addr del fe80::1/64 dev "$LINK"
start_ipsecd gw /run/gw.json || exit 1
check "started again: the same interface" is "$(ip -n customers -o link show "$LINK" | cut -d: -f1)" "$index"
check "with all of its addresses" are_ours "10.255.0.1/30 fe80::1/64 "
check "and the foreign one" has 10.77.0.1/24
check "FRR has not seen it go" frr_sees up
check "the tunnel is there again" wait_for 15 "the tunnel" state_is site up
check "nothing differs" wait_for 5 "no drift" calm

sed -i 's|"10.255.0.1/30"|"10.255.0.2/30"|' /run/gw.json
check "another address is a change in place" bash -c "$(declare -f ctl); BUILD=$BUILD ctl gw config diff | grep -q 'in place'"
check "applied" ctl gw config apply
check "the new one is there instead of the old one" wait_for 5 "it" are_ours "10.255.0.2/30 fe80::1/64 "
check "and packets pass as before" pings 10.2.0.1
stop_ipsecd gw
check "in the end the interface is gone" not ip -n customers link show "$LINK"

peer_dies
site_gateway "{ \"lan\": { $CHILD, \"start\": \"traffic\" } }" "{ $QUICK, \"retry\": { \"first\": \"500ms\", \"tries\": 2 } }" || exit 1
LINK=$(shown interface)
raise() { ip netns exec host ping -q -c 1 -W 1 10.2.0.1; }
given_up() { raise; state_is site failed; }
idle_routes() { ip -n customers route show table 20 proto 50 | grep -c 'metric 300'; }
check "a tunnel that waits for traffic" wait_for 5 "idle" state_is site idle
check "runs" operates
check "with its route" is "$(idle_routes)" 1
check "packets that nobody answers use up its tries" wait_for 30 "the end of the tries" given_up
check "then it is dormant" wait_for 5 "it" dormant
check "without route" is "$(ip -n customers route show table 20 proto 50 | wc -l)" 0
check "and says why" bash -c "$(declare -f ctl); BUILD=$BUILD ctl gw show tunnel site | grep -q 'given up after 2 tries'"
peer_starts || exit 1
check "an operator begins again" ctl gw up site
check "and it runs" wait_for 5 "it" operates
check "packets pass" pings 10.2.0.1
check "without drift" wait_for 5 "no drift" calm
stop_ipsecd gw; frr_stop customers
finish
