# shellcheck shell=bash
# FRR in a namespace of a test, sourced after checks.sh.

# frr NAMESPACE DAEMON: zebra and one more there, with the configuration on standard input.
frr() {
  local ns=$1 dir=/run/frr-$1 daemon
  mkdir -p "$dir"; cat > "$dir/frr.conf"; chown -R frr:frr "$dir"
  for daemon in zebra "$2"; do
    ip netns exec "$ns" "/usr/lib/frr/$daemon" -d -f "$dir/frr.conf" -i "$dir/$daemon.pid" -z "$dir/zserv.api" \
      --vty_socket "$dir" --log "file:$dir/log" > "$dir/$daemon.out" 2>&1 || { cat "$dir/$daemon.out"; return 1; }
  done
}
frr_stop() { # [NAMESPACE]
  local dir=/run/frr-${1:-customers} zebra
  zebra=$(cat "$dir/zebra.pid")
  cat "$dir"/*.pid | xargs kill
  wait_for 5 "the end of FRR" not kill -0 "$zebra"
}
frr_shows() { local ns=$1; shift; ip netns exec "$ns" vtysh --vty_socket "/run/frr-$ns" -c "$*" 2> /dev/null; }
