#!/bin/bash
# The proof of what is ours: lost or damaged after a kill, until an operator adopts what stands; kept at a kill and removed at
# an orderly end; and on a file system that others have filled, where what stands is rekeyed and new tunnels are refused.
. "$(dirname "$0")/checks.sh"
. tests/interop/foreign.sh
make_network veth; peer_inside
RUN=/run/ipsecd-gw JOURNAL=/run/ipsecd-gw/journal
mkdir -p $RUN; mount -t tmpfs -o size=3m none $RUN; secret gw peer.psk
make_foreign
FOREIGN=$(foreign)
# All that an earlier run has left, and where: to be compared as a whole.
standing() {
  ip -n customers -o link show type xfrm; ip -n customers route show table 20 proto 50
  ip -n gw xfrm policy list | grep -A1 'proto esp reqid 1'; ip -n gw xfrm state | grep '^src'
}
interfaces() { ip -n customers -o link show type xfrm | grep -vc theirs; }
# rows VERDICT: how many objects drift shows with it.
rows() { ctl gw --json drift | grep -o "\"verdict\":\"$1\"" | wc -l; }
no_rows() { is "$(rows "$1")" 0; }
calm() { ctl gw drift; }
both_up() { state_is branch-4 up && state_is branch-6 up; }
names() { grep -ac "^+ .* $1 " $JOURNAL; }
murder() { { kill -KILL "$(cat $RUN/pid)"; wait "$(cat $RUN/pid)"; } 2> /dev/null; rm -f $RUN/control; }
counted() { ctl gw status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["counters"].get(sys.argv[1], 0))' "$1"; }

gateway_config none none now > /run/gw.json
start_strongswan aes256gcm16-prfsha384-x25519 aes256gcm16 || exit 1
start_ipsecd gw /run/gw.json || exit 1
check "both tunnels come up" wait_for 15 "both tunnels" both_up
check "a first start without a journal is no loss" is "$(events journal-missing)" 0
check "nothing is unclaimed" no_rows unclaimed

for loss in missing damaged; do
  murder
  check "$loss: the journal of a killed daemon names what stands" test "$(names sa)" -ge 4
  if [ $loss = missing ]; then rm $JOURNAL*; else echo "garbage" > $JOURNAL; fi
  LEFT=$(standing)
  start_ipsecd gw /run/gw.json || exit 1
  check "$loss: it is told, once" is "$(events journal-missing)" 1
  sleep 2  # whatever the daemon would do wrong, it would do now
  check "$loss: what stands is untouched" is "$(standing)" "$LEFT"
  check "$loss: pings go on" pings 10.2.0.1
  # Two interfaces, routes, in, forward and outbound policies, SAs in and out.
  check "$loss: all of it is listed" is "$(rows unclaimed)" 14
  check "$loss: and nothing else" is "$(rows foreign)" 4
  check "$loss: a reader may not adopt" bash -c "! setpriv --reuid 65534 --clear-groups $BUILD/agent/ctl/ipsecctl --socket $RUN/control drift --adopt"
  check "$loss: an operator adopts it" bash -c "$(declare -f ctl); BUILD=$BUILD ctl gw drift --adopt | grep -qx '14 objects are ours now.'"
  check "$loss: that is told" test "$(events drift-adopted)" -ge 2
  check "$loss: both tunnels come up" wait_for 30 "both tunnels" both_up
  check "$loss: nothing differs" wait_for 15 "no drift" calm
  check "$loss: nothing is unclaimed" wait_for 5 "no unclaimed objects" no_rows unclaimed
  check "$loss: SAs of the killed daemon are gone" wait_for 10 "four SAs" eval '[ "$(esp gw)" = 5 ]'
  check "$loss: pings" pings 10.2.0.1
  check "$loss: what is foreign stands" is "$(foreign)" "$FOREIGN"
done

# What is not configured any more goes, when it is adopted.
murder; rm $JOURNAL*
python3 -c 'import json; d = json.load(open("/run/gw.json")); del d["tunnels"]["branch-6"]; json.dump(d, open("/run/one.json", "w"))'
start_ipsecd gw /run/one.json || exit 1
check "both interfaces stand" is "$(interfaces)" 2
check "they are adopted" ctl gw drift --adopt
check "that of the tunnel that is no more goes" wait_for 10 "one interface" eval '[ "$(interfaces)" = 1 ]'
check "the other one serves" wait_for 30 "branch-4 up" state_is branch-4 up
check "nothing differs" wait_for 15 "no drift" calm
stop_ipsecd gw
check "an orderly end takes everything out, and the journal" is "$(interfaces) $(ls $JOURNAL* 2> /dev/null | wc -l)" "0 0"
check "what is foreign stands" is "$(foreign)" "$FOREIGN"

# Others fill the file system: what is up goes on, new tunnels wait.
stop_strongswan
start_strongswan aes256gcm16-prfsha384-x25519 aes256gcm16 || exit 1
start_ipsecd gw /run/gw.json || exit 1
check "both tunnels come up" wait_for 15 "both tunnels" both_up
dd if=/dev/zero of=$RUN/others bs=64k > /dev/null 2>&1; dd if=/dev/zero of=$RUN/more bs=1k > /dev/null 2>&1
check "the file system is full" bash -c "! (echo x > $RUN/x)"
rm -f $RUN/x
python3 - << 'P'
import json
document = json.load(open("/run/gw.json"))
for i in range(400):
    document["tunnels"]["extra-%d" % i] = dict(document["tunnels"]["branch-4"], remote="198.51.%d.%d" % (100 + i // 200, 1 + i % 200),
        remote_id="extra-%d.example" % i, children={"lan": dict(document["tunnels"]["branch-4"]["children"]["lan"],
        remote=["10.%d.%d.0/24" % (100 + i // 200, i % 200)], start="traffic")})
json.dump(document, open("/run/many.json", "w"))
P
cp /run/gw.json /run/few.json; cp /run/many.json /run/gw.json
check "400 more tunnels are applied" ctl gw config apply
refused() { [ "$(events journal-room)" -gt 2 ]; }
check "those that the journal has no space for are refused, with the reason" wait_for 15 "refusals" refused
check "that says what is kept for whom" grep -q 'journal-room.*kept for rekeys' "$LOG_DIR/ipsecd-gw.log"
for ((round = 1; round <= 30; round++)); do
  check "round $round: what is up is rekeyed" ctl gw rekey branch-4
done
check "both tunnels are up" both_up
check "pings" pings 10.2.0.1
murder
start_ipsecd gw /run/few.json || exit 1
check "it starts again without any space" wait_for 30 "both tunnels" both_up
check "and removes what is configured no more" wait_for 10 "two interfaces" eval '[ "$(interfaces)" = 2 ]'
rm $RUN/others $RUN/more
cp /run/many.json /run/few.json
check "with space again all tunnels are applied" ctl gw config apply
all_there() { [ "$(interfaces)" = 402 ]; }
check "and every one has its interface" wait_for 60 "402 interfaces" all_there
check "nothing differs" wait_for 60 "no drift" calm
stop_ipsecd gw
check "in the end only what is foreign stands" is "$(interfaces) $(foreign)" "0 $FOREIGN"
finish
