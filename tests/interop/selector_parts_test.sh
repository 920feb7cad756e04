#!/bin/bash
# One configured child, and a peer that has one pair of networks per child SA (case: Cisco ASA, FortiGate, policy-based
# clouds). Each pair has SAs of its own, and each packet takes those of its pair: when the peer begins them, after
# rekeys by either side, and after a kill.
. "$(dirname "$0")/checks.sh"
make_network veth; peer_inside; secret gw peer.psk
ip -n peer addr add 10.3.0.1/24 dev lo
ip -n host addr add 10.1.9.2/24 dev eth0
ip -n customers route add 10.1.9.0/24 dev cust table 20
ip -n peer route add 10.1.9.0/24 via 192.0.2.1

ping_from() { ip netns exec host ping -q -c 1 -W "${3:-1}" -I "$1" "$2"; }
# passes SOURCE DESTINATION...: pairs whose ping is answered; all others are not.
PAIRS=(10.1.0.2-10.2.0.1 10.1.9.2-10.2.0.1 10.1.0.2-10.3.0.1 10.1.9.2-10.3.0.1)
pass() {
  local pair found=()
  for pair in "${PAIRS[@]}"; do
    if ping_from "${pair%-*}" "${pair#*-}" 0.5 > /dev/null; then found+=("$pair"); fi
  done
  is "${found[*]}" "$*"
}
pairs_up() { is "$(ctl gw --json list children --filter state=up | grep -o '"state":"up"' | wc -l)" "$1"; }
# reqids: how many SAs have the same one, for each.
reqids() { ip -n gw xfrm state | sed -n 's/.*proto esp.*reqid \([0-9]*\) .*/\1/p' | sort | uniq -c | awk '{ print $1 }' | sort | paste -sd' '; }
reqids_are() { is "$(reqids)" "$1"; }
mismatches() { ip netns exec "$1" awk '/XfrmInTmplMismatch|XfrmInNoPols|XfrmInStateMismatch/ { sum += $2 } END { print sum }' /proc/net/xfrm_stat; }

site_peer "$(child p2 10.2.0.0/24 10.1.0.0/24) $(child p3 10.2.0.0/24 10.1.9.0/24)
  $(child p4 10.3.0.0/24 10.1.0.0/24) $(child p5 10.3.0.0/24 10.1.9.0/24)" || exit 1
LAN='"local": ["10.1.0.0/24", "10.1.9.0/24"], "remote": ["10.2.0.0/24", "10.3.0.0/24"]'
site_gateway "{ \"lan\": { $LAN } }" || exit 1
for i in 0 1 2 3; do
  check "the peer begins pair $((i + 1))" swan --initiate --child p$((i + 2)) --timeout 10
  check "so many pairs are up" wait_for 5 "pairs" pairs_up $((i + 1))
  check "and exactly these pass" pass "${PAIRS[@]:0:$((i + 1))}"
done
check "inbound SAs have the child's reqid, outbound ones each their own" reqids_are "1 1 1 1 4"
check "nobody drops a packet for its policy" is "$(mismatches gw) $(mismatches peer)" "0 0"

check "the peer rekeys one pair" swan --rekey --child p3
check "the gateway rekeys all" ctl gw rekey site
check "four pairs are up, no old one is left" wait_for 10 "the rekeys" pairs_up 4
check "all pairs pass" pass "${PAIRS[@]}"
check "the reqids are as before" wait_for 10 "the old SAs' end" reqids_are "1 1 1 1 4"
check "the peer ends one pair" swan --terminate --child p4 --timeout 5
check "three are up" wait_for 5 "the end" pairs_up 3
check "its packets do not pass, those of the others do" pass "${PAIRS[0]}" "${PAIRS[1]}" "${PAIRS[3]}"
check "it comes back" swan --initiate --child p4 --timeout 10
check "with its packets" pass "${PAIRS[@]}"

# A kill: the SAs of all pairs go on, whether the next run can set the tunnel up or not.
murder() { { kill -KILL "$(cat /run/ipsecd-gw/pid)"; wait "$(cat /run/ipsecd-gw/pid)"; } 2> /dev/null; rm -f /run/ipsecd-gw/control; }
orphans() { ctl gw --json status | python3 -c 'import json, sys; print(json.load(sys.stdin)["orphans"])'; }
murder
check "without the daemon all pairs pass" pass "${PAIRS[@]}"
start_ipsecd gw /run/gw.json || exit 1
check "the next run keeps the SAs of all pairs" is "$(orphans)" 8
check "with the reqids that they had" reqids_are "1 1 1 1 4"
check "that is no drift" ctl gw drift
check "all pairs pass" pass "${PAIRS[@]}"
swan --terminate --ike site --force --timeout 1 > /dev/null 2>&1
for i in 2 3 4 5; do check "the peer begins p$i anew" swan --initiate --child p$i --timeout 10; done
check "all pairs pass with new SAs" pass "${PAIRS[@]}"
check "those of the former run go" wait_for 15 "their end" reqids_are "1 1 1 1 4"
check "all pairs still pass" pass "${PAIRS[@]}"
stop_ipsecd gw; stop_strongswan

# The gateway begins, and the peer answers with one pair of what it is offered: the rest is asked for.
P2="$(child p2 10.2.0.0/24 10.1.0.0/24)" P3="$(child p3 10.2.0.0/24 10.1.9.0/24)"
P4="$(child p4 10.3.0.0/24 10.1.0.0/24)" P5="$(child p5 10.3.0.0/24 10.1.9.0/24)"
uncovered() { ctl gw --json list children | python3 -c 'import json, sys; print(*{each["uncovered"] or "nothing" for each in json.load(sys.stdin)["rows"]})'; }
site_peer "$P2 $P3 $P4 $P5" || exit 1
site_gateway "{ \"lan\": { $LAN, \"start\": \"now\" } }" || exit 1
check "start now: all four pairs come up by themselves" wait_for 10 "four pairs" pairs_up 4
check "start now: all pass" pass "${PAIRS[@]}"
check "nothing is uncovered" is "$(uncovered) $(events selectors-uncovered)" "nothing 0"
stop_ipsecd gw; stop_strongswan

site_peer "$P2 $P3 $P4 $P5" || exit 1
site_gateway "{ \"lan\": { $LAN, \"start\": \"traffic\" } }" || exit 1
raised() { ping_from "${1%-*}" "${1#*-}" 0.5 > /dev/null || true; wait_for 5 "pair $2" pairs_up "$2"; }
for i in 0 1 2 3; do check "start traffic: a packet raises pair $((i + 1))" raised "${PAIRS[$i]}" $((i + 1)); done
check "start traffic: all pass" pass "${PAIRS[@]}"
stop_ipsecd gw; stop_strongswan

# What the peer does not allow is said, once, and the others go on.
site_peer "$P2 $P5" || exit 1
site_gateway "{ \"lan\": { $LAN, \"start\": \"now\" } }" || exit 1
check "two pairs come up" wait_for 10 "two pairs" pairs_up 2
check "the others are reported" wait_for 5 "the event" test "$(events selectors-uncovered)" = 1
check "they are shown" is "$(uncovered)" "10.1.0.0/24 - 10.3.0.0/24, 10.1.9.0/24 - 10.2.0.0/24"
check "status says so" bash -c "$(declare -f ctl); BUILD=$BUILD ctl gw status | grep -q 'carries a part'"
check "the two pass, the others do not" pass "${PAIRS[0]}" "${PAIRS[3]}"
stop_ipsecd gw; stop_strongswan

# Forty networks in one list: all of them pass, and nothing is left out.
NETWORKS=
for i in $(seq 40); do ip -n peer addr add 10.4.$i.1/24 dev lo; NETWORKS+="${NETWORKS:+,}10.4.$i.0/24"; done
site_peer "$(child net "$NETWORKS" 10.1.0.0/24)" || exit 1
site_gateway '{ "lan": { "local": ["10.1.0.0/24"], "remote": ["10.4.0.0/16"] } }' || exit 1
check "a peer offers forty networks" swan --initiate --child net --timeout 10
forty_pass() { local i; for i in $(seq 40); do ping_from 10.1.0.2 "10.4.$i.1" > /dev/null || { echo "10.4.$i.1 does not answer"; return 1; }; done; }
check "each of them passes" forty_pass
check "nothing was left out" is "$(events selectors-left-out)" 0
stop_ipsecd gw; stop_strongswan

# With room for fewer policies the last ones are left out, and that is said.
site_peer "$(child net "$NETWORKS" 10.1.0.0/24)" || exit 1
site_gateway '{ "lan": { "local": ["10.1.0.0/24"], "remote": ["10.4.0.0/16"] } }' '{}' '{ "policies_max": 30 }' || exit 1
check "the peer offers them to one with room for thirty" swan --initiate --child net --timeout 10
check "the log says what was left out, and by which setting" grep -q 'code=selectors-left-out.*kept_remote=30.*policies_max=30' "$LOG_DIR/ipsecd-gw.log"
check "the first passes" ping_from 10.1.0.2 10.4.1.1
check "the peer was told that it may ask for more" grep -q 'ADD_TS_POSS' "$LOG_DIR/strongswan.log"
finish
