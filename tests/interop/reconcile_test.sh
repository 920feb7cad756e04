#!/bin/bash
# What others do to a running gateway is put right, with the peer's help where keys are gone; and drift tells of it.
. "$(dirname "$0")/checks.sh"
make_network veth; peer_inside; secret gw peer.psk
gateway_config none none traffic > /run/gw.json
start_ipsecd gw /run/gw.json || exit 1
start_strongswan aes256gcm16-prfsha384-x25519 aes256gcm16 || exit 1
check "strongSwan initiates" swan --initiate --child net --timeout 10
check "pings" pings 10.2.0.1

KEY=0x$(printf '77%.0s' {1..36})
put_foreign() {
  ip -n gw xfrm state add src 203.0.113.1 dst 203.0.113.2 proto esp spi 0xbeef reqid 9 mode tunnel replay-window 32 aead 'rfc4106(gcm(aes))' "$KEY" 128
  ip -n gw xfrm policy add src 203.0.113.0/24 dst 198.51.100.0/24 dir out tmpl src 203.0.113.1 dst 203.0.113.2 proto esp reqid 9 mode tunnel
}
foreign() { is "$(ip -n gw xfrm state | grep -c beef)$(ip -n gw xfrm policy | grep -c 203.0.113.0/24)" 11; }
counted() { ctl gw status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["counters"].get(sys.argv[1], 0))' "$1"; }
rose() { [ "$(counted "$1")" -gt "$2" ]; }
interfaces() { ip -n customers -o link show type xfrm | wc -l; }
routes() { ip -n customers route show table 20 proto 50 | wc -l; }
milliseconds() { echo $(($(date +%s%N) / 1000000)); }
calm() { ctl gw drift; }
# put_right WHAT: until nothing of ours differs and packets pass; says how long it took.
put_right() {
  local begin; begin=$(milliseconds)
  check "$1: nothing differs any more" wait_for 10 "no drift" calm
  echo "$1: no drift after at most $(($(milliseconds) - begin)) ms"
  check "$1: pings" pings 10.2.0.1
  check "$1: the tunnel stayed up" state_is branch-4 up
}

check "nothing differs" calm
before=$(counted sa-lost)
ip -n gw xfrm state flush
put_right "xfrm state flush"
check "it is told" rose sa-lost "$before"
put_foreign
check "foreign objects are no drift" calm
check "and are shown" bash -c "$(declare -f ctl); BUILD=$BUILD ctl gw drift | grep -c '^foreign' | grep -qx 2"
before=$(counted sa-lost)
while read -r destination spi; do
  ip -n gw xfrm state delete dst "$destination" proto esp spi "$spi"
done < <(ip -n gw xfrm state | awk '$1 == "src" { to = $4 } $1 == "proto" && $4 !~ /beef/ { print to, $4 }')
put_right "each SA deleted"
check "that is told, too" rose sa-lost "$before"
before=$(counted drift-mended)
ip -n gw xfrm policy flush
ip -n gw xfrm policy add src 203.0.113.0/24 dst 198.51.100.0/24 dir out tmpl src 203.0.113.1 dst 203.0.113.2 proto esp reqid 9 mode tunnel
put_right "xfrm policy flush"
check "it is counted" rose drift-mended "$before"
link=$(ip -n customers -o link show type xfrm | head -1 | sed 's/^[0-9]*: \([^@:]*\).*/\1/')
ip -n customers link del "$link"
put_right "link deleted"
ip -n customers route flush table 20 proto 50
put_right "routes flushed"
check "interfaces and routes are all there" is "$(interfaces)$(routes)" 22

ip -n customers link del blue
check "without the VRF there is drift, by exit code" wait_for 5 "drift" not ctl gw drift
check "with what stands in the way" bash -c "$(declare -f ctl); BUILD=$BUILD ctl gw drift --netns customers | grep -q 'in the way.*vrf-missing'"
check "the public side does not differ" ctl gw drift --netns ''
ip -n customers link add blue type vrf table 20; ip -n customers link set blue up; ip -n customers link set cust master blue
put_right "the VRF is back"

ip netns del customers
check "without the namespace there is drift" wait_for 5 "drift" not ctl gw drift
ip netns add customers; ip -n customers link set lo up
private_side customers blue cust 10.1.0.1/24 fd00:1::1/64 host 10.1.0.2/24 fd00:1::2/64 10.1.0.1 fd00:1::1
put_right "the namespace is back"
check "the foreign SA and policy stand" foreign
stop_ipsecd gw
check "in the end only what is foreign stands" is "$(ip -n gw xfrm state | grep -c '^src')$(ip -n gw xfrm policy | grep -c 'dir out')" 11
check "untouched" foreign
finish
