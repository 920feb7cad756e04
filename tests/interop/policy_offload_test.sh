#!/bin/bash
# Attached by policy, a NIC takes both directions of a child: without an interface id the kernel lets inbound SAs go there
# as well. Blocks, which no NIC needs to know, give way to what is offloaded and take its place again.
. "$(dirname "$0")/checks.sh"
. tests/interop/policy_world.sh
plain_network NIC; secret gw peer.psk

calm() { ctl gw drift; }
effective() { ctl gw --json list sas | python3 -c 'import json, sys; print(*sorted(each["direction"] + ":" + str(each["offload_effective"]) for each in json.load(sys.stdin)["rows"]))'; }
in_the_clear() { echo $(($(wire "$GW_PORT" tx other) + $(wire "$GW_PORT" rx other))); }

site_peer "$(child a 10.2.0.0/24 10.1.0.0/24)" || exit 1
for mode in crypto packet; do
  site_gateway '{ "a": { "local": ["10.1.0.0/24"], "remote": ["10.2.0.0/24"], "start": "traffic" } }' '{}' '{}' \
    "{\"attachment\": \"policy\", \"default_block\": true, \"offload\": {\"mode\": \"$mode\", \"devices\": [\"$GW_DEV\"]}}" || exit 1
  ping_host 10.2.0.1 > /dev/null
  check "$mode: a packet raises it" wait_for 5 "a" are a
  check "$mode: both directions are on the NIC" is "$(effective)" "in:$mode out:$mode"
  check "$mode: packets pass" pings 10.2.0.1
  clear_wire
  check "$mode: and pass on" pings 10.2.0.1
  check "$mode: none of them in the clear" is "$(in_the_clear)" 0
  check "$mode: all of them as ESP" test "$(wire "$GW_PORT" tx esp)" -ge 3
  check "$mode: nothing differs" calm
  check "$mode: a rekey" ctl gw rekey site --child a
  check "$mode: still on the NIC" wait_for 20 "one child" are a
  check "$mode: in both directions" is "$(effective)" "in:$mode out:$mode"
  check "$mode: packets pass then" pings 10.2.0.1
  check "$mode: strongSwan ends it" swan --terminate --ike site --timeout 5
  check "$mode: it is raised anew" wait_for 5 "an answer" pings 10.2.0.1
  check "$mode: nothing differs at last" calm
  stop_ipsecd gw
done
stop_strongswan
finish
