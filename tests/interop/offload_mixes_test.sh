#!/bin/bash
# Ours against ours: software, crypto and packet offload on either end, all nine mixes, over IPv4 and IPv6; with ESN,
# AES-GCM-128 and ChaCha20-Poly1305 on the NIC. What is wished is what is read back, and packets pass as ESP alone.
. "$(dirname "$0")/checks.sh"
. tests/interop/policy_world.sh
. tests/interop/offload_world.sh
plain_network NIC; secret gw mix.psk; secret peer mix.psk
ip -n peer -6 route add fd00:1::/64 via 2001:db8::1 src fd00:2::1 metric 2000 2> /dev/null
side() { # DEVICE MODE NUMBER OTHER ESP: a gateway's configuration
  python3 - "$@" << 'P'
import json, sys
device, mode, number, other, esp = sys.argv[1:]
print(json.dumps({
    "version": 1,
    "tunnel_groups": {"core": {"public": {"addresses": [f"192.0.2.{number}", f"2001:db8::{number}"]}, "attachment": "policy",
                               "offload": {"mode": mode, "devices": [device]}}},
    "ike_policies": {"std": {"proposals": ["aes256gcm16-prfsha384-x25519"], "retry": {"first": "500ms"}}},
    "child_policies": {"std": {"proposals": [esp]}},
    "credentials": {"mix": {"psk": {"file": "mix.psk"}}},
    "tunnels": {f"v{family}": {
        "group": "core", "remote": remote, "local_id": f"gw{number}-{family}.example", "remote_id": f"gw{other}-{family}.example",
        "credential": "mix", "ike_policy": "std",
        "children": {"a": {"local": [inside % number], "remote": [inside % other], "policy": "std", "start": "respond"}}}
        for family, remote, inside in ((4, f"192.0.2.{other}", "10.%s.0.0/24"), (6, f"2001:db8::{other}", "fd00:%s::/64"))}}))
P
}
sas_of() { # NAMESPACE: how its SAs are offloaded
  ctl "$1" --json list sas --filter state=up | python3 -c 'import json, sys; print(*sorted({str(each["offload_effective"]) for each in json.load(sys.stdin)["rows"]}))'
}
clear_text() { echo $(($(wire "$GW_PORT" tx other) + $(wire "$GW_PORT" rx other))); }
both() { # GW-MODE PEER-MODE ESP
  side "$GW_DEV" "$1" 1 2 "$3" > /run/gw.json; side "$PEER_DEV" "$2" 2 1 "$3" > /run/peer.json
  start_ipsecd gw /run/gw.json && start_ipsecd peer /run/peer.json || return
  check "$1 - $2, $3: IPv4 comes up" ctl gw up v4
  check "$1 - $2, $3: IPv6 comes up" ctl gw up v6
  check "$1 - $2, $3: here it is $1" is "$(sas_of gw)" "$1"
  check "$1 - $2, $3: there it is $2" is "$(sas_of peer)" "$2"
  routes="192.0.2.2 2001:db8::2 "; [ "$1" = packet ] || routes=
  check "$1 - $2, $3: a host route to each peer where the NIC sends" is "$(peer_routes gw "$GW_DEV")" "$routes"
  ip netns exec host ping -q -c 1 -W 1 fd00:2::1 > /dev/null  # neighbours
  clear_wire
  check "$1 - $2, $3: IPv4 passes" pings 10.2.0.1
  check "$1 - $2, $3: IPv6 passes" pings fd00:2::1
  check "$1 - $2, $3: none in the clear" is "$(clear_text)" 0
  stop_ipsecd gw; stop_ipsecd peer
}
# The peer is on the NIC's own link: where the NIC sends, it is its own gateway.
peer_routes() { { ip -n "$1" route show proto 50; ip -n "$1" -6 route show proto 50; } | sed -n 's/ via .* dev '"$2"' .*onlink.*//p' | sort | tr '\n' ' '; }
for gw in none crypto packet; do
  for peer in none crypto packet; do both $gw $peer aes256gcm16-noesn; done
done
both packet packet aes256gcm16-esn
check "none of them is left" is "$(peer_routes gw "$GW_DEV")$(peer_routes peer "$PEER_DEV")" ""
both packet crypto aes128gcm16-noesn
both crypto packet chacha20poly1305-noesn

# A route that is held hides every other way, so it stands only while the peer is a neighbour.
side "$GW_DEV" packet 1 2 aes256gcm16-esn > /run/gw.json; side "$PEER_DEV" packet 2 1 aes256gcm16-esn > /run/peer.json
start_ipsecd gw /run/gw.json && start_ipsecd peer /run/peer.json || exit 1
ctl gw up v4 > /dev/null; ctl gw up v6 > /dev/null
check "both stand" is "$(peer_routes gw "$GW_DEV")" "192.0.2.2 2001:db8::2 "
kill -9 "$(cat /run/ipsecd-gw/pid)"; wait_for 5 "the end" not kill -0 "$(cat /run/ipsecd-gw/pid)"; rm -f /run/ipsecd-gw/control
check "a daemon that is killed leaves them" is "$(peer_routes gw "$GW_DEV")" "192.0.2.2 2001:db8::2 "
start_ipsecd gw /run/gw.json || exit 1
check "the next one keeps them with its orphans" is "$(peer_routes gw "$GW_DEV")" "192.0.2.2 2001:db8::2 "
check "which are replaced" ctl gw up v4
check "and has its own then" is "$(peer_routes gw "$GW_DEV")" "192.0.2.2 2001:db8::2 "
check "nothing drifts" ctl gw drift
ip -n gw route del 192.0.2.2/32 dev "$GW_DEV" proto 50
put_back() { is "$(peer_routes gw "$GW_DEV")" "192.0.2.2 2001:db8::2 "; }
check "what somebody takes away is put back" wait_for 5 "it" put_back
ip -n gw addr add 192.0.2.1/32 dev "$GW_DEV"; ip -n gw addr del 192.0.2.1/24 dev "$GW_DEV"
gone() { is "$(peer_routes gw "$GW_DEV")" "2001:db8::2 "; }
check "without the subnet the route goes" wait_for 10 "its end" gone
ip -n gw addr add 192.0.2.1/24 dev "$GW_DEV"; ip -n gw addr del 192.0.2.1/32 dev "$GW_DEV"
check "and comes with it" wait_for 10 "it" put_back
ctl gw down v6 > /dev/null
with_v4() { is "$(peer_routes gw "$GW_DEV")" "192.0.2.2 "; }
check "a tunnel that goes down takes its route with it" wait_for 5 "its end" with_v4
sed -i 's/"version": 1,/"version": 1, "node": {"offload": {"peer_routes": false}},/' /run/gw.json
stop_ipsecd gw; start_ipsecd gw /run/gw.json || exit 1
check "where they are not wished" ctl gw up v4
check "there are none" is "$(peer_routes gw "$GW_DEV")" ""
stop_ipsecd gw; stop_ipsecd peer
finish
