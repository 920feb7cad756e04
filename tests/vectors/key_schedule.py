#!/usr/bin/env python3
"""Prints key_schedule.txt: RFC 7296 sections 2.13 to 2.17 done with Python's hmac module.

Usage: key_schedule.py > key_schedule.txt

RFC 7296 and its predecessors publish no vectors. The formulas here are written from the text of the RFC, apart from the
daemon's code, and share nothing with it.
"""
import hashlib
import hmac

NI = bytes(range(0x10, 0x30))
NR = bytes(range(0x40, 0x70))
SPI_I = bytes.fromhex("c0c1c2c3c4c5c6c7")
SPI_R = bytes.fromhex("d0d1d2d3d4d5d6d7")
SHARED = bytes(range(0xA0, 0xC0))
FIRST_MESSAGE = b"the first message of this side, as sent"
ID_BODY = bytes.fromhex("02000000") + b"gw.example.net"
PSK = b"a pre-shared key"
CHILD_NI = bytes(range(0x70, 0x90))
CHILD_NR = bytes(range(0x30, 0x50))


def prf(hash_name, key, data):
    return hmac.new(key, data, hash_name).digest()


def prf_plus(hash_name, key, seed, size):
    out, last, counter = b"", b"", 1
    while len(out) < size:
        last = prf(hash_name, key, last + seed + bytes([counter]))
        out += last
        counter += 1
    return out[:size]


print("# Made by key_schedule.py, which says how.")
print("\n[inputs]")
for name, value in (("ni", NI), ("nr", NR), ("spi_i", SPI_I), ("spi_r", SPI_R), ("shared", SHARED),
                    ("first_message", FIRST_MESSAGE), ("id_body", ID_BODY), ("psk", PSK),
                    ("child_ni", CHILD_NI), ("child_nr", CHILD_NR)):
    print(name, "=", value.hex())

# Name, hash, bytes of: integrity key, cipher key with salt, child key material of one direction.
SUITES = (("aes256gcm16-prfsha384", "sha384", 0, 36, 36),
          ("aes256-sha256-prfsha256", "sha256", 32, 32, 64),
          ("aes128-sha512-prfsha512", "sha512", 64, 16, 80),
          ("chacha20poly1305-prfsha256", "sha256", 0, 36, 36))
for name, hash_name, integrity, cipher, child in SUITES:
    size = hashlib.new(hash_name).digest_size
    skeyseed = prf(hash_name, NI + NR, SHARED)
    block = prf_plus(hash_name, skeyseed, NI + NR + SPI_I + SPI_R, 3 * size + 2 * integrity + 2 * cipher)
    print(f"\n[{name}]")
    print("block =", block.hex())
    at = 0
    for key, length in (("sk_d", size), ("sk_ai", integrity), ("sk_ar", integrity), ("sk_ei", cipher),
                        ("sk_er", cipher), ("sk_pi", size), ("sk_pr", size)):
        print(key, "=", block[at:at + length].hex())
        if key == "sk_d":
            sk_d = block[at:at + length]
        if key == "sk_pi":
            sk_pi = block[at:at + length]
        if key == "sk_pr":
            sk_pr = block[at:at + length]
        at += length
    octets_i = FIRST_MESSAGE + NR + prf(hash_name, sk_pi, ID_BODY)
    octets_r = FIRST_MESSAGE + NI + prf(hash_name, sk_pr, ID_BODY)
    print("octets_i =", octets_i.hex())
    print("octets_r =", octets_r.hex())
    print("auth_i =", prf(hash_name, prf(hash_name, PSK, b"Key Pad for IKEv2"), octets_i).hex())
    for label, seed in (("child", CHILD_NI + CHILD_NR), ("child_pfs", SHARED + CHILD_NI + CHILD_NR)):
        keymat = prf_plus(hash_name, sk_d, seed, 2 * child)
        print(f"{label}_i_to_r =", keymat[:child].hex())
        print(f"{label}_r_to_i =", keymat[child:].hex())

print("\n[prf-plus]")
for hash_name in ("sha256", "sha384", "sha512"):
    size = 255 * hashlib.new(hash_name).digest_size
    whole = prf_plus(hash_name, b"key", b"seed", size)
    print(f"{hash_name}_of_all_blocks =", hashlib.sha256(whole).hexdigest())
