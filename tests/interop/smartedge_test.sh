#!/bin/bash
# The SmartEdge samples S-01 (site to site with a pre-shared key) and S-02 (PFS and a short lifetime): as they stand in
# samples/, with each thing that can differ between the two ends, told by its own reason.
. "$(dirname "$0")/checks.sh"
. tests/interop/smartedge_world.sh

# ---- S-01
end a vpn1 30.0.0.1 50.1.0.1/32; end b vpn2 20.1.0.2 60.1.0.1/32
wire a 40.0.0.1/30 b 40.0.0.2/30
ip -n a route add 20.0.0.0/8 via 40.0.0.2; ip -n b route add 30.0.0.0/8 via 40.0.0.1
sample s01-a a; sample s01-b b
check "S-01: both ends are right as they stand" checks_out /run/a.json
check "S-01: the other one too" checks_out /run/b.json
start_ipsecd b /run/b.json || exit 1
start_ipsecd a /run/a.json || exit 1
check "S-01: the tunnel comes up" wait_for 10 "rec_1_1" tunnel_is a rec_1_1 up
check "S-01: at the other end too" wait_for 5 "rec_2_1" tunnel_is b rec_2_1 up
check "S-01: LAN A reaches LAN B" answers vpn1 50.1.0.1 60.1.0.1
check "S-01: and the other way" answers vpn2 60.1.0.1 50.1.0.1
check "S-01: the ends of the tunnel interface reach one another" answers vpn1 55.0.1.1 55.0.1.2
check "S-01: one pair of SAs" is "$(sas a) $(sas b)" "2 2"
stop_ipsecd a; stop_ipsecd b

# differs WHAT SED-ON-B REASON PATTERN [REASON-AT-A]: with this at end B the tunnel stays down, and both ends say why.
differs() {
  sample s01-b b; sed -i "$2" /run/b.json
  start_ipsecd b /run/b.json || exit 1
  start_ipsecd a /run/a.json || exit 1
  check "S-01, $1: end B tells the reason" wait_for 10 "$3" is_told b "$3"
  check "S-01, $1: end A what it hears of it" wait_for 10 "${5:-$3}" is_told a "${5:-$3}"
  ctl b explain negotiation rec_2_1 > /run/explained 2>&1
  check "S-01, $1: explained at end B" grep -q -- "$4" /run/explained
  check "S-01, $1: it stays down" is "$(sas a) $(sas b)" "0 0"
  stop_ipsecd a; stop_ipsecd b
}
differs "another cipher" 's/"ike-pol1": { "proposals": \["aes256-/"ike-pol1": { "proposals": ["aes128-/' no-proposal-chosen 'encryption .*aes256  *aes128  *differs'
differs "another hash" 's/"aes256-sha256-modp2048"/"aes256-sha384-modp2048"/' no-proposal-chosen 'integrity .*sha256  *sha384  *differs'
differs "another group" 's/modp2048/modp3072/' no-proposal-chosen 'modp2048  *modp3072  *differs'
differs "another cipher for ESP" 's/"ipsec-pol": { "proposals": \["aes256-/"ipsec-pol": { "proposals": ["aes128-/' no-proposal-chosen 'child any-acl'
differs "another identity" 's/"remote_id": "30.0.0.1"/"remote_id": "30.0.0.9"/' unknown-peer-identity 'identity .*30.0.0.1  *30.0.0.9  *differs' peer-rejected-our-authentication
printf 'not what the other one has\n' > /run/ipsecd-b/secrets/vpn.psk
differs "another key" '' authentication-failed 'pre-shared keys of the two sides differ' peer-rejected-our-authentication
rm /run/ipsecd-b/secrets/vpn.psk; secret b vpn.psk
for weak in des 3des-md5 aes256-md5 aes256-sha256-modp768; do
  sample s01-a weak; sed -i "s/\"aes256-sha256-modp2048\"/\"$weak\"/" /run/weak.json
  check "S-01: $weak is refused where it stands" bash -c "! $BUILD/agent/ipsecd --check-config /run/weak.json > /run/weak.out 2>&1 && grep -q 'ike_policies/ike-poll/proposals.*is never used' /run/weak.out"
done

# ---- S-02
for ns in a b vpn1 vpn2; do ip netns del $ns; done
end a inside-a 30.0.0.1; end b inside-b 20.0.0.2
wire a 20.0.0.1/8 b 20.0.0.3/8
ip -n b route add 30.0.0.0/8 via 20.0.0.1; ip -n a route add 20.0.0.2/32 via 20.0.0.3
sample s02-a a; sample s02-b b
start_ipsecd b /run/b.json || exit 1
start_ipsecd a /run/a.json || exit 1
check "S-02: the tunnel comes up" wait_for 10 "the tunnel" tunnel_is a ipsec_tunnel up
first=$(spi_out a ipsec_tunnel)
check "S-02: packets pass" answers inside-a 90.0.0.1 90.0.0.2
ip netns exec inside-a ping -q -i 0.1 -w 45 90.0.0.2 > /run/pinged & pinger=$!
renewed() { [ "$(spi_out a ipsec_tunnel)" != "$first" ]; }
check "S-02: it is rekeyed before its lifetime ends" wait_for 45 "other SAs" renewed
wait $pinger
check "S-02: and without a lost packet" grep -q ' 0% packet loss' /run/pinged
one_pair() { is "$(sas a)" 2; }
check "S-02: still one pair" wait_for 5 "one pair" one_pair
stop_ipsecd a; stop_ipsecd b
# Without a first key exchange of its own a child tells of its group when it is rekeyed.
sed -i 's/"ipsec_policy": { "proposals": \["aes256-sha256-modp2048"\]/"ipsec_policy": { "proposals": ["aes256-sha256-modp3072"]/' /run/b.json
start_ipsecd b /run/b.json || exit 1
start_ipsecd a /run/a.json || exit 1
check "S-02, another PFS group: the tunnel comes up" wait_for 10 "the tunnel" tunnel_is a ipsec_tunnel up
check "S-02, another PFS group: a rekey fails" not ctl a rekey ipsec_tunnel
check "S-02, another PFS group: the other end tells what it got and what it wants" wait_for 5 "it" \
  grep -q 'code=pfs-mismatch.*offered aes256-sha256-modp2048.*configured aes256-sha256-modp3072' "$LOG_DIR/ipsecd-b.log"
check "S-02, another PFS group: the SAs go on" answers inside-a 90.0.0.1 90.0.0.2
stop_ipsecd a; stop_ipsecd b
sample s02-a ah; sed -i 's/"ipsec_policy": {/& "ah": "sha1",/; s/"proposals": \["aes256-sha256-modp2048"\], "pfs"/"proposals": ["ah-sha1"], "pfs"/' /run/ah.json
check "S-02: AH is refused when the configuration is read" not checks_out /run/ah.json
check "S-02: with the place and what is wrong" bash -c "$BUILD/agent/ipsecd --check-config /run/ah.json 2>&1 | grep -q '/child_policies/ipsec_policy/proposals.*\"ah\" is not a known algorithm'"
check "S-02: in the end nothing is left" is "$(sas a) $(ip -n inside-a -o link show type xfrm | wc -l)" "0 0"
finish
