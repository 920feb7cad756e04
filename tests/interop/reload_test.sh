#!/bin/bash
# Another configuration while tunnels carry traffic: what has changed comes and goes, and no packet of the rest is lost.
. "$(dirname "$0")/checks.sh"
make_network veth; peer_inside; secret gw peer.psk
ip -n gw addr add 192.0.2.11/24 dev veth-gw
gateway_config none none now > /run/gw.json
start_strongswan aes256gcm16-prfsha384-x25519 aes256gcm16,aes128gcm16
start_ipsecd gw /run/gw.json || exit 1
check "both tunnels come up" wait_for 10 "branch-4 up" state_is branch-4 up
check "IPv6 too" wait_for 10 "branch-6 up" state_is branch-6 up
spis() { ip -n gw xfrm state | awk '/^src/{d=$4} /spi/{print d, $4}' | sort | md5sum; }
has_tunnel() { ctl gw --json list tunnels | grep -q "\"name\": *\"$1\""; }
edit() { python3 - "$@" <<'P'
import json, sys
with open("/run/gw.json") as file: config = json.load(file)
exec(sys.argv[1])
with open("/run/gw.json", "w") as file: json.dump(config, file)
P
}
# A stream over branch-4 for the whole time.
ip netns exec host ping -q -i 0.005 -W 1 10.2.0.1 > /run/stream.out 2>&1 &
stream=$!

before=$(spis)
check "the same files again change nothing" bash -c ". tests/demo/network.sh; ctl gw config apply | grep -q 'Nothing has changed'"
check "not one SA" is "$(spis)" "$before"

edit 'config["tunnels"]["branch-6-was"] = config["tunnels"].pop("branch-6"); del config["tunnels"]["branch-6-was"]; config["ike_policies"]["std"]["dpd"] = "9s"'
check "the difference is told before" bash -c ". tests/demo/network.sh; ctl gw config diff | grep -q 'branch-6 *removed' && ctl gw config diff | grep -q 'branch-4 *in place'"
check "and nothing is changed by that" state_is branch-6 up
check "applied" ctl gw config apply
check "what is not configured any more ends" wait_for 10 "branch-6 to go" not has_tunnel branch-6
check "with its interface" is "$(ip -n customers -o link show type xfrm | wc -l)" 1
check "and its SAs" is "$(ip -n gw xfrm state | grep -c 2001:db8)" 0
check "the peer knows" wait_for 5 "the peer's IKE SA to go" bash -c ". tests/demo/network.sh; ! swan --list-sas | grep -q gw6"

edit 'config["tunnels"]["branch-6"] = dict(config["tunnels"]["branch-4"], remote="2001:db8::2", remote_id="peer6.example", children={"lan": {"local": ["fd00:1::/64"], "remote": ["fd00:2::/64"], "policy": "std", "start": "now"}})'
kill -HUP "$(cat /run/ipsecd-gw/pid)"
check "a new tunnel comes up after SIGHUP" wait_for 10 "branch-6 up" state_is branch-6 up
check "pings over IPv6" pings fd00:2::1

edit 'config["child_policies"]["std"]["proposals"] = ["aes128gcm16-noesn"]'
check "another proposal" ctl gw config apply
check "comes by a rekey" wait_for 10 "AES-128 in the kernel" bash -c "ip -n gw xfrm state | grep -A3 'src 192.0.2.1 ' | grep -q 'rfc4106(gcm(aes)) 0x[0-9a-f]\{40\} '"
check "up all the time" state_is branch-4 up

edit 'config["tunnel_groups"]["spare"] = dict(config["tunnel_groups"]["core"], public={"addresses": ["192.0.2.11"]})'
check "another group" ctl gw config apply
check "listens at its address" wait_for 5 "sockets" bash -c "ip netns exec gw ss -Hlun | grep -q '192.0.2.11:500 '"
edit 'del config["tunnel_groups"]["spare"]'
check "without it again" ctl gw config apply
check "nothing listens there" wait_for 5 "no sockets" bash -c "! ip netns exec gw ss -Hlun | grep -q '192.0.2.11:'"
check "and the others do" is "$(ip netns exec gw ss -Hlun | grep -c '192.0.2.1:')" 4

echo '{ "version": 1, "tunels": {} }' > /run/bad.json; cp /run/gw.json /run/good.json; cp /run/bad.json /run/gw.json
check "an error is told with its line, and refused" bash -c ". tests/demo/network.sh; ! ctl gw config apply > /run/bad.out && grep -q 'tunels' /run/bad.out && grep -q 'Nothing was changed' /run/bad.out"
check "and changes nothing" state_is branch-4 up
kill -HUP "$(cat /run/ipsecd-gw/pid)"
check "by SIGHUP neither, and the log tells" wait_for 5 "the log" grep -q 'not valid; nothing was changed' "$LOG_DIR/ipsecd-gw.log"
cp /run/good.json /run/gw.json

# ---- in place: a public address, a route protocol, a default block
routes_of() { ip -n customers route show table all proto "$1" 2> /dev/null | grep -c '10.2.0.0/24'; }
before=$(spis)
edit 'config["tunnel_groups"]["core"]["public"]["addresses"].append("192.0.2.11")'
check "one more public address" ctl gw config apply
check "is listened at" wait_for 5 "sockets" bash -c "ip netns exec gw ss -Hlun | grep -q '192.0.2.11:500 '"
edit 'config["tunnel_groups"]["core"].setdefault("routes", {})["protocol"] = 61'
check "another route protocol" ctl gw config apply
has_routes() { [ "$(routes_of "$1")" -gt 0 ]; }
check "is that of the routes" wait_for 5 "the routes" has_routes 61
edit 'config["tunnel_groups"]["core"]["default_block"] = True'
check "a default block" ctl gw config apply
check "none of them has touched an SA" is "$(spis)" "$before"
check "nor a tunnel" state_is branch-4 up

# ---- secrets
key=/run/ipsecd-gw/secrets/peer.psk; mv $key $key.away
check "a secret that has gone is refused" bash -c ". tests/demo/network.sh; ! ctl gw config apply > /run/bad.out && grep -q 'credentials' /run/bad.out"
mkfifo -m 600 $key
check "a pipe in its place, too, and at once" bash -c ". tests/demo/network.sh; ! timeout 5 $BUILD/agent/ctl/ipsecctl --socket /run/ipsecd-gw/control config apply > /run/bad.out && grep -q 'not a regular file' /run/bad.out"
rm $key; mv $key.away $key
check "and the key in force stays" bash -c ". tests/demo/network.sh; ctl gw rekey branch-4 --ike"
(umask 077; echo "another secret of both sides" > $key)
check "another key in its file is a change of its tunnels" bash -c ". tests/demo/network.sh; ctl gw config apply | grep -q 'branch-4 *in place'"
secret gw peer.psk; ctl gw config apply > /dev/null
check "no SA is touched by that" state_is branch-4 up

kill -INT $stream; wait $stream
echo "stream: $(grep transmitted /run/stream.out)"
check "no packet of the stream was lost" grep -q ' 0% packet loss' /run/stream.out
stop_ipsecd gw
check "what was applied last is kept" grep -q branch-4 /run/ipsecd-gw/state/last-applied
cp /run/bad.json /run/gw.json
check "a start with a bad configuration goes on with it" start_ipsecd gw /run/gw.json
check "its tunnels come up" wait_for 10 "branch-4 up" state_is branch-4 up
check "and status warns of it" bash -c ". tests/demo/network.sh; ctl gw status | grep -q 'the one applied last is in force'"
stop_ipsecd gw
rm -r /run/ipsecd-gw/state
check "without one there is no start" not timeout 5 ip netns exec gw "$BUILD/agent/ipsecd" --config /run/gw.json --config-dir /nonexistent --run-dir /run/ipsecd-gw --state-dir /run/ipsecd-gw/state
stop_strongswan
check "nothing is left" is "$(ip -n gw xfrm state | grep -c ^src)$(ip -n gw xfrm policy | grep -c ^src)" 00
finish
