#!/usr/bin/env python3
"""Prints key_schedule.txt: RFC 7296 sections 2.13 to 2.17 done with Python's hmac module,
and with the command openssl for AES-XCBC-PRF-128.

Usage: key_schedule.py > key_schedule.txt

RFC 7296 and its predecessors publish no vectors. The formulas here are written from the text of the RFC, apart from the
daemon's code, and share nothing with it.
"""
import hashlib
import hmac
import subprocess

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


def aes_cbc(key, data):
    """Whole blocks of data, encrypted with an IV of zeros."""
    command = ["openssl", "enc", "-aes-128-cbc", "-nopad", "-K", key.hex(), "-iv", bytes(16).hex()]
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))


def xcbc(key, data):
    """RFC 3566 and RFC 4434."""
    if len(key) > 16:
        key = xcbc(bytes(16), key)
    key = key.ljust(16, b"\0")
    k1, k2, k3 = (aes_cbc(key, bytes([n]) * 16) for n in (1, 2, 3))
    begin = (len(data) - 1) // 16 * 16 if data else 0
    rest = data[begin:]
    last = xor(rest, k2) if len(rest) == 16 else xor((rest + b"\x80").ljust(16, b"\0"), k3)
    return aes_cbc(k1, data[:begin] + last)[-16:]


def size_of(name):
    return 16 if name == "xcbc" else hashlib.new(name).digest_size


def prf(name, key, data):
    return xcbc(key, data) if name == "xcbc" else hmac.new(key, data, name).digest()


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
          ("chacha20poly1305-prfsha256", "sha256", 0, 36, 36),
          ("3des-sha1-prfsha1", "sha1", 20, 24, 44),
          ("aes128-aesxcbc-prfaesxcbc", "xcbc", 16, 16, 32))
for name, hash_name, integrity, cipher, child in SUITES:
    size = size_of(hash_name)
    # Section 2.14: of each nonce the first 64 bits, where the PRF has a key of fixed size.
    seed_key = NI[:8] + NR[:8] if hash_name == "xcbc" else NI + NR
    skeyseed = prf(hash_name, seed_key, SHARED)
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
for hash_name in ("sha256", "sha384", "sha512", "sha1", "xcbc"):
    size = 255 * size_of(hash_name)
    whole = prf_plus(hash_name, b"key", b"seed", size)
    print(f"{hash_name}_of_all_blocks =", hashlib.sha256(whole).hexdigest())
