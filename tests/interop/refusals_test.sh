#!/bin/bash
# What goes wrong between real peers: the peer gets the right Notify, the operator sees offered against configured, other tunnels go on.
. "$(dirname "$0")/checks.sh"
make_network veth; peer_inside; secret gw peer.psk
# refusal WHAT SED-ON-OURS NOTIFY NOTIFY-IN-SHORT REASON WORDS [PATTERN...]: strongSwan initiates, ours refuses. PATTERN: in
# what `ipsecctl explain negotiation` says of each of $peers.
refusal() {
  local peer pattern
  gateway_config none none respond | sed "$2" > /run/gw.json
  : > "$LOG_DIR/strongswan.log"
  start_ipsecd gw /run/gw.json || exit 1
  start_strongswan aes256gcm16-prfsha384-x25519 aes256gcm16 || exit 1
  check "$1: strongSwan fails" not swan --initiate --child net --timeout 10
  check "$1: it received $3" grep -q "$3\|N($4)" "$LOG_DIR/strongswan.log"
  check "$1: our log names the reason" grep -q "code=$5" "$LOG_DIR/ipsecd-gw.log"
  check "$1: our log shows what was offered or found" grep -q "$6" "$LOG_DIR/ipsecd-gw.log"
  check "$1: no SA is left in the kernel" is "$(ip -n gw xfrm state | grep -c ^src)" 0
  for peer in ${7:+$peers}; do
    ctl gw explain negotiation $peer > /run/explained 2>&1
    for pattern in "${@:7}"; do check "$1: explained for $peer: $pattern" grep -q -- "$pattern" /run/explained; done
    check "$1: as JSON for $peer" bash -c "ctl gw --json explain negotiation $peer | grep -q '\"code\": *\"$5\"'"
  done
  stop_ipsecd gw; stop_strongswan
}
export -f ctl
peers='branch-4 192.0.2.2'  # it has not named itself yet
refusal "no common IKE proposal" 's/aes256gcm16-prfsha384-x25519/aes128gcm16-prfsha256-ecp256/' 'NO_PROPOSAL_CHOSEN' NO_PROP no-proposal-chosen 'offered=.*aes256gcm16.*configured=aes128gcm16-prfsha256-ecp256' \
  'encryption .*aes256gcm16  *aes128gcm16  *differs  <-- the first difference' 'where  */run/gw.json:11: /ike_policies/std/proposals/0'
peers='branch-4 192.0.2.2 peer4.example'
refusal "no common ESP proposal" 's/aes256gcm16-noesn/aes128-sha256-noesn/' 'NO_PROPOSAL_CHOSEN' NO_PROP no-proposal-chosen 'configured aes128-sha256-noesn' \
  'Tunnel branch-4, child lan' 'encryption .*aes256gcm16  *aes128  *differs  <-- the first difference' \
  'where  */run/gw.json:12: /child_policies/std/proposals/0' 'what to do  *write "aes256gcm16" into the list of proposals'
refusal "selectors that do not meet" 's/10\.2\.0\.0/10.77.0.0/' 'TS_UNACCEPTABLE' TS_UNACCEPT ts-unacceptable 'offered.*10.2.0.0/24.*configured.*10.77.0.0/24' \
  'remote selectors .*10.2.0.0/24  *10.77.0.0/24  *differs' 'where  */run/gw.json:18: /tunnels/branch-4/children/lan/remote'
refusal "unknown identity" 's/peer4.example/somebody.else/' 'AUTHENTICATION_FAILED' AUTH_FAILED unknown-peer-identity 'peer4.example' \
  'identity .*peer4.example  *somebody.else  *differs' 'where  */run/gw.json:16: /tunnels/branch-4/remote_id'
install -d -m 700 /run/ipsecd-gw/secrets; echo "another secret altogether" > /run/ipsecd-gw/secrets/peer.psk
refusal "wrong pre-shared key" '' 'AUTHENTICATION_FAILED' AUTH_FAILED authentication-failed 'pre-shared keys of the two sides differ' \
  'where  */run/gw.json:13: /credentials/peer/psk/file'
chmod 644 /run/ipsecd-gw/secrets/peer.psk
refusal "a key file that others may read" '' 'AUTHENTICATION_FAILED' AUTH_FAILED authentication-unavailable 'may be read by others: chmod 600'

# Our side initiates, strongSwan refuses: `ipsecctl up` says why, with its exit code.
secret gw peer.psk
gateway_config none none respond | sed 's/aes256gcm16-prfsha384-x25519/aes128gcm16-prfsha256-ecp256/' > /run/gw.json
start_ipsecd gw /run/gw.json; start_strongswan aes256gcm16-prfsha384-x25519 aes256gcm16
ctl gw up branch-4 > /run/up.out 2>&1; status=$?
check "up reports the failure by its exit code" is $status 1
check "and by the reason" grep -q 'no-proposal-chosen' /run/up.out
check "explain lists it" bash -c "ctl gw explain negotiation | grep -q 'branch-4.*192.0.2.2.*no-proposal-chosen'"
check "a peer of which nothing is kept is not found, and it is said how peers are listed" \
  bash -c "! ctl gw explain negotiation nobody > /run/up.out 2>&1; grep -q 'ipsecctl explain negotiation. lists all' /run/up.out"
stop_ipsecd gw
stop_strongswan
# A peer that comes a second time: it has forgotten the first IKE SA, and says so or not.
gateway_config none none respond | sed 's/"std": { "proposals": \["aes256gcm16-prf/"std": { "duplicates": "refuse", "proposals": ["aes256gcm16-prf/' > /run/gw.json
rm /run/ipsecd-gw/secrets/peer.psk; secret gw peer.psk; start_ipsecd gw /run/gw.json || exit 1
come() { start_strongswan aes256gcm16-prfsha384-x25519 aes256gcm16 "unique = $1"; swan --initiate --child net --timeout 10 > /dev/null; }
vanish() { kill -KILL "$(cat /run/strongswan-peer/pid)"; wait_for 5 "its end" not kill -0 "$(cat /run/strongswan-peer/pid)"; ip -n peer xfrm state flush; ip -n peer xfrm policy flush; }
ike_sas() { ctl gw --json list peers | python3 -c 'import json, sys; print(sum(row["state"] == "established" for row in json.load(sys.stdin)["rows"]))'; }
one_ike_sa() { is "$(ike_sas)" 1; }
come never; check "duplicates: the first one is let in" wait_for 5 "branch-4 up" state_is branch-4 up
vanish; come never
check "duplicates: a second one without INITIAL_CONTACT is refused, with its code" \
  wait_for 5 "the refusal" grep -q 'code=duplicate-refused' "$LOG_DIR/ipsecd-gw.log"
check "duplicates: one IKE SA is left" wait_for 5 "one IKE SA" one_ike_sa
check "duplicates: explain tells it, and what to do" bash -c "ctl gw explain negotiation branch-4 | grep -q 'Set .duplicates. to replace'"
vanish; come no
check "duplicates: with INITIAL_CONTACT it is let in" wait_for 5 "the old one's end" grep -q 'code=peer-restarted' "$LOG_DIR/ipsecd-gw.log"
check "duplicates: and carries traffic" pings 10.2.0.1
check "duplicates: one IKE SA again" wait_for 5 "one IKE SA" one_ike_sa
stop_ipsecd gw; stop_strongswan
# A wrong document changes nothing; a missing VRF stops one tunnel group only.
echo '{ "version": 1, "tunnels": { "a": { "grup": "core" } } }' > /run/bad.json
check "a wrong configuration is refused with line and pointer" bash -c "! $BUILD/agent/ipsecd --check-config /run/bad.json > /run/bad.out 2>&1 && grep -q '/tunnels/a/grup.*did you mean .group' /run/bad.out"
gateway_config none none respond | sed 's/"vrf": "blue"/"vrf": "green"/' > /run/gw.json
start_ipsecd gw /run/gw.json
check "a missing VRF is named with the command that makes it" grep -q 'code=vrf-missing.*green' "$LOG_DIR/ipsecd-gw.log"
check "the daemon goes on and answers" ctl gw list tunnels
check "up says what is missing" bash -c ". tests/demo/network.sh; ! ctl gw up branch-4 > /run/up.out 2>&1; grep -q vrf-missing /run/up.out"
stop_ipsecd gw
finish
