#!/bin/bash
# What `explain offload` predicts of a planned tunnel is what comes: each refusal of kernel and driver is known before it is
# tried, and shown with its rule, its source and what would change it.
. "$(dirname "$0")/checks.sh"
. tests/interop/policy_world.sh
. tests/interop/offload_world.sh
plain_network NIC; secret gw peer.psk
ip link add v0 netns gw type veth peer name v1 netns host; ip -n gw link set v0 up; ip -n host link set v1 up
ip -n gw link add link "$GW_DEV" name vlan7 type vlan id 7; ip -n gw link set vlan7 up

CHILD='{ "a": { "local": ["10.1.0.0/24"], "remote": ["10.2.0.0/24"], "start": "traffic" } }'
# tell WHAT PREDICTED CODE [ESP [CHILD-POLICY]]: the gateway runs with what $GROUP says; the prediction, then the truth.
tell() {
  local what=$1 wanted=$2 code=$3 esp=${4:-aes256gcm16} policy=${5:-"{}"}
  sed -i "s/esp_proposals = .*/esp_proposals = $esp/" "$SWANCTL_CONF"; swan --load-all > /dev/null
  site_gateway "$CHILD" '{}' "$policy" "$GROUP" || return
  check "$what: predicted before anything is there" is "$(predicted)" "$wanted"
  [ -z "$code" ] || check "$what: with the rule" why "$code"
  check "$what: it comes up" ctl gw up site
  check "$what: and is as predicted" is "$(effective)" "$wanted"
  check "$what: predicted still" is "$(predicted)" "$wanted"
  [ "${PINGS:-yes}" = no ] || check "$what: packets pass" pings 10.2.0.1
  stop_ipsecd gw
}
site_peer "$(child a 10.2.0.0/24 10.1.0.0/24)" || exit 1

GROUP=$(grouped auto policy "\"$GW_DEV\""); tell "policy, auto" "in:packet out:packet" ""
GROUP=$(grouped crypto policy "\"$GW_DEV\""); tell "policy, crypto" "in:crypto out:crypto" ""
GROUP=$(grouped auto policy '"v0"'); tell "a veth" "in:software out:software" offload-unsupported
GROUP=$(grouped auto policy '"vlan7"'); tell "a VLAN" "in:software out:software" offload-no-device
GROUP=$(grouped auto policy '"nothing"'); tell "no device" "in:software out:software" offload-no-device
GROUP=$(grouped packet policy "\"$GW_DEV\""); tell "no AEAD" "in:software out:software" offload-algorithm \
  aes256-sha256 '{"proposals": ["aes256-sha256-noesn"]}'
GROUP=$(grouped packet policy "\"$GW_DEV\""); tell "a fixed DSCP" "in:software out:software" offload-udp-encapsulation \
  aes256gcm16 '{"dscp": "ef"}'
GROUP="{\"private\": {\"netns\": \"customers\", \"vrf\": \"blue\"}, \"attachment\": \"interface\", \"offload\": {\"mode\": \"packet\", \"devices\": [\"$GW_DEV\"]}}"
PINGS=no tell "interface" "in:software out:packet" offload-inbound-if-id

# What only the driver knows is learnt from the first refusal, and not asked again.
GROUP=$(grouped packet policy "\"$GW_DEV\"")
site_gateway "$CHILD" '{}' '{}' "$GROUP" || exit 1
echo 1 > "$GW_PORT/ipsec_refuse"
check "a refusal of the moment: it comes up" ctl gw up site
check "a refusal of the moment: one direction stays in software" test "$(effective | tr ' ' '\n' | grep -c packet)" = 1
check "the kernel's words are told" sh -c "$(declare -f ctl); BUILD=$BUILD ctl gw explain offload site | grep -q 'Refused on request'"
check "a rekey brings it there" ctl gw rekey site
check "now both are" is "$(effective)" "in:packet out:packet"
check "list devices knows the driver" sh -c "$(declare -f ctl); BUILD=$BUILD ctl gw list devices | grep -q netdevsim"
check "it was not asked unasked" sh -c "$(declare -f ctl); BUILD=$BUILD ctl gw show device $GW_DEV | grep -q active_probe"
check "show device has its rules" sh -c "$(declare -f ctl); BUILD=$BUILD ctl gw show device $GW_DEV | grep -q 'AEADs with 16 bytes'"
stop_ipsecd gw

# Where an operator allows it, a device is asked before the first SA, and nothing of that is left.
node_offload '{"devices": {"'"$GW_DEV"'": {"active_probe": true}}}'
echo 2 > "$GW_PORT/ipsec_refuse"      # of the trials those of crypto: an error of the moment says nothing of the device
start_ipsecd gw /run/gw.json || exit 1
device() { ctl gw --json show device "$GW_DEV" | python3 -c 'import json, sys; print(*(each.split(" (")[0] for each in json.load(sys.stdin)["probed"]), sep=", ")'; }
check "the trials tell" is "$(device)" "crypto in: unknown, crypto out: unknown, packet in: yes, packet out: yes, policies: yes"
check "no SA is left of them" is "$(esp gw)" 0
check "and no policy" sh -c "! ip -n gw xfrm policy | grep -q 203.0.113.254"
stop_ipsecd gw
stop_strongswan
finish
