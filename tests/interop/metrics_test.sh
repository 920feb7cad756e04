#!/bin/bash
# `ipsecctl metrics` as Prometheus' own parsers read it: valid in both formats, the same numbers as the status and the lists
# show, refusals as the NIC itself counts them; over a rekey, a move, drift, another configuration, a kill and a lost NIC.
. "$(dirname "$0")/checks.sh"
. tests/interop/policy_world.sh
. tests/interop/offload_world.sh
plain_network NIC; secret gw peer.psk
site_peer "$(child a 10.2.0.0/24 10.1.0.0/24)" || exit 1

read_metrics() { /usr/bin/python3 tests/interop/metrics.py "$@"; }
# metric NAME [LABEL=VALUE...]: the sum of these samples now.
metric() { ctl gw metrics > /run/metrics.txt && read_metrics value /run/metrics.txt "$@"; }
metric_is() { local wanted=$1; shift; is "$(metric "$@")" "$wanted"; }
at_least() { local least=$1 found; shift; found=$(metric "$@"); echo "found $found"; [ "$found" != none ] && [ "$found" -ge "$least" ]; }
# agree: the numbers are those of the status and the lists, of nearly one moment.
agree() {
  ctl gw metrics > /run/metrics.txt || return
  ctl gw --json status > /run/status.json   # its exit code is the health
  local kind
  for kind in sas children devices; do ctl gw --json list $kind > /run/$kind.json || return; done
  read_metrics agrees /run/metrics.txt /run/status.json /run/sas.json /run/children.json /run/devices.json
}
all_agree() { check "$1: the numbers are those of the status and the lists" wait_for 10 "them to agree" agree; }
valid() { # FORMAT
  ctl gw metrics --format "$1" > "/run/metrics.$1" && read_metrics "$1" "/run/metrics.$1"
}

CHILD='{ "a": { "local": ["10.1.0.0/24"], "remote": ["10.2.0.0/24"], "start": "traffic" } }'
site_gateway "$CHILD" '{}' '{}' "$(grouped packet policy "\"$GW_DEV\"")" || exit 1
check "before anything is up, nothing is" metric_is 0 ipsecd_ike_sas group=core
check "and nothing was refused" metric_is 0 ipsecd_offload_refusals_total device="$GW_DEV"
all_agree "idle"

# Of two of four children that follow each other the NIC refuses the inbound SA.
echo 1 > "$GW_PORT/ipsec_refuse"
check "it comes up" ctl gw up site
all_agree "refused"
check "the refusal is counted" metric_is 1 ipsecd_offload_refusals_total device="$GW_DEV" reason=offload-refused
check "one SA is in software" metric_is 1 ipsecd_sas wanted=packet mode=none
check "for that reason" metric_is 1 ipsecd_sas_by_offload_reason reason=offload-refused
check "the other one is not" metric_is 1 ipsecd_offload_device_sas device="$GW_DEV" direction=out mode=packet
check "a rekey" ctl gw rekey site
echo 1 > "$GW_PORT/ipsec_refuse"
check "another one, refused again" ctl gw rekey site
check "and another one" ctl gw rekey site
check "both SAs are on the NIC" wait_for 10 "them" metric_is 2 ipsecd_offload_device_sas device="$GW_DEV" mode=packet
check "each refusal was counted as the NIC does" metric_is "$(cat "$GW_PORT/ipsec_refused")" ipsecd_offload_refusals_total
check "there were two" metric_is 2 ipsecd_offload_refusals_total device="$GW_DEV" reason=offload-refused
check "the status says the same" sh -c "$(declare -f ctl); BUILD=$BUILD ctl gw status | grep -q 'refused    $GW_DEV: 2 offload-refused'"
check "and the device" sh -c "$(declare -f ctl); BUILD=$BUILD ctl gw --json show device $GW_DEV | grep -q '2 offload-refused'"
all_agree "on the NIC"

check "Prometheus' parser reads OpenMetrics" valid openmetrics
check "it ends as it must" is "$(tail -1 /run/metrics.openmetrics)" "# EOF"
check "and the older format, with as many families" is "$(valid prometheus)" "$(valid openmetrics)"
check "the older format has no type that it does not know" is "$(grep '^# TYPE' /run/metrics.prometheus | cut -d' ' -f4 | sort -u | tr '\n' ' ')" "counter gauge "
check "another format is refused" not ctl gw metrics --format xml
check "datagrams of IKE are counted" at_least 4 ipsecd_ike_datagrams_total direction=in
check "errors of the namespace are the kernel's" is "$(metric ipsecd_xfrm_errors_total netns= error=XfrmInNoStates)" \
  "$(ip netns exec gw awk '$1 == "XfrmInNoStates" { print $2 }' /proc/net/xfrm_stat)"

# What the SAs carry is seen with the next look at offload.
before=$(metric ipsecd_traffic_packets_total group=core direction=out mode=packet)
ip netns exec host ping -q -c 100 -i 0.01 -W 1 10.2.0.1 > /dev/null
check "traffic is counted" wait_for 15 "packets" at_least $((${before/none/0} + 100)) ipsecd_traffic_packets_total group=core direction=out mode=packet
check "in both directions" at_least 100 ipsecd_traffic_packets_total group=core direction=in mode=packet
check "with its bytes" at_least 8400 ipsecd_traffic_bytes_total group=core direction=out mode=packet

check "a move into software" ctl gw offload move site software
check "is counted when it has ended" wait_for 20 "the move" metric_is 1 ipsecd_offload_moves_total device="$GW_DEV" to=software why=pinned result=made
check "SAs are in software" wait_for 10 "them" metric_is 2 ipsecd_sas mode=none
all_agree "moved"

check "nothing had to be put right" metric_is 0 ipsecd_kernel_events_total reason=drift-mended
ip -n gw xfrm policy flush
check "what others take out is put right, and counted" wait_for 15 "the policies" at_least 1 ipsecd_kernel_events_total reason=drift-mended
check "then all stands" wait_for 15 "it" metric_is 1 ipsecd_namespace_state netns= ipsecd_namespace_state=synced
all_agree "mended"

# Another configuration: a second group, whose NIC is not there. No counter begins anew.
python3 - /run/gw.json << 'P'
import json, sys
document = json.load(open(sys.argv[1]))
document["tunnel_groups"]["spare"] = {"public": {"addresses": ["192.0.2.1"]}, "attachment": "policy",
                                      "offload": {"mode": "auto", "devices": ["nothing"]}}
json.dump(document, open(sys.argv[1], "w"))
P
check "no second group is known" metric_is none ipsecd_tunnels group=spare
check "another configuration" ctl gw config apply
check "now it is" metric_is 0 ipsecd_tunnels group=spare
check "its NIC is lost" metric_is 1 ipsecd_offload_device_state device=nothing ipsecd_offload_device_state=lost
check "and has no info" metric_is none ipsecd_offload_device_info device=nothing
check "refusals are still known" metric_is 2 ipsecd_offload_refusals_total device="$GW_DEV" reason=offload-refused
all_agree "reconfigured"

# A NIC that goes down is a loss; it is the only way to the peer.
ip -n gw link set "$GW_DEV" down
check "a loss is counted" wait_for 10 "it" metric_is 1 ipsecd_offload_device_losses_total device="$GW_DEV"
check "the NIC is lost" metric_is 1 ipsecd_offload_device_state device="$GW_DEV" ipsecd_offload_device_state=lost
ip -n gw link set "$GW_DEV" up
ip -n gw route replace 10.2.0.0/15 via 192.0.2.2 metric 1000
check "it came back a moment ago" wait_for 10 "it" metric_is 1 ipsecd_offload_device_state device="$GW_DEV" ipsecd_offload_device_state=settling
check "packets pass again" wait_for 30 "answers" pings 10.2.0.1

kill -KILL "$(cat /run/ipsecd-gw/pid)"; wait_for 5 "its end" not kill -0 "$(cat /run/ipsecd-gw/pid)"; rm -f /run/ipsecd-gw/control
start_ipsecd gw /run/gw.json || exit 1
check "after a kill counters begin anew" metric_is 0 ipsecd_offload_refusals_total device="$GW_DEV" reason=offload-refused
all_agree "adopted"
check "it comes up again" ctl gw up site
all_agree "up again"
stop_ipsecd gw
check "without a daemon there is no output that could be taken for numbers" is "$(ctl gw metrics 2> /dev/null)" ""
stop_strongswan
finish
