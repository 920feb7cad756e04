#!/bin/bash
# Routes that no child brings: a tunnel's own ones by its state, those to the group's addresses as a routing daemon sees
# them; two tunnels that want one route; a VRF that is made when it is missing. Through kills and flushes.
. "$(dirname "$0")/checks.sh"
make_network veth; peer_inside; secret gw peer.psk

# iproute2 knows our protocol's name by the file that packages install.
mkdir -p /etc/iproute2/rt_protos.d; cp packaging/rt_protos.d/ipsecd.conf /etc/iproute2/rt_protos.d/
routes() { ip -n customers route show vrf blue proto ipsec | sed 's/ dev ips[0-9a-f]* / /; s/ scope link//' | sort | tr -s ' ' | tr '\n' ';' | sed 's/ *;/;/g'; }
own() { ip -n gw route show proto ipsec | tr -s ' ' | sed 's/ *$//'; ip -n gw -6 route show proto ipsec | sed 's/ dev lo//; s/ pref.*//' | tr -s ' '; }
calm() { ctl gw drift; }
# change PYTHON: the configuration anew, `group` and `tunnels` at hand, and applied if the daemon runs.
change() {
  gateway_config none none respond | python3 -c "
import json, sys
document = json.load(sys.stdin)
group, tunnels = document['tunnel_groups']['core'], document['tunnels']
document['ike_policies']['std']['retry'] = {'first': '500ms'}
$1
print(json.dumps(document))" > /run/gw.json
}
ROUTED="group['routes'] = {'selectors': False, 'gateway_addresses': True}
tunnels['branch-4']['routes'] = [{'prefix': '10.2.0.0/25', 'metric': 20}, {'prefix': '10.2.0.128/25'}]
del tunnels['branch-6']"
WAITING="$ROUTED
tunnels['branch-4']['children']['lan']['start'] = 'traffic'"

start_strongswan aes256gcm16-prfsha384-x25519 aes256gcm16 || exit 1
change "$ROUTED"; start_ipsecd gw /run/gw.json || exit 1
check "no tunnel, no route" is "$(routes)" ""
check "the group's own addresses have one" is "$(own)" $'unreachable 192.0.2.1 metric 100\nunreachable 2001:db8::1 metric 100'
check "the tunnel comes up" ctl gw up branch-4
check "with its own routes and no others" is "$(routes)" "10.2.0.0/25 metric 20;10.2.0.128/25 metric 100;"
check "packets take them" pings 10.2.0.1
check "nothing differs" calm
ip -n customers route flush table 20 proto 50
check "what others flush is put right" wait_for 5 "the routes" bash -c "$(declare -f routes is); is \"\$(routes)\" '10.2.0.0/25 metric 20;10.2.0.128/25 metric 100;'"
ip -n gw route flush proto 50
check "also the group's own" wait_for 5 "the route" bash -c "ip -n gw route show proto 50 | grep -q 192.0.2.1"
kill -9 "$(cat /run/ipsecd-gw/pid)"; wait_for 5 "the end" not kill -0 "$(cat /run/ipsecd-gw/pid)"; rm -f /run/ipsecd-gw/control
check "a kill leaves them" is "$(routes)$(own | wc -l)" "10.2.0.0/25 metric 20;10.2.0.128/25 metric 100;2"
change "$WAITING"; start_ipsecd gw /run/gw.json || exit 1
check "the next run takes them over" pings 10.2.0.1
check "and the tunnel comes back on them" wait_for 15 "the tunnel" state_is branch-4 up
check "with the idle ones beside" is "$(routes)" "10.2.0.0/25 metric 20;10.2.0.0/25 metric 300;10.2.0.128/25 metric 100;10.2.0.128/25 metric 300;"
check "nothing differs after it" wait_for 5 "no drift" calm
check "down" ctl gw down branch-4
check "leaves the idle ones" is "$(routes)" "10.2.0.0/25 metric 300;10.2.0.128/25 metric 300;"

# Beside a routing daemon on the public side.
cat > /run/bird.conf <<'C'
router id 192.0.2.1;
protocol device { scan time 1; }
protocol kernel { learn; scan time 1; ipv4 { import where krt_source = 50; export none; }; }
C
ip netns exec gw bird -c /run/bird.conf -s /run/bird.ctl -P /run/bird.pid -D "$LOG_DIR/bird.log"
seen() { birdc -s /run/bird.ctl show route 192.0.2.1/32 | grep -q unreachable; }
check "BIRD learns the gateway's address" wait_for 5 "the route" seen
stop_ipsecd gw
check "and that it has gone with the daemon" wait_for 5 "the withdrawal" not seen
kill "$(cat /run/bird.pid)"
check "nothing of ours stays" is "$(routes)$(own)" ""

# Two tunnels to one network: the first one has the route.
change "tunnels['branch-6']['children'] = {'lan': dict(tunnels['branch-4']['children']['lan'])}"
sed -i 's/fd00:2::\/64/10.2.0.0\/24/; s/fd00:1::\/64/10.1.0.0\/24/' "$SWANCTL_CONF"; swan --load-all > /dev/null 2>&1
through() { ip -n customers -o route show vrf blue 10.2.0.0/24 | sed 's/.* dev \([^ ]*\) .*/\1/'; }
interface() { ctl gw --json show tunnel "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["interface"])'; }
start_ipsecd gw /run/gw.json || exit 1
check "the first tunnel comes up" ctl gw up branch-4
check "and the second one, without the route" ctl gw up branch-6
check "which is the first one's" is "$(through)" "$(interface branch-4)"
check "that is told" is "$(events route-conflict)" 1
check "and shown" bash -c "$(declare -f ctl); BUILD=$BUILD ctl gw show tunnel branch-6 | grep -q 'no route to.*10.2.0.0/24.*branch-4'"
check "also in the list" bash -c "$(declare -f ctl); BUILD=$BUILD ctl gw list routes | grep -q 'waiting.*branch-4'"
check "nothing differs with it" calm
# sent TUNNEL: packets that it has sent. The peer's one policy for both lets answers in by the newer tunnel only.
sent() {
  ctl gw --json show tunnel "$1" | python3 -c 'import json, sys; print(sum(sa["packets"] or 0 for sa in json.load(sys.stdin)["sas"] if sa["direction"] == "out"))'
}
ip netns exec host ping -q -c 3 -i 0.05 -W 0.2 10.2.0.1 > /dev/null
check "packets take the first one" is "$(sent branch-4) $(sent branch-6)" "3 0"
check "the first one goes" ctl gw down branch-4
check "and the second one has the route" is "$(through)" "$(interface branch-6)"
check "packets pass again" wait_for 5 "an answer" pings 10.2.0.1
check "nothing differs without it" calm
stop_ipsecd gw

# A VRF that nobody has made.
MADE="group['private'] = {'netns': 'customers', 'vrf': 'green', 'vrf_table': 77}
del tunnels['branch-6']"
vrf() { ip -n customers -d -o link show green 2> /dev/null | grep -o 'vrf table [0-9]*'; }
change "$MADE"; start_ipsecd gw /run/gw.json || exit 1
check "it is made" is "$(vrf)" "vrf table 77"
ip -n customers link set cust master green
check "the tunnel in it comes up" ctl gw up branch-4
check "and its packets pass" pings 10.2.0.1
check "nothing differs in it" calm
ip -n customers link del green
check "gone, it is made anew" wait_for 5 "the VRF" bash -c "$(declare -f vrf is); is \"\$(vrf)\" 'vrf table 77'"
ip -n customers link set cust master green
check "with the tunnel's interface and route" wait_for 5 "an answer" pings 10.2.0.1
kill -9 "$(cat /run/ipsecd-gw/pid)"; wait_for 5 "the end" not kill -0 "$(cat /run/ipsecd-gw/pid)"; rm -f /run/ipsecd-gw/control
start_ipsecd gw /run/gw.json || exit 1
check "after a kill it goes on" pings 10.2.0.1
stop_ipsecd gw
check "the operator's interface is in it: it stays" is "$(vrf)" "vrf table 77"
ip -n customers link set cust nomaster
start_ipsecd gw /run/gw.json || exit 1
stop_ipsecd gw
check "nobody else is in it: it goes" is "$(vrf)" ""
stop_strongswan
finish
