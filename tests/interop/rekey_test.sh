#!/bin/bash
# Rekeys of children and of the IKE SA, by either side and by both at once, with and without PFS; and a stream of packets
# through fifty of them of which none is lost.
. "$(dirname "$0")/checks.sh"
make_network veth; peer_inside; secret gw peer.psk
IKE=aes256gcm16-prfsha384-x25519

spis() { ip -n gw -o xfrm state | grep -o 'spi 0x[0-9a-f]*' | sort | tr '\n' ' '; }
ike_spis() { ctl gw --json list sas | python3 -c 'import json, sys; print(sorted(each.get("ike", "") for each in json.load(sys.stdin)))'; }
reason_count() { grep -c "code=$1" "$LOG_DIR/ipsecd-gw.log"; }
# at_rest: one pair of SAs in the kernel of either side, and strongSwan has one child installed.
at_rest() {
  is "$(ip -n gw xfrm state | grep -c '^src')" 2 && is "$(ip -n peer xfrm state | grep -c '^src')" 2 &&
    is "$(swan --list-sas | grep -c INSTALLED)" 1 && is "$(swan --list-sas | grep -c ESTABLISHED)" 1
}
changed() { [ "$(spis)" != "$1" ]; }
ours_child() { ctl gw rekey branch-4; }
theirs_child() { swan --rekey --child net; }
ours_ike() { ctl gw rekey branch-4 --ike; }
theirs_ike() { swan --rekey --ike gw4; }

# rekeyed WHAT COMMAND...: runs it, and all is well afterwards: new SAs (for a child), pings, at rest.
rekeyed_child() {
  local what=$1 before; shift; before=$(spis)
  check "$what" "$@"
  check "$what: there are new SAs" wait_for 5 "new SAs" changed "$before"
  check "$what: pings" pings 10.2.0.1
}
rekeyed_ike() {
  local what=$1 before; shift; before=$(reason_count ike-rekeyed)
  check "$what" "$@"
  check "$what: our side knows of it" wait_for 5 "the new IKE SA" bash -c "[ \$(grep -c code=ike-rekeyed '$LOG_DIR/ipsecd-gw.log') -gt $before ]"
  check "$what: pings" pings 10.2.0.1
}

for esp in aes256gcm16-noesn:aes256gcm16:false aes256gcm16-x25519-noesn:aes256gcm16-x25519:true aes128-sha256-ecp256-esn:aes128-sha256-ecp256-esn:true; do
  IFS=: read -r ours theirs pfs <<< "$esp"
  gateway_config none none respond | sed "s/aes256gcm16-noesn\"\]/$ours\"], \"pfs\": $pfs/" > /run/gw.json
  start_ipsecd gw /run/gw.json || exit 1
  start_strongswan $IKE "$theirs" || exit 1
  check "$ours: strongSwan initiates" swan --initiate --child net --timeout 10
  rekeyed_child "$ours: we rekey the child" ours_child
  rekeyed_child "$ours: strongSwan rekeys the child" theirs_child
  rekeyed_ike "$ours: we rekey the IKE SA" ours_ike
  rekeyed_child "$ours: we rekey the child in the new IKE SA" ours_child
  rekeyed_ike "$ours: strongSwan rekeys the IKE SA" theirs_ike
  rekeyed_child "$ours: strongSwan rekeys the child in the new IKE SA" theirs_child
  check "$ours: old SAs are gone" wait_for 10 "one pair of SAs" at_rest
  stop_ipsecd gw; stop_strongswan
done

# Whatever crosses, nothing is lost and one of each is left.
gateway_config none none respond > /run/gw.json
start_ipsecd gw /run/gw.json || exit 1
start_strongswan $IKE aes256gcm16 || exit 1
check "strongSwan initiates" swan --initiate --child net --timeout 10
check "pings" pings 10.2.0.1
ip netns exec host ping -q -i 0.001 -c "${STREAM:-30000}" -W 2 10.2.0.1 > /run/stream.out 2>&1 &
stream=$!
rekeys=0
while [ $rekeys -lt 50 ]; do
  case $((rekeys % 6)) in
    0) ours_child ;;
    1) theirs_child ;;
    2) ours_ike ;;
    3) theirs_ike ;;
    4) ours_child & theirs_child; wait $! ;;
    5) ours_ike & theirs_ike; wait $! ;;
  esac > /run/rekey.out 2>&1
  rekeys=$((rekeys + 1))
done
kill -0 $stream 2>/dev/null || echo "the stream ended before the rekeys did"
check "the stream goes on while $rekeys rekeys are made" kill -0 $stream
wait $stream
sed -n '/packets/p' /run/stream.out
check "no packet of it is lost" grep -q ' 0% packet loss' /run/stream.out
check "and what is left is one of each" wait_for 15 "one pair of SAs" at_rest
check "pings" pings 10.2.0.1
stop_ipsecd gw
check "in the end nothing is left" is "$(ip -n gw xfrm state | wc -l)$(ip -n gw xfrm policy | grep -vc socket)" 00
finish
