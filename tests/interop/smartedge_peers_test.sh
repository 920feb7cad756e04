#!/bin/bash
# The SmartEdge sample S-05: peers that come by themselves, known by their identities, on one interface; one tunnel more than
# allowed; one identity from two places.
. "$(dirname "$0")/checks.sh"
. tests/interop/smartedge_world.sh
end a ispl 39.0.0.1 10.50.0.1/24
for n in 1 2 3; do
  end "p$n" "in$n" "39.0.$n.1" "10.5$n.0.1/24"
  wire a "10.9.$n.1/30" "p$n" "10.9.$n.2/30"
  ip -n a route add "39.0.$n.1/32" via "10.9.$n.2" src 39.0.0.1; ip -n "p$n" route add 39.0.0.1/32 via "10.9.$n.1" src "39.0.$n.1"
  sed "s|ADDRESS|39.0.$n.1|; s|INSIDE|in$n|; s|NETWORK|10.5$n.0.0/24|" tests/interop/samples/s05-b.json > "/run/p$n.json"
done
sed -i 's/IDENTITY/one.example/' /run/p1.json; sed -i 's/IDENTITY/two.example/' /run/p2.json; sed -i 's/IDENTITY/three.example/' /run/p3.json
sample s05-a a
start_ipsecd a /run/a.json || exit 1
for n in 1 2 3; do start_ipsecd "p$n" "/run/p$n.json" || exit 1; done
ups() { ctl a --json list tunnels --filter state=up | grep -o '"name":"[^"]*"' | cut -d'"' -f4 | sort | tr '\n' ' '; }
ups_are() { is "$(ups)" "$1"; }

check "two peers come" bash -c "$(declare -f ctl); export BUILD=$BUILD; ctl p1 up out && ctl p2 up out"
check "both are up" wait_for 5 "both" ups_are "peer-1 peer-2 "
check "on one interface, with its address" is "$(ip -n ispl -o -4 addr show dev ipsx-se_1 | awk '{ print $2, $4 }')" "ipsx-se_1 10.99.0.1/24"
for n in 1 2; do check "packets of peer $n pass" answers "in$n" "10.5$n.0.1" 10.50.0.1; done
check "a third one, whom nobody has named, is refused" not ctl p3 up out
check "and told by name" wait_for 5 "it" bash -c "grep 'code=unknown-peer-identity' $LOG_DIR/ipsecd-a.log | grep -q three.example"
python3 - <<'P'
import re
text = open("/run/a.json").read()
third = text[text.index('    "peer-2"'):text.rindex("  }\n}")].replace("peer-2", "peer-3").replace("two.example", "three.example").replace("10.52.", "10.53.")
open("/run/a.json", "w").write(text[:text.rindex("  }\n}")].rstrip() + ",\n" + third + "  }\n}\n")
P
check "one tunnel more than tunnels_max is refused" bash -c "! $BUILD/agent/ipsecd --check-config /run/a.json > /run/full.out 2>&1 && grep -q '/tunnels/peer-3.*tunnels_max of group se_1' /run/full.out"
check "by a running daemon too" not ctl a config apply
check "which tells it" wait_for 5 "it" grep -q 'tunnels_max' "$LOG_DIR/ipsecd-a.log"
check "and goes on as it was" ups_are "peer-1 peer-2 "
sed -i 's/"tunnels_max": 2/"tunnels_max": 3/' /run/a.json
check "with room for it" ctl a config apply
check "it comes" wait_for 10 "the third" ctl p3 up out
check "beside the others" wait_for 5 "all" ups_are "peer-1 peer-2 peer-3 "
check "and its packets pass" answers in3 10.53.0.1 10.50.0.1

# One identity from two places: the newer one stands.
sed -i 's/three.example/one.example/; s|10.53.0.0/24|10.51.0.0/24|' /run/p3.json
ip -n in3 addr add 10.51.0.1/24 dev lo
check "another gateway says that it is the first peer" ctl p3 config apply
check "it is let in" wait_for 10 "it" ctl p3 up out
ends() { ctl a --json list peers --filter tunnel=peer-1 --filter state=established | grep -o '"remote":"[^"]*"' | cut -d'"' -f4 | tr '\n' ' '; }
one_end() { is "$(ends)" "39.0.3.1[500] "; }
check "and is the only one" wait_for 10 "one" one_end
no_old_sa() { ! ip -n a xfrm state | grep -q '39\.0\.1\.1'; }
check "without an SA of the older one" wait_for 5 "its end" no_old_sa
check "its packets pass" wait_for 5 "answers" answers in3 10.51.0.1 10.50.0.1
sed -i 's/"policy": "profile" } }/"policy": "IPsec_tunnel_2" } }/' /run/a.json
check "a profile that is not there is refused when the configuration is read" \
  bash -c "! $BUILD/agent/ipsecd --check-config /run/a.json > /run/bad.out 2>&1 && grep -q 'policy.*IPsec_tunnel_2.*the name of a child policy' /run/bad.out"
for ns in a p1 p2 p3; do stop_ipsecd $ns; done
finish
