#!/bin/bash
# A NIC's table is filled to its real end, with more tunnels than fit: those beyond stand in software with the kernel's
# words, none is lost, few SAs are refused, the room is learnt, and when tunnels leave the NIC others follow, no more of
# them in a minute than may.
. "$(dirname "$0")/checks.sh"
. tests/interop/policy_world.sh
. tests/interop/offload_world.sh
tunnels=${1:-2124} table=4096 moves=300
plain_network NIC; secret gw all.psk; secret peer all.psk
ip -n peer route add local 10.2.0.0/15 dev lo

side() { # NUMBER OTHER START MODE DEVICE [LEFT-OUT...]: a gateway's configuration
  python3 - "$tunnels" "$moves" "$@" << 'P'
import json, sys
tunnels, moves, number, other, start, mode, device, *left_out = sys.argv[1:]
networks = {"1": lambda k: "10.1.0.0/24", "2": lambda k: f"10.2.{k >> 8}.{k & 255}/32"}
print(json.dumps({
    "version": 1,
    "node": {"offload": {"moves_per_minute": int(moves), "least_rate": 0, "stay": "0s"},
             "admission": {"half_open_cookie_from": 10000, "half_open_cookie_until": 9000, "half_open_per_prefix": 100000, "init_rate_per_address": 100000}},
    "tunnel_groups": {"core": {"public": {"addresses": [f"192.0.2.{number}"]}, "attachment": "policy",
                               "offload": {"mode": mode, "devices": [device]}}},
    "ike_policies": {"std": {"proposals": ["aes128gcm16-prfsha256-x25519"]}},
    "child_policies": {"std": {"proposals": ["aes128gcm16-noesn"]}},
    "credentials": {"all": {"psk": {"file": "all.psk"}}},
    "tunnels": {f"t{k}": {
        "group": "core", "remote": f"192.0.2.{other}", "local_id": f"gw{number}-{k}.example", "remote_id": f"gw{other}-{k}.example",
        "credential": "all", "ike_policy": "std",
        "children": {"a": {"local": [networks[number](k)], "remote": [networks[other](k)], "policy": "std", "start": start}}}
        for k in range(int(tunnels)) if f"t{k}" not in left_out}}))
P
}
up_are() { is "$(ctl gw --json list children --filter state=up | grep -o '"state":"up"' | wc -l)" "$1"; }
placed() { # NIC|software: the tunnels that are there
  ctl gw --json offload list | python3 -c '
import json, sys
print(*(each["tunnel"] for each in json.load(sys.stdin)["rows"] if (each["place"] == "software") == (sys.argv[1] == "software")))' "$1"
}
on_nic() { placed NIC | wc -w; }
room() { ctl gw --json offload devices | python3 -c 'import json, sys; print(*({"learnt": each["room"]}[each["room_source"]] for each in json.load(sys.stdin)["rows"]))'; }
refused() { cat "$GW_PORT/ipsec_refused"; }
# counted: refusals by our own count; and what the scrape took.
counted() {
  ctl gw metrics > /run/metrics.txt
  /usr/bin/python3 tests/interop/metrics.py value /run/metrics.txt ipsecd_offload_refusals_total
}
address() { echo "10.2.$((${1#t} >> 8)).$((${1#t} & 255))"; }
as_many_as_fit() { is "$(on_nic)" "$(room)"; }
told() { echo "$1: $(on_nic) on the NIC, $(refused) refusals, $(events offload-moved) moves, $((SECONDS - from)) s"; }

side 2 1 respond none "$PEER_DEV" > /run/peer.json
# The tunnels start in three parts: a guest on a slow machine cannot answer two thousand set-ups at once in time.
FIRST=$((tunnels / 3)) SECOND=$((tunnels * 2 / 3))
mapfile -t LATER < <(seq -f 't%g' "$FIRST" $((tunnels - 1))); mapfile -t LAST < <(seq -f 't%g' "$SECOND" $((tunnels - 1)))
side 1 2 now auto "$GW_DEV" "${LATER[@]}" > /run/gw.json
start_ipsecd peer /run/peer.json || exit 1
from=$SECONDS
start_ipsecd gw /run/gw.json || exit 1
check "a third comes up" wait_for 120 "$FIRST tunnels" up_are "$FIRST"
side 1 2 now auto "$GW_DEV" "${LAST[@]}" > /run/gw.json; ctl gw config apply > /dev/null
check "two thirds come up" wait_for 120 "$SECOND tunnels" up_are "$SECOND"
side 1 2 now auto "$GW_DEV" > /run/gw.json; ctl gw config apply > /dev/null
check "all come up, those beyond the table too" wait_for 120 "$tunnels tunnels" up_are "$tunnels"
told "up"
check "the table was filled" test "$(grep -c 'code=offload-effective .*effective=packet' "$LOG_DIR/ipsecd-gw.log")" -ge $table
check "those beyond have the kernel's words" test "$(grep -c 'code=offload-table-full .*No space for SA' "$LOG_DIR/ipsecd-gw.log")" -ge 1
# Each of the SAs for which there is no room may be tried with packet and with crypto offload, once.
check "few are refused" test "$(refused)" -le $((2 * (2 * tunnels - table)))
REFUSED=$(refused)
check "as many are on the NIC as were learnt to fit" wait_for 60 "the room" as_many_as_fit
told "settled"
check "metrics count each refusal as the NIC does" is "$(counted)" "$(refused)"
check "nearly all of the table is used" test "$(room)" -ge $((table / 2 * 9 / 10))
read -ra there <<< "$(placed NIC)"; read -ra beyond <<< "$(placed software)"
grep -v '^#' /run/metrics.txt | grep -E 'collect_seconds|left_out'; grep -vc '^#' /run/metrics.txt
check "packets pass on the NIC" pings "$(address "${there[0]}")"
check "packets pass beyond it" pings "$(address "${beyond[0]}")"

# A hundred and fifty leave the NIC; as many others follow as there are (the better the room was learnt, the fewer) and as
# may.
FOLLOWING=$((${#beyond[@]} < 100 ? ${#beyond[@]} : 100))
check "some stand beyond the table" test "$FOLLOWING" -ge $((tunnels - table / 2))
side 1 2 now auto "$GW_DEV" "${there[@]:0:150}" > /run/gw.json
check "tunnels go" ctl gw config apply
check "all others stay" up_are $((tunnels - 150))
followed() { test "$(on_nic)" -ge $((${#there[@]} - 150 + FOLLOWING)); }
check "others follow" wait_for 70 "$FOLLOWING more" followed
told "followed"
FOLLOWERS=$(comm -12 <(placed NIC | tr ' ' '\n' | sort) <(printf '%s\n' "${beyond[@]}" | sort) | wc -l)
check "they are of those that were beyond" test "$FOLLOWERS" -ge "$FOLLOWING"
check "no tunnel is lost" up_are $((tunnels - 150))
check "nothing more was refused" is "$(refused)" "$REFUSED"
check "in no minute there were more moves than may be" python3 - "$LOG_DIR/ipsecd-gw.log" $moves << 'P'
import datetime, sys
times = [datetime.datetime.fromisoformat(line[:23]).timestamp() for line in open(sys.argv[1]) if "code=offload-moved" in line]
most = max(sum(first <= each < first + 59 for each in times) for first in times)
print(most, "moves in a minute")
sys.exit(most > int(sys.argv[2]))
P
stop_ipsecd gw
check "nothing is left on the NIC" grep -q '^SA count=0 ' "$GW_PORT/ipsec"
check "and no policy" grep -q ' policies=0$' "$GW_PORT/ipsec"
stop_ipsecd peer
finish
