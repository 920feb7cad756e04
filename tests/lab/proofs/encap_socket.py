"""Holds UDP port 4500 of both families open with UDP_ENCAP_ESPINUDP, as an IKE daemon does."""
import signal
import socket

UDP_ENCAP, UDP_ENCAP_ESPINUDP = 100, 2
sockets = []
for family, address in ((socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::')):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.setsockopt(socket.IPPROTO_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP)
    sock.bind((address, 4500))
    sockets.append(sock)
signal.pause()
