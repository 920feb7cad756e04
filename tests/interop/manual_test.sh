#!/bin/bash
# Manual keys: ipsecd on one side, `ip xfrm` by hand on the other. Both families, both attachments; SAs that are flushed,
# keys that change, a kill, and an orderly end.
. "$(dirname "$0")/checks.sh"
make_network veth; peer_inside

ENC_IN=0x$(printf 'a1%.0s' {1..32}) AUTH_IN=0x$(printf 'a2%.0s' {1..32})
ENC_OUT=0x$(printf 'b1%.0s' {1..32}) AUTH_OUT=0x$(printf 'b2%.0s' {1..32})
keys() { # FILE ENCRYPTION INTEGRITY
  install -d -m 700 /run/ipsecd-gw/secrets; (umask 077; printf '%s\n%s\n' "$2" "$3" > "/run/ipsecd-gw/secrets/$1")
}
keys lan.in "$ENC_IN" "$AUTH_IN"; keys lan.out "$ENC_OUT" "$AUTH_OUT"

# sa NAMESPACE SOURCE DESTINATION SPI MODE ENCRYPTION INTEGRITY: one SA, by hand.
sa() {
  ip -n "$1" xfrm state add src "$2" dst "$3" proto esp spi "$4" reqid 77 mode "$5" \
    enc 'cbc(aes)' "$6" auth-trunc 'hmac(sha256)' "$7" 128
}
# by_hand MODE PEER GATEWAY SPI-TO-GATEWAY SPI-TO-PEER INSIDE-PEER INSIDE-GATEWAY: the other side of one child.
by_hand() {
  sa peer "$2" "$3" "$4" "$1" "$ENC_IN" "$AUTH_IN"
  sa peer "$3" "$2" "$5" "$1" "$ENC_OUT" "$AUTH_OUT"
  ip -n peer xfrm policy add src "$6" dst "$7" dir out tmpl src "$2" dst "$3" proto esp reqid 77 mode "$1"
  ip -n peer xfrm policy add src "$7" dst "$6" dir in tmpl src "$3" dst "$2" proto esp reqid 77 mode "$1"
}
clear_peer() { ip -n peer xfrm state flush; ip -n peer xfrm policy flush; }

# configure GROUP POLICY TUNNELS: all JSON objects.
configure() {
  cat > /run/gw.json <<C
{ "version": 1, "node": { "allow_manual_keys": ${ALLOW:-true} },
  "tunnel_groups": { "core": $1 },
  "child_policies": { "static": $2 },
  "credentials": { "lan": { "manual": { "in": { "file": "lan.in" }, "out": { "file": "lan.out" } } } },
  "tunnels": $3 }
C
}
# tunnel REMOTE LOCAL-SELECTOR REMOTE-SELECTOR SPI-IN SPI-OUT
tunnel() {
  echo "{ \"group\": \"core\", \"remote\": \"$1\", \"children\": { \"lan\": { \"local\": [\"$2\"], \"remote\": [\"$3\"],
    \"policy\": \"static\", \"manual\": { \"spi_in\": $4, \"spi_out\": $5, \"credential\": \"lan\" } } } }"
}
BY_INTERFACE='{ "public": { "addresses": ["192.0.2.1", "2001:db8::1"] }, "attachment": "interface", "private": { "netns": "customers", "vrf": "blue" } }'
BY_POLICY='{ "public": { "addresses": ["192.0.2.1", "2001:db8::1"] }, "attachment": "policy" }'
TUNNELS="{ \"old-4\": $(tunnel 192.0.2.2 10.1.0.0/24 10.2.0.0/24 4097 8193), \"old-6\": $(tunnel 2001:db8::2 fd00:1::/64 fd00:2::/64 4098 8194) }"
SUITE='{ "proposals": ["aes256-sha256"] }'

other_side() {
  by_hand tunnel 192.0.2.2 192.0.2.1 4097 8193 10.2.0.0/24 10.1.0.0/24
  by_hand tunnel 2001:db8::2 2001:db8::1 4098 8194 fd00:2::/64 fd00:1::/64
}
value() { python3 -c 'import json, sys; print(eval(sys.argv[1], {"rows": json.load(sys.stdin)["rows"]}))' "$1"; }
calm() { ctl gw drift; }
both_ping() { pings 10.2.0.1 && pings fd00:2::1; }


# ---- gated, and only with what is safe
ALLOW=false configure "$BY_INTERFACE" "$SUITE" "$TUNNELS"
check "without node.allow_manual_keys it is refused" not "$BUILD/agent/ipsecd" --check-config /run/gw.json
check "and what would allow it is said" grep -q node.allow_manual_keys <("$BUILD/agent/ipsecd" --check-config /run/gw.json 2>&1)
configure "$BY_INTERFACE" '{ "proposals": ["aes256gcm16"] }' "$TUNNELS"
check "AES-GCM is refused, with the RFC that says why" grep -q 'RFC 8221 section 3' <("$BUILD/agent/ipsecd" --check-config /run/gw.json 2>&1)

# ---- by interface, both families
configure "$BY_INTERFACE" "$SUITE" "$TUNNELS"; other_side
start_ipsecd gw /run/gw.json || exit 1
check "both tunnels are up as soon as the daemon is" wait_for 5 "old-6 up" state_is old-6 up
check "the other one too" state_is old-4 up
check "packets pass in both families" both_ping
check "four SAs stand" is "$(esp gw)" 4
check "without a replay window" is "$(ip -n gw xfrm state | grep -c 'replay-window 0')" 4
check "outbound sequence numbers may wrap" is "$(ip -n gw -s xfrm state | grep -c 'oseq-may-wrap')" 2
check "nothing ends them" is "$(ip -n gw -s xfrm state | grep -c 'expire add: soft 0(sec), hard 0(sec)')" 4
check "the SAs are shown as what they are" is "$(ctl gw --json list sas | value '[each["keying"] for each in rows]')" "['manual', 'manual', 'manual', 'manual']"
check "the tunnels too" is "$(ctl gw list tunnels | grep -c manual)" 2
check "and one of them" grep -q 'keys  *manual' <(ctl gw show tunnel old-4)
check "no key is shown" not grep -qi 'a1a1a1a1\|b1b1b1b1' <(ctl gw --json show tunnel old-4; ctl gw --json list credentials; ctl gw status; cat "$LOG_DIR/ipsecd-gw.log")
check "the status warns of them" grep -q 'manual keys: nothing renews them' <(ctl gw status)
check "nothing differs" calm

# ---- SAs that somebody takes out: the daemon has their keys
before=$(spis gw)
ip -n gw xfrm state flush
check "flushed SAs are back, all of them" wait_for 5 "four SAs" eval 'is "$(esp gw)" 4'
check "with the same SPIs" is "$(spis gw)" "$before"
check "packets pass" both_ping
check "it is reported" test "$(events sa-lost)" -ge 2
ip -n gw xfrm state delete src 192.0.2.1 dst 192.0.2.2 proto esp spi 8193
check "one that was deleted is back" wait_for 5 "four SAs" eval 'is "$(esp gw)" 4'
check "packets pass then" both_ping
check "nothing differs then" wait_for 5 "calm" calm

# ---- what operators do
check "down" ctl gw down old-4
check "its SAs are gone" is "$(esp gw)" 2
check "nothing passes" not ip netns exec host ping -q -c 1 -W 0.3 10.2.0.1
check "the other tunnel goes on" pings fd00:2::1
check "up" ctl gw up old-4
check "packets pass again" both_ping
check "new SAs at once" ctl gw rekey old-4
check "packets pass through these" both_ping
check "no IKE SA has any part in it" not ctl gw rekey old-4 --ike

# ---- other keys, other SPIs: the tunnel that has not changed goes on
keys lan.in "$ENC_OUT" "$AUTH_OUT"; keys lan.out "$ENC_IN" "$AUTH_IN"
check "files that are read again" ctl gw config apply
check "the peer, with the old keys, is not understood" not ip netns exec host ping -q -c 1 -W 0.3 10.2.0.1
keys lan.in "$ENC_IN" "$AUTH_IN"; keys lan.out "$ENC_OUT" "$AUTH_OUT"
check "and again" ctl gw config apply
check "packets pass with the old keys" both_ping
installed=$(events manual-sas-installed)
check "what has not changed is left alone" ctl gw config apply
check "no SA was made" is "$(events manual-sas-installed)" "$installed"
configure "$BY_INTERFACE" "$SUITE" "${TUNNELS//8193/8195}"
sa peer 192.0.2.1 192.0.2.2 8195 tunnel "$ENC_OUT" "$AUTH_OUT"
check "another SPI" ctl gw config apply
check "is in force" wait_for 2 "the SA" eval 'is "$(ip -n gw xfrm state | grep -c "spi 0x00002003")" 1'
check "packets pass through it" both_ping
chmod 644 /run/ipsecd-gw/secrets/lan.in
ctl gw config apply > /dev/null
check "keys that others may read are refused, and the SAs go on" both_ping
check "with the reason" test "$(events config-secret-file)" -gt 0
chmod 600 /run/ipsecd-gw/secrets/lan.in

# ---- killed
interfaces=$(ip -n customers -o link show type xfrm | cut -d: -f2 | sort | tr -d '\n ')
pid=$(cat /run/ipsecd-gw/pid); kill -KILL "$pid"; wait_for 5 "the end" not kill -0 "$pid"
check "killed: the SAs carry on" both_ping
rm -f /run/ipsecd-gw/control
ip netns exec host ping -q -i 0.01 -c 300 -W 1 10.2.0.1 > /run/ping.out & pinging=$!
start_ipsecd gw /run/gw.json || exit 1
check "killed: both tunnels are up again" wait_for 5 "old-6 up" state_is old-6 up
wait $pinging
check "killed: at most three packets were lost on the way" test "$(sed -n 's/.* \([0-9]*\) received.*/\1/p' /run/ping.out)" -ge 297
check "killed: the interfaces are the same" is "$(ip -n customers -o link show type xfrm | cut -d: -f2 | sort | tr -d '\n ')" "$interfaces"
check "killed: four SAs, none of them an orphan" is "$(esp gw)$(ctl gw --json status | grep -o '"orphans":0')" '4"orphans":0'
check "killed: packets pass" both_ping
check "killed: nothing differs" wait_for 5 "calm" calm
stop_ipsecd gw
check "in the end nothing stays" is "$(esp gw)$(ip -n gw xfrm policy | grep -c 'dir ')$(ip -n customers -o link show type xfrm | wc -l)" 000
clear_peer

# ---- by policy: host to host in transport mode, both families
configure "$BY_POLICY" '{ "proposals": ["aes256-sha256"], "mode": "transport" }' \
  "{ \"host-4\": $(tunnel 192.0.2.2 192.0.2.1 192.0.2.2 4097 8193), \"host-6\": $(tunnel 2001:db8::2 2001:db8::1 2001:db8::2 4098 8194) }"
by_hand transport 192.0.2.2 192.0.2.1 4097 8193 192.0.2.2 192.0.2.1
by_hand transport 2001:db8::2 2001:db8::1 4098 8194 2001:db8::2 2001:db8::1
ip -n gw neigh flush dev veth-gw; ip -n peer xfrm policy add src ::/0 dst ::/0 proto ipv6-icmp type 135 dir out priority 1
ip -n peer xfrm policy add src ::/0 dst ::/0 proto ipv6-icmp type 136 dir out priority 1
ip -n peer xfrm policy add src ::/0 dst ::/0 proto ipv6-icmp type 135 dir in priority 1
ip -n peer xfrm policy add src ::/0 dst ::/0 proto ipv6-icmp type 136 dir in priority 1
start_ipsecd gw /run/gw.json || exit 1
check "by policy: both are up" wait_for 5 "host-6 up" state_is host-6 up
carried() { ctl gw --json list sas | value 'sum(each["packets"] for each in rows)'; }
host_ping() { local n; n=$(carried); ip netns exec gw ping -q -c 2 -i 0.05 -W 1 "$1" && test "$(carried)" -ge $((n + 4)); }
check "by policy: IPv4 passes through the SAs" host_ping 192.0.2.2
check "by policy: IPv6 too" host_ping 2001:db8::2
ip -n gw xfrm state flush
check "by policy: flushed SAs are back" wait_for 5 "four SAs" eval 'is "$(esp gw)" 4'
check "by policy: packets pass" host_ping 192.0.2.2
check "by policy: nothing differs" wait_for 5 "calm" calm
stop_ipsecd gw
check "by policy: in the end nothing stays" is "$(esp gw)$(ip -n gw xfrm policy | grep -c 'dir ')" 00
finish
