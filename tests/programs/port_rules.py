#!/usr/bin/env python3
"""Makes the calls whose answers are the port rules; prints one line for each case.

Run plain, the kernel answers; run under `foyer run`, foyer does. test_port_rules.py compares.
Everything stays on the loopback addresses, which either has.
"""

import errno
import itertools
import socket
import struct

ADDRESSES = {
    "v4-any": (socket.AF_INET, "0.0.0.0", None),
    "v4-one": (socket.AF_INET, "127.0.0.1", None),
    "v4-two": (socket.AF_INET, "127.0.0.2", None),
    "v6-any-dual": (socket.AF_INET6, "::", 0),
    "v6-any-only": (socket.AF_INET6, "::", 1),
    "v6-one": (socket.AF_INET6, "::1", None),
    "v6-mapped-one": (socket.AF_INET6, "::ffff:127.0.0.1", 0),
}
OPTIONS = {
    "none": (0, 0),
    "addr": (1, 0),
    "port": (0, 1),
    "both": (1, 1),
}
TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def outcome(call, *args):
    try:
        call(*args)
        return "ok"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))


def make(kind, address, options):
    family, _, only = ADDRESSES[address]
    sock = socket.socket(family, TYPES[kind])
    if only is not None:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    reuse_addr, reuse_port = OPTIONS[options]
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse_addr)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuse_port)
    return sock


def free_port():
    """A port that nobody holds, whatever the address."""
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as tcp:
        tcp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        tcp.bind(("::", 0))
        return tcp.getsockname()[1]


def matrix():
    port = free_port()
    for kind in TYPES:
        states = ("bound", "listening") if kind == "tcp" else ("bound",)
        for first, first_opt, state, second, second_opt in itertools.product(
                ADDRESSES, OPTIONS, states, ADDRESSES, OPTIONS):
            with make(kind, first, first_opt) as a, make(kind, second, second_opt) as b:
                a.bind((ADDRESSES[first][1], port))
                if state == "listening":
                    a.listen()
                answer = outcome(b.bind, (ADDRESSES[second][1], port))
                if kind == "tcp" and answer == "ok":
                    answer += "," + outcome(b.listen)
                    if state == "bound":
                        answer += "," + outcome(a.listen)
                print(f"{kind} {first}/{first_opt}/{state} {second}/{second_opt}: {answer}")


def pair(port, **options):
    """A connected pair whose server end holds the port."""
    listener = socket.socket()
    for option, value in options.items():
        listener.setsockopt(socket.SOL_SOCKET, getattr(socket, option), value)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    client = socket.create_connection(("127.0.0.1", port))
    server, _ = listener.accept()
    return listener, client, server


def bind_fresh(port, reuse_addr):
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse_addr)
        return outcome(sock.bind, ("127.0.0.1", port))


def singles():
    with socket.socket() as sock:
        print("bind 0 gives a port:", 1 if not sock.bind(("127.0.0.1", 0)) and
              sock.getsockname()[1] >= 1024 else 0)
        print("bind twice:", outcome(sock.bind, ("127.0.0.1", 0)))
    with socket.socket() as sock:
        print("bind foreign address:", outcome(sock.bind, ("192.0.2.1", 0)))
    with socket.socket() as sock:
        print("listen unbound:", outcome(sock.listen), sock.getsockname()[1] > 0)
    with socket.socket() as sock:
        print("connect to port 0:", outcome(sock.connect, ("127.0.0.1", 0)))
    with socket.socket() as sock:
        print("connect where nobody listens:", outcome(sock.connect, ("127.0.0.1", free_port())))
    with socket.socket(socket.AF_INET6) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        print("v4-mapped on v6only:", outcome(sock.bind, ("::ffff:127.0.0.1", 0)))
    with socket.socket(socket.AF_INET) as sock:
        print("accept without listen:", outcome(sock.accept))
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        print("listen on udp:", outcome(sock.listen))

    port = free_port()
    for reuse in (0, 1):
        listener, client, server = pair(port, SO_REUSEADDR=1)
        print(f"bind beside listener, reuse {reuse}:", bind_fresh(port, reuse))
        listener.close()
        print(f"bind beside accepted, reuse {reuse}:", bind_fresh(port, reuse))
        client.close()  # so that the client end, with another port, is the one in TIME-WAIT
        server.close()
    listener, client, server = pair(free_port())
    local = client.getsockname()[1]
    print("bind a client's port, reuse 0:", bind_fresh(local, 0))
    print("bind a client's port, reuse 1:", bind_fresh(local, 1))
    print("second connect:", outcome(client.connect, listener.getsockname()))
    for sock in (listener, client, server):
        sock.close()

    # One local port for two destinations, and not twice for the same.
    with socket.socket() as one, socket.socket() as two, socket.socket() as a, \
            socket.socket() as b, socket.socket() as c:
        for listener in (one, two):
            listener.bind(("127.0.0.1", 0))
            listener.listen()
        port = free_port()
        for sock in (a, b, c):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
        print("one port, two destinations:", outcome(a.connect, one.getsockname()),
              outcome(b.connect, two.getsockname()), outcome(c.connect, one.getsockname()))

    # A reset connection leaves no TIME-WAIT: the port is free at once.
    port = free_port()
    listener, client, server = pair(port)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()
    listener.close()
    print("client of a reset:", outcome(client.recv, 1))
    client.close()
    print("bind after reset:", bind_fresh(port, 0))


if __name__ == "__main__":
    matrix()
    singles()
