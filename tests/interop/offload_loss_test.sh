#!/bin/bash
# A NIC that goes down under a stream takes its SAs with it: they are made anew on the other NIC of the group, come back when
# the first one has stood for a while, and no key ever sends a number twice.
. "$(dirname "$0")/checks.sh"
. tests/interop/policy_world.sh
. tests/interop/offload_world.sh
plain_network NIC; secret gw peer.psk; second_cable
record_numbers "$GW_PORT" "$GW_PORT2"
site_on "$GW_DEV $GW_DEV2" "$settle_soon" || exit 1

move_under_stream first_cable down
check "the loss is told" test "$(events offload-device-lost)" -ge 1

stream 12
first_cable up
check "back on the first NIC" wait_for 20 "the return" place_is a "$GW_DEV"
lost
check "on the way back, too" most_arrived
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
check "none of it in the clear" is "$(left_in_the_clear "$GW_PORT" "$GW_PORT2")" 0
check "no number was sent twice" no_number_twice "$GW_PORT" "$GW_PORT2"
no_number_twice "$GW_PORT" "$GW_PORT2"
stop_ipsecd gw
stop_strongswan
finish
