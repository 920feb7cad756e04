#!/bin/bash
# One external interface for all tunnels of a group: routes that say the tunnel, both families, what others break, a kill,
# and the way to interfaces of their own and back.
. "$(dirname "$0")/checks.sh"
make_network veth; peer_inside; secret gw peer.psk

hash() { ip -n "$1" -s -s xfrm policy count | sed -n 's/.*local \([0-9]*\) remote \([0-9]*\).*/\1 \2/p' | tr '\n' ' ' | sed 's/ $//'; }
calm() { ctl gw drift; }
links() { ip -n customers -o -d link show type xfrm | sed 's/^[0-9]*: \([^@:]*\).*/\1/' | sort | tr '\n' ' '; }
encapsulated() { ip -n customers route show table 20 proto 50 | grep -c 'encap xfrm if_id 1[0-9]* dev ipsx-core'; }
both_up() { state_is branch-4 up && state_is branch-6 up; }
pings6() { is "$(ip netns exec host ping -q -c 3 -i 0.05 -W 1 fd00:2::1 | sed -n 's/.* \([0-9]*\) received.*/\1/p')" 3; }
both_pass() { pings 10.2.0.1 && pings6; }
raise() { ip netns exec host ping -q -c 1 -W 1 "$1"; }
tunnels_of_routes() { ctl gw --json list routes | python3 -c '
import json, sys
print(*sorted(each["tunnel"] or "?" for each in json.load(sys.stdin)["rows"] if each["kind"] == "device"))'; }

start_strongswan aes256gcm16-prfsha384-x25519 aes256gcm16 || exit 1
gateway_config none none traffic | sed 's/"attachment": "interface"/&, "interfaces": "external"/' > /run/gw.json
start_ipsecd gw /run/gw.json || exit 1
check "two tunnels have one interface" is "$(links)" "ipsx-core "
check "it knows no interface id of its own" bash -c "ip -n customers -d link show ipsx-core | grep -q external"
check "a route waits for each" is "$(encapsulated) $(ip -n customers -6 route show table 20 proto 50 | grep -c 'encap xfrm')" "1 1"
check "routes name their tunnel" is "$(tunnels_of_routes)" "branch-4 branch-6"
raise 10.2.0.1 > /dev/null; raise fd00:2::1 > /dev/null
check "a packet raises each" wait_for 10 "both tunnels" both_up
check "packets of both pass" both_pass
check "each has its own pair of SAs" is "$(ip -n gw xfrm state | grep -o 'if_id 0x[0-9a-f]*' | sort | uniq -c | awk '{print $1}' | tr '\n' ' ')" "2 2 "
check "nothing differs" calm
check "the policy hash follows the selectors" is "$(hash gw)" "24 24 64 64"
check "down takes one" ctl gw down branch-4
check "the other one stays" pings6
check "the way to the first is closed" not pings 10.2.0.1
check "up brings it back" ctl gw up branch-4
check "packets of both pass again" both_pass

ip -n customers link del ipsx-core
check "an interface that somebody removes is made again, with its routes" wait_for 10 "no drift" calm
check "packets of both pass over it" wait_for 5 "answers" both_pass
ip -n customers link set ipsx-core nomaster
check "one that somebody takes out of its VRF is put back" wait_for 10 "no drift" calm
check "packets of both pass there" wait_for 5 "answers" both_pass

BEFORE=$(ip -n gw xfrm policy | grep -o 'if_id 0x[0-9a-f]*' | sort -u | tr '\n' ' ')
kill -KILL "$(cat /run/ipsecd-gw/pid)"; rm -f /run/ipsecd-gw/control
check "without the daemon packets pass" both_pass
start_ipsecd gw /run/gw.json || exit 1
check "the next one takes over what each has" is "$(events orphans-kept)" 2
check "packets pass meanwhile" both_pass
ctl gw up branch-4; ctl gw up branch-6
check "both come up again" both_up
check "with the numbers that they had" is "$(ip -n gw xfrm policy | grep -o 'if_id 0x[0-9a-f]*' | sort -u | tr '\n' ' ')" "$BEFORE"
check "nothing differs after all that" wait_for 10 "no drift" calm
check "packets pass in the end" both_pass

sed -i 's/"external"/"tunnel"/' /run/gw.json
check "interfaces of their own" ctl gw config apply
check "are two" wait_for 10 "two interfaces" bash -c "[ \$(ip -n customers -o link show type xfrm | grep -vc ipsx) = 2 ]"
check "and the shared one goes" wait_for 10 "its end" not ip -n customers link show ipsx-core
raise 10.2.0.1 > /dev/null; raise fd00:2::1 > /dev/null
check "they take the packets" wait_for 10 "answers" both_pass
sed -i 's/"interfaces": "tunnel"/"interfaces": "external"/' /run/gw.json
check "and back" ctl gw config apply
check "there is one again" wait_for 10 "one interface" bash -c "[ \"\$(ip -n customers -o link show type xfrm | grep -o ipsx-core)\$(ip -n customers -o link show type xfrm | wc -l)\" = ipsx-core1 ]"
raise 10.2.0.1 > /dev/null; raise fd00:2::1 > /dev/null
check "which takes the packets" wait_for 10 "answers" both_pass

python3 - > /run/second.json <<'PYTHON'
import json
document = json.load(open("/run/gw.json"))
document["tunnel_groups"]["edge"] = dict(document["tunnel_groups"]["core"], private={"netns": "host"})
print(json.dumps(document))
PYTHON
check "a second one for the same public namespace is refused" bash -c "$(declare -f ctl); BUILD=$BUILD ctl gw config check /run/second.json 2>&1 | grep -q 'group core'"
stop_ipsecd gw
check "the policy hash is put back" is "$(hash gw)" "32 32 128 128"
check "in the end nothing is left" is "$(links)$(ip -n gw xfrm policy | grep -c tmpl)$(ip -n customers route show table 20 proto 50 | wc -l)" 00
finish
