# shellcheck shell=bash
# Two linked netdevsim ports as the public sides of two gateways A and B; sourced by proofs and by kernel tests.
# Addresses of IPv4 and IPv6: outside 192.0.2.1/2 and 2001:db8::1/2, inside (on lo) 10.1.0.1, 10.2.0.1, fd00:1::1, fd00:2::1.
fail() { echo "FAIL: $*"; FAILED=1; }
FAILED=0

# linked_ports: namespaces A and B; sets DEV_A, DEV_B, WIRE_A, WIRE_B (debugfs folders).
linked_ports() {
  echo "1 1" > /sys/bus/netdevsim/new_device; echo "2 1" > /sys/bus/netdevsim/new_device
  DEV_A=$(ls /sys/bus/netdevsim/devices/netdevsim1/net); DEV_B=$(ls /sys/bus/netdevsim/devices/netdevsim2/net)
  WIRE_A=/sys/kernel/debug/netdevsim/netdevsim1/ports/0; WIRE_B=/sys/kernel/debug/netdevsim/netdevsim2/ports/0
  local n dev
  for n in A B; do
    ip netns add $n
    dev=DEV_$n; ip link set "${!dev}" netns $n
    ip netns exec $n sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf."${!dev}".accept_dad=0
    ip -n $n link set lo up; ip -n $n link set "${!dev}" up
  done
  exec 5</run/netns/A 6</run/netns/B
  echo "5:$(ip -n A -o link show "$DEV_A" | cut -d: -f1) 6:$(ip -n B -o link show "$DEV_B" | cut -d: -f1)" > /sys/bus/netdevsim/link_device
  exec 5<&- 6<&-
  addresses A "$DEV_A" 1 2; addresses B "$DEV_B" 2 1
  # With packet offload the kernel asks for the link address of the inner destination if the outer one is on the link.
  inner_neighbours A "$DEV_A" 2 B "$DEV_B"; inner_neighbours B "$DEV_B" 1 A "$DEV_A"
}

inner_neighbours() { # namespace, device, number of the other, its namespace, its device
  local address mac; mac=$(ip netns exec "$4" cat "/sys/class/net/$5/address")
  for address in "10.$3.0.1" "fd00:$3::1"; do ip -n "$1" neigh replace "$address" lladdr "$mac" dev "$2"; done
}

addresses() { # namespace, device, own number, the other's
  ip -n "$1" addr add "192.0.2.$3/24" dev "$2"; ip -n "$1" addr add "2001:db8::$3/64" dev "$2" nodad
  ip -n "$1" addr add "10.$3.0.1/24" dev lo; ip -n "$1" addr add "fd00:$3::1/64" dev lo nodad
  ip -n "$1" route add "10.$4.0.0/24" via "192.0.2.$4" src "10.$3.0.1"
  ip -n "$1" route add "fd00:$4::/64" via "2001:db8::$4" src "fd00:$3::1"
}

# wire FOLDER tx|rx COUNTER...: numbers of the port's wire counters, on one line.
wire() {
  local folder=$1 side=$2 line word numbers=''; shift 2
  while read -r line; do [[ $line != "$side frames="* ]] || break; done < "$folder/wire"
  for word; do [[ $line =~ \ $word=([0-9]+) ]]; numbers+=" ${BASH_REMATCH[1]}"; done
  echo "${numbers# }"
}
clear_wire() { for f in "$WIRE_A" "$WIRE_B"; do echo > "$f/wire"; done; }
flush_ipsec() { for n in A B; do ip -n $n xfrm state flush; ip -n $n xfrm policy flush; done; }

PATTERN=5ec2e70ff1ce5ec2
# ping_through FROM TO [COUNT] [SIZE]: from namespace A, with the pattern that must never be on the wire; echoes how many came back.
ping_through() { ip netns exec A ping -q -p $PATTERN -s "${4:-64}" -c "${3:-2}" -i 0.02 -W 1 -I "$1" "$2" | sed -n 's/.* \([0-9]*\) received.*/\1/p'; }

KEY_AB=0x$(printf '11%.0s' {1..36}); KEY_BA=0x$(printf '44%.0s' {1..36})
# tunnel OUTER INNER TYPE_A TYPE_B [MODE...]: SAs and policies of both sides; OUTER, INNER: 4|6; types: sw|crypto|packet.
# Variables: FLAGS (more flags of every SA: esn), WINDOW, ALG, ENCAP (each direction's "encap ..."), IF_ID.
tunnel() {
  local a b ia ib side n type dev me peer key_out key_in spi_out spi_in mine theirs
  if [ "$1" = 4 ]; then a=192.0.2.1 b=192.0.2.2; else a=2001:db8::1 b=2001:db8::2; fi
  if [ "$2" = 4 ]; then ia=10.1.0.0/24 ib=10.2.0.0/24; else ia=fd00:1::/64 ib=fd00:2::/64; fi
  for side in A:$3 B:$4; do
    n=${side%:*} type=${side#*:}; dev=DEV_$n; dev=${!dev}
    if [ "$n" = A ]; then me=$a peer=$b key_out=$KEY_AB key_in=$KEY_BA spi_out=0x1001 spi_in=0x1002 mine=$ia theirs=$ib
    else me=$b peer=$a key_out=$KEY_BA key_in=$KEY_AB spi_out=0x1002 spi_in=0x1001 mine=$ib theirs=$ia; fi
    local window=(replay-window "${WINDOW:-32}") out_window=() out=() in=() policy=()
    if [ "$type" = sw ]; then out_window=("${window[@]}")
    else out=(offload "$type" dev "$dev" dir out) in=(offload "$type" dev "$dev" dir in); fi
    [ "$type" != packet ] || policy=(offload packet dev "$dev")
    {
      echo "xfrm state add src $peer dst $me proto esp spi $spi_in reqid 1 mode tunnel flag af-unspec ${FLAGS:-} ${window[*]}" \
        "aead ${ALG:-rfc4106(gcm(aes))} $key_in 128 ${ENCAP:-} ${in[*]}"
      echo "xfrm state add src $me dst $peer proto esp spi $spi_out reqid 1 mode tunnel flag af-unspec ${FLAGS:-} ${out_window[*]}" \
        "aead ${ALG:-rfc4106(gcm(aes))} $key_out 128 ${ENCAP:-} ${out[*]}"
      echo "xfrm policy add src $mine dst $theirs dir out ${policy[*]} tmpl src $me dst $peer proto esp reqid 1 mode tunnel"
      echo "xfrm policy add src $theirs dst $mine dir in ${policy[*]} tmpl src $peer dst $me proto esp reqid 1 mode tunnel"
      # NICs take none that forward; the kernel's own check covers what they have decrypted.
      echo "xfrm policy add src $theirs dst $mine dir fwd tmpl src $peer dst $me proto esp reqid 1 mode tunnel"
    } | ip -n "$n" -batch - || fail "$n: tunnel $*"
  done
}

# offloaded NAMESPACE: how many of its SAs the kernel reads back as offloaded.
offloaded() { ip -n "$1" xfrm state | grep -c 'offload parameters' || true; }

# finish: after everything; a proof also fails on what the kernel complained about.
finish() {
  if dmesg | grep -E 'BUG:|WARNING:|Oops|Call Trace'; then fail "the kernel complained"; fi
  exit $FAILED
}
