#!/bin/bash
# Carriers: GRE and IP-in-IP interfaces in a VRF of another namespace, under transport-mode SAs with strongSwan, whose kernel
# has ordinary GRE interfaces. A backup remote takes over and hands back; nothing of a carrier is ever seen in the clear.
. "$(dirname "$0")/checks.sh"
make_network veth; secret gw peer.psk
ip -n peer addr add 192.0.2.3/24 dev veth-peer
for n in near far; do ip netns add $n; ip -n $n link set lo up; done

# inside NAME NAMESPACE NUMBER KIND...: an interface at the peer whose packets travel in namespace peer.
inside() {
  local name=$1 ns=$2 number=$3; shift 3
  ip -n peer link add "$name" type "$@" && ip -n peer link set "$name" netns "$ns" && ip -n "$ns" link set "$name" up mtu 1300
  ip -n "$ns" addr add "10.255.$number.2/30" dev "$name"; ip -n "$ns" addr add "fd00:255:$number::2/64" dev "$name" nodad
}
inside gre7 near 7 gre local 192.0.2.2 remote 192.0.2.1 key 7 || exit 1
inside gre7 far 7 gre local 192.0.2.3 remote 192.0.2.1 key 7 || exit 1
# With a TOS of its own, sit would send both families into the SA that its first packet has found.
inside sit8 near 8 sit mode any local 192.0.2.2 remote 192.0.2.1 ttl 64 tos inherit || exit 1
inside gre9 near 9 ip6gre local 2001:db8::2 remote 2001:db8::1 encaplimit none || exit 1
inside ip10 near 10 ip6tnl mode any local 2001:db8::2 remote 2001:db8::1 encaplimit none || exit 1
for n in near far; do ip -n $n addr add 10.7.0.1/24 dev lo; done
# Somebody else's, in our VRF.
ip -n gw link add theirs type gre local 192.0.2.1 remote 192.0.2.2 key 99
ip -n gw link set theirs netns customers; ip -n customers link set theirs up master blue
ip -n customers route add 10.77.0.0/16 dev theirs table 20 proto 50
foreign() { ip -n customers -o -d link show theirs; ip -n customers route show table 20 10.77.0.0/16; }
FOREIGN=$(foreign)

# What arrives without ESP around it.
ip netns exec peer nft -f - <<'N'
table netdev leaks {
  counter seen { }; counter marked { }
  chain wire {
    type filter hook ingress device "veth-peer" priority 0
    ip dscp ef ip protocol esp counter name marked
    ip protocol { 4, 41, 47, 137 } counter name seen
    ip6 nexthdr { 4, 41, 47, 137 } counter name seen
  }
}
table inet outage {
  set dead { type ipv4_addr; }
  chain in {
    type filter hook prerouting priority -400
    ip daddr @dead drop
  }
}
N
leaks() { ip netns exec peer nft list counter netdev leaks seen | sed -n 's/.*packets \([0-9]*\) .*/\1/p'; }
marked_like() { # HOW-MANY: of three packets that are marked inside
  ip netns exec peer nft reset counter netdev leaks marked > /dev/null
  ip netns exec customers ip vrf exec blue ping -q -c 3 -i 0.05 -W 1 -Q 0xb8 10.255.8.2 > /dev/null && is "$(ip netns exec peer nft list counter netdev leaks marked | sed -n 's/.*packets \([0-9]*\) .*/\1/p')" "$1"
}
no_leak() { is "$(leaks)" 0; }
outage() { ip netns exec peer nft "$1" element inet outage dead "{ 192.0.2.2 }"; }

connection() { # NAME ADDRESS GATEWAY CHILDREN
  cat <<C
  $1 { version = 2
    local_addrs = $2
    remote_addrs = $3
    proposals = aes256gcm16-prfsha384-x25519
    mobike = no
    local { auth = psk
      id = $1.example }
    remote { auth = psk
      id = gw.example }
    children { $4 } }
C
}
transport() { child "$1" "$2[$4]" "$3[$4]" "mode = transport"; }
mkdir -p "$(dirname "$SWANCTL_CONF")"
cat > "$SWANCTL_CONF" <<C
connections {
$(connection site 192.0.2.2 192.0.2.1 "$(transport gre 192.0.2.2 192.0.2.1 47; transport four 192.0.2.2 192.0.2.1 4; transport six 192.0.2.2 192.0.2.1 41)")
$(connection spare 192.0.2.3 192.0.2.1 "$(transport gre 192.0.2.3 192.0.2.1 47)")
$(connection whole 2001:db8::2 2001:db8::1 "$(child all 2001:db8::2 2001:db8::1 'mode = transport')")
}
secrets { ike-1 { secret = "a secret that both sides share" } }
C

configure() { # [PYTHON]: more of the configuration
  python3 - "${1:-}" > /run/gw.json <<'P'
import json, sys
def tunnel(name, remote, children):
    return {"group": "core", "remote": remote, "local_id": "gw.example", "remote_id": name + ".example", "credential": "peer",
            "ike_policy": "std", "children": {each: {"local": [ours], "remote": [theirs], "policy": "std", "start": "now"}
                                              for each, (ours, theirs) in children.items()}}
def hosts(remote, number): return ("192.0.2.1[%d]" % number, "%s[%d]" % (remote, number))
private = {"netns": "customers", "vrf": "blue"}
config = {
  "version": 1,
  "tunnel_groups": {"core": {"public": {"addresses": ["192.0.2.1", "2001:db8::1"]}, "attachment": "policy"}},
  "ike_policies": {"std": {"proposals": ["aes256gcm16-prfsha384-x25519"], "dpd": "1s", "dpd_tries": 2,
    "retransmit": {"first": "200ms", "most": "400ms", "tries": 3}, "retry": {"first": "500ms", "most": "1s"}}},
  "child_policies": {"std": {"proposals": ["aes256gcm16-noesn"], "mode": "transport"}},
  "credentials": {"peer": {"psk": {"file": "peer.psk"}}},
  "tunnels": {
    "site": tunnel("site", "192.0.2.2", {"gre": hosts("192.0.2.2", 47), "four": hosts("192.0.2.2", 4), "six": hosts("192.0.2.2", 41)}),
    "spare": tunnel("spare", "192.0.2.3", {"gre": hosts("192.0.2.3", 47)}),
    "whole": tunnel("whole", "2001:db8::2", {"all": ("2001:db8::1", "2001:db8::2")})},
  "carriers": {
    "branch-7-gre": {"protected_by": ["site", "spare"], "private": private, "key": 7, "hold_down": "5s",
      "addresses": ["10.255.7.1/30", "fd00:255:7::1/64"], "peers": ["10.255.7.2"], "routes": [{"prefix": "10.7.0.0/24"}]},
    "eight": {"kind": "ipip", "protected_by": ["site"], "private": private, "addresses": ["10.255.8.1/30", "fd00:255:8::1/64"]},
    "nine": {"protected_by": ["whole"], "private": private, "addresses": ["10.255.9.1/30", "fd00:255:9::1/64"]},
    "ten": {"kind": "ipip", "protected_by": ["whole"], "private": private, "addresses": ["10.255.10.1/30", "fd00:255:10::1/64"]}}}
carrier = config["carriers"]["branch-7-gre"]
exec(sys.argv[1])
print(json.dumps(config))
P
}
edit() { configure "$1"; ctl gw --json config apply > /run/apply.json || cat /run/apply.json; }
shown() { ctl gw --json show carrier "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$2"; }
is_shown() { is "$(shown "$1" "$2")" "$3"; }
# carried PROTOCOL: packets to the preferred gateway in the SA that its policy names.
carried() {
  local reqid
  reqid=$(ip -n gw xfrm policy | awk -v want="src 192.0.2.1/32 dst 192.0.2.2/32 proto $1 " '/^src/ { mine = index($0, want) == 1 } mine && sub(/.* reqid /, "") { print $1; exit }')
  ip -n gw -s xfrm state | awk -v reqid=" reqid $reqid(" '/^src/ { mine = index($0, "src 192.0.2.1 ") == 1 } / reqid / { ours = mine && index($0, reqid) } ours && /^[ \t]*[0-9]+\(bytes\), / { sum += $2 } END { print sum + 0 }'
}
in_its_own() { # ADDRESS PROTOCOL
  local before; before=$(carried "$2")
  asks "$1" 3 && [ "$(carried "$2")" -ge $((before + 3)) ]
}
LINK_INDEX() { ip -n customers -o link show "$1" | cut -d: -f1; }
asks() { ip netns exec customers ip vrf exec blue ping -q -c "${2:-1}" -i 0.05 -W 1 "$1"; }
all_asked() { local n; for n in 7 8 9 10; do asks 10.255.$n.2 && asks fd00:255:$n::2 || return 1; done; }
all_up() { is "$(ctl gw --json status | python3 -c 'import json, sys; print(json.load(sys.stdin)["carriers"]["up"])')" 4; }
answers_from() { # NAMESPACE: which of the two remotes sees our pings
  local before; before=$(ip netns exec "$1" awk '/^Icmp:/ && n++ { print $10 }' /proc/net/snmp)
  asks 10.255.7.2 && [ "$(ip netns exec "$1" awk '/^Icmp:/ && n++ { print $10 }' /proc/net/snmp)" -gt "$before" ]
}
routed() { ip -n customers route show table 20 proto 50 10.7.0.0/24; }
comes_back() { shown branch-7-gre back_in_seconds | grep -q '^[0-5]$'; }
dormant() { ip -n customers -o link show branch-7-gre | grep -q 'state DORMANT'; }
again() { rm -f /run/ipsecd-gw/control; start_ipsecd gw /run/gw.json; }
murder() { { kill -KILL "$(cat /run/ipsecd-gw/pid)"; wait "$(cat /run/ipsecd-gw/pid)"; } 2> /dev/null; }

start_charon || exit 1
configure
check "what is wanted is understood" "$BUILD/agent/ipsecd" --check-config /run/gw.json
again || exit 1
check "all carriers come up" wait_for 20 "the carriers" all_up
LINK=$(shown branch-7-gre interface)
check "the interface has the carrier's name as well" ip -n customers link show branch-7-gre
check "and is in its VRF" bash -c "ip -n customers link show branch-7-gre | grep -q 'master blue'"
check "both families pass through each kind" wait_for 10 "answers" all_asked
check "the preferred remote answers" answers_from near
for _ in 1 2; do
  check "IPv6 inside goes into the SA of its protocol" in_its_own fd00:255:8::2 ipv6
  check "and so does IPv4" in_its_own 10.255.8.2 ipencap
done
check "an address is ours" bash -c "ip -n customers addr show dev $LINK | grep -q '10.255.7.1/30'"
check "routing daemons see it running" not dormant
check "there is its route" bash -c "ip -n customers route show table 20 proto 50 10.7.0.0/24 | grep -q 'dev $LINK'"
check "which leads there" asks 10.7.0.1
check "nothing differs" ctl gw drift
check "packets of the computed size pass whole" ip netns exec customers ip vrf exec blue ping -q -c 1 -W 1 -M 'do' -s $(($(shown branch-7-gre mtu) - 28)) 10.255.7.2
check "the interface has that MTU" bash -c "ip -n customers link show branch-7-gre | grep -q 'mtu $(shown branch-7-gre mtu) '"
check "nothing was seen in the clear" no_leak

# Somebody sends in the other gateway's name, without ESP, while its SAs stand.
echoes() { ip netns exec customers awk '/^Icmp:/ && n++ { print $10 } /^Icmp6InEchos / { print $2 }' /proc/net/snmp /proc/net/snmp6 | tr '\n' ' '; }
taken_in() {
  local before; before=$(echoes)
  ip netns exec peer python3 "$PWD/tests/interop/inject.py" veth-peer "$(ip -n gw -o link show "$GW_DEV" | sed -n 's/.*link.ether \([0-9a-f:]*\) .*/\1/p')" && is "$(echoes)" "$before"
}
check "nothing that comes in the clear is taken while the tunnels stand" taken_in

# The preferred gateway stays away: its backup takes over, and hands back after the hold-down.
INDEX=$(LINK_INDEX "$LINK") MOVES=$(events carrier-switched)
outage add
check "the backup takes over" wait_for 15 "the backup" is_shown branch-7-gre remote 192.0.2.3
check "it answers" wait_for 5 "an answer" answers_from far
check "on the same interface" is "$(LINK_INDEX "$LINK")" "$INDEX"
check "that is told" is "$(events carrier-switched)" $((MOVES + 1))
check "the other carrier of the lost gateway is down" wait_for 10 "its end" is_shown eight state down
outage delete
check "the preferred one is there again" wait_for 15 "the tunnel" state_is site up
check "it is told when it will be used" wait_for 10 "the news" comes_back
check "and is not used before that" is_shown branch-7-gre remote 192.0.2.3
check "then it is" wait_for 10 "the return" is_shown branch-7-gre remote 192.0.2.2
check "it answers again" wait_for 5 "an answer" answers_from near
check "that was all" is "$(events carrier-switched)" $((MOVES + 2))
check "nothing was seen in the clear while it moved" no_leak

# Without any tunnel nothing leaves, and nothing is taken.
ip netns exec customers ip vrf exec blue ping -q -i 0.02 -W 1 10.255.7.2 > /dev/null 2>&1 & PINGS=$!
check "down with the preferred one" ctl gw down site
check "an operator's down is enough for the backup" wait_for 5 "the backup" is_shown branch-7-gre remote 192.0.2.3
check "down with the backup" ctl gw down spare
check "the carrier is down" wait_for 5 "its end" is_shown branch-7-gre state down
check "routing daemons see that" wait_for 5 "its end" dormant
check "it has no route any more" wait_for 5 "its end" is "$(routed)" ""
check "nobody answers" not asks 10.255.7.2
# What no SA takes would find the way for IPv6 as well.
EIGHT=$(shown eight interface)
check "a route with a label" ip -n customers route add 10.66.0.0/24 table 20 encap mpls 100 via inet 10.255.8.2 dev "$EIGHT"
check "leads nowhere" not asks 10.66.0.1
check "nor does IPv6 after it" not asks fd00:255:8::2
check "and none of them leaves in the clear" no_leak
ip -n customers route del 10.66.0.0/24 table 20
check "the others go on" asks 10.255.9.2
check "nothing leaves in the clear" no_leak
BEFORE=$(ip netns exec customers awk '/^Icmp:/ && n++ { print $10 }' /proc/net/snmp)
ip -n peer xfrm policy flush; ip -n peer xfrm state flush
ip netns exec near ping -q -c 2 -i 0.05 -W 1 10.255.7.1 > /dev/null
check "what comes in the clear is not taken" is "$(ip netns exec customers awk '/^Icmp:/ && n++ { print $10 }' /proc/net/snmp)" "$BEFORE"
stop_strongswan; start_charon || exit 1
check "up with both" eval "ctl gw up spare; ctl gw up site"
check "all are up" wait_for 20 "the carriers" all_up
kill $PINGS
check "the preferred one is in use" wait_for 15 "its return" is_shown branch-7-gre remote 192.0.2.2
check "and all pass again" wait_for 10 "answers" all_asked
check "nothing was seen in the clear meanwhile" no_leak

# Another configuration.
edit 'carrier["routes"].append({"prefix": "10.8.0.0/24", "metric": 20}); del config["carriers"]["ten"]'
check "a carrier more or less is told" is "$(python3 -c 'import json; print([(each["carrier"], each["kind"]) for each in json.load(open("/run/apply.json"))["carriers"]])')" "[('branch-7-gre', 'in place'), ('ten', 'removed')]"
check "a route comes" wait_for 5 "the route" bash -c "ip -n customers route show table 20 proto 50 10.8.0.0/24 | grep -q 'metric 20'"
check "the removed one goes" wait_for 5 "its end" not ip -n customers link show ten
check "the others stay" asks 10.255.7.2
check "on the same interface still" is "$(LINK_INDEX "$LINK")" "$INDEX"
edit 'carrier["protected_by"] = ["spare", "site"]'
check "the other tunnel is preferred" wait_for 10 "the move" answers_from far
check "IP in IP over IPv4 has the DSCP of what is inside" marked_like 3
edit 'config["child_policies"]["std"]["dscp"] = "zero"'
check "or none" wait_for 10 "the rekey" marked_like 0
edit ''
check "and the first one again" wait_for 20 "the carriers" all_up
check "the new one passes" wait_for 10 "answers" all_asked

# Somebody removes the interface.
ip -n customers link del "$LINK"
check "it is made again" wait_for 5 "the interface" ip -n customers link show branch-7-gre
check "with its route" wait_for 5 "the route" bash -c "ip -n customers route show table 20 proto 50 10.7.0.0/24 | grep -q 'dev $LINK'"
check "it passes again" wait_for 10 "answers" all_asked
check "nothing differs then" wait_for 10 "the audit" ctl gw drift

# A killed daemon.
INDEX=$(LINK_INDEX "$LINK")
murder
check "without the daemon they carry on" all_asked
again || exit 1
# The peer lets go of the old SAs one child before it has the new ones.
check "with the next one too" wait_for 5 "answers" all_asked
check "all are up again" wait_for 20 "the carriers" all_up
check "on the same interface" is "$(LINK_INDEX "$LINK")" "$INDEX"
check "they pass" all_asked
outage add
check "the backup takes over again" wait_for 15 "the backup" is_shown branch-7-gre remote 192.0.2.3
murder; again || exit 1
check "a killed daemon's backup stays in use" is_shown branch-7-gre remote 192.0.2.3
check "it answers" wait_for 5 "an answer" answers_from far
outage delete
check "until the preferred one has held" wait_for 20 "the return" is_shown branch-7-gre remote 192.0.2.2
check "nothing was seen in the clear by kills" no_leak
check "what is somebody else's stays" is "$(foreign)" "$FOREIGN"
check "nothing differs after kills" wait_for 10 "the audit" ctl gw drift

stop_ipsecd gw
check "in the end there is no interface of ours" is "$(ip -n customers -o -d link show | grep -c 'ipsg-')" 0
check "no policy and no SA" is "$(ip -n gw xfrm policy | grep -c 'dir ')$(esp gw)" 00
check "what is somebody else's is there" is "$(foreign)" "$FOREIGN"
check "and nothing was ever seen in the clear" no_leak
finish
