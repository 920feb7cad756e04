#!/bin/bash
# scale_test.sh [TUNNELS] - many tunnels in ten groups, each group's customers in a namespace of their own: interfaces, trap
# policies and routes of all of them, looked at, and removed again. The same objects made with iproute2 in the same guest
# are the measure. `./run bench kernel` runs it with ten thousand.
. "$(dirname "$0")/checks.sh"
tunnels=${1:-1000}
export PATH=$PATH:/usr/sbin
ip netns add gw; ip -n gw link set lo up; ip -n gw addr add 192.0.2.1/32 dev lo
for i in {0..9}; do ip netns add "c$i"; ip netns add "plain$i"; ip -n "plain$i" netns set gw 77; done

python3 - "$tunnels" > /run/gw.json <<'PYTHON'
import json, sys
tunnels = int(sys.argv[1])
print(json.dumps({
    "version": 1,
    "credentials": {"all": {"psk": {"file": "peer.psk"}}},
    "tunnel_groups": {f"g{i}": {"public": {"addresses": ["192.0.2.1"]}, "private": {"netns": f"c{i}"}, "attachment": "interface"} for i in range(10)},
    "tunnels": {f"t{k}": {"group": f"g{k % 10}", "remote": f"198.{18 + (k >> 16)}.{k >> 8 & 255}.{k & 255}",
                          "local_id": "gw.example", "remote_id": f"t{k}.example", "credential": "all",
                          "children": {"lan": {"local": ["10.1.0.0/16"], "remote": [f"10.{128 + (k >> 8)}.{k & 255}.0/24"], "start": "traffic"}}}
                for k in range(tunnels)}}))
PYTHON
milliseconds() { local from=$1; echo $((($(date +%s%N) - from) / 1000000)); }
journalled() { [ "$(wc -l < /run/ipsecd-gw/journal)" -ge $((3 * tunnels)) ]; }
counted() { # namespaces' prefix: interfaces, routes of ours
  local i links=0 routes=0
  for i in {0..9}; do
    links=$((links + $(ip -n "$1$i" -o link show type xfrm | wc -l)))
    routes=$((routes + $(ip -n "$1$i" route show proto 50 | wc -l)))
  done
  echo "$links $routes"
}

# With iproute2: interfaces that are up, their alternative names, a policy and a route for each.
for ((k = 0; k < tunnels; k++)); do
  net=10.$((128 + (k >> 8))).$((k & 255)).0/24
  echo "link add x$k up link-netnsid 77 mtu 1400 type xfrm if_id $((k + 1))" >> "/run/batch.$((k % 10))"
  echo "link property add dev x$k altname t$k" >> "/run/names.$((k % 10))"
  echo "route add $net dev x$k proto 50" >> "/run/routes.$((k % 10))"
  echo "xfrm policy add src 10.1.0.0/16 dst $net dir out if_id $((k + 1)) tmpl src 192.0.2.1 dst 198.18.0.1 proto esp reqid $((k + 1)) mode tunnel" >> /run/policies
done
from=$(date +%s%N)
for i in {0..9}; do for kind in batch names routes; do ip -n "plain$i" -b "/run/$kind.$i"; done; done
ip -n gw -b /run/policies
plain=$(milliseconds "$from")
check "iproute2 makes them too" is "$(counted plain)" "$tunnels $tunnels"
for i in {0..9}; do ip netns del "plain$i"; done
ip -n gw xfrm policy flush

secret gw peer.psk
from=$(date +%s%N)
start_ipsecd gw /run/gw.json || exit 1
wait_for 120 "all objects" journalled
wait_for 120 "the daemon to answer" ctl gw status
ours=$(milliseconds "$from")
check "all interfaces and routes are there" is "$(counted c)" "$tunnels $tunnels"
check "all trap policies are there" is "$(ip -n gw xfrm policy | grep -c tmpl)" "$tunnels"
from=$(date +%s%N)
check "nothing differs from what is wanted" ctl gw drift
drift=$(milliseconds "$from")
from=$(date +%s%N)
kill -TERM "$(cat /run/ipsecd-gw/pid)"
wait_for 200 "the end" not kill -0 "$(cat /run/ipsecd-gw/pid)"
gone=$(milliseconds "$from")
check "nothing is left" is "$(counted c) $(ip -n gw xfrm policy | grep -c tmpl)" "0 0 0"
printf 'tunnels %d  start %d ms (%s times iproute2: %d ms)  drift %d ms  end %d ms\n' "$tunnels" "$ours" \
  "$(python3 -c "print(round($ours / $plain, 2))")" "$plain" "$drift" "$gone"
finish
