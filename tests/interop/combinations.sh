# shellcheck shell=bash
# Tunnels of combinations.py, between the gateway `gw` and strongSwan: set up and rekeyed by either side.
ping_once() { ip netns exec host ping -q -c 1 -W 1 "$1" > /dev/null; }
ours_up() { ctl gw up "$1"; }
theirs_up() { swan --initiate --child "$1" --timeout 10; }
ours_rekey() { ctl gw rekey "$1"; }
# The peer's tool does not wait for the end: there is one when another SPI is in use.
theirs_rekey() { local before; before=$(spi "$1"); swan --rekey --child "$1" && wait_for 5 "another SPI" other_spi "$1" "$before"; }
spi() { ctl gw --json list children --filter "tunnel=$1" --filter state=up | grep -o '"spi_out": *"[^"]*"'; }
other_spi() { [ "$(spi "$1")" != "$2" ]; }
