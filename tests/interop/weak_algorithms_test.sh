#!/bin/bash
# Each algorithm that is weak, and named as an exception, and each seldom used one: IKE SA and child with strongSwan, set
# up and rekeyed by either side, packets through both. Then the two crypto maps of the CUPS sample (S-12), with their
# exceptions named.
. "$(dirname "$0")/checks.sh"
. tests/interop/combinations.sh
make_network veth; secret gw peer.psk
mkdir -p /run/combinations "$(dirname "$SWANCTL_CONF")"
tests/interop/combinations.py /run/combinations rest || exit 1
for n in $(cut -d' ' -f1 /run/combinations/rows) 40 41; do
  ip -n peer addr add "192.0.2.$n/24" dev "$PEER_DEV"; ip -n peer addr add "2001:db8::$n/64" dev "$PEER_DEV" nodad
  ip -n peer addr add "10.2.$n.1/24" dev lo
done
ip -n peer route add 10.1.0.0/24 via 192.0.2.1

# The two maps: one gateway, two peers, TCP between hosts, ESP with DSCP 0x28.
python3 - /run/combinations/gw.json << 'P'
import json, sys
document = json.load(open(sys.argv[1]))
document["ike_policies"]["ikesa-foo"] = {
    "proposals": ["aes128-sha1-prfsha1-modp1024"], "lifetime": "9000s", "setup_timeout": "60s",
    "retransmit": {"first": "15s", "most": "15s", "factor_percent": 100, "tries": 4}}
document["child_policies"]["A-foo"] = {"proposals": ["aes128-sha1-modp1024-noesn"], "dscp": "40", "lifetime": "2000s"}
for n in (0, 1):
    document["tunnels"][f"foo{n}"] = {
        "group": "core", "remote": f"192.0.2.{40 + n}", "local_id": "gw.example", "remote_id": f"foo{n}.example",
        "credential": "peer", "ike_policy": "ikesa-foo",
        "children": {f"foo-sa{n}": {"local": ["10.1.0.2[tcp]"], "remote": [f"10.2.{40 + n}.1[tcp]"], "policy": "A-foo"}}}
json.dump(document, open("/run/gw.json", "w"))
P
{
  sed '/^}$/,$d' /run/combinations/swanctl.conf
  for n in 0 1; do
    printf 'foo%s { version = 2\n mobike = no\n local_addrs = 192.0.2.4%s\n remote_addrs = 192.0.2.1\n' $n $n
    printf ' proposals = aes128-sha1-modp1024\n local { auth = psk\n id = foo%s.example }\n remote { auth = psk\n' $n
    printf ' id = gw.example }\n children { foo%s { local_ts = 10.2.4%s.1[tcp]\n remote_ts = 10.1.0.2[tcp]\n' $n $n
    printf ' esp_proposals = aes128-sha1-modp1024 } } }\n'
  done
  sed -n '/^}$/,$p' /run/combinations/swanctl.conf
} > "$SWANCTL_CONF"

check "without their exceptions they are refused" bash -c "sed 's/\"allow_weak\": \[[^]]*\]/\"allow_weak\": []/' /run/gw.json > /run/none.json; ! $BUILD/agent/ipsecd --check-config /run/none.json > /run/none.out 2>&1"
check "in words that name the exception" grep -q '"modp1024" is weak: .*RFC 8247.*; use modp2048; .*"allow_weak": \[' /run/none.out
start_ipsecd gw /run/gw.json || exit 1
start_charon 'load = random nonce aes sha1 sha2 hmac xcbc kdf openssl curve25519 gcm pem pkcs1 pkcs8 x509 pubkey kernel-netlink socket-default vici' || exit 1

used() { ctl gw --json list children --filter "tunnel=$1" --filter state=up | grep -q "\"proposal\": *\"$2\""; }
while read -r n initiator rekeyer family ike esp; do
  name="$ike and $esp over $family"
  check "$name: set up by $initiator" "${initiator}_up" "t$n"
  check "$name: with that suite" used "t$n" "$(sed 's/-noesn//; s/-modp[0-9]*//' <<< "$esp")"
  check "$name: a packet passes" ping_once "10.2.$n.1"
  check "$name: rekeyed by $rekeyer" "${rekeyer}_rekey" "t$n"
  check "$name: a packet passes afterwards" ping_once "10.2.$n.1"
done < /run/combinations/rows

ip netns exec peer python3 -c '
import socket, threading
def serve(address):
    listener = socket.create_server((address, 2000))
    while True: listener.accept()[0].sendall(b"through")
for n in (40, 41): threading.Thread(target=serve, args=(f"10.2.{n}.1",)).start()' & server=$!
both_listen() { [ "$(ip netns exec peer ss -Hltn 'sport = :2000' | wc -l)" = 2 ]; }
wait_for 5 "the servers" both_listen
reached() { is "$(ip netns exec host timeout 3 bash -c "cat < /dev/tcp/$1/2000")" through; }
for n in 0 1; do
  check "S-12, foo$n: comes up" ctl gw up foo$n
  check "S-12, foo$n: TCP passes" reached 10.2.4$n.1
  check "S-12, foo$n: rekeyed with the group of 1024 bits" ctl gw rekey foo$n
  check "S-12, foo$n: TCP passes afterwards" reached 10.2.4$n.1
done
weak_users() { ctl gw --json status | grep -c "{\"algorithms\":\[\"$1\"\],\"tunnel\":\"$2\"}"; }
check "status lists who uses which weak algorithms" is "$(weak_users 'modp1024","prfsha1","sha1' foo0) $(weak_users 3des t18)" "1 1"
ctl gw status > /run/status
check "for people, too" grep -q 't18 (3des)' /run/status
check "and nobody else" is "$(grep -c 't10 (' /run/status)" 0
kill $server
stop_ipsecd gw
check "in the end nothing is left" is "$(ip -n gw xfrm state | wc -l)$(ip -n peer xfrm state | wc -l)" 00
stop_strongswan
finish
