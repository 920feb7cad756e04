#!/bin/bash
# Transport mode from host to host: both families, both roles, by traffic, with and without UDP encapsulation, rekeys,
# and what follows when strongSwan does not want it.
. "$(dirname "$0")/checks.sh"
. tests/interop/policy_world.sh
plain_network; secret gw peer.psk

calm() { ctl gw drift; }
modes() { ip -n "$1" xfrm state | sed -n 's/.*mode \([a-z]*\).*/\1/p' | sort | uniq -c | awk '{ print $1 $2 }' | tr '\n' ' '; }
carried() { ctl gw --json list sas --filter "child=$1" | python3 -c 'import json, sys; print(sum(each["packets"] for each in json.load(sys.stdin)["rows"]))'; }
# host_ping ADDRESS: from the gateway itself; through the SAs of the child that is up.
host_ping() {
  local before; before=$(carried a)
  ip netns exec gw ping -q -c 2 -i 0.05 -W 1 "$1" && is "$(carried a)" "$((before + 4))"
}
encapsulated() { ip -n gw xfrm state | grep -c 'encap type espinudp'; }
CHILD_POLICY='{"mode": "transport"}'

for outside in "192.0.2.2 192.0.2.1" "2001:db8::2 2001:db8::1"; do
  read -r PEER GATEWAY <<< "$outside"
  site_peer "$(child a "$PEER" "$GATEWAY" 'mode = transport')" || exit 1
  site_gateway "{ \"a\": { \"local\": [\"$GATEWAY\"], \"remote\": [\"$PEER\"], \"start\": \"traffic\" } }" '{}' "$CHILD_POLICY" || exit 1
  what="from $GATEWAY"
  check "$what: auto chose attachment by policy" is "$(ctl gw --json show group core | member attached)" policy
  check "$what: and says why" is "$(ctl gw --json show group core | member attached_because)" "child a of tunnel site is in transport mode"
  ip netns exec gw ping -q -c 1 -W 1 "$PEER" > /dev/null
  check "$what: a packet raises it" wait_for 5 "a" are a
  check "$what: in transport mode on both sides" is "$(modes gw)$(modes peer)" "2transport 2transport "
  check "$what: packets pass through it" host_ping "$PEER"
  check "$what: connections too" http "$PEER" 80 gw
  check "$what: nothing differs" calm
  check "$what: we rekey it" ctl gw rekey site --child a
  check "$what: strongSwan rekeys it" swan --rekey --child a
  check "$what: we rekey IKE, which passes beside it" ctl gw rekey site --ike
  check "$what: there is one child" wait_for 20 "the end of the old ones" are a
  check "$what: with packets" host_ping "$PEER"
  check "$what: still in transport mode" is "$(modes gw)$(modes peer)" "2transport 2transport "
  check "$what: strongSwan ends it" swan --terminate --ike site --timeout 5
  check "$what: no SA is left" wait_for 5 "no SA" are ""
  check "$what: strongSwan begins" swan --initiate --child a --timeout 10
  check "$what: packets pass again" host_ping "$PEER"
  check "$what: nothing differs then" calm
  stop_ipsecd gw; stop_strongswan
  check "$what: nothing stays" is "$(ip -n gw xfrm policy | grep -c 'dir ')$(esp gw)" 00
done

# strongSwan believes in a NAT: UDP encapsulation.
PEER=192.0.2.2 GATEWAY=192.0.2.1
HOSTS='{ "a": { "local": ["192.0.2.1"], "remote": ["192.0.2.2"] } }'
site_peer "$(child a $PEER $GATEWAY 'mode = transport')" 'encap = yes' || exit 1
site_gateway "$HOSTS" '{}' "$CHILD_POLICY" || exit 1
check "in UDP: strongSwan begins" swan --initiate --child a --timeout 10
check "in UDP: both SAs are" is "$(encapsulated) $(modes gw)" "2 2transport "
check "in UDP: packets pass" host_ping $PEER
check "in UDP: connections too" http $PEER 80 gw
check "in UDP: a rekey" ctl gw rekey site --child a
check "in UDP: packets pass on" host_ping $PEER
check "in UDP: nothing differs" calm
stop_ipsecd gw; stop_strongswan

# strongSwan wants tunnel mode only: no child, as the configuration says, and IKE answers.
site_peer "$(child a $PEER $GATEWAY 'mode = tunnel')" || exit 1
site_gateway "$HOSTS" '{"retry": {"tries": 1}}' "$CHILD_POLICY" || exit 1
check "one mode only: ours is refused" not ctl gw up site
check "one mode only: no SA is there" are ""
check "one mode only: strongSwan is refused" not swan --initiate --child a --timeout 5
check "one mode only: with the reason" test "$(events mode-mismatch)" -gt 0
stop_ipsecd gw; stop_strongswan
finish
