#!/bin/bash
# A daemon that is killed, and one that is started beside another: nothing foreign is touched, everything comes back.
. "$(dirname "$0")/checks.sh"
make_network veth; peer_inside; secret gw peer.psk
KEY=0x$(printf '77%.0s' {1..36})
ip -n gw xfrm state add src 203.0.113.1 dst 203.0.113.2 proto esp spi 0xbeef reqid 9 mode tunnel replay-window 32 aead 'rfc4106(gcm(aes))' "$KEY" 128
ip -n gw xfrm policy add src 203.0.113.0/24 dst 198.51.100.0/24 dir out tmpl src 203.0.113.1 dst 203.0.113.2 proto esp reqid 9 mode tunnel
foreign() { is "$(ip -n gw xfrm state | grep -c beef)$(ip -n gw xfrm policy | grep -c 203.0.113.0/24)" 11; }
is_one_pair() { is "$(ip -n gw xfrm state | grep '^src' | grep -vc 203.0.113)" 2; }
gateway_config none none traffic > /run/gw.json
start_strongswan aes256gcm16-prfsha384-x25519 aes256gcm16
start_ipsecd gw /run/gw.json || exit 1
for round in 1 2 3; do
  check "round $round: strongSwan initiates" swan --initiate --child net --timeout 10
  check "round $round: pings" pings 10.2.0.1
  kill -KILL "$(cat /run/ipsecd-gw/pid)"; wait_for 5 "the end" not kill -0 "$(cat /run/ipsecd-gw/pid)"
  check "round $round: the killed daemon's SAs carry traffic while it is away" pings 10.2.0.1
  rm -f /run/ipsecd-gw/control
  start_ipsecd gw /run/gw.json || exit 1
  check "round $round: they are told of" is "$(events orphans-kept)" 1
  check "round $round: the tunnel comes up again by itself" wait_for 10 "branch-4 up" state_is branch-4 up
  check "round $round: no SA of the killed one is left" wait_for 10 "two SAs" is_one_pair
  check "round $round: pings" pings 10.2.0.1
  check "round $round: interfaces, traps and routes stand again" is "$(ip -n customers -o link show type xfrm | wc -l)$(ip -n customers route show table 20 proto 50 | wc -l)" 22
  check "round $round: the foreign SA and policy stand" foreign
  swan --terminate --ike gw4 --timeout 3 > /dev/null 2>&1; swan --terminate --ike gw4 --force --timeout 1 > /dev/null 2>&1
done
check "a second daemon on the same files does not start" bash -c "! timeout 5 ip netns exec gw $BUILD/agent/ipsecd --config /run/gw.json --config-dir /nonexistent --run-dir /run/ipsecd-gw --state-dir /run/ipsecd-gw/state > /run/second.out 2>&1"
check "and the first one goes on" ctl gw status --json
# The port is taken by another IKE daemon.
stop_ipsecd gw
ip netns exec gw python3 -c 'import socket,time; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(("192.0.2.1",500)); time.sleep(30)' &
holder=$!; sleep 0.3
start_ipsecd gw /run/gw.json || exit 1
check "a taken port is named, with what to do" grep -q '192.0.2.1\[500\].*another IKE daemon' "$LOG_DIR/ipsecd-gw.log"
kill $holder
ip netns exec host ping -q -c 1 -W 1 fd00:2::1 > /dev/null
check "the other addresses go on: IPv6 comes up" wait_for 5 "branch-6 up" state_is branch-6 up
stop_ipsecd gw
check "in the end only what is foreign stands" is "$(ip -n gw xfrm state | grep -c '^src')" 1
check "untouched" foreign
finish
