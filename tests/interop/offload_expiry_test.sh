#!/bin/bash
# Limits of volume with offload: what only the NIC counts reaches the soft limit and the child is rekeyed, whether the
# driver tells or not; without rekeying it ends at the hard limit. No packet is lost by a rekey, and none has a key twice.
. "$(dirname "$0")/checks.sh"
. tests/interop/policy_world.sh
. tests/interop/offload_world.sh
plain_network NIC; secret gw peer.psk
site_peer "$(child a 10.2.0.0/24 10.1.0.0/24)" || exit 1
CHILD='{ "a": { "local": ["10.1.0.0/24"], "remote": ["10.2.0.0/24"], "start": "traffic" } }'
flood() { ip netns exec host ping -q -i 0.001 -s 500 -c "$1" -W 2 10.2.0.1 > /run/flood; }
all_arrived() { grep -q ' 0% packet loss' /run/flood || { sed -n '/packets/p' /run/flood; return 1; }; }
told_since() { [ "$(events "$1")" -gt "$2" ]; }

# limited MODE MUTE LIMIT REASON: rekeyed by what it has carried.
limited() {
  local mode=$1 mute=$2 limit=$3 reason=$4 what="$1, driver mute: $2, $4" before
  echo "$mute" > "$GW_PORT/ipsec_mute"
  site_gateway "$CHILD" '{}' "{$limit, \"rekey\": {\"share_percent\": 80, \"jitter_percent\": 0}}" "$(grouped "$mode" policy "\"$GW_DEV\"")" || return
  record_numbers "$GW_PORT"
  check "$what: it comes up" ctl gw up site
  check "$what: in hardware" is "$(effective)" "in:$mode out:$mode"
  before=$(spis gw)
  flood 500
  check "$what: half of it is not enough" is "$(spis gw)" "$before"
  flood 400
  check "$what: it is told" wait_for 7 "$reason" told_since "$reason" 0
  check "$what: another pair of SAs" wait_for 10 "one pair" agreed
  check "$what: is used" not is "$(spis gw)" "$before"
  check "$what: in hardware again" is "$(effective)" "in:$mode out:$mode"
  flood 300
  check "$what: all arrived" all_arrived
  check "$what: no number was sent twice" no_number_twice "$GW_PORT"
  stop_ipsecd gw
}
PACKETS='"lifetime_packets": 1000' BYTES='"lifetime_bytes": 528000'    # a ping has 528 bytes and more
limited crypto N "$PACKETS" rekey-by-packets
limited crypto N "$BYTES" rekey-by-bytes
limited packet N "$PACKETS" rekey-by-packets
limited packet N "$BYTES" rekey-by-bytes
limited packet Y "$PACKETS" rekey-by-packets
limited packet Y "$BYTES" rekey-by-bytes

# Without rekeying nothing is left but the hard limit; what the driver does not tell, the counters do.
echo Y > "$GW_PORT/ipsec_mute"
site_gateway "$CHILD" '{}' '{"lifetime_packets": 300, "rekey": {"enabled": false}}' "$(grouped packet policy "\"$GW_DEV\"")" || exit 1
check "without rekeying: it comes up" ctl gw up site
check "without rekeying: in hardware" is "$(effective)" "in:packet out:packet"
flood 250
check "without rekeying: it stays below the limit" is "$(events tunnel-down)" 0
flood 60
check "without rekeying: it ends at the limit" wait_for 7 "the end" told_since tunnel-down 0
check "without rekeying: for that reason" grep -q 'code=tunnel-down .*because=kernel-expired' "$LOG_DIR/ipsecd-gw.log"
check "a packet brings it back" wait_for 5 "answers" pings 10.2.0.1
stop_ipsecd gw
check "nothing is left on the NIC" grep -q '^SA count=0 ' "$GW_PORT/ipsec"
stop_strongswan
finish
