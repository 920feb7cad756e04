#!/bin/bash
# Ours against ours: software, crypto and packet offload on either end, all nine mixes, over IPv4 and IPv6; with ESN,
# AES-GCM-128 and ChaCha20-Poly1305 on the NIC. What is wished is what is read back, and packets pass as ESP alone.
. "$(dirname "$0")/checks.sh"
. tests/interop/policy_world.sh
. tests/interop/offload_world.sh
plain_network NIC; secret gw mix.psk; secret peer mix.psk
ip -n peer -6 route add fd00:1::/64 via 2001:db8::1 src fd00:2::1 metric 2000 2> /dev/null
# With packet offload the kernel asks for the link address of the inner destination if the peer is on the link itself; a
# route with a gateway, be it the peer, is what mends that.
for n in 1:2:gw:$GW_DEV 2:1:peer:$PEER_DEV; do
  IFS=: read -r _ other ns dev <<< "$n"
  ip -n "$ns" route add "192.0.2.$other/32" via "192.0.2.$other" dev "$dev" onlink
  ip -n "$ns" -6 route add "2001:db8::$other/128" via "2001:db8::$other" dev "$dev" onlink
done

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
  ip netns exec host ping -q -c 1 -W 1 fd00:2::1 > /dev/null  # neighbours
  clear_wire
  check "$1 - $2, $3: IPv4 passes" pings 10.2.0.1
  check "$1 - $2, $3: IPv6 passes" pings fd00:2::1
  check "$1 - $2, $3: none in the clear" is "$(clear_text)" 0
  stop_ipsecd gw; stop_ipsecd peer
}
for gw in none crypto packet; do
  for peer in none crypto packet; do both $gw $peer aes256gcm16-noesn; done
done
both packet packet aes256gcm16-esn
both packet crypto aes128gcm16-noesn
both crypto packet chacha20poly1305-noesn
finish
