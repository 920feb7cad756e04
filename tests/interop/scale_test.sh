#!/bin/bash
# scale_test.sh [TUNNELS [tunnel|external]] - many tunnels in ten groups, each group's customers in a namespace of their
# own: interfaces (for each tunnel, or an external one for each group, each with its own public side), trap policies and
# routes of all of them, looked at, and removed again. The same objects made with iproute2 in the same guest are the
# measure. `./run bench kernel` runs it with ten thousand.
. "$(dirname "$0")/checks.sh"
tunnels=${1:-1000} interfaces=${2:-tunnel}
export PATH=$PATH:/usr/sbin
public_side() { if [ "$interfaces" = tunnel ]; then echo gw; else echo "gw$1"; fi; } # of group $1
for ns in gw gw{0..9}; do ip netns add "$ns"; ip -n "$ns" link set lo up; ip -n "$ns" addr add 192.0.2.1/32 dev lo; done
for i in {0..9}; do ip netns add "c$i"; ip netns add "plain$i"; ip -n "plain$i" netns set "$(public_side "$i")" 77; done

python3 - "$tunnels" "$interfaces" > /run/gw.json <<'PYTHON'
import json, sys
tunnels, interfaces = int(sys.argv[1]), sys.argv[2]
print(json.dumps({
    "version": 1,
    "credentials": {"all": {"psk": {"file": "peer.psk"}}},
    "tunnel_groups": {f"g{i}": {"public": {"addresses": ["192.0.2.1"]} | ({} if interfaces == "tunnel" else {"netns": f"gw{i}"}),
                               "private": {"netns": f"c{i}"}, "attachment": "interface", "interfaces": interfaces} for i in range(10)},
    "tunnels": {f"t{k}": {"group": f"g{k % 10}", "remote": f"198.{18 + (k >> 16)}.{k >> 8 & 255}.{k & 255}",
                          "local_id": "gw.example", "remote_id": f"t{k}.example", "credential": "all",
                          "children": {"lan": {"local": ["10.1.0.0/16"], "remote": [f"10.{128 + (k >> 8)}.{k & 255}.0/24"], "start": "traffic"}}}
                for k in range(tunnels)}}))
PYTHON
milliseconds() { local from=$1; echo $((($(date +%s%N) - from) / 1000000)); }
links=$tunnels; [ "$interfaces" = tunnel ] || links=10
journalled() { [ "$(wc -l < /run/ipsecd-gw/journal)" -ge $((2 * tunnels + links)) ]; }
policies() { # of all public sides
  local i count=0
  for i in {0..9}; do count=$((count + $(ip -n "gw$i" xfrm policy | grep -c tmpl))); done
  echo $((count + $(ip -n gw xfrm policy | grep -c tmpl)))
}
counted() { # namespaces' prefix: interfaces, routes of ours
  local i links=0 routes=0
  for i in {0..9}; do
    links=$((links + $(ip -n "$1$i" -o link show type xfrm | wc -l)))
    routes=$((routes + $(ip -n "$1$i" route show proto 50 | wc -l)))
  done
  echo "$links $routes"
}

longest() { ctl gw metrics | awk '/^ipsecd_longest_turn_seconds /{print int($2 * 1000)}'; } # turn of the main thread so far, ms

# With iproute2: interfaces that are up, their alternative names, a policy and a route for each.
plain_link() { # NAME ALTERNATIVE-NAME GROUP SETTINGS
  echo "link add $1 up link-netnsid 77 mtu 1400 type xfrm $4" >> "/run/batch.$3"
  echo "link property add dev $1 altname $2" >> "/run/names.$3"
}
[ "$interfaces" = tunnel ] || for i in {0..9}; do plain_link "x$i" "g$i" "$i" external; done
for ((k = 0; k < tunnels; k++)); do
  net=10.$((128 + (k >> 8))).$((k & 255)).0/24 group=$((k % 10)) device=x$k encap=
  if [ "$interfaces" = tunnel ]; then plain_link "x$k" "t$k" $group "if_id $((k + 1))"; else device=x$group encap="encap xfrm if_id $((k + 1))"; fi
  echo "route add $net dev $device proto 50 $encap" >> "/run/routes.$group"
  echo "xfrm policy add src 10.1.0.0/16 dst $net dir out if_id $((k + 1)) tmpl src 192.0.2.1 dst 198.18.0.1 proto esp reqid $((k + 1)) mode tunnel" >> "/run/policies.$group"
done
from=$(date +%s%N)
for i in {0..9}; do for kind in batch names routes; do ip -n "plain$i" -b "/run/$kind.$i"; done; done
for i in {0..9}; do ip -n "$(public_side "$i")" -b "/run/policies.$i"; done
plain=$(milliseconds "$from")
check "iproute2 makes them too" is "$(counted plain)" "$links $tunnels"
for i in {0..9}; do ip netns del "plain$i"; done
for ns in gw gw{0..9}; do ip -n "$ns" xfrm policy flush; done

secret gw peer.psk
from=$(date +%s%N)
start_ipsecd gw /run/gw.json || exit 1
wait_for 120 "all objects" journalled
wait_for 120 "the daemon to answer" ctl gw status
ours=$(milliseconds "$from")
check "all interfaces and routes are there" is "$(counted c)" "$links $tunnels"
check "all trap policies are there" is "$(policies)" "$tunnels"
turn_start=$(longest)
from=$(date +%s%N)
check "nothing differs from what is wanted" ctl gw drift
drift=$(milliseconds "$from")
turn_drift=$(longest)
# Every tunnel is changed in place.
sed -i 's/"start": "traffic"/"start": "respond"/g' /run/gw.json
check "another configuration is applied" ctl gw config apply
check "no trap policy is left" is "$(policies)" 0
turn_reload=$(longest)
from=$(date +%s%N)
kill -TERM "$(cat /run/ipsecd-gw/pid)"
wait_for 200 "the end" not kill -0 "$(cat /run/ipsecd-gw/pid)"
gone=$(milliseconds "$from")
check "nothing is left" is "$(counted c) $(policies)" "0 0 0"
printf 'longest turn of the main thread so far, ms: after the start %s  drift %s  reload %s\n' "$turn_start" "$turn_drift" "$turn_reload"
printf 'tunnels %d  interfaces %d  start %d ms (%s times iproute2: %d ms)  drift %d ms  end %d ms\n' "$tunnels" "$links" "$ours" \
  "$(python3 -c "print(round($ours / $plain, 2))")" "$plain" "$drift" "$gone"
finish
