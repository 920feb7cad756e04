#!/bin/bash
# A NIC with room for one child of four: the busiest has it, another one that becomes busier takes its place, a pinned one
# before all, and a table that is full teaches its size.
. "$(dirname "$0")/checks.sh"
. tests/interop/policy_world.sh
. tests/interop/offload_world.sh
plain_network NIC; secret gw peer.psk
ip -n peer addr add 10.3.1.1/24 dev lo
CHILDREN='{ "a": { "local": ["10.1.0.0/24"], "remote": ["10.2.0.0/24"], "start": "now" },
            "b": { "local": ["10.1.0.0/24"], "remote": ["10.3.0.0/24"], "start": "now" },
            "c": { "local": ["10.1.0.0/24"], "remote": ["10.3.1.0/24"], "start": "now" } }'
on_nic() { ctl gw --json offload list | python3 -c 'import json, sys; print("".join(sorted(each["child"] for each in json.load(sys.stdin)["rows"] if each["place"] != "software")))'; }
on_nic_are() { is "$(on_nic)" "$1"; }
busy() { ip netns exec host ping -q -f -s 1000 -w "$2" "$1" > /dev/null & BUSY=$!; }

site_peer "$(child a 10.2.0.0/24 10.1.0.0/24) $(child b 10.3.0.0/24 10.1.0.0/24) $(child c 10.3.1.0/24 10.1.0.0/24)" || exit 1
site_gateway "$CHILDREN" '{"role": "both"}' '{}' "$(grouped packet policy "\"$GW_DEV\"")" || exit 1
stop_ipsecd gw
configure() { # ROOM
  node_offload '{"half_life": "1s", "stay": "2s", "settle": "1s", "devices": {"'"$GW_DEV"'": {"children_max": '"$1"'}}}'
}
configure 1
start_ipsecd gw /run/gw.json || exit 1
check "all come up" wait_for 20 "three children" are abc
check "one of them has the NIC" test "$(on_nic | wc -c)" = 2
busy 10.3.0.1 12
check "the busy one gets it" wait_for 20 "b on the NIC" on_nic_are b
check "with the reason" test "$(events offload-moved)" -ge 1
wait $BUSY
busy 10.3.1.1 15
check "then the next busy one" wait_for 20 "c on the NIC" on_nic_are c
check "a pinned one comes first" ctl gw offload pin site nic --child a
check "though it carries nothing" wait_for 20 "a on the NIC" on_nic_are a
kill $BUSY; wait $BUSY   # a flood leaves little of one processor to others
for each in 10.2.0.1 10.3.0.1 10.3.1.1; do check "packets to $each pass" pings $each; done
check "offload devices shows the room" sh -c "$(declare -f ctl); BUILD=$BUILD ctl gw offload devices | grep -q configured"
check "without the pin it has to go" ctl gw offload pin site none --child a
stop_ipsecd gw

# Nothing is configured, and the table is smaller than what is wanted: refusals teach it.
configure 0; echo 2 > "$GW_PORT/ipsec_table"
start_ipsecd gw /run/gw.json || exit 1
check "all come up although the table is full" wait_for 20 "three children" are abc
check "as many as fit are on the NIC" wait_for 10 "one" test "$(on_nic | wc -c)" = 2
check "its room was learnt" sh -c "$(declare -f ctl); BUILD=$BUILD ctl gw offload devices | grep -q learnt"
check "all pass" pings 10.3.0.1
stop_ipsecd gw

# Room for SAs, and for three policies: what has no room for its policies does not stay on the NIC.
echo 4096 > "$GW_PORT/ipsec_table"; echo 3 > "$GW_PORT/ipsec_policies"
start_ipsecd gw /run/gw.json || exit 1
check "all come up although policies have no room" wait_for 20 "three children" are abc
check "one of them is whole on the NIC" test "$(on_nic | wc -c)" -ge 2
check "its policies are" grep -q ' policies=[23]$' "$GW_PORT/ipsec"
check "the kernel's words are told" grep -q 'code=offload-table-full .*No space for policy' "$LOG_DIR/ipsecd-gw.log"
for each in 10.2.0.1 10.3.0.1 10.3.1.1; do check "packets to $each pass" pings $each; done
check "none was set up twice" is "$(events tunnel-down)" 0
stop_ipsecd gw
check "nothing is left" grep -q ' policies=0$' "$GW_PORT/ipsec"
stop_strongswan
finish
