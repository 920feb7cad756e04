# shellcheck shell=bash
# The demo's world, in throw-away namespaces: sourced by the demo and by interop tests.
#
#   host 10.1.0.2 --- [customers: VRF blue 10.1.0.1]~~~[gw: ipsecd, NIC 192.0.2.1] === wire === [peer: NIC 192.0.2.2, lo 10.2.0.1]
#
# gw: the gateway's public side, where ipsecd runs. customers: its private side. peer: the other end (strongSwan or ipsecd).
# IPv6 beside it: 2001:db8::1/2 outside, fd00:1::/64 and fd00:2::/64 inside.

# make_network NIC|veth: sets GW_DEV and PEER_DEV, and with NIC also GW_PORT and PEER_PORT (debugfs folders of the ports).
make_network() {
  local n
  for n in gw peer customers host; do ip netns add $n; ip -n $n link set lo up; done
  if [ "$1" = NIC ]; then
    echo "1 1" > /sys/bus/netdevsim/new_device; echo "2 1" > /sys/bus/netdevsim/new_device
    GW_DEV=$(ls /sys/bus/netdevsim/devices/netdevsim1/net); PEER_DEV=$(ls /sys/bus/netdevsim/devices/netdevsim2/net)
    GW_PORT=/sys/kernel/debug/netdevsim/netdevsim1/ports/0; PEER_PORT=/sys/kernel/debug/netdevsim/netdevsim2/ports/0
    ip link set "$GW_DEV" netns gw; ip link set "$PEER_DEV" netns peer
  else
    GW_DEV=veth-gw PEER_DEV=veth-peer
    ip link add $GW_DEV netns gw type veth peer name $PEER_DEV netns peer
  fi
  for n in gw:$GW_DEV:1 peer:$PEER_DEV:2; do
    IFS=: read -r ns dev number <<< "$n"
    ip netns exec "$ns" sysctl -qw "net.ipv6.conf.$dev.accept_dad=0" net.ipv6.conf.all.forwarding=1
    ip -n "$ns" addr add "192.0.2.$number/24" dev "$dev"; ip -n "$ns" addr add "2001:db8::$number/64" dev "$dev" nodad
    ip -n "$ns" link set "$dev" up
  done
  if [ "$1" = NIC ]; then
    exec 5</run/netns/gw 6</run/netns/peer
    echo "5:$(ip -n gw -o link show "$GW_DEV" | cut -d: -f1) 6:$(ip -n peer -o link show "$PEER_DEV" | cut -d: -f1)" > /sys/bus/netdevsim/link_device
    exec 5<&- 6<&-
  fi
  private_side customers blue cust 10.1.0.1/24 fd00:1::1/64 host 10.1.0.2/24 fd00:1::2/64 10.1.0.1 fd00:1::1
}

# private_side NAMESPACE VRF DEVICE ADDRESS4 ADDRESS6 HOST HOST4 HOST6 GATEWAY4 GATEWAY6: a customer's host behind a VRF.
private_side() {
  local ns=$1 vrf=$2 dev=$3 host=$6
  ip -n "$ns" link add "$vrf" type vrf table 20; ip -n "$ns" link set "$vrf" up
  ip link add "$dev" netns "$ns" type veth peer name eth0 netns "$host"
  ip -n "$ns" link set "$dev" master "$vrf"
  ip netns exec "$ns" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 "net.ipv6.conf.$dev.accept_dad=0"
  ip netns exec "$host" sysctl -qw net.ipv6.conf.eth0.accept_dad=0
  ip -n "$ns" addr add "$4" dev "$dev"; ip -n "$ns" addr add "$5" dev "$dev" nodad; ip -n "$ns" link set "$dev" up
  ip -n "$host" addr add "$7" dev eth0; ip -n "$host" addr add "$8" dev eth0 nodad; ip -n "$host" link set eth0 up
  ip -n "$host" route add default via "$9"; ip -n "$host" -6 route add default via "${10}"
}

# peer_inside: the protected network of a peer that is not ours, on its loopback.
peer_inside() {
  ip -n peer addr add 10.2.0.1/24 dev lo; ip -n peer addr add fd00:2::1/64 dev lo nodad
  ip -n peer route add 10.1.0.0/24 via 192.0.2.1 src 10.2.0.1; ip -n peer -6 route add fd00:1::/64 via 2001:db8::1 src fd00:2::1
}

# wire FOLDER tx|rx COUNTER: one of the NIC's own counters of the wire.
wire() { sed -n "s/^$2 frames=.* $3=\([0-9]*\).*/\1/p" "$1/wire"; }
clear_wire() { echo > "$GW_PORT/wire"; echo > "$PEER_PORT/wire"; }

# start_ipsecd NAMESPACE CONFIG: the daemon in a namespace, its files below /run/ipsecd-NAMESPACE. Waits until it listens.
start_ipsecd() {
  local ns=$1 dir=/run/ipsecd-$1
  mkdir -p "$dir"
  ip netns exec "$ns" "$BUILD/agent/ipsecd" --config "$2" --config-dir /nonexistent --secrets-dir "$dir/secrets" --run-dir "$dir" \
    --state-dir "$dir/state" --workers 2 > "${LOG_DIR:-/run}/ipsecd-$ns.log" 2>&1 &
  echo $! > "$dir/pid"
  wait_for 10 "ipsecd in $ns to listen" test -S "$dir/control"
}
stop_ipsecd() { # namespace: orderly; waits for the end
  local pid; pid=$(cat "/run/ipsecd-$1/pid")
  kill -TERM "$pid"; wait_for 15 "ipsecd in $1 to end" not kill -0 "$pid"
}
not() { ! "$@" 2>/dev/null; }
ctl() { local ns=$1; shift; "$BUILD/agent/ctl/ipsecctl" --socket "/run/ipsecd-$ns/control" "$@"; }
secret() { # namespace, file name
  install -d -m 700 "/run/ipsecd-$1/secrets"; (umask 077; echo "a secret that both sides share" > "/run/ipsecd-$1/secrets/$2")
}

# wait_for SECONDS WHAT COMMAND...: polls, and says what did not happen.
wait_for() {
  local seconds=$1 what=$2 end; shift 2; end=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    if [ $SECONDS -ge $end ]; then echo "FAIL: waited $seconds s for $what" >&2; return 1; fi
    sleep 0.05
  done
}

# start_charon [SETTINGS]: charon-systemd in namespace peer with $SWANCTL_CONF as it stands, and more settings of the daemon.
SWANCTL_CONF=/run/strongswan-peer/swanctl/swanctl.conf
start_charon() {
  local dir=/run/strongswan-peer; mkdir -p $dir/swanctl/conf.d
  cat > $dir/strongswan.conf <<C
charon-systemd {
  load = random nonce aes sha1 sha2 hmac kdf openssl curve25519 gcm chapoly pem pkcs1 pkcs8 x509 pubkey revocation constraints kernel-netlink socket-default vici
  plugins { vici { socket = unix://$dir/vici.sock } }
  install_routes = no
  ${1:-}
  filelog { log { path = ${LOG_DIR:-/run}/strongswan.log
    default = 1
    ike = 2
    cfg = 2
    flush_line = yes } }
  journal { default = -1 }
}
swanctl { load = pem pkcs1 x509 revocation constraints pubkey openssl random }
C
  rm -f $dir/vici.sock                     # a former run may have left it
  STRONGSWAN_CONF=$dir/strongswan.conf SWANCTL_DIR=$dir/swanctl ip netns exec peer /usr/sbin/charon-systemd > "${LOG_DIR:-/run}/charon.out" 2>&1 &
  echo $! > $dir/pid
  wait_for 15 "strongSwan to take its configuration" swan --load-all
}

# start_strongswan: with a connection per address family; start_action none.
start_strongswan() { # IKE proposal, ESP proposal [, more settings of the connections [, of their children [, of the daemon]]]
  mkdir -p "$(dirname $SWANCTL_CONF)"
  cat > $SWANCTL_CONF <<C
connections {
  gw4 { version = 2
    local_addrs = 192.0.2.2
    remote_addrs = 192.0.2.1
    proposals = $1
    mobike = no
    ${3:-}
    local { auth = psk
      id = peer4.example }
    remote { auth = psk
      id = gw.example }
    children { net { local_ts = 10.2.0.0/24
        remote_ts = 10.1.0.0/24
        esp_proposals = $2
        ${4:-} } } }
  gw6 { version = 2
    local_addrs = 2001:db8::2
    remote_addrs = 2001:db8::1
    proposals = $1
    mobike = no
    ${3:-}
    local { auth = psk
      id = peer6.example }
    remote { auth = psk
      id = gw.example }
    children { net6 { local_ts = fd00:2::/64
        remote_ts = fd00:1::/64
        esp_proposals = $2
        ${4:-} } } }
}
secrets { ike-1 { secret = "a secret that both sides share" } }
C
  start_charon "${5:-}"
}
swan() { STRONGSWAN_CONF=/run/strongswan-peer/strongswan.conf SWANCTL_DIR=/run/strongswan-peer/swanctl ip netns exec peer swanctl "$@" --uri unix:///run/strongswan-peer/vici.sock; }
stop_strongswan() { kill "$(cat /run/strongswan-peer/pid)"; wait_for 10 "strongSwan to end" not kill -0 "$(cat /run/strongswan-peer/pid)"; }

# gateway_config: the configuration of the gateway towards the peer; arguments: offload mode, device, start mode.
gateway_config() {
  cat <<C
{
  "version": 1,
  "tunnel_groups": {
    "core": {
      "public":  { "addresses": ["192.0.2.1", "2001:db8::1"] },
      "private": { "netns": "customers", "vrf": "blue" },
      "attachment": "interface",
      "offload": { "mode": "$1", "devices": ["$2"] }
    }
  },
  "ike_policies":   { "std": { "proposals": ["aes256gcm16-prfsha384-x25519"] } },
  "child_policies": { "std": { "proposals": ["aes256gcm16-noesn"], "replay_window": 128 } },
  "credentials":    { "peer": { "psk": { "file": "peer.psk" } } },
  "tunnels": {
    "branch-4": {
      "group": "core", "remote": "192.0.2.2", "local_id": "gw.example", "remote_id": "peer4.example",
      "credential": "peer", "ike_policy": "std",
      "children": { "lan": { "local": ["10.1.0.0/24"], "remote": ["10.2.0.0/24"], "policy": "std", "start": "$3" } }
    },
    "branch-6": {
      "group": "core", "remote": "2001:db8::2", "local_id": "gw.example", "remote_id": "peer6.example",
      "credential": "peer", "ike_policy": "std",
      "children": { "lan": { "local": ["fd00:1::/64"], "remote": ["fd00:2::/64"], "policy": "std", "start": "$3" } }
    }
  }
}
C
}
