#!/usr/bin/env python3
"""Prints the MODP part of key_exchange.txt, with Python's own arithmetic.

Usage: modp.py < rfc3526.txt >> key_exchange.txt

The primes are read from the text of RFC 3526 (groups 5 and 14 to 18); that of group 2 is the one of RFC 2409 section
6.2. The exponents are 0x80, 0x81, ... and 0xf0, 0xef, ..., as long as the daemon's own (32 to 48 bytes). The second public value is chosen so that nothing here depends on how
the daemon picks exponents: it is 2 to the second exponent.
"""
import re
import sys

text = sys.stdin.read()
GROUP_2 = """FFFFFFFF FFFFFFFF C90FDAA2 2168C234 C4C6628B 80DC1CD1 29024E08 8A67CC74 020BBEA6 3B139B22 514A0879
8E3404DD EF9519B3 CD3A431B 302B0A6D F25F1437 4FE1356D 6D51C245 E485B576 625E7EC6 F44C42E9 A637ED6B 0BFF5CB6 F406B7ED
EE386BFB 5A899FA5 AE9F2411 7C4B1FE6 49286651 ECE65381 FFFFFFFF FFFFFFFF"""


def prime_of(group):
    if group == 2:
        return GROUP_2
    pages = re.sub(r"\n[^\n]*\[Page[^\n]*\n\f?\n?RFC[^\n]*\n", "\n", text)
    # The first group of the document has its number in the text before.
    begin = "1536-bit MODP Group" if group == 5 else f"assigned id {group}\\b"
    return re.search(rf"{begin}.*?value is:\s+((?:[0-9A-F]{{8}}\s+)+)", pages, re.S).group(1)


for group, bits, length in ((14, 2048, 32), (15, 3072, 36), (16, 4096, 40), (2, 1024, 32), (5, 1536, 32),
                            (17, 6144, 44), (18, 8192, 48)):
    digits = re.sub(r"\s", "", prime_of(group))
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
