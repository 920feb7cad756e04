#!/bin/bash
# Every algorithm that both know, any two of them together at least once: IKE SA and child set up by either side over IPv4
# and IPv6, the child rekeyed by either side with and without PFS and with and without ESN, packets through both.
. "$(dirname "$0")/checks.sh"
. tests/interop/combinations.sh
make_network veth; secret gw peer.psk
mkdir -p /run/combinations "$(dirname "$SWANCTL_CONF")"
tests/interop/combinations.py /run/combinations ${ROWS:+"$ROWS"} || exit 1
cp /run/combinations/swanctl.conf "$SWANCTL_CONF"
while read -r n _; do
  ip -n peer addr add "192.0.2.$n/24" dev "$PEER_DEV"; ip -n peer addr add "2001:db8::$n/64" dev "$PEER_DEV" nodad
  ip -n peer addr add "10.2.$n.1/24" dev lo
done < /run/combinations/rows
ip -n peer route add 10.1.0.0/24 via 192.0.2.1
start_ipsecd gw /run/combinations/gw.json || exit 1
start_charon || exit 1

combinations=0
while read -r n initiator rekeyer family ike esp; do
  name="$ike and $esp over $family" combinations=$((combinations + 1))
  check "$name: set up by $initiator" "${initiator}_up" "t$n"
  check "$name: a packet passes" ping_once "10.2.$n.1"
  check "$name: rekeyed by $rekeyer" "${rekeyer}_rekey" "t$n"
  check "$name: a packet passes afterwards" ping_once "10.2.$n.1"
done < /run/combinations/rows
echo "$combinations combinations"
stop_ipsecd gw
check "our Deletes reached the peer" is "$(swan --list-sas | grep -c ESTABLISHED)" 0
check "in the end nothing is left" is "$(ip -n gw xfrm state | wc -l)$(ip -n peer xfrm state | wc -l)" 00
stop_strongswan
finish
