# shellcheck shell=bash
# Objects of other programs in the worlds of checks.sh, which no daemon may touch.
make_foreign() {
  local key; key=0x$(printf '77%.0s' {1..36})
  ip -n gw xfrm state add src 203.0.113.1 dst 203.0.113.2 proto esp spi 0xbeef reqid 9 mode tunnel replay-window 32 aead 'rfc4106(gcm(aes))' "$key" 128
  ip -n gw xfrm policy add src 203.0.113.0/24 dst 198.51.100.0/24 dir out tmpl src 203.0.113.1 dst 203.0.113.2 proto esp reqid 9 mode tunnel
  ip -n customers link add theirs type xfrm if_id 0x77
  ip -n customers link set theirs master blue; ip -n customers link set theirs up
  ip -n customers route add 10.77.0.0/16 dev theirs table 20 proto 50 metric 100
}
foreign() {
  ip -n gw xfrm state list spi 0xbeef | grep -v lifetime; ip -n gw xfrm policy list src 203.0.113.0/24
  ip -n customers -o link show theirs; ip -n customers route show table 20 10.77.0.0/16
}
