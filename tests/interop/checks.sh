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
