"""Sends packets of GRE and IP in IP in the clear, as if they came from the other gateway: past the sender's own policies.

inject.py INTERFACE LINK-ADDRESS: from 192.0.2.2 and 2001:db8::2 to the .1 of both; inside are echo requests to the addresses of
the carriers of carrier_test.sh.
"""

import ipaddress
import socket
import struct
import sys


def address(text):
    return ipaddress.ip_address(text).packed


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip4(source, destination, protocol, payload):
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 7, 0, 64, protocol, 0, address(source), address(destination))
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def ip6(source, destination, protocol, payload):
    return struct.pack("!IHBB16s16s", 6 << 28, len(payload), protocol, 64, address(source), address(destination)) + payload


def echo4(source, destination):
    body = struct.pack("!BBHHH", 8, 0, 0, 7, 7)
    return ip4(source, destination, 1, body[:2] + struct.pack("!H", checksum(body)) + body[4:])


def echo6(source, destination):
    body = struct.pack("!BBHHH", 128, 0, 0, 7, 7)
    pseudo = address(source) + address(destination) + struct.pack("!II", len(body), 58)
    return ip6(source, destination, 58, body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:])


def echoes(number):
    return echo4(f"10.255.{number}.2", f"10.255.{number}.1"), echo6(f"fd00:255:{number}::2", f"fd00:255:{number}::1")


def gre(inner, ether_type, key=None):
    return struct.pack("!HH", 0x2000 if key else 0, ether_type) + (struct.pack("!I", key) if key else b"") + inner


def packets():
    inner4, inner6 = echoes(7)
    for inner, ether_type in ((inner4, 0x0800), (inner6, 0x86DD)):
        yield ip4("192.0.2.2", "192.0.2.1", 47, gre(inner, ether_type, 7))
    inner4, inner6 = echoes(8)
    yield ip4("192.0.2.2", "192.0.2.1", 4, inner4)
    yield ip4("192.0.2.2", "192.0.2.1", 41, inner6)
    inner4, inner6 = echoes(9)
    for inner, ether_type in ((inner4, 0x0800), (inner6, 0x86DD)):
        yield ip6("2001:db8::2", "2001:db8::1", 47, gre(inner, ether_type))
    inner4, inner6 = echoes(10)
    yield ip6("2001:db8::2", "2001:db8::1", 4, inner4)
    yield ip6("2001:db8::2", "2001:db8::1", 41, inner6)


def main():
    interface, link_address = sys.argv[1:]
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    out.bind((interface, 0))
    own = out.getsockname()[4]
    for packet in packets():
        kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
        out.send(bytes.fromhex(link_address.replace(":", "")) + own + struct.pack("!H", kind) + packet)


main()
