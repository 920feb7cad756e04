#!/bin/bash
# Every algorithm that both know, each negotiated with strongSwan in both roles, with pings through the result.
. "$(dirname "$0")/checks.sh"
make_network veth; peer_inside; secret gw peer.psk
# ours (IKE, ESP) and the same in strongSwan's words
while read -r ike esp their_ike their_esp; do
  config_with "$ike" "$esp" traffic > /run/gw.json
  start_ipsecd gw /run/gw.json || exit 1
  start_strongswan "$their_ike" "$their_esp" || exit 1
  check "$ike $esp: strongSwan initiates" swan --initiate --child net --timeout 10
  check "$ike $esp: up here too" wait_for 5 "branch-4 up" state_is branch-4 up
  check "$ike $esp: pings" pings 10.2.0.1
  ip netns exec host ping -q -c 1 -W 1 fd00:2::1 > /dev/null
  check "$ike $esp: a packet raises the IPv6 tunnel from our side" wait_for 5 "branch-6 up" state_is branch-6 up
  check "$ike $esp: pings over IPv6" pings fd00:2::1
  stop_ipsecd gw
  check "$ike $esp: our Delete reached the peer" is "$(swan --list-sas 2>/dev/null | grep -c ESTABLISHED)" 0
  stop_strongswan
done <<'LIST'
aes128gcm16-prfsha256-x25519 aes128gcm16-noesn aes128gcm16-prfsha256-x25519 aes128gcm16
aes256gcm16-prfsha384-ecp384 aes256gcm16-esn aes256gcm16-prfsha384-ecp384 aes256gcm16-esn
chacha20poly1305-prfsha512-x448 chacha20poly1305-noesn chacha20poly1305-prfsha512-x448 chacha20poly1305
aes256-sha512-ecp521 aes256-sha512-noesn aes256-sha512-prfsha512-ecp521 aes256-sha512
aes128-sha256-ecp256 aes128-sha256-esn aes128-sha256-prfsha256-ecp256 aes128-sha256-esn
aes256-sha384-modp2048 aes256-sha384-noesn aes256-sha384-prfsha384-modp2048 aes256-sha384
aes256gcm16-prfsha384-modp3072 aes256gcm16 aes256gcm16-prfsha384-modp3072 aes256gcm16-esn-noesn
aes256gcm16-prfsha384-modp4096 aes256gcm16-aes256-sha256 aes256gcm16-prfsha384-modp4096 aes256-sha256
LIST
finish
