"""Acts that connect to something: the network, the hypervisor, sockets of other processes."""

from __future__ import annotations

import socket
from typing import Any

from tests.attack.acts.act import LIMITS, act, since


def _connect(family: int, kind: int, protocol: int, address: Any) -> None:
    with socket.socket(family, kind, protocol) as opened:
        opened.connect(address)


@act("connect by TCP", *since(4))
def tcp(to: dict[str, Any]) -> None:
    _connect(socket.AF_INET, socket.SOCK_STREAM, 0, ("127.0.0.1", to["port"]))


@act("connect by TCP over IPv6", *since(4))
def tcp_over_ipv6(to: dict[str, Any]) -> None:
    _connect(socket.AF_INET6, socket.SOCK_STREAM, 0, ("::ffff:127.0.0.1", to["port"]))


@act("connect by MPTCP, which Landlock does not know")
def mptcp(to: dict[str, Any]) -> None:
    _connect(socket.AF_INET, socket.SOCK_STREAM, 262, ("127.0.0.1", to["port"]))


@act("send with TCP Fast Open, which connects without a call to connect")
def fast_open(to: dict[str, Any]) -> None:
    with socket.socket() as opened:
        opened.sendto(b"secret", 0x20000000, ("127.0.0.1", to["port"]))


@act("listen on a TCP port", *since(4))
def listen(_to: dict[str, Any]) -> None:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        opened.listen()


@act("send by UDP")
def udp(to: dict[str, Any]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.sendto(b"secret", ("127.0.0.1", to["port"]))


@act("ask a name server")
def name_server(_to: dict[str, Any]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.connect(("127.0.0.53", 53))
        opened.send(b"\0" * 12)


@act("connect to a socket in the file system")
def unix_path(to: dict[str, Any]) -> None:
    _connect(socket.AF_UNIX, socket.SOCK_STREAM, 0, to["unix"])


@act("connect to an abstract socket", *since(6))
def unix_abstract(to: dict[str, Any]) -> None:
    _connect(socket.AF_UNIX, socket.SOCK_STREAM, 0, "\0" + to["abstract"])


@act("make a pair of sockets")
def socket_pair(_to: dict[str, Any]) -> None:
    for each in socket.socketpair():
        each.close()


@act("open a raw socket", LIMITS)
def raw_socket(_to: dict[str, Any]) -> None:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close()


@act("open a packet socket", LIMITS)
def packet_socket(_to: dict[str, Any]) -> None:
    socket.socket(17, socket.SOCK_RAW, 0).close()


@act("ask the kernel for its network devices")
def netlink(_to: dict[str, Any]) -> None:
    socket.socket(16, socket.SOCK_RAW, 0).close()


@act("open a socket to the hypervisor")
def vsock(_to: dict[str, Any]) -> None:
    socket.socket(40, socket.SOCK_STREAM, 0).close()
