# shellcheck shell=bash
# What tests of offload share, sourced after policy_world.sh.

# predicted | effective: "in:packet out:software" of the only child of tunnel site.
explained() { # FIELD [TUNNEL]
  ctl gw --json explain offload "${2:-site}" | python3 -c '
import json, sys
for child in json.load(sys.stdin):
    print(*(each["direction"] + ":" + str(each[sys.argv[1]]).split(" ")[0].replace("none", "software")
            for each in child["directions"]))' "$1"
}
predicted() { explained predicted "$@"; }
# shellcheck disable=SC2120   # who sources this passes them
effective() { explained effective "$@"; }
# why CODE: a rule of this code ruled out something, in either direction.
why() { ctl gw --json explain offload site | grep -q "\"code\":\"$1\""; }
# place CHILD [TUNNEL]: where a child is, by its seat.
place() {
  ctl gw --json offload list | python3 -c '
import json, sys
print(*(each["place"] for each in json.load(sys.stdin)["rows"]
        if (each["tunnel"], each["child"]) == (sys.argv[2], sys.argv[1])))' "$1" "${2:-site}"
}
place_is() { is "$(place "$1")" "$2"; }
grouped() { # MODE ATTACHMENT DEVICES: more of the group, for site_gateway
  printf '{"attachment": "%s", "offload": {"mode": "%s", "devices": [%s]}}' "$2" "$1" "$3"
}

# node_offload JSON: this `node.offload` in the gateway's configuration.
node_offload() {
  python3 - /run/gw.json "$1" << 'P'
import json, sys
document = json.load(open(sys.argv[1]))
document.setdefault("node", {})["offload"] = json.loads(sys.argv[2])
json.dump(document, open(sys.argv[1], "w"))
P
}
# site_on DEVICES NODE_OFFLOAD: tunnel site, whose child `a` is attached by policy and may use these NICs with packet offload;
# it is up, on the first one, and carries packets.
site_on() {
  site_peer "$(child a 10.2.0.0/24 10.1.0.0/24)" || return 1
  site_gateway '{ "a": { "local": ["10.1.0.0/24"], "remote": ["10.2.0.0/24"], "start": "traffic" } }' '{}' '{}' \
    "$(grouped packet policy "\"${1// /\", \"}\"")" || return 1
  stop_ipsecd gw
  node_offload "$2"
  start_ipsecd gw /run/gw.json || return 1
  check "it comes up" ctl gw up site
  check "on the first NIC" place_is a "${1%% *}"
  check "packets pass" pings 10.2.0.1
}
export settle_soon='{"settle": "2s", "stay": "1s"}'
# move_under_stream COMMAND...: the first NIC is taken away under a stream of packets, of which little is lost.
move_under_stream() {
  local started
  clear_wire; stream 6; wait_for 5 "the stream" sent_on "$GW_PORT" 500
  started=$(date +%s%N)
  "$@"
  check "the SAs are on the second NIC" wait_for 10 "the move" place_is a "$GW_DEV2"
  echo "moved after $((($(date +%s%N) - started) / 1000000)) ms"
  check "and in hardware" is "$(effective)" "in:packet out:packet"
  lost
  check "most of it arrived" most_arrived
}
sent_on() { test "$(wire "$1" tx esp)" -ge "$2"; } # PORT PACKETS

# second_cable: another NIC on both sides, to which all goes when the first one is down. Sets GW_DEV2, GW_PORT2, PEER_DEV2.
second_cable() {
  echo "3 1" > /sys/bus/netdevsim/new_device; echo "4 1" > /sys/bus/netdevsim/new_device
  GW_DEV2=nic2 PEER_DEV2=nic2
  ip link set "$(ls /sys/bus/netdevsim/devices/netdevsim3/net)" name nic2 netns gw
  ip link set "$(ls /sys/bus/netdevsim/devices/netdevsim4/net)" name nic2 netns peer
  export GW_PORT2=/sys/kernel/debug/netdevsim/netdevsim3/ports/0
  ip -n gw addr add 203.0.113.1/24 dev "$GW_DEV2"; ip -n peer addr add 203.0.113.2/24 dev "$PEER_DEV2"
  ip -n gw link set "$GW_DEV2" up; ip -n peer link set "$PEER_DEV2" up
  exec 5</run/netns/gw 6</run/netns/peer
  echo "5:$(ip -n gw -o link show "$GW_DEV2" | cut -d: -f1) 6:$(ip -n peer -o link show "$PEER_DEV2" | cut -d: -f1)" > /sys/bus/netdevsim/link_device
  exec 5<&- 6<&-
  ip -n gw route add 192.0.2.2/32 dev "$GW_DEV2" metric 500; ip -n peer route add 192.0.2.1/32 dev "$PEER_DEV2" metric 500
  ip -n gw route add 10.2.0.0/15 via 203.0.113.2 metric 2000
  ip -n peer route add 10.1.0.0/24 via 203.0.113.1 src 10.2.0.1 metric 2000
  first_cable up
}
first_cable() { # up|down
  ip -n peer link set "$PEER_DEV" "$1"; ip -n gw link set "$GW_DEV" "$1"
  [ "$1" = up ] || return 0
  # A host route, so that it is as narrow as the one by the second cable; a routing daemon would do the same.
  ip -n gw route replace 192.0.2.2/32 dev "$GW_DEV" metric 100; ip -n peer route replace 192.0.2.1/32 dev "$PEER_DEV" metric 100
  ip -n gw route replace 10.2.0.0/15 via 192.0.2.2 metric 1000 2> /dev/null || true
  ip -n peer route replace 10.1.0.0/24 via 192.0.2.1 src 10.2.0.1 2> /dev/null || true
}

# stream SECONDS: 1,000 packets a second from the host to the peer, in the background; `lost` waits for the end and says how many
# did not arrive.
stream() {
  ip netns exec peer python3 -c '
import socket, sys
sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sink.bind(("10.2.0.1", 9)); sink.settimeout(float(sys.argv[1]) + 3)
seen = set()
while True:
    number = int(sink.recv(64))
    if number < 0: break
    seen.add(number)
print(len(seen))' "$1" > /run/arrived &
  SINK=$!
  ip netns exec host python3 -c '
import socket, sys, time
out, number, end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0, time.monotonic() + float(sys.argv[1])
begin = time.monotonic()
while time.monotonic() < end:
    while number < (time.monotonic() - begin) * 1000:
        out.sendto(b"%d" % number, ("10.2.0.1", 9)); number += 1
    time.sleep(0.01)
for _ in range(20): out.sendto(b"-1", ("10.2.0.1", 9)); time.sleep(0.02)
print(number)' "$1" > /run/sent &
  STREAM=$!
}
lost() { wait $STREAM $SINK; LOST=$(($(cat /run/sent) - $(cat /run/arrived))); echo "$LOST of $(cat /run/sent) packets were lost"; }
# How long a move takes is for ./run bench: what is lost meanwhile depends on the machine.
most_arrived() { [ $((LOST * 2)) -lt "$(cat /run/sent)" ]; }

# left_in_the_clear PORT...: packets that left by these NICs and were neither ESP nor IKE nor of the link.
left_in_the_clear() { local port sum=0; for port; do sum=$((sum + $(wire "$port" tx other))); done; echo $sum; }
record_numbers() { local port; for port; do echo > "$port/wire_esp"; done; }
# no_number_twice PORT...: no SPI has sent one IV twice, and none of what was sent is missing in the record.
no_number_twice() {
  cat "${@/%//wire_esp}" | awk '
    /^#/ { missed += $4; next }
    seen[$1 " " $3]++ { again++; example = $0 }
    { frames++ }
    END { printf "%d ESP frames, %d IVs twice (%s), %d not recorded\n", frames, again, example, missed
          exit frames < 100 || again > 0 || missed > 0 }'
}
