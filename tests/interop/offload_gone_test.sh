#!/bin/bash
# A NIC is taken out under a stream, not just down, and another one with its name comes: the SAs are made anew on the other
# NIC of the group and come back when the new one has stood for a while; nothing is left of the old one, and no key ever
# sends a number twice.
. "$(dirname "$0")/checks.sh"
. tests/interop/policy_world.sh
. tests/interop/offload_world.sh
plain_network NIC; secret gw peer.psk; second_cable
ip -n gw addr add 192.0.2.1/32 dev lo   # the gateway's address outlives the NIC

mkdir -p /run/gone
record_numbers "$GW_PORT" "$GW_PORT2"
# on_one_nic PORT...: every key that was used, was used by one of them.
on_one_nic() {
  awk '/^#/ || of[$1, FILENAME]++ { next }
       used[$1]++ { twice = $1 }
       { keys++ }
       END { printf "%d keys, by two NICs: %s\n", keys, twice ? twice : "none"; exit twice || keys < 3 }' "${@/%//wire_esp}"
}

site_on "$GW_DEV $GW_DEV2" "$settle_soon" || exit 1
holds() { grep -q "^SA count=$2 " "$1/ipsec"; }

OLD=$(ip -n gw -o link show "$GW_DEV" | cut -d: -f1)
take_out() {
  cat "$GW_PORT/wire_esp" > /run/gone/wire_esp   # what the port has recorded goes with it
  echo 1 > /sys/bus/netdevsim/del_device; ip -n peer link set "$PEER_DEV" down
}
move_under_stream take_out
check "the loss is told once" is "$(events offload-device-lost)" 1
check "one pair of SAs is left" wait_for 10 "one pair" agreed
check "it is on the second NIC alone" holds "$GW_PORT2" 2
check "the device is shown as missing" sh -c "$(declare -f ctl); BUILD=$BUILD ctl gw offload devices | grep -q '^$GW_DEV .*lost'"

# Another NIC with its name: another number, another driver instance, an empty table.
stream 12
echo "7 1" > /sys/bus/netdevsim/new_device
GW_PORT=/sys/kernel/debug/netdevsim/netdevsim7/ports/0
record_numbers "$GW_PORT"
FRESH=$(ls /sys/bus/netdevsim/devices/netdevsim7/net)
ip link set "$FRESH" name "fresh" && ip link set fresh netns gw && ip -n gw link set fresh name "$GW_DEV"
ip -n gw addr add 192.0.2.1/24 dev "$GW_DEV"
check "it is another device" not is "$(ip -n gw -o link show "$GW_DEV" | cut -d: -f1)" "$OLD"
exec 5</run/netns/gw 6</run/netns/peer
echo "5:$(ip -n gw -o link show "$GW_DEV" | cut -d: -f1) 6:$(ip -n peer -o link show "$PEER_DEV" | cut -d: -f1)" > /sys/bus/netdevsim/link_device
exec 5<&- 6<&-
ip -n peer link set "$PEER_DEV" up; ip -n gw link set "$GW_DEV" up
state_of() { ctl gw --json offload devices | python3 -c 'import json, sys; print(*(each["state"] for each in json.load(sys.stdin)["rows"] if each["name"] == sys.argv[1]))' "$1"; }
settled() { is "$(state_of "$GW_DEV")" usable; }
check "the new one is not used at once" is "$(state_of "$GW_DEV")" settling
check "it is when it has stood for a while" wait_for 6 "the new NIC to settle" settled
first_cable up                          # routes lead there again
check "back on the first NIC" wait_for 20 "the return" place_is a "$GW_DEV"
check "in hardware again" is "$(effective)" "in:packet out:packet"
lost
# Until the routes are looked at packets leave by a NIC that has no SA for them.
check "most of it arrived on the way back" most_arrived
check "packets pass" pings 10.2.0.1
check "one pair of SAs is left" wait_for 10 "one pair" agreed
check "it is on the new NIC alone" holds "$GW_PORT" 2
check "and none on the second one" holds "$GW_PORT2" 0
check "none of it in the clear" is "$(left_in_the_clear "$GW_PORT" "$GW_PORT2")" 0
check "no number was sent twice" no_number_twice /run/gone "$GW_PORT" "$GW_PORT2"
no_number_twice /run/gone "$GW_PORT" "$GW_PORT2"
check "and no key was used by two NICs" on_one_nic /run/gone "$GW_PORT" "$GW_PORT2"
stop_ipsecd gw
check "nothing is left on the NIC" holds "$GW_PORT" 0
check "nor in the kernel" is "$(esp gw)$(ip -n gw xfrm policy | grep -c tmpl)" 00
stop_strongswan
finish
