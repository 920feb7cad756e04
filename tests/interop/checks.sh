# shellcheck shell=bash
# What interop tests share: the demo's world, one line per check, a status at the end.
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../.." || exit 1
export BUILD=${BUILD:-$PWD/build/dev} LOG_DIR=${LAB_RUN:-/run}
. tests/demo/network.sh
FAILED=0 PASSED=0
check() {
  local what=$1; shift
  if "$@" > /run/check.out 2>&1; then PASSED=$((PASSED + 1)); else FAILED=$((FAILED + 1)); echo "FAIL: $what"; tail -5 /run/check.out; fi
}
is() { [ "$1" = "$2" ] || { echo "found '$1', expected '$2'"; return 1; }; }
state_is() { is "$(ctl gw --json show tunnel "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["state"])')" "$2"; }
pings() { is "$(ip netns exec host ping -q -c 3 -i 0.05 -W 1 "$1" | sed -n 's/.* \([0-9]*\) received.*/\1/p')" 3; }
finish() { echo "$PASSED checks passed, $FAILED failed"; [ $FAILED = 0 ]; exit; }
# with IKE ESP: the gateway's configuration with these proposals.
config_with() { gateway_config none none "$3" | sed "s/aes256gcm16-prfsha384-x25519/$1/; s/aes256gcm16-noesn/$2/"; }

# A world with one tunnel, `site`, between the peer at PEER and the gateway at GATEWAY.
PEER=192.0.2.2 GATEWAY=192.0.2.1
# site_gateway CHILDREN [IKE-POLICY [CHILD-POLICY]]: starts ipsecd; its children and more of its policies, as JSON objects;
# and more of the tunnel in MORE_OF_SITE.
site_gateway() {
  gateway_config none none respond | python3 -c '
import json, sys
document, remote, children, ike, child, more = json.load(sys.stdin), *sys.argv[1:]
document["ike_policies"]["std"].update({"retry": {"first": "500ms"}}, **json.loads(ike))
document["child_policies"]["std"].update(json.loads(child))
site = dict(document["tunnels"]["branch-4"], remote=remote, remote_id="site.example", **json.loads(more))
site["children"] = {name: dict(each, policy="std") for name, each in json.loads(children).items()}
document["tunnels"] = {"site": site}
print(json.dumps(document))' "$PEER" "$1" "${2:-"{}"}" "${3:-"{}"}" "${MORE_OF_SITE:-"{}"}" > /run/gw.json
  start_ipsecd gw /run/gw.json
}
# site_peer CHILDREN [SETTINGS [SETTINGS]]: starts strongSwan; its children, more settings of the connection, of the daemon.
site_peer() {
  mkdir -p "$(dirname "$SWANCTL_CONF")"
  cat > "$SWANCTL_CONF" <<C
connections { site { version = 2
    local_addrs = $PEER
    remote_addrs = $GATEWAY
    proposals = aes256gcm16-prfsha384-x25519
    mobike = no
    ${2:-}
    local { auth = psk
      id = site.example }
    remote { auth = psk
      id = gw.example }
    children { $1 } } }
secrets { ike-1 { secret = "a secret that both sides share" } }
C
  start_charon "${3:-}"
}
# child NAME ITS-NETWORKS OURS [SETTINGS]: one child for site_peer.
child() { printf '%s { esp_proposals = aes256gcm16\n local_ts = %s\n remote_ts = %s\n %s }\n' "$1" "$2" "$3" "${4:-}"; }
one_ike_sa() { is "$(ctl gw --json list peers | grep -o '"state":"established"' | wc -l) $(swan --list-sas | grep -c ESTABLISHED)" "1 1"; }
children_up() { ctl gw --json list children --filter state=up | grep -o '"child":"[a-z]*"' | cut -d'"' -f4 | sort | tr -d '\n'; }
peers_children() { swan --list-sas | sed -n 's/^  \([a-z]*\): .* INSTALLED.*/\1/p' | sort | tr -d '\n'; }
# esp NAMESPACE: how many SAs its kernel has; the mark of a packet that waits for one, with SPI 0, is none.
esp() { ip -n "$1" xfrm state | grep 'proto esp' | grep -vc 'spi 0x00000000'; }
# are CHILDREN: up here and there, with a pair of SAs each and nothing more in either kernel.
are() {
  is "$(children_up) $(peers_children)" "$1 $1" && is "$(esp gw) $(esp peer)" "$((2 * ${#1})) $((2 * ${#1}))"
}
spis() { ip -n "$1" -o xfrm state | grep -o 'spi 0x[0-9a-f]*' | grep -v 0x00000000 | sort | tr '\n' ' '; }
# One whose end the peer has not confirmed is none that is in use.
ours_ike() { ctl gw --json list peers --filter state=established | grep -o '"ike_spi_[ir]":"[0-9a-f]*"' | cut -d'"' -f4 | sort | tr '\n' ' '; }
theirs_ike() { swan --list-sas | sed -n 's/.* \([0-9a-f]\{16\}\)_i\*\? \([0-9a-f]\{16\}\)_r.*/\1\n\2/p' | sort | tr '\n' ' '; }
# agreed: one IKE SA and one child, the same on both sides.
agreed() { one_ike_sa && is "$(esp gw) $(esp peer)" "2 2" && is "$(spis gw)" "$(spis peer)" && is "$(ours_ike)" "$(theirs_ike)"; }
# events CODE: how often our log tells of it.
events() { grep -c "code=$1" "$LOG_DIR/ipsecd-gw.log"; }
