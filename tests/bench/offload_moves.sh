#!/bin/bash
# offload_moves.sh [TIMES] - in the lab: what it costs to find out what a NIC can, and to move a child onto it or off it. A
# move is a rekey with another place, so plain rekeys are the measure. `./run bench offload` runs it.
. "$(dirname "$0")/../interop/checks.sh"
. tests/interop/policy_world.sh
. tests/interop/offload_world.sh
times=${1:-40} most=3
plain_network NIC; secret gw peer.psk
probe() { ip netns exec gw "$BUILD/tests/bench/bench" probe "$GW_DEV" > /run/probe || { cat /run/probe; return 1; }; }
check "probes are within their limits" probe
cat /run/probe
site_peer "$(child a 10.2.0.0/24 10.1.0.0/24)" || exit 1
site_gateway '{ "a": { "local": ["10.1.0.0/24"], "remote": ["10.2.0.0/24"], "start": "traffic" } }' '{}' '{}' \
  "$(grouped packet policy "\"$GW_DEV\"")" || exit 1
stop_ipsecd gw
python3 - /run/gw.json << 'P'
import json, sys
document = json.load(open(sys.argv[1]))
document.setdefault("node", {})["offload"] = {"stay": "0s", "moves_per_minute": 60000}
json.dump(document, open(sys.argv[1], "w"))
P
start_ipsecd gw /run/gw.json || exit 1
check "it comes up" ctl gw up site
check "on the NIC" place_is a "$GW_DEV"
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
