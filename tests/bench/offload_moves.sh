#!/bin/bash
# offload_moves.sh [TIMES] - in the lab: what it costs to find out what a NIC can, and to move a child onto it or off it. A
# move is a rekey with another place, so plain rekeys are the measure. `./run bench offload` runs it.
. "$(dirname "$0")/../interop/checks.sh"
. tests/interop/policy_world.sh
. tests/interop/offload_world.sh
times=${1:-40} most=3
plain_network NIC; secret gw peer.psk
probe() { ip netns exec gw "$BUILD/tests/bench/bench" probe "$GW_DEV" > /run/probe || { cat /run/probe; return 1; }; }
check "every probe gets its answer" probe
cat /run/probe
site_on "$GW_DEV" '{"stay": "0s", "moves_per_minute": 60000}' || exit 1
microseconds() { echo $((($(date +%s%N) - $1) / 1000)); }
# A call of ipsecctl each, until the log tells of the fresh SAs.
done_for() { until [ "$(events child-rekeyed)" -ge "$1" ]; do :; done; }
rekeyed() { ctl gw rekey site > /run/ctl.out; done_for "$1"; }
moved() { ctl gw offload pin site "$2" > /run/ctl.out; done_for "$1"; }
from=$(date +%s%N)
for ((i = 1; i <= times; i++)); do rekeyed $i; done
rekeys=$(microseconds "$from")
from=$(date +%s%N)
for ((i = 1; i <= times; i++)); do moved $((times + i)) "$([ $((i % 2)) = 1 ] && echo software || echo nic)"; done
moves=$(microseconds "$from")
check "each was a move" is "$(events offload-moved)" "$times"
echo "moves: $((moves / times)) us each, plain rekeys: $((rekeys / times)) us each ($(python3 -c "print(round($moves / $rekeys, 2))") times), with a call of ipsecctl each"
check "a move costs little more than a rekey" test "$moves" -le $((most * rekeys))
stop_ipsecd gw
stop_strongswan
finish
