#!/bin/bash
# A NIC that goes down under a stream takes its SAs with it: they are made anew on the other NIC of the group, come back when
# the first one has stood for a while, and no key ever sends a number twice.
. "$(dirname "$0")/checks.sh"
. tests/interop/policy_world.sh
. tests/interop/offload_world.sh
plain_network NIC; secret gw peer.psk; second_cable
record_numbers "$GW_PORT" "$GW_PORT2"
lost() { sed -n 's/\([0-9]*\) packets transmitted, \([0-9]*\) received.*/\1 \2/p' /run/stream | { read -r sent got; echo $((sent - got)); }; }
stream() { ip netns exec host ping -q -i 0.001 -w "$1" 10.2.0.1 > /run/stream & STREAM=$!; }

site_peer "$(child a 10.2.0.0/24 10.1.0.0/24)" || exit 1
site_gateway '{ "a": { "local": ["10.1.0.0/24"], "remote": ["10.2.0.0/24"], "start": "traffic" } }' '{}' '{}' \
  "$(grouped packet policy "\"$GW_DEV\", \"$GW_DEV2\"")" || exit 1
stop_ipsecd gw
python3 - /run/gw.json << 'P'
import json, sys
document = json.load(open(sys.argv[1]))
document.setdefault("node", {})["offload"] = {"settle": "2s", "stay": "1s"}
json.dump(document, open(sys.argv[1], "w"))
P
start_ipsecd gw /run/gw.json || exit 1
check "it comes up" ctl gw up site
check "on the first NIC" place_is a "$GW_DEV"
check "packets pass" pings 10.2.0.1

stream 6; sleep_until_sent() { wait_for 5 "the stream" test "$(wire "$GW_PORT" tx esp)" -ge 500; }; clear_wire; sleep_until_sent
STARTED=$(date +%s%N)
first_cable down
check "the SAs are on the second NIC" wait_for 10 "the move" place_is a "$GW_DEV2"
echo "moved after $((($(date +%s%N) - STARTED) / 1000000)) ms"
check "and in hardware" is "$(effective)" "in:packet out:packet"
wait $STREAM; echo "$(lost) packets of the stream were lost"
check "less than two seconds of it were lost" test "$(lost)" -lt 2000
check "the loss is told" test "$(events offload-device-lost)" -ge 1

stream 12
first_cable up
check "back on the first NIC" wait_for 20 "the return" place_is a "$GW_DEV"
wait $STREAM; echo "$(lost) packets were lost on the way back"
check "packets pass" pings 10.2.0.1

# Pins move it too, and a flush and a kill must not bring a number back.
check "into software" ctl gw offload pin site software
check "it is there" wait_for 10 "software" place_is a software
check "packets pass in software" pings 10.2.0.1
check "onto a NIC again" ctl gw offload pin site nic
check "it is on it" wait_for 10 "the NIC" place_is a "$GW_DEV"
ip -n gw xfrm state flush
check "after a flush packets pass" wait_for 10 "answers" pings 10.2.0.1
kill -9 "$(cat /run/ipsecd-gw/pid)"; rm -f /run/ipsecd-gw/control
check "without the daemon packets pass" pings 10.2.0.1
start_ipsecd gw /run/gw.json || exit 1
check "after a kill packets pass" wait_for 10 "answers" pings 10.2.0.1
check "and are on the NIC" wait_for 15 "the NIC" place_is a "$GW_DEV"
check "no number was sent twice" no_number_twice "$GW_PORT" "$GW_PORT2"
no_number_twice "$GW_PORT" "$GW_PORT2"
stop_ipsecd gw
stop_strongswan
finish
