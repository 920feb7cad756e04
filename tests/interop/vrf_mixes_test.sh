#!/bin/bash
# The underlay in a VRF: with the private side in another namespace (which the kernel drops without a policy there), and in
# a VRF of the same one; and by policy between two VRFs. Forwarded and local traffic, what is not allowed, what others break.
. "$(dirname "$0")/checks.sh"
make_network veth; peer_inside; secret gw peer.psk
calm() { ctl gw drift; }
change() { # PYTHON
  gateway_config none none respond | python3 -c "
import json, sys
document = json.load(sys.stdin)
group, tunnels = document['tunnel_groups']['core'], document['tunnels']
document['ike_policies']['std']['retry'] = {'first': '500ms'}
$1
print(json.dumps(document))" > /run/gw.json
}
# into_vrf VRF: the gateway's wire goes there with its addresses.
into_vrf() {
  ip -n gw link set "$GW_DEV" master "$1"
  ip -n gw -6 addr replace 2001:db8::1/64 dev "$GW_DEV" nodad
}
ping_in() { is "$(ip netns exec peer ping -q -c 3 -i 0.05 -W 1 -I "$1" "$2" | sed -n 's/.* \([0-9]*\) received.*/\1/p')" 3; }
drops() { ip netns exec customers awk '/XfrmInNoPols|XfrmInTmplMismatch/ { sum += $2 } END { print sum }' /proc/net/xfrm_stat; }
inside() { ip -n customers xfrm policy | grep -c 'level use'; }
all_pass() {
  pings 10.2.0.1 && pings fd00:2::1 && ping_in 10.2.0.1 10.1.0.2 && ping_in fd00:2::1 fd00:1::2
}
up_both() { ctl gw up branch-4 && ctl gw up branch-6; }

ip -n gw link add wan type vrf table 10; ip -n gw link set wan up; into_vrf wan
start_strongswan aes256gcm16-prfsha384-x25519 aes256gcm16 || exit 1

# ---- the private side in another namespace
change "group['public']['vrf'] = 'wan'"
start_ipsecd gw /run/gw.json || exit 1
check "elsewhere: both tunnels come up" up_both
check "elsewhere: forwarded packets pass, both ways" all_pass
check "elsewhere: and those for the gateway itself" ping_in 10.2.0.1 10.1.0.1
check "elsewhere: also of IPv6" ping_in fd00:2::1 fd00:1::1
check "elsewhere: by one policy each" is "$(inside)" 2
check "elsewhere: nothing differs" calm
before=$(drops)
# The peer sends from an address that is not in the tunnel's selectors: its policy lets it out, ours does not let it in.
ip -n peer addr add 10.9.0.1/32 dev lo; ip -n peer xfrm policy add src 10.9.0.1/32 dst 10.1.0.0/24 dir out priority 1 \
  tmpl src 192.0.2.2 dst 192.0.2.1 proto esp mode tunnel reqid "$(ip -n peer xfrm policy show dir out src 10.2.0.0/24 dst 10.1.0.0/24 | sed -n 's/.*reqid \([0-9]*\).*/\1/p' | head -1)"
check "elsewhere: what the selectors do not allow is dropped" not ping_in 10.9.0.1 10.1.0.2
check "elsewhere: by the kernel's own count" [ "$(drops)" -gt "$before" ]
check "elsewhere: a rekey changes none of it" ctl gw rekey branch-4
check "elsewhere: with packets" all_pass
ip -n customers xfrm policy flush
check "elsewhere: a flush there is put right" wait_for 5 "the policies" bash -c "$(declare -f inside is); is \"\$(inside)\" 2"
check "elsewhere: and packets pass" all_pass
kill -9 "$(cat /run/ipsecd-gw/pid)"; wait_for 5 "the end" not kill -0 "$(cat /run/ipsecd-gw/pid)"; rm -f /run/ipsecd-gw/control
check "elsewhere: a kill disturbs nothing" all_pass
start_ipsecd gw /run/gw.json || exit 1
check "elsewhere: the next run takes it over" all_pass
check "elsewhere: the tunnels come up again" up_both
check "elsewhere: with the same policies" wait_for 10 "no drift" calm
check "elsewhere: and packets" all_pass
stop_ipsecd gw
check "elsewhere: nothing stays" is "$(ip -n customers xfrm policy | wc -l)" 0

# ---- the private side in a VRF of the same namespace
ip netns add host2; ip -n host2 link set lo up
private_side gw blue cust 10.1.0.1/24 fd00:1::1/64 host2 10.1.0.2/24 fd00:1::2/64 10.1.0.1 fd00:1::1
eval "in_customers_$(declare -f pings)"
pings() { is "$(ip netns exec host2 ping -q -c 3 -i 0.05 -W 1 "$1" | sed -n 's/.* \([0-9]*\) received.*/\1/p')" 3; }
change "group['public']['vrf'] = 'wan'
group['private'] = {'vrf': 'blue'}"
start_ipsecd gw /run/gw.json || exit 1
check "here: both tunnels come up" up_both
check "here: packets pass" all_pass
check "here: also to the gateway itself" ping_in 10.2.0.1 10.1.0.1
check "here: nothing differs" calm
stop_ipsecd gw

# ---- by policy between two VRFs
# What the operator has to say: that packets to the peer's networks leave by the wire.
leak() {
  ip -n gw route replace 10.2.0.0/24 via 192.0.2.2 dev "$GW_DEV" table 20 onlink
  ip -n gw -6 route replace fd00:2::/64 via 2001:db8::2 dev "$GW_DEV" table 20 onlink
}
rules() { { ip -n gw rule; ip -n gw -6 rule; } | grep -c '^950:'; }
for wan in wan ''; do
  what="by policy from ${wan:-no VRF}"
  [ -n "$wan" ] || { ip -n gw link set "$GW_DEV" nomaster; ip -n gw -6 addr replace 2001:db8::1/64 dev "$GW_DEV" nodad; }
  leak
  change "
if '$wan': group['public']['vrf'] = '$wan'
group['private'] = {'vrf': 'blue'}
group['attachment'] = 'policy'"
  start_ipsecd gw /run/gw.json || exit 1
  check "$what: both tunnels come up" up_both
  check "$what: packets pass, both ways" all_pass
  check "$what: rules stand for both families and VRFs" is "$(rules)" 4
  check "$what: nothing differs" calm
  ip -n gw rule del priority 950; ip -n gw -6 rule del priority 950
  check "$what: rules that others remove come back" wait_for 5 "the rules" bash -c "$(declare -f rules is); is \"\$(rules)\" 4"
  check "$what: and packets pass" all_pass
  kill -9 "$(cat /run/ipsecd-gw/pid)"; wait_for 5 "the end" not kill -0 "$(cat /run/ipsecd-gw/pid)"; rm -f /run/ipsecd-gw/control
  check "$what: a kill disturbs nothing" all_pass
  start_ipsecd gw /run/gw.json || exit 1
  check "$what: the next run takes it over" all_pass
  stop_ipsecd gw
  check "$what: nothing stays" is "$(rules)$(ip -n gw xfrm policy | grep -c 'dir ')" 00
done
stop_strongswan
finish
