#!/bin/bash
# strongSwan with SAs of its own on a NIC (hw_offload) at the other end: ours in software, with crypto and with packet
# offload against it. Traffic both ways, rekeys by either side, and what is on a NIC stays there.
. "$(dirname "$0")/checks.sh"
. tests/interop/policy_world.sh
. tests/interop/offload_world.sh
plain_network NIC; secret gw peer.psk
CHILD='{ "a": { "local": ["10.1.0.0/24"], "remote": ["10.2.0.0/24"], "start": "traffic" } }'

pings_host() { is "$(ip netns exec peer ping -q -c 3 -i 0.05 -W 1 -I 10.2.0.1 10.1.0.2 | sed -n 's/.* \([0-9]*\) received.*/\1/p')" 3; }
# theirs: how many SAs strongSwan has on its NIC: as the kernel shows them, and as the NIC counts them.
theirs() { echo "$(ip -n peer xfrm state | grep -c "offload parameters: dev $PEER_DEV") $(sed -n 's/^SA count=\([0-9]*\) .*/\1/p' "$PEER_PORT/ipsec")"; }
theirs_are() { is "$(theirs)" "$1"; }
changed() { agreed && not is "$(spis gw)" "$1"; }
traffic() { # WHAT WANTED-OF-THEIRS
  clear_wire
  check "$1: packets to it" pings 10.2.0.1
  check "$1: packets from it" pings_host
  check "$1: as ESP" test "$(wire "$GW_PORT" tx esp)" -ge 6
  check "$1: none in the clear" is "$(wire "$GW_PORT" tx other)$(wire "$GW_PORT" rx other)" 00
  check "$1: ours is where it was" is "$(effective)" "in:$kind out:$kind"
  check "$1: theirs is on its NIC" wait_for 5 "$2 of theirs" theirs_are "$2"
}
rekeyed() { # WHAT COMMAND...
  local what=$1 before; shift; before=$(spis gw)
  check "$what" "$@"
  check "$what: one fresh pair" wait_for 10 "one pair" changed "$before"
  traffic "$what" "2 2"
}
for theirs in yes auto; do
  site_peer "$(child a 10.2.0.0/24 10.1.0.0/24 "hw_offload = $theirs")" || exit 1
  for mode in none crypto packet; do
    kind=$mode; [ $mode != none ] || kind=software
    what="$mode - hw_offload $theirs"
    record_numbers "$GW_PORT" "$PEER_PORT"
    site_gateway "$CHILD" '{}' '{}' "$(grouped $mode policy "\"$GW_DEV\"")" || exit 1
    check "$what: we initiate" ctl gw up site
    traffic "$what" "2 2"
    rekeyed "$what: we rekey" ctl gw rekey site
    rekeyed "$what: it rekeys" swan --rekey --child a
    rekeyed "$what: we rekey the IKE SA and the child" sh -c "$(declare -f ctl); BUILD=$BUILD; ctl gw rekey site --ike && ctl gw rekey site"
    check "$what: enough of traffic" ip netns exec host ping -q -i 0.005 -c 200 -W 1 10.2.0.1
    check "$what: no number was sent twice" no_number_twice "$GW_PORT" "$PEER_PORT"
    stop_ipsecd gw
    check "$what: nothing is left of theirs" wait_for 5 "none" theirs_are "0 0"
  done
  stop_strongswan
done
finish
