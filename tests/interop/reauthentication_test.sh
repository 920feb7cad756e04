#!/bin/bash
# strongSwan proves itself anew from time to time: with the new IKE SA made before the old one ends, or after it. Whatever
# brings the tunnel up on our side, one IKE SA and one child are left on which both agree, and packets go on.
. "$(dirname "$0")/checks.sh"
make_network veth; peer_inside; secret gw peer.psk

times() { grep -ac "$1" "$LOG_DIR/strongswan.log"; }
done_twice() { [ "$(times 'reauthenticating IKE_SA')" -ge 2 ]; }
# charon sends before it lists its new IKE SA, and may miss an answer that comes at once: it asks again soon.
for mode in make-before-break:yes:respond make-before-break:yes:now break-before-make:no:respond break-before-make:no:traffic break-before-make:no:now; do
  IFS=: read -r order make_before_break start <<< "$mode"
  what="$order, $start"
  rm -f "$LOG_DIR/strongswan.log"
  site_peer "$(child net 10.2.0.0/24 10.1.0.0/24)" "reauth_time = 2s
    rekey_time = 0
    rand_time = 0
    over_time = 20s" "make_before_break = $make_before_break
    retransmit_timeout = 0.3" || exit 1
  site_gateway "{ \"lan\": { \"local\": [\"10.1.0.0/24\"], \"remote\": [\"10.2.0.0/24\"], \"start\": \"$start\" } }" || exit 1
  [ "$start" = now ] || check "$what: strongSwan initiates" swan --initiate --child net --timeout 10
  check "$what: it is up" wait_for 5 "the tunnel" agreed
  check "$what: packets pass" pings 10.2.0.1
  ip netns exec host ping -q -i 0.004 -c 1200 -W 2 10.2.0.1 > /run/stream.out 2>&1 &
  stream=$!
  check "$what: strongSwan authenticates anew, twice" wait_for 12 "the second time" done_twice
  wait $stream
  check "$what: one of each is left, on which both agree" wait_for 20 "agreement" agreed
  sed -n "s/packet loss.*/packet loss/;s/^[0-9]* packets.*/$what: &/p" /run/stream.out
  # strongSwan goes on authenticating anew, and breaks before it makes: a packet may fall into that gap.
  check "$what: packets pass afterwards" wait_for 5 "packets that meet no gap" pings 10.2.0.1
  # Both ends are new to each other, so that a packet may meet an SA that its receiver has ended: hardly one, and no gap.
  received=$(sed -n 's/.* \([0-9]*\) received.*/\1/p' /run/stream.out)
  [ $make_before_break = no ] || check "$what: no gap" [ "$received" -ge 1190 ]
  stop_ipsecd gw
  check "$what: nothing is left" wait_for 5 "empty kernels" is "$(esp gw) $(ip -n gw xfrm policy | grep -c tmpl)" "0 0"
  stop_strongswan
done
finish
