#!/usr/bin/env python3
"""foyerd against well-behaved, broken and hostile programs, through its protocol alone."""

import errno
import os
import pathlib
import resource
import signal
import socket
import struct
import sys
import time
import unittest

import ipc_client as ipc
from ipc_client import Daemon, Session

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
from foyer_test import wait_until  # noqa: E402


class DaemonCase(unittest.TestCase):
    def setUp(self):
        self.daemon = self.enterContext(Daemon())

    def session(self, **kwargs):
        session = Session(self.daemon, **kwargs)
        self.addCleanup(session.close)
        return session

    def listener(self, session, port=80, backlog=16, address="0.0.0.0"):
        listener = session.socket()
        self.assertEqual(listener.bind(address, port), 0)
        self.assertEqual(listener.listen(backlog), 0)
        return listener

    def pair(self, port=80):
        """A client, the accepted socket and the listener, on two hosts."""
        server, client = self.session(host="web"), self.session(host="visitor")
        listener = self.listener(server, port)
        connecting = client.socket()
        self.assertEqual(connecting.connect(server.addr4, port), 0)
        return connecting, listener.accept(), listener

    def sockets(self, host=None):
        return self.daemon.control("ports", host=host)["sockets"]


class LocalCarrier(DaemonCase):
    def test_bytes_both_ways(self):
        client, accepted, _ = self.pair()
        self.assertEqual(client.state, ipc.CONNECTED)
        self.assertEqual(client.local, accepted.remote)
        self.assertEqual(client.remote, accepted.local)
        client.send(b"question")
        self.assertEqual(accepted.receive(8), b"question")
        accepted.send(b"answer")
        self.assertEqual(client.receive(6), b"answer")

    def test_ipv6_and_dual_stack(self):
        server, client = self.session(host="web"), self.session(host="visitor")
        listener = server.socket(family=socket.AF_INET6)
        self.assertEqual(listener.bind("::", 80), 0)
        self.assertEqual(listener.listen(), 0)
        for address, family in ((server.addr6, socket.AF_INET6), (server.addr4, socket.AF_INET)):
            one = client.socket(family=family)
            self.assertEqual(one.connect(address, 80), 0)
            accepted = listener.accept()
            self.assertEqual(accepted.remote, one.local)

    def test_loopback_is_the_own_host(self):
        web, other = self.session(host="web"), self.session(host="other")
        self.listener(web)
        self.assertEqual(web.socket().connect("127.0.0.1", 80), 0)
        self.assertEqual(web.socket().connect("0.0.0.0", 80), 0)
        self.assertEqual(other.socket().connect("127.0.0.1", 80), errno.ECONNREFUSED)

    def test_nobody_listens(self):
        client, web = self.session(host="visitor"), self.session(host="web")
        one = client.socket()
        self.assertEqual(one.connect(web.addr4, 80), errno.ECONNREFUSED)
        self.listener(web)
        self.assertEqual(one.connect(web.addr4, 80), 0, "the same socket may try again")

    def test_no_such_host_and_no_way_out(self):
        client = self.session()
        self.assertEqual(client.socket().connect("10.177.9.9", 80), errno.EHOSTUNREACH)
        self.assertEqual(client.socket().connect("192.0.2.1", 80), errno.ENETUNREACH)

    def test_close_is_fin(self):
        client, accepted, _ = self.pair()
        client.send(b"last words")
        client.close()
        accepted.wait_bell()
        wait_until(lambda: accepted.channel.writer_state() == ipc.FIN, "FIN")
        self.assertEqual(accepted.channel.reader_state(), ipc.FIN)
        self.assertEqual(accepted.receive(10), b"last words")

    def test_close_with_unread_bytes_is_reset(self):
        client, accepted, _ = self.pair()
        accepted.send(b"nobody reads this")
        client.close()
        wait_until(lambda: accepted.channel.writer_state() == ipc.RESET, "RESET")
        self.assertEqual(accepted.channel.reader_state(), ipc.RESET)

    def test_linger_zero_is_reset(self):
        client, accepted, _ = self.pair()
        client.set_field(64, 0, "=i")
        client.options(ipc.LINGER)
        client.close()
        wait_until(lambda: accepted.channel.writer_state() == ipc.RESET, "RESET")

    def test_half_close_shows_in_states(self):
        client, _, _ = self.pair()
        client.channel.fin()
        states = {s["state"] for s in self.sockets() if s["remote"] is not None}
        self.assertEqual(states, {"FIN_WAIT_2", "CLOSE_WAIT"})

    def test_contradicting_indexes_end_only_this_connection(self):
        client, accepted, _ = self.pair()
        accepted.channel.set_word(accepted.channel.side, 0, 0xdeadbeef)
        client.close()
        wait_until(lambda: accepted.channel.writer_state() == ipc.RESET, "RESET")
        self.pair(81)

    def test_backlog_full_then_room(self):
        server, client = self.session(host="web"), self.session(host="visitor")
        listener = self.listener(server, backlog=1)
        first, second, third = (client.socket() for _ in range(3))
        self.assertEqual(first.connect(server.addr4, 80), 0)
        self.assertEqual(second.connect(server.addr4, 80), 0)
        self.assertEqual(third.connect(server.addr4, 80), errno.EINPROGRESS)
        self.assertEqual(third.state, ipc.CONNECTING)
        entry = next(s for s in self.sockets("web") if s["state"] == "LISTEN")
        self.assertEqual((entry["accept_queue"], entry["backlog"]), (3, 1))
        listener.accept()
        third.wait_bell()
        self.assertEqual(third.state, ipc.CONNECTED)
        accepted = [listener.accept(), listener.accept()]
        self.assertEqual(accepted[1].remote, third.local)

    def test_waiting_connect_is_refused_when_the_listener_goes(self):
        server, client = self.session(host="web"), self.session(host="visitor")
        listener = self.listener(server, backlog=0)
        first, second = client.socket(), client.socket()
        self.assertEqual(first.connect(server.addr4, 80), 0)
        self.assertEqual(second.connect(server.addr4, 80), errno.EINPROGRESS)
        listener.close()
        second.wait_bell()
        self.assertEqual((second.state, second.error), (ipc.FAILED, errno.ECONNREFUSED))
        wait_until(lambda: first.channel.writer_state() == ipc.RESET, "RESET of the unaccepted")
        self.listener(server)
        self.assertEqual(second.connect(server.addr4, 80), 0, "it may try again")

    def test_waiting_client_gives_up(self):
        server, client = self.session(host="web"), self.session(host="visitor")
        listener = self.listener(server, backlog=0)
        first, second = client.socket(), client.socket()
        self.assertEqual(first.connect(server.addr4, 80), 0)
        self.assertEqual(second.connect(server.addr4, 80), errno.EINPROGRESS)
        second.close()
        wait_until(lambda: len(self.sockets()) == 3, "the connection to be forgotten")
        listener.accept()
        third = client.socket()
        self.assertEqual(third.connect(server.addr4, 80), 0)
        self.assertEqual(listener.accept().remote, third.local)

    def test_long_queue_of_connections(self):
        """More than the kernel's queue of one pair takes at once."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
        server, client = self.session(host="web"), self.session(host="visitor")
        listener = self.listener(server, backlog=4096)
        clients = []
        for _ in range(700):
            one = client.socket()
            self.assertIn(one.connect(server.addr4, 80), (0, errno.EINPROGRESS))
            clients.append(one)
        remotes = []
        for _ in clients:
            accepted = listener.accept()
            remotes.append(accepted.remote)
            accepted.close()
        self.assertEqual(remotes, [one.local for one in clients])

    def test_accept_count_can_lie(self):
        server, client = self.session(host="web"), self.session(host="visitor")
        listener = self.listener(server, backlog=0)
        self.assertEqual(client.socket().connect(server.addr4, 80), 0)
        listener.set_field(20, 0xfffffff0)
        self.assertEqual(client.socket().connect(server.addr4, 80), 0)
        listener.set_field(20, 7)
        self.assertIn(client.socket().connect(server.addr4, 80), (0, errno.EINPROGRESS))
        self.assertEqual(self.daemon.control("status")["hosts"], 2)

    def test_reuseport_shares_connections(self):
        server, client = self.session(host="web"), self.session(host="visitor")
        listeners = []
        for _ in range(2):
            one = server.socket()
            one.options(ipc.REUSEPORT)
            self.assertEqual(one.bind("0.0.0.0", 80), 0)
            self.assertEqual(one.listen(), 0)
            one.end.setblocking(False)
            listeners.append(one)
        for _ in range(16):
            self.assertEqual(client.socket().connect(server.addr4, 80), 0)
        counts = [s["accept_queue"] for s in self.sockets("web") if s["state"] == "LISTEN"]
        self.assertEqual(sum(counts), 16)
        self.assertNotIn(0, counts, "16 connections all with one of two: chance 1 in 32768")

    def test_disconnect(self):
        client, accepted, _ = self.pair()
        self.assertEqual(client.connect("0.0.0.0", 0, unspecified=True), 0)
        self.assertEqual(client.state, ipc.FRESH)
        wait_until(lambda: accepted.channel.writer_state() == ipc.RESET, "RESET")
        web = accepted.session
        self.assertEqual(client.connect(web.addr4, 80), 0)

    def test_errors_of_connect(self):
        client, accepted, listener = self.pair()
        self.assertEqual(client.connect(accepted.session.addr4, 80), errno.EISCONN)
        self.assertEqual(listener.connect(accepted.session.addr4, 80), errno.EISCONN)
        self.assertEqual(client.listen(), errno.EINVAL)
        one = client.session.socket()
        self.assertEqual(one.connect(accepted.session.addr6, 80), errno.EAFNOSUPPORT)


class Ports(DaemonCase):
    def test_conflict_names_the_holder(self):
        session = self.session(host="web")
        self.listener(session)
        other = session.socket()
        self.assertEqual(other.bind("0.0.0.0", 80), errno.EADDRINUSE)
        self.assertRegex(
            other.conflict,
            r"^foyer: port 80/tcp \(http\) on host web is taken: \S+ \(pid %d, user \w+\) has "
            r"held it since \d\d:\d\d:\d\d; stop it with \"kill %d\", choose another port, or run "
            r"this on another host with \"foyer run --host NAME\"$" % (os.getpid(), os.getpid()))

    def test_each_host_has_its_own_ports(self):
        for name in ("a", "b", "c"):
            self.listener(self.session(host=name))
        self.assertEqual(len(self.sockets()), 3)
        self.assertEqual(len(self.sockets("b")), 1)

    def test_hang_up_gives_the_port_back(self):
        session = self.session()
        listener = self.listener(session)
        listener.close()
        wait_until(lambda: self.sockets() == [], "the port")
        self.listener(session)

    def test_inherited_socket_outlives_session(self):
        """The session of the process that bound is gone; a child holds the descriptor."""
        session = Session(self.daemon, host="web")
        listener = self.listener(session)
        reader, writer = os.pipe()
        os.set_inheritable(listener.end.fileno(), True)
        child = os.fork()
        if child == 0:
            try:
                os.close(writer)
                session.sock.close()
                mine = Session(self.daemon, host="web")
                mine.socket()
                os.read(reader, 1)
            finally:
                os._exit(0)
        os.close(reader)
        listener.close()
        session.close()
        wait_until(lambda: [s["pid"] for s in self.sockets("web")] == [child], "the child as holder")
        os.close(writer)
        os.waitpid(child, 0)
        wait_until(lambda: self.daemon.control("hosts")["hosts"] == [], "the host to go")

    def test_ephemeral_port_and_getsockname(self):
        session = self.session()
        one = session.socket()
        self.assertEqual(one.bind("127.0.0.1", 0), 0)
        self.assertGreaterEqual(one.local[1], 32768)
        self.assertEqual(one.bind("127.0.0.1", 0), errno.EINVAL)
        two = session.socket()
        self.assertEqual(two.bind("192.0.2.7", 80), errno.EADDRNOTAVAIL)


class Datagrams(DaemonCase):
    HEADER = struct.Struct("=IHHH6s16s16s")

    def record(self, payload, address, port):
        data = self.HEADER.pack(len(payload), 0, 0, port, b"", ipc.addr_bytes(address), b"\0" * 16)
        data += payload
        return data + b"\0" * (-len(payload) % 8)

    def exchange(self, to_host, from_host):
        server, client = self.session(host=to_host), self.session(host=from_host)
        one, two = server.socket(kind=socket.SOCK_DGRAM), client.socket(kind=socket.SOCK_DGRAM)
        self.assertEqual(one.state, ipc.DATAGRAM)
        self.assertEqual(one.bind("0.0.0.0", 53), 0)
        two.send(self.record(b"question", server.addr4, 53))
        data = one.receive(48)
        size, _, _, port, _, peer, _ = self.HEADER.unpack(data[:48])
        self.assertEqual(data[48:48 + size], b"question")
        self.assertEqual(peer, ipc.addr_bytes(client.addr4))
        one.send(self.record(b"answer", client.addr4, port))
        data = two.receive(48)
        self.assertEqual(data[48:54], b"answer")

    def test_between_hosts(self):
        self.exchange("web", "visitor")

    def test_on_one_host(self):
        self.exchange("web", "web")

    def test_connected_and_refused(self):
        session = self.session(host="web")
        self.session(host="other")
        one = session.socket(kind=socket.SOCK_DGRAM)
        self.assertEqual(one.connect("10.177.0.3", 9), 0)
        one.send(self.record(b"x", "::", 0)[:4] + struct.pack("=HH", 0, 1)
                 + self.record(b"x", "::", 0)[8:])
        one.wait_bell()
        self.assertEqual(one.error, errno.ECONNREFUSED)

    def test_rubbish_in_the_ring(self):
        session = self.session(host="web")
        one = session.socket(kind=socket.SOCK_DGRAM)
        one.send(b"\xff" * 4096)
        one.channel.set_word(0, 0, 0x80000001)
        one.ring()
        one.channel.set_word(1, 64, 0x12345678)
        one.ring()
        self.assertEqual(self.daemon.control("status")["hosts"], 1)
        self.exchange("web", "visitor")


class Hosts(DaemonCase):
    def test_names_addresses_and_release(self):
        first, second = self.session(host="Web.foyer.internal"), self.session(host="db")
        self.assertEqual((first.host, first.addr4, first.addr6),
                         ("web", "10.177.0.2", "fd66:6f79:6572::2"))
        self.assertEqual(second.addr4, "10.177.0.3")
        first.close()
        wait_until(lambda: [h["name"] for h in self.daemon.control("hosts")["hosts"]] == ["db"],
                   "the host to go")
        self.assertEqual(self.session(host="new").addr4, "10.177.0.2")

    def test_bad_names(self):
        for name in ("-a", "a-", "a_b", "1.2.3.4", "gateway", "localhost", "a.b", "17", "x" * 63):
            if len(name) == 63:
                self.assertEqual(self.session(host=name).host, name)
            else:
                with self.assertRaises(OSError, msg=name):
                    self.session(host=name)

    def test_persistent_hosts(self):
        made = self.daemon.control("host-add", name="shop", address4="10.177.7.7")
        self.assertEqual((made["address4"], made["address6"]),
                         ("10.177.7.7", "fd66:6f79:6572::2"))
        self.assertEqual(self.daemon.control("host-add", name="shop")["error"]["code"], "EEXIST")
        other = self.daemon.control("host-add", name="b", address4="10.177.7.7")
        self.assertEqual(other["error"]["code"], "EEXIST")
        for bad in ("10.178.0.1", "10.177.0.1", "10.177.255.255", "10.177.0.0", "::1", 5):
            got = self.daemon.control("host-add", name="b", address4=bad)
            self.assertEqual(got["error"]["code"], "EINVAL", bad)
        session = self.session(host="shop")
        self.assertEqual(self.daemon.control("host-remove", name="shop")["error"]["code"], "EBUSY")
        self.assertEqual(session.resolve("shop"),
                         ("shop.foyer.internal", ["10.177.7.7", "fd66:6f79:6572::2"]))
        session.close()
        wait_until(lambda: "error" not in self.daemon.control("host-remove", name="shop"),
                   "the host to be removable")
        self.assertEqual(self.daemon.control("hosts")["hosts"], [])

    def test_resolve(self):
        session = self.session(host="web")
        expected = ("web.foyer.internal", [session.addr4, session.addr6])
        for name in ("web", "WEB", "web.foyer.internal", "web.foyer.internal."):
            self.assertEqual(session.resolve(name), expected, name)
        self.assertEqual(session.resolve(address=session.addr6), expected)
        self.assertEqual(session.resolve(address="10.177.0.1")[0], "gateway.foyer.internal")
        for name in ("nobody", "web.example.org", "foyer.internal", ".", "x" * 255):
            self.assertIsNone(session.resolve(name), name)

    def test_networks(self):
        got = self.daemon.control("net-set", net4="10.9.0.0/24", net6="fd00:1::/64")
        self.assertEqual((got["net4"], got["gateway6"]), ("10.9.0.0/24", "fd00:1::1"))
        for bad in ("10.9.0.1/24", "10.9.0.0/30", "127.0.0.0/8", "224.0.0.0/8", "x", "10.9.0.0",
                    "10.9.0.0/24x", "fd00::/64"):
            self.assertEqual(self.daemon.control("net-set", net4=bad)["error"]["code"], "EINVAL")
        self.assertEqual(self.session().addr4, "10.9.0.2")
        self.assertEqual(self.daemon.control("net-set", net4="10.8.0.0/24")["error"]["code"],
                         "EBUSY")

    def test_network_can_be_full(self):
        self.daemon.control("net-set", net4="10.9.0.0/28")
        sessions = [self.session(host=f"h{i}") for i in range(13)]
        self.assertEqual(sessions[-1].addr4, "10.9.0.14")
        with self.assertRaises(OSError) as caught:
            self.session(host="late")
        self.assertEqual(caught.exception.errno, errno.ENOSPC)

    def test_birth_channel(self):
        birth = self.session(role=ipc.BIRTH, host="web")
        child = Session(self.daemon, sock=birth.birth())
        self.assertEqual(child.host, "web")
        self.listener(child)
        birth.close()
        self.assertEqual(len(self.sockets("web")), 1)
        child.close()
        wait_until(lambda: len(self.daemon.control("hosts")["hosts"]) == 0
                   or self.sockets("web") == [], "the socket")

    def test_birth_child_may_not_leave(self):
        birth = self.session(role=ipc.BIRTH, host="web")
        for role, host in ((ipc.PROGRAM, "other"), (ipc.CONTROLLER, ""), (ipc.BIRTH, "web")):
            with self.assertRaises(OSError) as caught:
                Session(self.daemon, role=role, host=host, sock=birth.birth())
            self.assertEqual(caught.exception.errno, errno.EPERM)


class Attach(DaemonCase):
    def test_attach_connected(self):
        client, accepted, _ = self.pair()
        other = self.session(host="visitor")
        error, _, body, fds = other.call(ipc.ATTACH, ident=client.ident,
                                         fds=[client.end.fileno()])
        self.assertEqual(error, 0)
        _, slot, ring_size, side, is_local, _ = struct.unpack("=IIIIII", body)
        self.assertEqual((slot, side, is_local, len(fds)), (client.slot, 0, 1, 3))
        channel = ipc.Channel(fds[1], ring_size, side)
        channel.write(b"from another process")
        self.assertEqual(accepted.receive(20), b"from another process")

    def test_attach_needs_the_descriptor(self):
        client, accepted, _ = self.pair()
        session = self.session(host="visitor")
        read_end, write_end = os.pipe()
        stranger, _ = socket.socketpair()
        for fd in (read_end, stranger.fileno(), accepted.end.fileno()):
            error, _, _, fds = session.call(ipc.ATTACH, ident=client.ident, fds=[fd])
            self.assertEqual((error, fds), (errno.ENOTSOCK, []))
        os.close(read_end)
        os.close(write_end)


class Hostile(DaemonCase):
    def assert_ends_alone(self, session):
        """The session ends, and nobody else's does."""
        self.assertEqual(session.sock.recv(4096), b"")
        self.assertIn("error", {"error": 0} | self.daemon.control("status"))
        self.pair()

    def test_malformed_requests(self):
        good = struct.pack("=IIQ", ipc.SOCKET, 32, 0) + struct.pack("=IIII", 2, 1, 0, 0)
        bad = [
            b"x",
            good[:-1],
            good + b"x",
            struct.pack("=IIQ", 0, 16, 0),
            struct.pack("=IIQ", 99, 16, 0),
            struct.pack("=IIQ", ipc.SOCKET, 16, 0),
            struct.pack("=IIQ", ipc.BIND, 40, 0) + b"\0" * 24,
            struct.pack("=IIQ", ipc.RESOLVE, 288, 0) + b"a" * 272,
            struct.pack("=IIQ", ipc.SESSION, 16, 0),
            struct.pack("=IIQ", ipc.CONTROL, 18, 0) + b"{}",
            struct.pack("=IIQ", ipc.HELLO, 160, 0) + b"\0" * 144,
        ]
        for number, message in enumerate(bad):
            with self.subTest(number=number):
                session = self.session(host="evil")
                session.sock.send(message)
                self.assertEqual(session.sock.recv(4096), b"")
        self.pair()

    def test_first_message_must_be_hello(self):
        session = self.session(hello=False)
        session.send(ipc.SOCKET, struct.pack("=IIII", 2, 1, 0, 0))
        self.assert_ends_alone(session)

    def test_other_version(self):
        session = self.session(hello=False)
        with self.assertRaises(OSError) as caught:
            session.hello(ipc.PROGRAM, "web", version=2)
        self.assertEqual(caught.exception.errno, errno.EPROTO)
        self.assert_ends_alone(session)

    def test_descriptors_where_none_belong(self):
        session = self.session(host="evil")
        before = len(os.listdir(f"/proc/{self.daemon.process.pid}/fd"))
        for _ in range(3):
            one = self.session(host="evil")
            one.send(ipc.SOCKET, struct.pack("=IIII", 2, 1, 0, 0), fds=[0, 1, 2, 0, 1, 2])
            self.assertEqual(one.sock.recv(4096), b"")
        wait_until(lambda: len(os.listdir(f"/proc/{self.daemon.process.pid}/fd")) == before,
                   "all descriptors to be closed")
        session.socket()

    def test_session_that_is_no_socket(self):
        birth = self.session(role=ipc.BIRTH, host="web")
        birth.send(ipc.SESSION, fds=[0])
        stream, _ = socket.socketpair()
        birth.send(ipc.SESSION, fds=[stream.fileno()])
        self.assertEqual(Session(self.daemon, sock=birth.birth()).host, "web")

    def test_ids_of_other_hosts(self):
        victim, evil = self.session(host="web"), self.session(host="evil")
        one = victim.socket()
        one.session = evil
        self.assertEqual(one.bind("0.0.0.0", 80), errno.EBADF)
        self.assertEqual(one.connect("127.0.0.1", 80), errno.EBADF)
        self.assertEqual(evil.call(ipc.INFO, ident=one.ident)[0], errno.EBADF)
        self.assertEqual(evil.call(ipc.INFO, ident=1)[0], errno.EBADF)

    def test_program_that_never_reads_its_answers(self):
        session = self.session(host="evil")
        session.sock.setblocking(False)
        request = struct.pack("=IIQ", ipc.RESOLVE, 288, 0) + b"\0" * 272
        try:
            for _ in range(100000):
                session.sock.send(request)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass
        self.pair()

    def test_shut_down_pair(self):
        session = self.session(host="web")
        listener = self.listener(session)
        listener.end.shutdown(socket.SHUT_WR)
        self.assertEqual(session.socket().connect("127.0.0.1", 80), 0)
        usage = f"/proc/{self.daemon.process.pid}/stat"
        def ticks():
            fields = open(usage, encoding="ascii").read().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])
        before, start = ticks(), time.monotonic()
        while time.monotonic() - start < 0.5:  # the time over which the processor is measured
            self.daemon.control("status")
            time.sleep(0.05)
        self.assertLess(ticks() - before, 25, "foyerd is spinning")

    def test_sockets_that_are_never_bound(self):
        session = self.session(host="web")
        many = [session.socket() for _ in range(500)]
        self.assertEqual(self.daemon.control("status")["sockets"], 500)
        for one in many:
            one.close()
        wait_until(lambda: self.daemon.control("status")["sockets"] == 0, "the sockets to go")


class OutOfDescriptors(unittest.TestCase):
    """foyerd with room for few: it refuses, stays calm, and recovers."""

    def test_limits_are_survived(self):
        with Daemon(limit=64) as daemon:
            keep = Session(daemon, host="web")
            self.addCleanup(keep.close)
            with self.assertRaises(OSError) as caught:
                for _ in range(100):
                    keep.socket()
            self.assertIn(caught.exception.errno, (errno.EMFILE, errno.ENFILE))
            waiting = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            waiting.connect(daemon.socket_path)
            late = Session(daemon, sock=waiting, hello=False)
            for one in keep.sockets:
                one.close()
            keep.sockets.clear()
            late.hello(ipc.PROGRAM, "web")
            self.addCleanup(late.close)
            listener = late.socket()
            self.assertEqual((listener.bind("0.0.0.0", 80), listener.listen()), (0, 0))
            self.assertEqual(keep.socket().connect("127.0.0.1", 80), 0)


class Control(DaemonCase):
    def test_rubbish(self):
        with self.session(role=ipc.CONTROLLER) as session:
            for text in (b"", b"{", b"[]", b'"x"', b'{"command":7}', b'{"command":"dance"}',
                         b"\xff\xfe", b'{"command":"ports","host":7}',
                         b'{"command":"host-add","name":"\\u0000"}', b"[" * 5000):
                if not text:
                    continue
                error, _, _, fds = session.call(ipc.CONTROL, text)
                self.assertEqual(error, 0)
                with os.fdopen(fds[0], "rb") as file:
                    self.assertIn(b'"error"', file.read(), text)

    def test_down(self):
        session = self.session(host="web")
        got = self.daemon.control("down", force=False)
        self.assertEqual(got["error"]["code"], "EBUSY")
        self.assertIn(f"(pid {os.getpid()})", got["error"]["message"])
        session.close()
        wait_until(lambda: self.daemon.control("status")["sessions"] == 1, "the session to end")
        self.assertEqual(self.daemon.control("down", force=False), {})
        self.assertEqual(self.daemon.process.wait(ipc.WAIT_S), 0)

    def test_link_add_needs_a_tap(self):
        got = self.daemon.control("link-add", fds=[0], kind="tap", name="t0")
        self.assertEqual(got["error"]["code"], "EINVAL")
        got = self.daemon.control("link-add", kind="tap", name="t0")
        self.assertEqual(got["error"]["code"], "EINVAL")
        self.assertEqual(self.daemon.control("link-remove", name="t0")["error"]["code"], "ENOENT")
        self.assertEqual(self.daemon.control("links"), {"links": []})


class Deaths(DaemonCase):
    def test_killed_client(self):
        """kill -9 in the middle: the peer learns at once, the port is free at once."""
        server = self.session(host="web")
        listener = self.listener(server)
        child = os.fork()
        if child == 0:
            session = Session(self.daemon, host="visitor")
            one = session.socket()
            one.connect(server.addr4, 80)
            one.send(b"half a mes")
            signal.pause()
        accepted = listener.accept()
        self.assertEqual(accepted.receive(10), b"half a mes")
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        accepted.wait_bell()
        wait_until(lambda: accepted.channel.writer_state() == ipc.FIN, "FIN")
        wait_until(lambda: len(self.sockets()) == 2, "the client's socket to go")

    def test_killed_server_with_unread_bytes(self):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            session = Session(self.daemon, host="web")
            listener = session.socket()
            listener.bind("0.0.0.0", 80)
            listener.listen()
            os.write(writer, b"r")
            accepted = listener.accept()
            os.write(writer, b"a")
            signal.pause()
            del accepted
        os.read(reader, 1)
        client = self.session(host="visitor").socket()
        self.assertEqual(client.connect("10.177.0.2", 80), 0)
        os.read(reader, 1)
        client.send(b"never read")
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        wait_until(lambda: client.channel.writer_state() == ipc.RESET, "RESET")
        wait_until(lambda: len(self.sockets()) == 1, "the port to be given back")

    def test_killed_foyerd(self):
        """Pairs of programs go on; the next foyerd starts over the stale socket file."""
        client, accepted, listener = self.pair()
        udp = client.session.socket(kind=socket.SOCK_DGRAM)
        self.assertEqual(self.daemon.stop(signal.SIGKILL), -signal.SIGKILL)
        client.send(b"still here")
        self.assertEqual(accepted.receive(10), b"still here")
        accepted.send(b"so am I")
        self.assertEqual(client.receive(7), b"so am I")
        with self.assertRaises(ConnectionResetError):
            udp.wait_bell()
        with self.assertRaises(ConnectionResetError):
            listener.accept()
        client.close()
        accepted.end.settimeout(ipc.WAIT_S)
        with self.assertRaises(ConnectionResetError):
            accepted.wait_bell()
        self.daemon.start()
        self.pair()

    def test_only_one_per_building(self):
        second = Daemon(directory=self.daemon.directory)
        with self.assertRaisesRegex(AssertionError, "another foyerd"):
            second.start()
        second.process.wait(ipc.WAIT_S)
        second.log.close()
        self.pair()


if __name__ == "__main__":
    unittest.main(verbosity=2)
