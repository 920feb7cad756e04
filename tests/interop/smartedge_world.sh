# shellcheck shell=bash
# What the tests of the SmartEdge samples share, sourced after checks.sh: ends that are all ours, and their configurations
# (samples/).

# end NAMESPACE PRIVATE LOOPBACK INSIDE...: a gateway with its address on the loopback, and the private namespace behind it
# with the addresses of its network (on the loopback, too: the gateway is the host).
end() {
  local ns=$1 private=$2 loopback=$3 inside; shift 3
  ip netns add "$ns"; ip -n "$ns" link set lo up; ip -n "$ns" addr add "$loopback/32" dev lo
  ip netns exec "$ns" sysctl -qw net.ipv4.ip_forward=1
  ip netns list | grep -q "^$private\b" || { ip netns add "$private"; ip -n "$private" link set lo up; }
  for inside; do ip -n "$private" addr add "$inside" dev lo; done
  secret "$ns" vpn.psk
}
# wire A ADDRESS/LENGTH B ADDRESS/LENGTH: a link between two of them, and the way to one another's loopbacks.
wire() {
  ip link add "to-$3" netns "$1" type veth peer name "to-$1" netns "$3"
  ip -n "$1" addr add "$2" dev "to-$3"; ip -n "$3" addr add "$4" dev "to-$1"
  ip -n "$1" link set "to-$3" up; ip -n "$3" link set "to-$1" up
}
sample() { cp "tests/interop/samples/$1.json" "/run/$2.json"; }
checks_out() { "$BUILD/agent/ipsecd" --check-config "$1"; }
tunnel_is() { is "$(ctl "$1" --json show tunnel "$2" | python3 -c 'import json, sys; print(json.load(sys.stdin)["state"])')" "$3"; }
# answers NAMESPACE FROM TO [OPTIONS]: three pings are answered.
answers() { local ns=$1 from=$2 to=$3; shift 3; is "$(ip netns exec "$ns" ping -q -c 3 -i 0.05 -W 1 -I "$from" "$@" "$to" | sed -n 's/.* \([0-9]*\) received.*/\1/p')" 3; }
told() { grep -c "code=$2" "$LOG_DIR/ipsecd-$1.log"; }
is_told() { [ "$(told "$1" "$2")" -ge "${3:-1}" ]; }
sas() { ip -n "$1" xfrm state | grep 'proto esp' | grep -vc 'spi 0x00000000'; }
spi_out() { ctl "$1" --json list sas --filter "tunnel=$2" --filter direction=out | grep -o '"spi":"[^"]*"' | sort | tr '\n' ' '; }
