# bash completion for ipsecctl: words of the command line, and names that the running daemon knows.

# _ipsecctl_column KIND KEY: the values of one key; every row of `list --json` is a line of its own.
_ipsecctl_column() {
  ipsecctl list "$1" --json --timeout 2 2>/dev/null | sed -n "s/.*\"$2\":\"\\([^\"]*\\)\".*/\\1/p" | sort -u
}

_ipsecctl_key() {
  case $1 in
    sa | sas) echo spi ;;
    peer | peers) echo ike_spi_i ;;
    route | routes) echo destination ;;
    *) echo name ;;
  esac
}

_ipsecctl_names() {
  case $1 in
    child | children)
      ipsecctl list children --json --timeout 2 2>/dev/null |
        sed -n 's/.*"child":"\([^"]*\)".*"tunnel":"\([^"]*\)".*/\2\/\1/p' | sort -u
      ;;
    *) _ipsecctl_column "$1" "$(_ipsecctl_key "$1")" ;;
  esac
}

_ipsecctl_children() {
  ipsecctl list children --json --filter "tunnel=$1" --timeout 2 2>/dev/null |
    sed -n 's/.*"child":"\([^"]*\)".*/\1/p' | sort -u
}

# Tunnels, identities and addresses (without their port) of negotiations that failed.
_ipsecctl_failed() {
  ipsecctl explain negotiation --json --timeout 2 2>/dev/null |
    grep -oE '"(tunnel|identity|remote)": ?"[^"[]*' | sed 's/^[^:]*: *"//' | sort -u
}

_ipsecctl() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local plural='groups tunnels sas children peers devices credentials routes seats carriers'
  local singular='group tunnel sa child peer device credential route seat carrier'
  local options='--json --socket --color --timeout --help' words='' i
  local -a given=()
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case ${COMP_WORDS[i]} in
      --socket | --color | --timeout | --sort | --filter | --from | --child | --netns | --format) ((++i)) ;;
      -*) ;;
      *) given+=("${COMP_WORDS[i]}") ;;
    esac
  done
  case $previous in
    --color) words='auto always never' ;;
    --socket)
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      return
      ;;
    --child) words=$(_ipsecctl_children "${given[1]-}") ;;
    --format) words='openmetrics prometheus' ;;
    --netns) words=$(ip netns list 2>/dev/null | cut -d' ' -f1) ;;
    --timeout | --sort | --filter | --from) return ;;
    *)
      case ${given[0]-}:${#given[@]} in
        :0) words="status list show up down rekey monitor explain drift offload metrics config version $options" ;;
        list:1) words="$plural" ;;
        list:*) words="--sort --filter $options" ;;
        show:1) words="$singular" ;;
        show:2) words=$(_ipsecctl_names "${given[1]}") ;;
        up:1 | down:1 | rekey:1) words=$(_ipsecctl_column tunnels name) ;;
        up:2 | down:2) words=$(_ipsecctl_children "${given[1]}") ;;
        explain:1) words="negotiation offload $options" ;;
        explain:2)
          case ${given[1]} in
            negotiation) words=$(_ipsecctl_failed) ;;
            offload) words=$(_ipsecctl_column tunnels name) ;;
            *) words="$options" ;;
          esac
          ;;
        offload:1) words='devices list move pin' ;;
        offload:2) [[ ${given[1]} == move || ${given[1]} == pin ]] && words=$(_ipsecctl_column tunnels name) ;;
        offload:3) words='nic software none' ;;
        offload:*) words="--child $options" ;;
        rekey:*) words="--child --ike $options" ;;
        drift:*) words="--netns --adopt $options" ;;
        metrics:*) words="--format $options" ;;
        monitor:*) words="--from --no-follow $options" ;;
        config:1) words='check diff apply show' ;;
        config:*)
          if [[ ${given[1]} == check && $current != -* ]]; then
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
          fi
          words="--effective $options"
          ;;
        *) words="$options" ;;
      esac
      ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _ipsecctl ipsecctl
