#!/bin/bash
# The SmartEdge sample S-03: two tunnels with identical selectors in two contexts. The first one dies, its traffic goes on
# over the second one; what is lost meanwhile is counted; the first one comes back.
. "$(dirname "$0")/checks.sh"
. tests/interop/smartedge_world.sh
end L1 C1 1.1.1.1 172.168.2.1/24; end L2 C1 2.2.2.2; end r C2 3.3.3.3 172.168.3.1/24
ip netns add a; ip -n a link set lo up; secret a vpn.psk
for n in 1 2; do
  wire "L$n" "4.4.$n.1/30" r "4.4.$n.2/30"
  ip -n "L$n" route add 3.3.3.3/32 via "4.4.$n.2"; ip -n r route add "$n.$n.$n.$n/32" via "4.4.$n.1"
done
sample s03-a a; sample s03-b r
start_ipsecd r /run/r.json || exit 1
start_ipsecd a /run/a.json || exit 1
interface() { ctl a --json show tunnel "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["interface"])'; }
both_up() { tunnel_is a Tun-1 up && tunnel_is a Tun-2 up; }
way() { ip -n C1 route get 172.168.3.1 from 172.168.2.1 | grep -o 'dev [^ ]*'; }
goes_by() { is "$(way)" "dev $1"; }
carried() { ip -n C1 -s -j link show "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["stats64"]["tx"]["packets"])'; }

check "both tunnels come up" wait_for 10 "both" both_up
TI1=$(interface Tun-1) TI2=$(interface Tun-2)
check "both have the route, at their costs" is "$(ip -n C1 route show 172.168.3.0/24 proto 50 | sed -n 's/.*dev \([^ ]*\).*metric \([0-9]*\).*/\1 \2/p' | sort -k2n | tr '\n' ' ')" "$TI1 5 $TI2 10 "
check "the cheaper one is taken" goes_by "$TI1"
before=$(carried "$TI2")
check "packets pass" answers C1 172.168.2.1 172.168.3.1
check "none of them over the other one" is "$(carried "$TI2")" "$before"
check "identical selectors stay apart" is "$(ip -n L1 -o xfrm policy list dir out | grep -c 172.168.3.0/24) $(ip -n L2 -o xfrm policy list dir out | grep -c 172.168.3.0/24)" "1 1"

ip netns exec C1 ping -q -i 0.05 -I 172.168.2.1 172.168.3.1 > /run/pinged & pinger=$!
begin=$(date +%s%N)
ip -n L1 link set to-r down
check "the first way dies: traffic takes the second one" wait_for 20 "the other way" goes_by "$TI2"
echo "switched after $((($(date +%s%N) - begin) / 1000000)) ms"
check "and arrives" wait_for 10 "answers" answers C1 172.168.2.1 172.168.3.1
check "the first tunnel is told as down" wait_for 5 "its end" not tunnel_is a Tun-1 up
check "its interface is dormant" bash -c "ip -n C1 -o link show $TI1 | grep -q 'state DORMANT'"
ip -n L1 link set to-r up; ip -n L1 route add 3.3.3.3/32 via 4.4.1.2 2> /dev/null
check "the first way is back: the tunnel too" wait_for 20 "both" both_up
check "and traffic takes it again" wait_for 5 "the first way" goes_by "$TI1"
check "and arrives" wait_for 10 "answers" answers C1 172.168.2.1 172.168.3.1
kill -INT $pinger; wait $pinger
sed -n '/transmitted/p' /run/pinged
lost=$(sed -n 's/^\([0-9]*\) packets transmitted, \([0-9]*\) received.*/\1 \2/p' /run/pinged | awk '{ print $1 - $2 }')
check "what was lost is what the liveness check takes, and no more" test "$lost" -gt 0 -a "$lost" -lt 200
check "an operator's end of the first one is a short switch" ctl a down Tun-1
check "to the second one" wait_for 5 "the other way" goes_by "$TI2"
check "up" ctl a up Tun-1
check "and back" wait_for 5 "the first way" goes_by "$TI1"
stop_ipsecd a; stop_ipsecd r
finish
