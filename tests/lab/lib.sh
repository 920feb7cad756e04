# Common parts of ./run and the lab's scripts; sourced, never run. Needs: set -euo pipefail.
LAB_DIR=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
# shellcheck disable=SC2034   # for those who source this
REPO=$(realpath "$LAB_DIR/../..")
CACHE=${IPSECD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ipsecd}

if [ -t 2 ]; then C_INFO=$'\e[1m' C_BAD=$'\e[1;31m' C_OFF=$'\e[0m'; else C_INFO='' C_BAD='' C_OFF=''; fi
say()  { echo "${C_INFO}== $*${C_OFF}" >&2; }
warn() { echo "${C_BAD}!! $*${C_OFF}" >&2; }
die()  { echo "${C_BAD}error:${C_OFF} $*" >&2; exit 1; }

# take_lock NAME WHAT: holds a machine-wide lock until this process and its children end. A child of a holder passes.
take_lock() {
  local held="IPSECD_LOCKED_$1" file="$CACHE/$1.lock" fd
  [ -z "${!held:-}" ] || return 0
  mkdir -p "$CACHE"
  exec {fd}> "$file"
  if ! flock -n "$fd"; then
    say "waiting: another process on this machine $2 ($file)"
    flock "$fd"
  fi
  export "$held=$fd"
}
# release_lock NAME: gives the lock back early; nothing if a parent holds it.
release_lock() {
  local held="IPSECD_LOCKED_$1"
  case "${!held:-}" in ''|parent) ;; *) flock -u "${!held}"; unset "$held";; esac
}

# debian_mirror: the mirror of Debian that this machine's apt already uses; nothing if there is none.
debian_mirror() {
  local mirror
  mirror=$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null | sed -n 's/^URIs: *\([^ ]*debian\/\{0,1\}\)\( .*\)\{0,1\}$/\1/p' | head -1)
  [ -n "$mirror" ] || mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
    awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /:\/\/.*debian\/?$/) { print $i; exit } }')
  echo "$mirror"
}

# lock_line: "CHOICE PACKAGE VERSION SUITE" of the kernel asked for (LAB_KERNEL, or the first one).
lock_line() {
  awk -v want="${LAB_KERNEL:-}" '!/^#/ && NF == 4 && (want == "" || $1 == want) { print; exit }' "$LAB_DIR/kernel.lock"
}
lab_choices() { awk '!/^#/ && NF == 4 { printf "%s%s", sep, $1; sep = ", " }' "$LAB_DIR/kernel.lock"; }

# lab_home: the cache folder of exactly this kernel, configuration, patch and compiler.
lab_home() {
  local line hash
  line=$(lock_line)
  [ -n "$line" ] || die "LAB_KERNEL=$LAB_KERNEL: not in tests/lab/kernel.lock, which has $(lab_choices)"
  hash=$({ echo "$line"; cat "$LAB_DIR/kernel.config" "$LAB_DIR"/netdevsim/*; gcc --version | head -1; } | sha256sum)
  echo "$CACHE/lab/${hash:0:16}"
}

# native_kernel_ok: does the running kernel have all that the lab's guest has, and may we use it?
native_kernel_ok() {
  [ "$(id -u)" = 0 ] && [ -w /sys/bus/netdevsim/new_device ] || return 1
  unshare -n sh -c 'ip link add x0 type xfrm if_id 1 && ip link add v0 type vrf table 9' >/dev/null 2>&1 || return 1
  local id=$((40000 + $$ % 20000)) rc=1
  echo "$id 1" > /sys/bus/netdevsim/new_device 2>/dev/null || return 1
  [ -e "/sys/kernel/debug/netdevsim/netdevsim$id/ports/0/wire" ] && rc=0
  echo "$id" > /sys/bus/netdevsim/del_device
  return $rc
}
