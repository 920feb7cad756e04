#!/bin/bash
# Attachment by policy: no interface, the policies of the public namespace decide. Traffic of both families, TCP, rekeys
# under load, what others break, IKE below selectors that cover the gateways, a change to the other attachment and back.
. "$(dirname "$0")/checks.sh"
. tests/interop/policy_world.sh
plain_network; secret gw peer.psk

calm() { ctl gw drift; }
interfaces() { ip -n gw -o link show type xfrm | wc -l; }
# policies WHAT: how many of the gateway's policies have a line like this.
policies() { ip -n gw xfrm policy | grep -c "$1"; }
established_spis() { ctl gw --json list peers --filter state=established | grep -o '"ike_spi_i":"[0-9a-f]*"'; }

CHILDREN='{
  "a": { "local": ["10.1.0.0/24"], "remote": ["10.2.0.0/24"], "start": "traffic" },
  "d": { "local": ["fd00:1::/64"], "remote": ["fd00:2::/64"] } }'
site_peer "$(child a 10.2.0.0/24 10.1.0.0/24) $(child d fd00:2::/64 fd00:1::/64)" || exit 1
site_gateway "$CHILDREN" '{}' '{}' '{"attachment": "policy"}' || exit 1
check "a packet waits for its tunnel" is "$(policies 'dir out')$(policies 'if_id')" 10
ping_host 10.2.0.1 > /dev/null
check "and raises it" wait_for 5 "a" are a
check "strongSwan brings the IPv6 child up" swan --initiate --child d --timeout 10
check "both are up" wait_for 5 "two children" are ad
check "on one IKE SA" one_ike_sa
check "IPv4 passes" pings 10.2.0.1
check "IPv6 passes" pings fd00:2::1
check "and so do connections" http 10.2.0.1 80
check "nothing of it has an interface" is "$(interfaces)$(policies if_id)$(ip -n gw xfrm state | grep -c if_id)" 000
check "nor routes" is "$(ip -n gw route show proto 50 | wc -l)" 0
check "the group says how it is attached" is "$(ctl gw --json show group core | member attached)" policy
check "the tunnel has no interface" is "$(ctl gw --json show tunnel site | member interface)" None
check "nothing differs" calm

ip netns exec host ping -q -i 0.01 -c 400 10.2.0.1 > /run/load &
load=$!
for _ in 1 2 3; do check "a rekey under load" ctl gw rekey site --child a; done
check "strongSwan rekeys under load" swan --rekey --child a
wait $load
check "no packet was lost" grep -q " 0% packet loss" /run/load
check "two children are there" wait_for 20 "the end of the old ones" are ad
check "with the policies of two" is "$(policies 'dir ')" 6
check "nothing differs after the rekeys" calm

ip -n gw xfrm policy flush
check "flushed policies are put right" wait_for 10 "no drift" calm
ip -n gw xfrm state flush
check "and so are SAs" wait_for 20 "no drift" calm
check "with packets" wait_for 5 "an answer" pings 10.2.0.1

# The other attachment, and back.
sed -i 's/"attachment": "policy"/"attachment": "interface"/' /run/gw.json
check "the other attachment is a restart" bash -c "$(declare -f ctl); BUILD=$BUILD ctl gw config diff | grep -q 'site.*restart'"
check "it is applied" ctl gw config apply
check "now there is an interface" wait_for 10 "an interface" bash -c '[ "$(ip -n gw -o link show type xfrm | wc -l)" = 1 ]'
check "the packets take it" wait_for 5 "an answer" pings 10.2.0.1
check "and no policy is without it" is "$(policies 'dir ')" "$(policies 'if_id')"
sed -i 's/"attachment": "interface"/"attachment": "policy"/' /run/gw.json
check "the first one is applied" ctl gw config apply
check "the interface goes" wait_for 10 "no interface" bash -c '[ "$(ip -n gw -o link show type xfrm | wc -l)" = 0 ]'
check "the packets pass by policy" wait_for 5 "an answer" pings 10.2.0.1
check "nothing differs at last" wait_for 5 "no drift" calm
stop_ipsecd gw; stop_strongswan
check "nothing of ours stays at the end" is "$(policies 'dir ')$(esp gw)" 00

# Selectors that cover the gateways themselves: IKE still passes.
site_peer "$(child a 0.0.0.0/0 10.1.0.0/24,192.0.2.1/32)" || exit 1
site_gateway '{ "a": { "local": ["10.1.0.0/24", "192.0.2.1"], "remote": ["0.0.0.0/0"], "start": "traffic" } }' '{}' '{}' '{"attachment": "policy"}' || exit 1
ping_host 10.2.0.1 > /dev/null
check "a packet raises the tunnel for everything" wait_for 5 "a" are a
check "packets pass" pings 10.2.0.1
check "the gateways' own as well" ip netns exec gw ping -q -c 1 -W 1 192.0.2.2
before=$(established_spis)
check "IKE is rekeyed below it by us" ctl gw rekey site --ike
check "which is another IKE SA" not is "$(established_spis)" "$before"
check "and by strongSwan" swan --rekey --ike site
check "the child too" ctl gw rekey site --child a
check "packets pass on" pings 10.2.0.1
check "nothing differs" calm
check "the operator takes it down" ctl gw down site
check "no SA is left in either kernel" wait_for 5 "no SA" are ""
check "and it comes up again through its own trap" ctl gw up site
check "with packets" pings 10.2.0.1
stop_ipsecd gw; stop_strongswan
finish
