#!/usr/bin/env python3
"""foyerd between a program and the kernel: a TAP in a network namespace of the test's own."""

import ctypes
import errno
import fcntl
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import unittest

import ipc_client as ipc
from ipc_client import Daemon, Session

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
from foyer_test import main, unable, wait_until  # noqa: E402

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 2, 0x1000, 0x4000

RESET_SEEN = 1 << 14  # of enum foyer_slot_options

KERNEL_PEER = """
import socket, sys
listener = socket.create_server(("10.177.0.1", 7000))
print("ready", flush=True)
while True:
    peer, _ = listener.accept()
    command = peer.recv(100)
    if command == b"echo":
        peer.sendall(command)
        peer.recv(100)
    elif command == b"pour":
        peer.sendall(bytes(range(256)) * 4096)
    elif command == b"hold":
        print("held", flush=True)
        peer.recv(100)
        print("released", flush=True)
    elif command == b"reset":
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
    peer.close()
"""


class Namespace:
    """A network namespace with a TAP; gives the TAP's descriptor away."""

    def __init__(self):
        self.name = f"foyer-test-{os.getpid()}-{id(self)}"
        self.started = []

    def __enter__(self):
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        return self

    def __exit__(self, *exc):
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        subprocess.run(["ip", "netns", "del", self.name], check=True)

    def command(self, *args):
        return ["ip", "netns", "exec", self.name, *args]

    def run(self, *args, **kwargs):
        return subprocess.run(self.command(*args), text=True, capture_output=True,
                              timeout=ipc.WAIT_S, check=False, **kwargs)

    def start(self, *args):
        process = subprocess.Popen(self.command(*args), text=True, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT)
        self.started.append(process)
        return process

    def tap(self, name):
        mine, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            try:
                namespace = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
                if ctypes.CDLL(None).setns(namespace, CLONE_NEWNET) == 0:
                    fd = os.open("/dev/net/tun", os.O_RDWR)
                    flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
                    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
                    socket.send_fds(theirs, [b"x"], [fd])
            finally:
                os._exit(0)
        theirs.close()
        fds = socket.recv_fds(mine, 1, 1)[1]
        mine.close()
        os.waitpid(child, 0)
        return fds[0]

    def up(self, name):
        for line in (f"addr add 10.177.0.1/16 dev {name}",
                     f"addr add fd66:6f79:6572::1/64 dev {name} nodad",
                     f"link set {name} up", "link set lo up"):
            done = self.run("ip", *line.split())
            assert done.returncode == 0, done.stderr


class Relay(unittest.TestCase):
    def setUp(self):
        self.daemon = self.enterContext(Daemon())
        self.namespace = self.enterContext(Namespace())
        fd = self.namespace.tap("foyer0")
        link = self.daemon.control("link-add", fds=[fd], kind="tap", name="foyer0")
        os.close(fd)
        self.assertEqual(link["name"], "foyer0")
        self.namespace.up("foyer0")
        self.web = self.session(host="web")

    def session(self, **kwargs):
        session = Session(self.daemon, **kwargs)
        self.addCleanup(session.close)
        return session

    def kernel_peer(self):
        process = self.namespace.start(sys.executable, "-c", KERNEL_PEER)
        self.assertEqual(process.stdout.readline(), "ready\n")
        return process

    def connect(self, port=7000, address="10.177.0.1"):
        one = self.web.socket()
        self.assertEqual(one.connect(address, port), errno.EINPROGRESS)
        while one.state == ipc.CONNECTING:
            one.wait_bell()
        return one

    def cpu_ticks(self):
        with open(f"/proc/{self.daemon.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    @unittest.skipUnless(shutil.which("ping"), "ping is not installed")
    def test_ping(self):
        for address in (self.web.addr4, self.web.addr6):
            done = self.namespace.run("ping", "-c", "2", "-i", "0.2", "-W", "5", address)
            self.assertIn(" 0% packet loss", done.stdout)

    @unittest.skipUnless(shutil.which("curl"), "curl is not installed")
    def test_curl_comes_in(self):
        listener = self.web.socket(family=socket.AF_INET6)
        self.assertEqual((listener.bind("::", 80), listener.listen()), (0, 0))
        for address in (self.web.addr4, f"[{self.web.addr6}]"):
            curl = self.namespace.start("curl", "-sS", "--max-time", "10", f"http://{address}/")
            accepted = listener.accept()
            self.assertEqual(accepted.local[1], 80)
            self.assertTrue(accepted.receive(16).startswith(b"GET / HTTP/1.1\r\n"))
            accepted.send(b"HTTP/1.0 200 OK\r\n\r\nfrom a ring")
            accepted.channel.fin()
            accepted.ring()
            self.assertEqual(curl.communicate(timeout=ipc.WAIT_S)[0], "from a ring")

    def test_out_and_back(self):
        self.kernel_peer()
        one = self.connect()
        self.assertEqual(one.state, ipc.CONNECTED)
        one.send(b"echo")
        self.assertEqual(one.receive(4), b"echo")
        entry = next(s for s in self.daemon.control("ports")["sockets"] if s["remote"])
        self.assertEqual((entry["carrier"], entry["state"]), ("stack", "ESTABLISHED"))

    def test_a_megabyte_through_a_small_ring(self):
        self.kernel_peer()
        one = self.connect()
        one.send(b"pour")
        data = b""
        while len(data) < 1 << 20:
            data += one.receive(1)
            one.end.send(b"b")  # space was made: a program would ring if foyerd had announced
        self.assertEqual(data, bytes(range(256)) * 4096)

    def test_refused_and_again(self):
        one = self.connect(port=7001)
        self.assertEqual((one.state, one.error), (ipc.FAILED, errno.ECONNREFUSED))
        self.kernel_peer()
        self.assertEqual(one.connect("10.177.0.1", 7000), errno.EINPROGRESS)
        while one.state == ipc.CONNECTING:
            one.wait_bell()
        self.assertEqual(one.state, ipc.CONNECTED)

    def test_reset_by_the_kernel(self):
        self.kernel_peer()
        one = self.connect()
        one.channel.announce()
        one.send(b"reset")
        while one.channel.writer_state() == ipc.OPEN:
            one.wait_bell()
        self.assertEqual(one.channel.writer_state(), ipc.RESET)

    def test_reset_that_was_noted_is_not_told_again(self):
        """TCP says it in the rings, where the program may see it before foyerd tells of it."""
        self.kernel_peer()
        one = self.connect()
        one.options(RESET_SEEN)
        one.channel.announce()
        one.send(b"reset")
        while one.channel.writer_state() == ipc.OPEN:
            one.wait_bell()
        self.web.socket()  # foyerd has done all before
        self.assertEqual(one.error, 0)

    def test_killed_program(self):
        """The kernel's peer gets FIN at once; nothing of the connection stays."""
        peer = self.kernel_peer()
        child = os.fork()
        if child == 0:
            self.web = Session(self.daemon, host="other")
            self.connect().send(b"hold")
            signal.pause()
        self.assertEqual(peer.stdout.readline(), "held\n")
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        self.assertEqual(peer.stdout.readline(), "released\n")
        wait_until(lambda: self.daemon.control("status")["sockets"] == 0, "the socket to go")

    def test_killed_foyerd(self):
        """Programs on relayed connections learn by hang-up."""
        peer = self.kernel_peer()
        one = self.connect()
        one.send(b"hold")
        self.assertEqual(peer.stdout.readline(), "held\n")
        self.daemon.stop(signal.SIGKILL)
        with self.assertRaises(ConnectionResetError):
            while True:
                one.wait_bell()
        self.daemon.start()

    def test_link_goes(self):
        self.kernel_peer()
        one = self.connect()
        self.assertEqual(self.daemon.control("link-remove", name="foyer0"), {})
        self.assertEqual(self.web.socket().connect("192.0.2.1", 80), errno.ENETUNREACH)
        self.assertEqual(one.state, ipc.CONNECTED)

    def test_device_is_deleted(self):
        self.namespace.run("ip", "link", "del", "foyer0")
        wait_until(lambda: self.daemon.control("links")["links"] == [], "the link to go")
        self.assertEqual(self.session(host="later").host, "later")

    def test_stolen_addresses_are_not_believed(self):
        """A frame from outside with a host's MAC does not draw that host's traffic away."""
        hosts = self.daemon.control("hosts")["hosts"]
        sender = ("import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); "
                  "s.bind(('foyer0', 0)); "
                  f"s.send(b'\\xff' * 6 + bytes.fromhex('{hosts[0]['mac'].replace(':', '')}') "
                  "+ b'\\x88\\xb5' + b'x' * 46)")
        before = self.daemon.control("links")["links"][0]["rx_packets"]
        self.assertEqual(self.namespace.run(sys.executable, "-c", sender).returncode, 0)
        wait_until(lambda: self.daemon.control("links")["links"][0]["rx_packets"] > before,
                   "the frame")
        self.kernel_peer()
        self.assertEqual(self.connect().state, ipc.CONNECTED)

    def test_rest_costs_nothing(self):
        self.kernel_peer()
        one = self.connect()
        one.send(b"echo")
        self.assertEqual(one.receive(4), b"echo")
        before, start = self.cpu_ticks(), time.monotonic()
        while time.monotonic() - start < 1:  # the time over which the processor is measured
            signal.sigtimedwait([], 0.25)
        self.assertLess(self.cpu_ticks() - before, 5, "foyerd is busy with nothing")


if __name__ == "__main__":
    main(unable("a network namespace and a TAP device", "ip"))
