#!/bin/bash
# UDP encapsulation with strongSwan, both roles and families (the peer claims a NAT), and a hostile neighbour.
. "$(dirname "$0")/checks.sh"
make_network veth; peer_inside; secret gw peer.psk
gateway_config none none traffic > /run/gw.json
start_ipsecd gw /run/gw.json || exit 1
start_strongswan aes256gcm16-prfsha384-x25519 aes256gcm16
sed -i 's/mobike = no/mobike = no\n    encap = yes/' /run/strongswan-peer/swanctl/swanctl.conf; swan --load-all > /dev/null 2>&1
check "strongSwan initiates with a NAT claimed" swan --initiate --child net --timeout 10
check "up" wait_for 5 "branch-4 up" state_is branch-4 up
check "the kernel encapsulates ESP in UDP 4500" bash -c "ip -n gw xfrm state | grep -q 'encap type espinudp sport 4500 dport 4500'"
check "pings" pings 10.2.0.1
ip netns exec host ping -q -c 1 -W 1 fd00:2::1 > /dev/null
check "our side initiates over IPv6, and moves to port 4500" wait_for 5 "branch-6 up" state_is branch-6 up
check "pings over IPv6" pings fd00:2::1
check "show tells of the NAT" bash -c ". tests/demo/network.sh; ctl gw list peers --json | grep -q '\"nat\": *\"remote\"'"
# Ten thousand hostile datagrams from the peer's machine: nothing changes, all are counted.
ip netns exec peer python3 - <<'P'
import os, random, socket
random.seed(1)
for port in (500, 4500):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for i in range(5000):
        data = random.randbytes(random.randrange(0, 600))
        if i % 3 == 0: data = bytes(8) + data
        if i % 5 == 0: data = data[:17] + b'\x20\x22\x08' + data[20:24] + len(data).to_bytes(4, 'big') + data[28:]
        try: s.sendto(data, ('192.0.2.1', port))
        except OSError: pass
P
check "after 10,000 hostile datagrams the tunnels carry on" pings 10.2.0.1
check "and they were counted" bash -c ". tests/demo/network.sh; ctl gw --json status | grep -q ike-"
stop_ipsecd gw; stop_strongswan
check "nothing is left" is "$(ip -n gw xfrm state | grep -c ^src)" 0
finish
