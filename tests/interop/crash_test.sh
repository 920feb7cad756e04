#!/bin/bash
# A gateway that is killed again and again, at any moment, while traffic flows: what it has left carries the traffic until
# the next one is ready, and in the end the kernel holds exactly what is wanted. ROUNDS and SEED choose how often and when.
. "$(dirname "$0")/checks.sh"
. tests/interop/foreign.sh
ROUNDS=${ROUNDS:-20} SEED=${SEED:-$(date +%s)}
echo "ROUNDS=$ROUNDS SEED=$SEED"
RANDOM=$((SEED % 32768))
make_network veth; peer_inside; secret gw peer.psk
make_foreign
FOREIGN=$(foreign)

# What an orderly daemon has of each kind: interfaces, routes, policies, SAs; nothing that is left of an earlier run.
shape() {
  echo "$(ip -n customers -o link show type xfrm | grep -vc theirs) $(ip -n customers route show table 20 proto 50 | grep -vc theirs)" \
    "$(ip -n gw xfrm policy list | grep -c 'proto esp reqid 1') $(ip -n gw xfrm state | grep '^src' | grep -vc 203.0.113)"
}
# journal: how many objects of each kind it knows.
journal() {
  awk 'NR > 1 && $1 == "+" { known[$2 " " $3 " " $4] = $3 } $1 == "-" { delete known[$2 " " $3 " " $4] }
    END { for (key in known) ++count[known[key]]; print count["link"], count["route"], count["policy"], count["sa"] }' /run/ipsecd-gw/journal
}
orphans() { ctl gw --json status | python3 -c 'import json, sys; print(json.load(sys.stdin)["orphans"])'; }
is_wanted() { is "$(shape)" "$WANTED"; }
no_orphans() { is "$(orphans)" 0; }
both_up() { state_is branch-4 up && state_is branch-6 up; }
milliseconds() { echo $(($(date +%s%N) / 1000000)); }
again() { rm -f /run/ipsecd-gw/control; start_ipsecd gw /run/gw.json; }
murder() { { kill -KILL "$(cat /run/ipsecd-gw/pid)"; wait "$(cat /run/ipsecd-gw/pid)"; } 2> /dev/null; }
nap() { sleep "$(printf '0.%03d' $((RANDOM % $1)))"; }

gateway_config none none now > /run/gw.json
start_strongswan aes256gcm16-prfsha384-x25519 aes256gcm16 || exit 1
again || exit 1
check "both tunnels come up" wait_for 15 "both tunnels" both_up
WANTED=$(shape) JOURNAL=$(journal)
NUMBERS=$(ip -n customers -o link show type xfrm | grep -v theirs | sed 's/^[0-9]*: \([^@]*\).*/\1/' | sort)
check "pings" pings 10.2.0.1

# The killed daemon's SAs, seen and gone.
murder
check "without the daemon its SAs carry traffic" pings 10.2.0.1
sed 's/"psk": { "file": "peer.psk" }/"psk": { "file": "other.psk" }/' /run/gw.json > /run/cut-off.json
install -m 600 /dev/null /run/ipsecd-gw/secrets/other.psk; echo "not the secret of the peer" > /run/ipsecd-gw/secrets/other.psk
rm -f /run/ipsecd-gw/control; start_ipsecd gw /run/cut-off.json || exit 1
check "a run that cannot set its tunnels up keeps them" is "$(orphans)" 4
check "they carry traffic" pings 10.2.0.1
check "they are listed, with what time they have" bash -c "$(declare -f ctl); BUILD=$BUILD ctl gw list children | grep -q 'orphaned.*9m\|orphaned.*10m'"
check "it is told, once for each tunnel" is "$(events orphans-kept)" 2
check "that is no drift" ctl gw drift
check "nothing has moved" is "$(shape)" "$WANTED"
murder; again || exit 1
check "with the right secret both come up" wait_for 15 "both tunnels" both_up
check "new SAs have taken their place" wait_for 10 "no orphans" no_orphans
check "that is told, too" is "$(events orphans-replaced)" 2
check "the interfaces are the same ones" is "$(ip -n customers -o link show type xfrm | grep -v theirs | sed 's/^[0-9]*: \([^@]*\).*/\1/' | sort)" "$NUMBERS"

ip netns exec host ping -q -i 0.02 10.2.0.1 > /run/flood.out 2>&1 &
FLOOD=$!
for ((round = 1; round <= ROUNDS; round++)); do
  # Some are killed as they start, some while they set up, some when all is done, some in the middle of a rekey.
  case $((RANDOM % 4)) in
    0) nap 120 ;;
    1) wait_for 15 "round $round: control" ctl gw status; nap 400 ;;
    2) wait_for 15 "round $round: both tunnels" both_up; nap 300 ;;
    3) wait_for 15 "round $round: both tunnels" both_up
       ctl gw rekey branch-4 > /dev/null 2>&1 & nap 40 ;;
  esac
  murder
  again || { check "round $round: it starts again" false; break; }
  check "round $round: what is foreign stands" is "$(foreign)" "$FOREIGN"
done
check "in the end both tunnels are up" wait_for 20 "both tunnels" both_up
check "nothing is left of earlier runs" wait_for 10 "no orphans" no_orphans
{ kill -INT $FLOOD; wait $FLOOD; } 2> /dev/null
sed -n 's/\([0-9]*\) packets transmitted, \([0-9]*\) received.*/\1 \2/p' /run/flood.out | {
  read -r sent received
  echo "$ROUNDS kills, $sent packets sent, $((sent - received)) lost ($(((sent - received) * 20)) ms of traffic)"
}
lost_share() { sed -n 's/.* \([0-9]*\)[.0-9]*% packet loss.*/\1/p' /run/flood.out; }
check "less than a tenth of the traffic was lost" test "$(lost_share)" -lt 10
check "the kernel holds what is wanted" wait_for 10 "the wanted shape" is_wanted
check "nothing differs" ctl gw drift
check "pings" pings 10.2.0.1
check "what is foreign stands" is "$(foreign)" "$FOREIGN"
check "the journal names what stands, and no more" is "$(journal)" "$JOURNAL"
stop_ipsecd gw
check "an orderly end takes everything out" is "$(shape)" "0 0 0 0"
check "but what is foreign" is "$(foreign)" "$FOREIGN"
finish
