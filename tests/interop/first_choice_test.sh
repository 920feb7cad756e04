#!/bin/bash
# Two tunnels of any address with different IKE policies: IKE_SA_INIT takes what the peer prefers, so that each peer
# comes up whatever the tunnels are called; the configuration warns of them. A peer that prefers the other one's proposal
# is refused in words that say what it offered. Then strongSwan as it is shipped, in both roles, rekeys included, also with
# a first message to port 4500.
. "$(dirname "$0")/checks.sh"
make_network veth; peer_inside; secret gw peer.psk
tunnel() {
  printf '"%s": { "group": "core", "remote": "any", "local_id": "gw.example", "remote_id": "%s.example", "credential": "peer", "ike_policy": "%s",' "$1" "$2" "$3"
  printf ' "children": { "lan": { "local": ["10.1.0.0/24"], "remote": ["%s"], "policy": "std" } } }' "$4"
}
gateway_config none none respond | python3 -c '
import json, sys
document = json.load(sys.stdin)
document["ike_policies"] = {"old": {"proposals": ["aes128-sha256-modp2048"]}, "new": {"proposals": ["aes256gcm16-prfsha384-ecp384"]}}
document["tunnels"] = json.loads("{" + sys.argv[1] + "}")
print(json.dumps(document))' "$(tunnel a a old 10.3.0.0/24), $(tunnel b b new 10.2.0.0/24)" > /run/gw.json
check "the configuration warns of the two" bash -c "$BUILD/agent/ipsecd --check-config /run/gw.json | grep -q 'warning: tunnels a and b (remote any) cannot be told apart in IKE_SA_INIT and have different IKE proposals'"
start_ipsecd gw /run/gw.json || exit 1
# peer PROPOSALS IDENTITY [CHILD-PROPOSALS [DAEMON]]: strongSwan, its child is b.
peer() {
  mkdir -p "$(dirname "$SWANCTL_CONF")"
  printf 'connections { b { version = 2\n local_addrs = %s\n remote_addrs = %s\n %s\n local { auth = psk\n id = %s }\n' "$PEER" "$GATEWAY" "$1" "$2" > "$SWANCTL_CONF"
  printf ' remote { auth = psk\n id = gw.example }\n children { b { local_ts = 10.2.0.0/24\n remote_ts = 10.1.0.0/24\n %s } } } }\n' "${3:-}" >> "$SWANCTL_CONF"
  printf 'secrets { ike-1 { secret = "a secret that both sides share" } }\n' >> "$SWANCTL_CONF"
  start_charon "${4:-}"
}
peer 'proposals = aes256gcm16-prfsha384-ecp384, aes128-sha256-modp2048' b.example 'esp_proposals = aes256gcm16' || exit 1
check "the peer of b comes up with what it prefers" swan --initiate --child b --timeout 10
check "packets pass" wait_for 5 "packets" pings 10.2.0.1
swan --terminate --ike b --timeout 5 > /dev/null; stop_strongswan
peer 'proposals = aes128-sha256-modp2048, aes256gcm16-prfsha384-ecp384' b.example 'esp_proposals = aes256gcm16' || exit 1
refused() { ! swan --initiate --child b --timeout 5; }
check "one that prefers what only a has is refused" refused
check "the log has all that it offered, and what was taken" wait_for 5 "the refusal" \
  grep -q 'code=no-proposal-chosen.*offered=.*aes128-.*aes256gcm16-.*chosen=.*aes128-.*chosen in IKE_SA_INIT for another tunnel' "$LOG_DIR/ipsecd-gw.log"
ctl gw explain negotiation b > /run/explained 2>&1
check "explained with what to do" grep -q 'give them one IKE policy' /run/explained
stop_strongswan; stop_ipsecd gw

# As shipped: neither side names an algorithm.
gateway_config none none respond | python3 -c '
import json, sys
document = json.load(sys.stdin)
site = dict(document["tunnels"]["branch-4"], remote_id="site.example")
del site["ike_policy"], site["children"]["lan"]["policy"]
document.update(tunnels={"site": site}, ike_policies={}, child_policies={})
print(json.dumps(document))' > /run/gw.json
start_ipsecd gw /run/gw.json || exit 1
peer '' site.example '' 'load_modular = yes
  plugins { include /etc/strongswan.d/charon/*.conf }' || exit 1
nothing_left() { is "$(esp gw) $(esp peer) $(swan --list-sas | wc -l)" "0 0 0"; }
for side in ours theirs; do
  if [ $side = ours ]; then check "as shipped: we begin" ctl gw up site
  else check "as shipped: the peer begins" swan --initiate --child b --timeout 10; fi
  check "as shipped, $side: packets pass" wait_for 5 "packets" pings 10.2.0.1
  check "as shipped, $side: we rekey the child" ctl gw rekey site
  check "as shipped, $side: packets pass" pings 10.2.0.1
  check "as shipped, $side: the peer rekeys the child" swan --rekey --child b
  check "as shipped, $side: one pair is left" wait_for 10 "the rekey" one_ike_sa
  check "as shipped, $side: packets pass" wait_for 5 "packets" pings 10.2.0.1
  check "as shipped, $side: the peer rekeys the IKE SA" swan --rekey --ike b
  check "as shipped, $side: one IKE SA is left" wait_for 10 "the rekey" one_ike_sa
  check "as shipped, $side: packets pass" pings 10.2.0.1
  check "as shipped, $side: the peer ends it" swan --terminate --ike b --timeout 5
  check "as shipped, $side: on both sides" wait_for 5 "the end" nothing_left
done
stop_ipsecd gw
sed -i 's/"remote": "192.0.2.2"/&, "remote_port": 4500/' /run/gw.json
ip netns exec peer timeout 20 tcpdump -n -i "$PEER_DEV" -c 1 'udp src port 4500 and dst port 4500 and src host 192.0.2.1 and udp[8:4] == 0' > /run/marked 2> /run/tcpdump & catcher=$!
wait_for 5 "tcpdump" grep -q listening /run/tcpdump
start_ipsecd gw /run/gw.json || exit 1
check "remote_port 4500: comes up" ctl gw up site
wait $catcher
check "remote_port 4500: it begins at port 4500, with the marker" grep -q '192.0.2.1.4500 > 192.0.2.2.4500' /run/marked
check "remote_port 4500: packets pass" wait_for 5 "packets" pings 10.2.0.1
stop_ipsecd gw; stop_strongswan
finish
