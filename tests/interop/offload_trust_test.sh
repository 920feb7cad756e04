#!/bin/bash
# Shown on the NIC is not enough: an SA that carries nothing is taken off it by a rekey, with the reason, and comes back
# later.
. "$(dirname "$0")/checks.sh"
. tests/interop/policy_world.sh
. tests/interop/offload_world.sh
plain_network NIC; secret gw peer.psk
site_peer "$(child a 10.2.0.0/24 10.1.0.0/24)" || exit 1
site_gateway '{ "a": { "local": ["10.1.0.0/24"], "remote": ["10.2.0.0/24"], "start": "traffic" } }' '{}' '{}' \
  "$(grouped packet policy "\"$GW_DEV\"")" || exit 1
check "it comes up" ctl gw up site
check "on the NIC" is "$(effective)" "in:packet out:packet"
check "packets pass" pings 10.2.0.1

# A foreign SA of the same addresses and reqid enters their bucket of the kernel's hash, and hides what is on the NIC.
REQID=$(ip -n gw xfrm policy | sed -n 's/.*reqid \([0-9]*\).*/\1/p' | head -1)
ip -n gw xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x4242 reqid "$REQID" mode tunnel if_id 77 \
  aead 'rfc4106(gcm(aes))' "0x$(printf '11%.0s' {1..36})" 128
ip netns exec host ping -q -i 0.05 -w 60 10.2.0.1 > /run/stream &
STREAM=$!
check "nothing passes now" not pings 10.2.0.1
STARTED=$(date +%s%N)
check "it is seen" wait_for 20 "offload-not-counting" test "$(events offload-not-counting)" -ge 0
check "the SA leaves the NIC" wait_for 20 "software" place_is a software
check "packets pass again" wait_for 10 "answers" pings 10.2.0.1
echo "mended after $((($(date +%s%N) - STARTED) / 1000000)) ms"
check "the reason was told" test "$(events offload-not-counting)" -ge 1
check "and the move" test "$(events offload-moved)" -ge 1
check "the foreign SA is untouched" sh -c "ip -n gw xfrm state | grep -q 0x00004242"
kill $STREAM
ip -n gw xfrm state delete src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x4242
stop_ipsecd gw

# A NIC that takes SAs, shows them, and carries nothing: packets go into the tunnel's interface and are counted nowhere.
ip -n gw link del cust
private_side customers blue cust 10.1.0.1/24 fd00:1::1/64 host 10.1.0.2/24 fd00:1::2/64 10.1.0.1 fd00:1::1
site_gateway '{ "a": { "local": ["10.1.0.0/24"], "remote": ["10.2.0.0/24"], "start": "now" } }' '{"role": "both"}' '{}' \
  "{\"private\": {\"netns\": \"customers\", \"vrf\": \"blue\"}, \"attachment\": \"interface\", \"offload\": {\"mode\": \"packet\", \"devices\": [\"$GW_DEV\"]}}" || exit 1
check "an interface: it is up" wait_for 10 "a" are a
check "an interface: outbound is on the NIC" test "$(effective | tr ' ' '\n' | grep -c out:packet)" = 1
check "an interface: packets pass" pings 10.2.0.1
echo Y > "$GW_PORT/ipsec_lie"
ip netns exec host ping -q -i 0.05 -w 60 10.2.0.1 > /run/stream &
STREAM=$!
check "the lie is found out" wait_for 25 "software" place_is a software
check "packets pass in software" wait_for 10 "answers" pings 10.2.0.1
echo N > "$GW_PORT/ipsec_lie"
kill $STREAM
stop_ipsecd gw
stop_strongswan
finish
