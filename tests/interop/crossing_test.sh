#!/bin/bash
# Lifetimes of seconds on both sides: children are rekeyed by both at the same packet, and the IKE SA in between, under a
# stream of packets. None is lost, and one of each is left on which both agree.
. "$(dirname "$0")/checks.sh"
make_network veth; peer_inside; secret gw peer.psk
SECONDS_OF_STREAM=${SECONDS_OF_STREAM:-24}
# Both count the packets of a child, and so begin at once. IKE SAs have no such count: strongSwan's clock, both operators.
# strongSwan 5.9 drops a response whose number is that of a request it is working on ("already processing"): it has to ask
# again soon, before the packets that the old child may carry are used up.
site_peer "$(child net 10.2.0.0/24 10.1.0.0/24 "rekey_packets = 1000
  rand_packets = 0
  life_packets = 20000")" "rekey_time = 5s
  rand_time = 2s
  over_time = 10s" "retransmit_timeout = 0.2" || exit 1
site_gateway '{ "lan": { "local": ["10.1.0.0/24"], "remote": ["10.2.0.0/24"], "start": "now" } }' \
  '{}' '{ "lifetime_packets": 2000, "rekey": { "share_percent": 50, "jitter_percent": 0 } }' || exit 1

at_least() { [ "$1" -ge "$2" ] || { echo "$1, expected $2 at least"; return 1; }; }

check "up" wait_for 5 "the child" agreed
ip netns exec host ping -q -i 0.001 -w "$SECONDS_OF_STREAM" -W 2 10.2.0.1 > /run/stream.out 2>&1 &
stream=$!
while kill -0 $stream 2> /dev/null; do
  ctl gw rekey site --ike & swan --rekey --ike site; wait $!
  sleep 1.9                                  # the pace of the load
done > /run/rekeys.out 2>&1
wait $stream
sed -n '/packets/p' /run/stream.out
echo "$(events child-rekeyed) children and $(events ike-rekeyed) IKE SAs rekeyed in $SECONDS_OF_STREAM s, $(events rekey-collision) of them by both sides at once"
# Who is quicker is up to the scheduler: should none have crossed, both are told to begin until one does.
crossed() { [ "$(events rekey-collision)" -ge 1 ] || { ctl gw rekey site & swan --rekey --child net; wait $!; false; }; }
check "some of them crossed" wait_for 30 "a crossing" crossed
check "no packet is lost" grep -q ' 0% packet loss' /run/stream.out
check "many thousand passed" at_least "$(sed -n 's/^\([0-9]*\) packets.*/\1/p' /run/stream.out)" $((SECONDS_OF_STREAM * 250))
check "children were rekeyed all the time" at_least "$(events child-rekeyed)" $((SECONDS_OF_STREAM / 3))
check "IKE SAs as well" at_least "$(events ike-rekeyed)" $((SECONDS_OF_STREAM / 7))
check "the tunnel never went down" is "$(events tunnel-down) $(events tunnel-up)" "0 1"
check "nothing is left but one of each, on which both agree" wait_for 15 "agreement" agreed
check "pings" pings 10.2.0.1
stop_ipsecd gw
check "in the end nothing is left" wait_for 5 "empty kernels" is "$(ip -n gw xfrm state | wc -l)$(ip -n gw xfrm policy | grep -c tmpl)" 00
check "the peer has nothing left" is "$(swan --list-sas | wc -l)$(ip -n peer xfrm state | wc -l)" 00
finish
