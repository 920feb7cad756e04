# shellcheck shell=bash
# A world for attachment by policy, sourced after checks.sh: the host stands behind the gateway's own namespace.
#
#   host 10.1.0.2 --- 10.1.0.1 [gw: ipsecd, 192.0.2.1] --- [peer: 192.0.2.2, lo 10.2.0.1, 10.3.0.1]
#
# IPv6 beside it as in network.sh. Whatever is not encrypted reaches the peer in the clear, which answers it.
plain_network() {
  make_network veth; peer_inside
  ip -n customers link del cust
  ip link add cust netns gw type veth peer name eth0 netns host
  ip netns exec gw sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.cust.accept_dad=0
  ip netns exec host sysctl -qw net.ipv6.conf.eth0.accept_dad=0
  ip -n gw addr add 10.1.0.1/24 dev cust; ip -n gw addr add fd00:1::1/64 dev cust nodad; ip -n gw link set cust up
  ip -n host addr add 10.1.0.2/24 dev eth0; ip -n host addr add fd00:1::2/64 dev eth0 nodad; ip -n host link set eth0 up
  ip -n host route add default via 10.1.0.1; ip -n host -6 route add default via fd00:1::1
  # A policy takes only what some route leads out.
  ip -n gw route add 10.2.0.0/15 via 192.0.2.2 metric 1000; ip -n gw -6 route add fd00:2::/64 via 2001:db8::2 metric 2000
  ip -n peer addr add 10.3.0.1/24 dev lo
  ip netns exec peer python3 -c '
import socket
listener = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)
while True: listener.accept()[0].close()' &
}

# site_gateway as in checks.sh, with a fourth argument: more of its group, without a private side.
eval "checks_$(declare -f gateway_config)"
gateway_config() {
  checks_gateway_config "$@" | python3 -c '
import json, sys
document = json.load(sys.stdin)
core = document["tunnel_groups"]["core"]
del core["private"], core["attachment"]
core.update(json.loads(sys.argv[1]))
print(json.dumps(document))' "${GROUP:-"{}"}"
}
eval "checks_$(declare -f site_gateway)"
site_gateway() { GROUP=${4:-"{}"} checks_site_gateway "$@"; }

member() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
ping_host() { ip netns exec host ping -q -c 1 -W 1 "$1"; }
http() { # ADDRESS PORT [NAMESPACE]: a connection
  ip netns exec "${3:-host}" python3 -c 'import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)' "$1" "$2"
}
# seen: pings that have reached the peer, in the clear or not.
seen() {
  ip netns exec peer awk '/^Icmp:/ && n++ { sum = $10 } /^Icmp6InEchos / { sum += $2 } END { print sum }' /proc/net/snmp /proc/net/snmp6
}
reaches() { local before; before=$(seen); ping_host "$1"; [ "$(seen)" -gt "$before" ]; }
stays() { local before; before=$(seen); ping_host "$1"; is "$(seen)" "$before"; }
