#!/bin/bash
# IKE SAs that begin without a child (RFC 6023), by either side; their children come afterwards, one by one.
. "$(dirname "$0")/checks.sh"
make_network veth; peer_inside; secret gw peer.psk
ip -n peer addr add 10.3.0.1/24 dev lo
THEIRS="$(child a 10.2.0.0/24 10.1.0.0/24) $(child b 10.3.0.0/24 10.1.0.0/24)"
OURS='{ "a": { "local": ["10.1.0.0/24"], "remote": ["10.2.0.0/24"] }, "b": { "local": ["10.1.0.0/24"], "remote": ["10.3.0.0/24"] } }'
both_pass() { pings 10.2.0.1 && pings 10.3.0.1; }
for ours in allow force; do                    # strongSwan's force means as responder: takes no others
  site_peer "$THEIRS" "childless = $ours" || exit 1
  site_gateway "$OURS" "{ \"childless\": \"$ours\" }" || exit 1
  check "$ours: strongSwan begins without a child" swan --initiate --ike site --timeout 10
  check "$ours: the IKE SA stands, and no child does" wait_for 5 "an IKE SA" one_ike_sa
  check "$ours: indeed none" are ""
  check "$ours: strongSwan adds a" swan --initiate --child a --timeout 10
  check "$ours: we add b" ctl gw up site b
  check "$ours: both are up" wait_for 5 "both children" are ab
  check "$ours: on one IKE SA" one_ike_sa
  check "$ours: both carry packets" both_pass
  check "$ours: strongSwan ends it" swan --terminate --ike site --timeout 5
  check "$ours: nothing is left" wait_for 5 "the end" are ""
  check "$ours: we begin" ctl gw up site
  check "$ours: both are up from our side" wait_for 5 "both children" are ab
  check "$ours: on one IKE SA again" one_ike_sa
  check "$ours: both carry packets again" both_pass
  check "$ours: its first exchange had $([ $ours = force ] && echo no || echo one) child" \
    is "$(grep -ac 'parsed IKE_AUTH request .* SA TSi TSr' "$LOG_DIR/strongswan.log")" "$([ $ours = force ] && echo 0 || echo 1)"
  stop_ipsecd gw
  check "$ours: the peer has nothing left" is "$(swan --list-sas | wc -l)" 0
  stop_strongswan; rm -f "$LOG_DIR/strongswan.log"
done

# Who does not want them: the peer is told, and nothing stays.
site_peer "$THEIRS" "childless = force" || exit 1
site_gateway "$OURS" '{ "childless": "refuse" }' || exit 1
check "refuse: strongSwan that insists fails" not swan --initiate --child a --timeout 5
check "refuse: nothing is left" wait_for 5 "the end" is "$(ctl gw --json list peers | grep -c established)" 0
stop_ipsecd gw; stop_strongswan
site_peer "$THEIRS" "childless = never" || exit 1
site_gateway "$OURS" '{ "childless": "force" }' || exit 1
check "force: ours insists towards a peer that never does, and says why it fails" not ctl gw up site a
check "force: with no SA left" wait_for 5 "the end" are ""
finish
