#!/usr/bin/env python3
"""Prints the MODP part of key_exchange.txt, with Python's own arithmetic.

Usage: modp.py < rfc3526.txt >> key_exchange.txt

The primes are read from the text of RFC 3526 (groups 14 to 16). The exponents are 0x80, 0x81, ... and 0xf0, 0xef, ...,
as long as the daemon's own (32, 36 and 40 bytes). The second public value is chosen so that nothing here depends on how
the daemon picks exponents: it is 2 to the second exponent.
"""
import re
import sys

text = sys.stdin.read()
for group, bits, length in ((14, 2048, 32), (15, 3072, 36), (16, 4096, 40)):
    match = re.search(rf"assigned id {group}.*?value is:\s+((?:[0-9A-F]{{8}}\s+)+)", re.sub(r"\n[^\n]*\[Page[^\n]*\n\f?\n?RFC[^\n]*\n", "\n", text), re.S)
    digits = re.sub(r"\s", "", match.group(1))
    prime = int(digits, 16)
    assert prime.bit_length() == bits
    ours = bytes(0x80 + i for i in range(length))
    peer = bytes(0xF0 - i for i in range(length))
    x, y = int.from_bytes(ours, "big"), int.from_bytes(peer, "big")
    print(f"\n[modp{bits}]")
    print("prime =", digits.lower())
    print("private_i =", ours.hex())
    print("public_i =", pow(2, x, prime).to_bytes(bits // 8, "big").hex())
    print("private_r =", peer.hex())
    print("public_r =", pow(2, y, prime).to_bytes(bits // 8, "big").hex())
    print("shared =", pow(2, x * y, prime).to_bytes(bits // 8, "big").hex())
