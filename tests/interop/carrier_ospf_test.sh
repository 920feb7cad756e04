#!/bin/bash
# OSPF over a GRE interface of ours under transport-mode SAs, in a VRF of another namespace: FRR there, FRR behind strongSwan
# over the kernel's own GRE. Its hellos are multicast. Neighbours and what they tell go with the tunnel, and come back.
. "$(dirname "$0")/checks.sh"
. tests/interop/frr.sh
make_network veth; secret gw peer.psk
ip netns add near; ip -n near link set lo up; ip -n near addr add 10.2.0.1/24 dev lo
ip -n peer link add gre7 type gre local 192.0.2.2 remote 192.0.2.1
ip -n peer link set gre7 netns near; ip -n near link set gre7 up multicast on mtu 1400; ip -n near addr add 10.255.0.2/30 dev gre7

ospf() { # NAMESPACE INTERFACE VRF NETWORK
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
neighbour() { frr_shows customers "show ip ospf vrf blue neighbor json" | grep -q '"\(nbrState\|state\)": *"Full'; }
learnt() { ip -n "$1" route show table "$2" proto ospf "$3" | grep -q "dev $4 "; }

site_peer "$(child gre '192.0.2.2[47]' '192.0.2.1[47]' 'mode = transport')" || exit 1
eval "demo_$(declare -f gateway_config)"
gateway_config() {
  demo_gateway_config "$@" | python3 -c '
import json, sys
config = json.load(sys.stdin)
core = config["tunnel_groups"]["core"]
core["attachment"], private = "policy", core.pop("private")
config["carriers"] = {"wire": {"protected_by": ["site"], "private": private, "mtu": 1400}}
print(json.dumps(config))'
}
site_gateway '{ "gre": { "local": ["192.0.2.1[gre]"], "remote": ["192.0.2.2[gre]"], "start": "now" } }' "" '{"mode": "transport"}' || exit 1
check "the tunnel comes up" wait_for 15 "the tunnel" state_is site up
check "there is the interface" wait_for 5 "the interface" ip -n customers link show wire
ip -n customers addr add 10.255.0.1/30 dev wire
ospf customers ipsg-wire "vrf blue" 10.1.0.0/24 || exit 1
ospf near gre7 "" 10.2.0.0/24 || exit 1
check "they are neighbours" wait_for 30 "OSPF" neighbour
check "the customers' side has learnt the way" wait_for 60 "a route" learnt customers 20 10.2.0.1 ipsg-wire
check "the other side too" wait_for 60 "a route" learnt near main 10.1.0.0/24 gre7
check "it carries traffic" wait_for 5 "an answer" pings 10.2.0.1
check "a rekey leaves it as it is" ctl gw rekey site
check "still neighbours" neighbour
check "down" ctl gw down site
check "without the tunnel no neighbour" wait_for 15 "the end" not neighbour
check "and no route" wait_for 5 "its end" not learnt customers 20 10.2.0.1 ipsg-wire
check "up" ctl gw up site
check "with the tunnel it is back" wait_for 60 "a route" learnt customers 20 10.2.0.1 ipsg-wire
check "and carries traffic" wait_for 5 "an answer" pings 10.2.0.1
stop_ipsecd gw
check "in the end nothing of ours is left" is "$(ip -n customers -o link show type gre | wc -l)$(ip -n gw xfrm policy | grep -c 'dir ')" 00
finish
