#!/bin/bash
# Several children of one IKE SA with selectors of both families, made and ended by either side: each carries its own
# traffic only, what happens to one leaves the others alone, and the end of the IKE SA clears both kernels.
. "$(dirname "$0")/checks.sh"
make_network veth; peer_inside; secret gw peer.psk
for net in 3 4 5; do
  ip -n peer addr add 10.$net.0.1/24 dev lo; ip -n peer addr add fd00:$net::1/64 dev lo nodad
done
ip -n host addr add 10.1.9.2/24 dev eth0; ip -n host addr add fd00:9::2/64 dev eth0 nodad
ip -n customers route add 10.1.9.0/24 dev cust table 20; ip -n customers -6 route add fd00:9::/64 dev cust table 20
ip -n peer route add 10.1.9.0/24 via 192.0.2.1; ip -n peer -6 route add fd00:9::/64 via 2001:db8::1

# carried CHILD: packets that its SAs have carried, both directions.
carried() {
  ctl gw --json list sas --filter "child=$1" | python3 -c 'import json, sys; print(sum(each["packets"] for each in json.load(sys.stdin)["rows"]))'
}
ping_from() { ip netns exec host ping -q -c 1 -W "${3:-1}" -I "$1" "$2"; }
silent() { not ping_from "$@" 0.4; }
# only CHILD SOURCE DESTINATION OTHER...: its ping passes, and none of the others has carried a packet of it.
only() {
  local name=$1 source=$2 destination=$3 before after each; shift 3
  before=$(carried "$name"); for each; do before+=" $(carried "$each")"; done
  ping_from "$source" "$destination" || { echo "no answer from $destination"; return 1; }
  after=$(carried "$name"); for each; do after+=" $(carried "$each")"; done
  is "$after" "$((${before%% *} + 2)) ${before#* }"
}
all_pass() { # WHEN: each child carries its own traffic and no other's
  check "$1: a carries its own traffic only" only a 10.1.0.2 10.2.0.1 b c d
  check "$1: b carries its own traffic only" only b 10.1.0.2 10.3.0.1 a c d
  check "$1: c carries its own traffic only" only c 10.1.0.2 10.4.0.1 a b d
  check "$1: d carries its own traffic only, which is IPv6" only d fd00:1::2 fd00:5::1 a b c
}
# no_policies TRAPS: of ours only those that wait for traffic, of the peer none.
no_policies() { is "$(ip -n gw xfrm policy | grep -c 'tmpl') $(ip -n peer xfrm policy | grep -c 'tmpl')" "$1 0"; }

# Four children come up in four ways, on one IKE SA.
site_peer "$(child a 10.2.0.0/24 10.1.0.0/24) $(child b 10.3.0.0/24 10.1.0.0/24)
  $(child c 10.4.0.0/24 10.1.0.0/24) $(child d fd00:5::/64 fd00:1::/64)" || exit 1
site_gateway '{
  "a": { "local": ["10.1.0.0/24"], "remote": ["10.2.0.0/24"], "start": "now" },
  "b": { "local": ["10.1.0.0/24"], "remote": ["10.3.0.0/24"], "start": "traffic" },
  "c": { "local": ["10.1.0.0/24"], "remote": ["10.4.0.0/24"] },
  "d": { "local": ["fd00:1::/64"], "remote": ["fd00:5::/64"] } }' || exit 1
check "a comes up with the daemon" wait_for 5 "a" are a
check "no other traffic raises b" ping_from 10.1.0.2 10.2.0.1
check "so only a is up" are a
ping_from 10.1.0.2 10.3.0.1 > /dev/null
check "b comes up with its first packet" wait_for 5 "b" are ab
check "c comes up when strongSwan asks for it" swan --initiate --child c --timeout 10
check "d comes up when the operator asks for it" ctl gw up site d
check "all four are up" wait_for 5 "four children" are abcd
check "on one IKE SA" one_ike_sa
all_pass "four children"

# Each ends by itself.
check "strongSwan deletes c" swan --terminate --child c --timeout 5
check "c is gone on both sides" wait_for 5 "the end of c" are abd
check "its traffic does not pass" silent 10.1.0.2 10.4.0.1
check "a goes on" only a 10.1.0.2 10.2.0.1 b d
check "the operator takes d down" ctl gw down site d
check "d is gone on both sides" wait_for 5 "the end of d" are ab
check "its traffic does not pass either" silent fd00:1::2 fd00:5::1
check "strongSwan cannot raise d while the operator holds it down" not swan --initiate --child d --timeout 3
check "b goes on" only b 10.1.0.2 10.3.0.1 a
check "c comes up again from strongSwan" swan --initiate --child c --timeout 10
check "d comes up again from the operator" ctl gw up site d
check "strongSwan deletes b, which waits for traffic" swan --terminate --child b --timeout 5
check "b is gone" wait_for 5 "the end of b" are acd
ping_from 10.1.0.2 10.3.0.1 > /dev/null
check "b comes up again with a packet" wait_for 5 "b" are abcd
before=$(carried a)
check "strongSwan deletes a, which is to be up always" swan --terminate --child a --timeout 5
check "a comes up again by itself" wait_for 5 "a" are abcd
check "as a new one" is "$(carried a) of $before" "0 of $before"
check "still on one IKE SA" one_ike_sa
all_pass "after all of this"

# The IKE SA ends, and takes its children along.
check "strongSwan deletes the IKE SA" swan --terminate --ike site --timeout 5
check "what is to be up always comes up again, and nothing else" wait_for 5 "a alone" are a
check "on a new IKE SA" one_ike_sa
check "with its packets" ping_from 10.1.0.2 10.2.0.1
check "all come up when the operator asks for the tunnel" ctl gw up site
check "all are up" wait_for 5 "four children" are abcd
all_pass "up again"
check "the operator takes the tunnel down" ctl gw down site
check "no SA is left in either kernel" wait_for 5 "no SA" are ""
check "and no policy but the one that waits for the traffic of b" no_policies 1
check "and no IKE SA" is "$(swan --list-sas | grep -c ESTABLISHED)" 0
check "a packet for b does not pass" silent 10.1.0.2 10.3.0.1
check "nothing raises what the operator holds down" are ""
stop_ipsecd gw; stop_strongswan

# Many selectors of both families in one child, narrowed to what both want; over either family outside.
http() { # SOURCE DESTINATION PORT: a TCP connection to the peer's listener
  ip netns exec host python3 -c 'import socket, sys; socket.create_connection((sys.argv[2], int(sys.argv[3])), 0.7, (sys.argv[1], 0))' "$@"
}
no_http() { not http "$@"; }
ip netns exec peer python3 -c '
import selectors, socket
waiting = selectors.DefaultSelector()
for port in 80, 81:
    waiting.register(socket.create_server(("", port)), selectors.EVENT_READ)
while True:
    for key, _ in waiting.select():
        key.fileobj.accept()[0].close()' &
listener=$!
selectors() { ctl gw --json list children | python3 -c '
import json, sys
for each in json.load(sys.stdin)["rows"]: print(each["child"], each["local"], "-", each["remote"])' | sort | tr '\n' ';'; }
NARROWED="nets 10.1.0.0/24 fd00:1::/64 - 10.2.0.0/25 fd00:2::/64;web 10.1.0.0/24 - 10.4.0.1/32[tcp/80];"
for outside in "192.0.2.2 192.0.2.1" "2001:db8::2 2001:db8::1"; do
  read -r PEER GATEWAY <<< "$outside"; export PEER
  site_peer "$(child nets 10.2.0.0/25,fd00:2::/64 10.1.0.0/24,fd00:1::/64) $(child web '10.4.0.1/32[tcp/80]' 10.0.0.0/8)" || exit 1
  site_gateway '{
    "nets": { "local": ["10.1.0.0/24", "10.1.9.0/24", "fd00:1::/64"], "remote": ["10.2.0.0/24", "10.3.0.0/24", "fd00:2::/64"] },
    "web":  { "local": ["10.1.0.0/24"], "remote": ["10.4.0.0/24[tcp/80]", "10.5.0.0/24[tcp/443]"] } }' || exit 1
  for role in strongSwan "our side"; do
    what="over $GATEWAY, $role begins"
    if [ "$role" = strongSwan ]; then
      check "$what: nets" swan --initiate --child nets --timeout 10
      check "$what: web" swan --initiate --child web --timeout 10
    else
      check "$what" ctl gw up site
    fi
    check "$what: narrowed to what both want" is "$(selectors)" "$NARROWED"
    check "$what: IPv4 passes" only nets 10.1.0.2 10.2.0.1 web
    check "$what: IPv6 passes in the same child" only nets fd00:1::2 fd00:2::1 web
    check "$what: another source does not" silent 10.1.9.2 10.2.0.1
    check "$what: another destination does not" silent 10.1.0.2 10.3.0.1
    check "$what: another IPv6 destination does not" silent fd00:1::2 fd00:3::1
    check "$what: TCP port 80 passes" http 10.1.0.2 10.4.0.1 80
    check "$what: TCP port 81 does not" no_http 10.1.0.2 10.4.0.1 81
    check "$what: a ping does not" silent 10.1.0.2 10.4.0.1
    check "$what: strongSwan deletes the IKE SA" swan --terminate --ike site --timeout 5
    check "$what: no SA is left in either kernel" wait_for 5 "no SA" are ""
    check "$what: and no policy" no_policies 0
  done
  stop_ipsecd gw; stop_strongswan
done
kill $listener
finish
