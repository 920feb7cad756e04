#!/bin/bash
# The SmartEdge samples S-04 (two policies on one tunnel, packets of 256 bytes, rekeys by volume) and S-06 (manual keys).
. "$(dirname "$0")/checks.sh"
. tests/interop/smartedge_world.sh
end a inside-a 172.16.1.1 1.1.1.1/24; end b inside-b 172.16.1.2 2.2.2.1/24
wire a 10.9.0.1/30 b 10.9.0.2/30
ip -n a route add 172.16.1.2/32 via 10.9.0.2 src 172.16.1.1; ip -n b route add 172.16.1.1/32 via 10.9.0.1 src 172.16.1.2
ip netns exec b nft -f - <<N
table inet watch {
  counter seen_esp { }
  counter seen_df { }
  counter seen_large { }
  chain in { type filter hook prerouting priority raw; policy accept;
    ip protocol esp counter name seen_esp
    ip protocol esp ip frag-off & 0x4000 != 0 counter name seen_df
    ip protocol esp ip length > 340 counter name seen_large
  }
}
N
counted() { ip netns exec b nft list counter inet watch "seen_$1" | sed -n 's/.*packets \([0-9]*\) .*/\1/p'; }
carried() { ctl a --json list sas --filter "child=$1" --filter direction=out | python3 -c 'import json, sys; print(sum(each["packets"] for each in json.load(sys.stdin)["rows"]))'; }
listen() { # PORT: takes what comes.
  ip netns exec inside-b python3 -c '
import socket, sys
listener = socket.create_server(("2.2.2.1", int(sys.argv[1])))
while True:
    taken = listener.accept()[0]
    while taken.recv(65536): pass
    taken.close()' "$1" &
  wait_for 5 "a listener" listening "$1"
}
listening() { [ -n "$(ip netns exec inside-b ss -Hltn sport = ":$1")" ]; }
# connects FROM-PORT [PORT [BYTES]]: bytes are sent and taken by the other end. The port is taken again while an earlier
# connection of it still waits out its time, which only works if all of them allow it.
connects() {
  ip netns exec inside-a python3 -c '
import socket, sys
to = socket.socket()
to.settimeout(20)
to.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
to.bind(("1.1.1.1", int(sys.argv[1])))
to.connect(("2.2.2.1", int(sys.argv[2])))
to.sendall(bytes(int(sys.argv[3])))
to.shutdown(socket.SHUT_WR)
to.recv(1)' "$1" "${2:-80}" "${3:-0}"
}
children_are() { is "$(ctl a --json list children --filter state=up | grep -o '"child":"[A-Z0-9]*"' | cut -d'"' -f4 | sort | tr '\n' ' ')" "$1"; }
rose() { [ "$(carried "$1")" -gt "$2" ]; }
check "a listener" listen 80

# ---- S-04
sample s04-a a; sample s04-b b
check "S-04: both ends are right as they stand" checks_out /run/a.json
start_ipsecd b /run/b.json || exit 1
start_ipsecd a /run/a.json || exit 1
check "S-04: two children come up, the peer being another than its address" wait_for 10 "both" children_are "ACL1 ACL2 "
check "S-04: each with its SAs" is "$(sas a) $(sas b)" "4 4"
check "S-04: the route to the selectors is there" is "$(ip -n inside-a route show 2.2.2.0/24 proto 50 | wc -l)" 1
before=$(carried ACL1)
check "S-04: packets pass by the wide one" answers inside-a 1.1.1.1 2.2.2.1
check "S-04: and not by the narrow one" is "$(carried ACL1)" "$before"
check "S-04: a connection from port 20000" connects 20000
check "S-04: takes the narrow one" rose ACL1 "$before"
before=$(carried ACL1)
check "S-04: a connection from another port" connects 20001
check "S-04: does not" is "$(carried ACL1)" "$before"
check "S-04: the interface carries 256 bytes" bash -c "ip -n inside-a -o link show type xfrm | grep -q 'mtu 256 '"
check "S-04: large packets pass all the same, against their sender's wish, cut up before" answers inside-a 1.1.1.1 2.2.2.1 -M dont -s 1000
check "S-04: none of them large outside" is "$(counted large)" 0
check "S-04: none of them with DF" is "$(counted df)" 0
check "S-04: and there were some" test "$(counted esp)" -ge 15
# 500 kbytes, of which nine tenths less a tenth at random are allowed.
first=$(spi_out a IPsec_tunnel_1)
check "S-04: a listener" listen 9000
check "S-04: 470 kbytes over the narrow one" connects 20000 9000 470000
check "S-04: bring a rekey" wait_for 10 "the rekey" is_told a rekey-by-bytes
renewed() { [ "$(spi_out a IPsec_tunnel_1)" != "$first" ]; }
check "S-04: with other SAs" wait_for 10 "other SAs" renewed
four() { is "$(sas a) $(sas b)" "4 4"; }
check "S-04: two children as before" wait_for 10 "four SAs" four
check "S-04: no tunnel was down" is "$(told a tunnel-down)" 0
check "S-04: a burst that leaves a rekey no time" connects 20000 9000 600000
check "S-04: is through, by another rekey" wait_for 10 "four SAs" four
check "S-04: and nobody else is blamed" is "$(told a sa-lost)" 0
sed -i 's/"remote_id": "72.0.0.1"/"remote_id": "172.16.1.2"/' /run/a.json
check "S-04: the peer as its address" ctl a config apply
check "S-04: is not whom we find" wait_for 10 "the refusal" is_told a peer-rejected-our-authentication
check "S-04: without the tunnel there is no route" is "$(ip -n inside-a route show 2.2.2.0/24 proto 50 | wc -l)" 0
stop_ipsecd a; stop_ipsecd b

# ---- S-06
key() { printf '0x%s\n0x%s\n' "$(printf "$1%.0s" {1..32})" "$(printf "$2%.0s" {1..32})"; }
for ns in a b; do (umask 077; key a1 a2 > /run/ipsecd-$ns/secrets/one.key; key b1 b2 > /run/ipsecd-$ns/secrets/two.key); done
sample s06-a a; sample s06-b b
start_ipsecd b /run/b.json || exit 1
start_ipsecd a /run/a.json || exit 1
check "S-06: installed without a word of IKE" wait_for 5 "it" tunnel_is a manual_IPsec_tunnel_1 up
check "S-06: at the other end too" wait_for 5 "it" tunnel_is b manual_IPsec_tunnel_1 up
check "S-06: with the SPIs of the sample" bash -c "ip -n a xfrm state | grep -q 0x0000ffff && ip -n a xfrm state | grep -q 0x000009f2"
check "S-06: packets pass" answers inside-a 1.1.1.1 2.2.2.1
check "S-06: large ones too" answers inside-a 1.1.1.1 2.2.2.1 -s 1000
before=$(carried ACL1)
check "S-06: counted" test "$before" -gt 0
check "S-06: clear" ctl a rekey manual_IPsec_tunnel_1
check "S-06: begins their counters anew" test "$(carried ACL1)" -lt "$before"
check "S-06: and packets pass" answers inside-a 1.1.1.1 2.2.2.1
stop_ipsecd a
printf '0x%s\n0x%s\n' "$(printf 'a1%.0s' {1..32})" "$(printf 'a2%.0s' {1..16})" > /run/ipsecd-a/secrets/one.key
start_ipsecd a /run/a.json || exit 1
check "S-06: a short integrity key is no key" not tunnel_is a manual_IPsec_tunnel_1 up
check "S-06: and its file is named" wait_for 5 "it" grep -q 'one.key' "$LOG_DIR/ipsecd-a.log"
check "S-06: nothing passes" not answers inside-a 1.1.1.1 2.2.2.1
stop_ipsecd a; stop_ipsecd b
sed -i 's/"allow_manual_keys": true/"allow_manual_keys": false/' /run/a.json
check "S-06: without leave it is refused" not checks_out /run/a.json
finish
