#!/bin/bash
# OSPF over a tunnel that carries everything: FRR in the VRF of the tunnel's interface, FRR at the peer behind an xfrm
# interface of its own. Neighbours come with the tunnel and go with it, and so do the routes that they tell.
. "$(dirname "$0")/checks.sh"
. tests/interop/frr.sh
make_network veth; secret gw peer.psk
ip -n peer addr add 10.2.0.1/24 dev lo
ip -n peer link add xfrm0 mtu 1400 type xfrm dev veth-peer if_id 42
ip -n peer link set xfrm0 up multicast on
ip -n peer addr add 10.255.0.2/30 dev xfrm0

ospf() { # NAMESPACE INTERFACE [VRF] NETWORKS
  frr "$1" ospfd <<C
hostname $1
interface $2
 ip ospf network point-to-point
 ip ospf hello-interval 1
 ip ospf dead-interval 4
router ospf $3
 timers throttle spf 0 50 200
 network 10.255.0.0/30 area 0
 network $4 area 0
C
}
neighbour() { frr_shows "$1" "show ip ospf $2 neighbor json" | grep -q '"\(nbrState\|state\)": *"Full'; }
learnt() { # NAMESPACE TABLE NETWORK DEVICE
  ip -n "$1" route show table "$2" proto ospf "$3" | grep -q "dev $4 "
}

site_peer "$(child net 0.0.0.0/0 0.0.0.0/0 "if_id_in = 42
 if_id_out = 42")" || exit 1
eval "demo_$(declare -f gateway_config)"
gateway_config() {
  demo_gateway_config "$@" | sed 's/"attachment": "interface"/&, "routes": { "selectors": false }/'
}
export MORE_OF_SITE='{ "addresses": ["10.255.0.1/30"] }'
site_gateway '{ "net": { "local": ["0.0.0.0/0"], "remote": ["0.0.0.0/0"], "start": "now" } }' "" '{"mtu": 1400}' || exit 1
check "the tunnel comes up" wait_for 15 "the tunnel" state_is site up
LINK=$(ip -n customers -o link show type xfrm | sed 's/^[0-9]*: \([^@]*\).*/\1/')
check "it has no route of ours" is "$(ip -n customers route show table 20 proto 50 | wc -l)" 0
check "both ends of the link see one another" wait_for 5 "an answer" ip netns exec customers ip vrf exec blue ping -q -c 1 -W 1 10.255.0.2
ospf customers "$LINK" "vrf blue" 10.1.0.0/24 || exit 1
ospf peer xfrm0 "" 10.2.0.0/24 || exit 1
check "they are neighbours" wait_for 30 "OSPF" neighbour customers "vrf blue"
check "the customers' side has learnt the way" wait_for 60 "a route" learnt customers 20 10.2.0.1 "$LINK"
check "the peer too" wait_for 60 "a route" learnt peer main 10.1.0.0/24 xfrm0
check "it carries traffic" wait_for 5 "an answer" pings 10.2.0.1
check "a rekey leaves it as it is" ctl gw rekey site
check "still neighbours" neighbour customers "vrf blue"
check "still traffic" pings 10.2.0.1
check "down" ctl gw down site
check "without the tunnel no neighbour" wait_for 15 "the end" not neighbour customers "vrf blue"
check "and no route" wait_for 5 "its end" not learnt customers 20 10.2.0.1 "$LINK"
check "up" ctl gw up site
check "with the tunnel it is back" wait_for 60 "a route" learnt customers 20 10.2.0.1 "$LINK"
check "and carries traffic" wait_for 5 "an answer" pings 10.2.0.1
check "what OSPF has added is no drift" ctl gw drift
stop_ipsecd gw
check "in the end nothing of ours is left" is "$(ip -n customers -o link show type xfrm | wc -l)$(ip -n gw xfrm policy | grep -c tmpl)" 00
finish
