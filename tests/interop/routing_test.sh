#!/bin/bash
# Routing daemons beside the gateway: FRR and BIRD in the customers' namespace see our routes in the VRF, tell them to the
# customer's own router by BGP with what the tunnel's state deserves, and take them back with it. They know nothing of us.
. "$(dirname "$0")/checks.sh"
. tests/interop/frr.sh
make_network veth; peer_inside; secret gw peer.psk
REMOTE=10.2.0.0/24
# The customer's router has no other way to the peer's network.
ip -n host route del default

# told MED: the customer's router has the route by BGP with this metric; nothing: it has none.
told() { is "$(ip -n host route show $REMOTE proto bgp | sed -n 's/.*via \([^ ]*\) .*metric \([0-9]*\).*/\1/p') $(med)" "${1:+10.1.0.1 }${1:- }"; }
med() { frr_shows host "show bgp ipv4 unicast $REMOTE json" |
  python3 -c 'import json, sys; print(*[path["metric"] for path in json.load(sys.stdin).get("paths", [])])' 2> /dev/null; }

frr host bgpd <<'C' || exit 1
hostname host
router bgp 65002
 no bgp ebgp-requires-policy
 timers bgp 3 9
 neighbor 10.1.0.1 remote-as 65001
 neighbor 10.1.0.1 timers connect 1
 neighbor 10.1.0.1 advertisement-interval 0
C

frr_beside() {
  frr customers bgpd <<'C'
hostname gateway
route-map STATE permit 10
 match metric 100
 set metric 1
route-map STATE permit 20
 match metric 300
 set metric 9
router bgp 65001 vrf blue
 no bgp ebgp-requires-policy
 timers bgp 3 9
 neighbor 10.1.0.2 remote-as 65002
 neighbor 10.1.0.2 timers connect 1
 neighbor 10.1.0.2 advertisement-interval 0
 address-family ipv4 unicast
  redistribute kernel route-map STATE
C
}
bird_beside() {
  cat > /run/bird.conf <<'C'
router id 10.1.0.1;
protocol device { scan time 1; }
ipv4 table blue4;
protocol kernel blue { vrf "blue"; kernel table 20; learn; scan time 1; ipv4 { table blue4; import where krt_source = 50; export none; }; }
protocol bgp customer { vrf "blue"; local 10.1.0.1 as 65001; neighbor 10.1.0.2 as 65002; connect retry time 1; connect delay time 1;
  ipv4 { table blue4; import none; next hop self;
    export filter { if krt_metric = 100 then bgp_med = 1; else bgp_med = 9; accept; }; }; }
C
  ip netns exec customers bird -c /run/bird.conf -s /run/bird.ctl -P /run/bird.pid -D "$LOG_DIR/bird.log"
}
bird_stop() { kill "$(cat /run/bird.pid)"; }

for daemon in frr bird; do
  "${daemon}_beside" || exit 1
  site_peer "$(child net $REMOTE 10.1.0.0/24)" || exit 1
  site_gateway "{ \"lan\": { \"local\": [\"10.1.0.0/24\"], \"remote\": [\"$REMOTE\"], \"start\": \"respond\" } }" || exit 1
  check "$daemon: the session stands" wait_for 20 "BGP" bash -c "ip netns exec host vtysh --vty_socket /run/frr-host -c 'show bgp ipv4 unicast summary json' | grep -q '\"state\":\"Established\"'"
  check "$daemon: no tunnel, no route" told
  check "$daemon: the peer sets up its tunnel" swan --initiate --child net --timeout 10
  check "$daemon: and the customer's router knows the way" wait_for 10 "the route" told 1
  check "$daemon: which carries traffic" pings 10.2.0.1
  check "$daemon: down" ctl gw down site
  check "$daemon: withdrawn with the tunnel" wait_for 10 "the withdrawal" told
  stop_ipsecd gw
  site_gateway "{ \"lan\": { \"local\": [\"10.1.0.0/24\"], \"remote\": [\"$REMOTE\"], \"start\": \"traffic\" } }" || exit 1
  check "$daemon: a tunnel that waits for traffic is told as the worse way" wait_for 10 "the idle route" told 9
  check "$daemon: a packet raises it" wait_for 10 "an answer" pings 10.2.0.1
  check "$daemon: and then it is the better one" wait_for 10 "the route" told 1
  stop_ipsecd gw
  check "$daemon: the daemon's end takes the route back" wait_for 10 "the withdrawal" told
  stop_strongswan
  "${daemon}_stop"
done
frr_stop host
finish
