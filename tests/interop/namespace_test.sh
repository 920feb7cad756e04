#!/bin/bash
# A daemon that runs in neither namespace of its group: the public one is missing at its start, appears, goes while a tunnel
# is up, and comes back as another one of the same name. The tunnel follows, and nothing of ours keeps the old one alive.
. "$(dirname "$0")/checks.sh"
make_network veth; peer_inside
ip netns add control; secret control peer.psk
wire_up() { # the public namespace anew, as make_network makes it; its address comes when the daemon has missed it
  local missed; missed=$(misses)
  ip netns add gw; ip -n gw link set lo up
  ip link add veth-gw netns gw type veth peer name veth-peer netns peer
  ip -n gw link set veth-gw up
  wait_for 5 "our sockets" tried_sockets "$missed"
  ip -n gw addr add 192.0.2.1/24 dev veth-gw
  ip -n peer addr add 192.0.2.2/24 dev veth-peer; ip -n peer link set veth-peer up
  ip -n peer route replace 10.1.0.0/24 via 192.0.2.1 src 10.2.0.1
}
wire_down() { ip netns del gw; wait_for 5 "the end of the wire" not ip -n peer link show veth-peer; }
up() { is "$(ctl control --json show tunnel site | python3 -c 'import json, sys; print(json.load(sys.stdin)["state"])')" up; }
downs() { is "$(grep -c 'code=tunnel-down.*because=namespace-missing' "$LOG_DIR/ipsecd-control.log")" "$1"; }
misses() { grep -c '192.0.2.1\[500\].*ip addr add' "$LOG_DIR/ipsecd-control.log"; }
# A namespace that has never had an address lets us bind any.
tried_sockets() { [ "$(misses)" != "$1" ] || ip netns exec gw ss -lun | grep -q 192.0.2.1:500; }
not_warned() { is "$(ctl control --json status | python3 -c 'import json, sys; print(json.load(sys.stdin)["warnings"])')" "[]"; }
known() { grep -q "code=$1" "$LOG_DIR/ipsecd-control.log"; }

site_peer "$(child net 10.2.0.0/24 10.1.0.0/24)" || exit 1
wire_down
gateway_config none none now | python3 -c '
import json, sys
document = json.load(sys.stdin)
for group in document["tunnel_groups"].values(): group["public"].update(netns="gw", addresses=["192.0.2.1"])
document["ike_policies"]["std"]["retry"] = {"first": "500ms", "most": "1s"}
site = dict(document["tunnels"]["branch-4"], remote="192.0.2.2", remote_id="site.example")
site["children"] = {"lan": {"local": ["10.1.0.0/24"], "remote": ["10.2.0.0/24"], "policy": "std", "start": "now"}}
document["tunnels"] = {"site": site}
print(json.dumps(document))' > /run/gw.json
start_ipsecd control /run/gw.json || exit 1
check "the missing namespace is named" known namespace-missing
check "the daemon answers without it" ctl control list tunnels
for round in 1 2; do
  wire_up
  check "$round: the namespace appears, and the tunnel comes up" wait_for 15 "the tunnel" up
  check "$round: packets pass" pings 10.2.0.1
  check "$round: nothing is warned of any more" not_warned
  check "$round: nothing differs" ctl control drift
  check "$round: nothing of ours keeps the old namespace alive" wire_down
  check "$round: the tunnel is down, with the reason" wait_for 5 "the end" downs $round
done
stop_ipsecd control
finish
