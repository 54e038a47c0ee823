#!/usr/bin/env python3
"""Each kind of link against the kernel's TCP/IP in a network namespace, both families.

A veth pair joins two namespaces made here: in one the kernel answers, on the other's end sits
link_host (C, beside this file) with libfoyer. Needs root; says so and skips otherwise.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
from foyer_test import BUILD, main, missing, unable, wait_until  # noqa: E402

LINK_HOST = str(BUILD / "tests" / "link_host")
KERNEL4, KERNEL6 = "192.0.2.1", "2001:db8::1"
FOYER4, FOYER6 = "192.0.2.2", "2001:db8::2"

# Run in the kernel's namespace: sends argv[2] bytes to the echo and wants the same back.
ECHO = """
import hashlib, os, socket, sys, threading
port = int(sys.argv[3]) if len(sys.argv) > 3 else 7
s = socket.create_connection((sys.argv[1], port), timeout=40)
data = os.urandom(1 << 20) * (int(sys.argv[2]) >> 20)
def send():
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
got = hashlib.sha256()
while piece := s.recv(1 << 18):
    got.update(piece)
assert got.digest() == hashlib.sha256(data).digest()
"""

ECHO_UDP = """
import socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
s.connect((sys.argv[1], 7))
for n in (0, 1, 512, 1400, 8000):
    s.send(b'x' * n)
    assert s.recv(65535) == b'x' * n, n
"""

# A question for argv[1] in VLAN 5.
TAGGED_ARP = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
mac = bytes.fromhex("020000000099")
s.send(b"\\xff" * 6 + mac + bytes.fromhex("81000005" "0806" "0001080006040001") + mac
       + socket.inet_aton("192.0.2.99") + bytes(6) + socket.inet_aton(sys.argv[1]))
"""

# ethtool -K eth0 tx off: ETHTOOL_STXCSUM by SIOCETHTOOL.
CHECKSUMS_OFF = """
import array, fcntl, socket, struct
value = array.array("I", [0x17, 0])
request = struct.pack("16sP8x", b"eth0", value.buffer_info()[0])
fcntl.ioctl(socket.socket(), 0x8946, request)
"""


class Lan:
    """Two namespaces and what joins them: a veth pair whose ends are both called eth0."""

    def __init__(self):
        self.kernel_ns = f"foyer-k-{os.getpid()}"
        self.foyer_ns = f"foyer-f-{os.getpid()}"

    def ip(self, *words):
        subprocess.run(["ip", *words], check=True)

    def __enter__(self):
        for ns in (self.kernel_ns, self.foyer_ns):
            self.ip("netns", "add", ns)
            self.ip("-n", ns, "link", "set", "lo", "up")
        self.ip("-n", self.kernel_ns, "link", "add", "eth0", "type", "veth", "peer", "name",
                "eth0", "netns", self.foyer_ns)
        self.ip("-n", self.kernel_ns, "addr", "add", f"{KERNEL4}/24", "dev", "eth0")
        self.ip("-n", self.kernel_ns, "addr", "add", f"{KERNEL6}/64", "dev", "eth0", "nodad")
        for ns in (self.kernel_ns, self.foyer_ns):
            self.ip("-n", ns, "link", "set", "eth0", "up")
        return self

    def __exit__(self, *exc):
        for ns in (self.kernel_ns, self.foyer_ns):
            self.ip("netns", "del", ns)

    def kernel(self, *program, **kwargs):
        kwargs.setdefault("text", True)
        return subprocess.run(["ip", "netns", "exec", self.kernel_ns, *program], check=False,
                              capture_output=True, timeout=60, **kwargs)


class LinkHost:
    """link_host behind a link; its last line is in counts after stop()."""

    def __init__(self, prefix, *words):
        self.process = subprocess.Popen([*prefix, LINK_HOST, *words], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.is_built = line != "not built\n"
        if self.is_built and line != "ready\n":
            self.process.wait(10)
            raise AssertionError(f"link_host {words}: {line!r}")

    def stop(self):
        """Ends its input, and so the host."""
        self.process.stdin.close()
        out = self.process.stdout.read()
        self.process.wait(20)
        assert self.process.returncode == 0, self.process.returncode
        print(out.strip())
        return dict(re.findall(r"(\w+) (\d+)", out))


class Links(unittest.TestCase):
    def setUp(self):
        self.lan = self.enterContext(Lan())
        self.hosts = []

    def tearDown(self):
        for host in self.hosts:
            if host.process.poll() is None:
                host.process.kill()
            host.process.wait()
            host.process.stdin.close()
            host.process.stdout.close()

    def start(self, kind, *words, argument="eth0", mtu="1500"):
        prefix = ["ip", "netns", "exec", self.lan.foyer_ns]
        host = LinkHost(prefix, kind, argument, "02:00:00:00:00:02", mtu, f"{FOYER4}/24",
                        f"{FOYER6}/64", *words)
        self.hosts.append(host)
        return host if host.is_built else None

    def exchange(self, size=8 << 20):
        for address in (FOYER4, FOYER6):
            for program in (ECHO, ECHO_UDP):
                got = self.lan.kernel(sys.executable, "-c", program, address, str(size))
                self.assertEqual(got.returncode, 0, got.stderr)
            got = self.lan.kernel("ping", "-c", "2", "-i", "0.1", "-W", "5", address)
            self.assertEqual(got.returncode, 0, got.stdout)

    def test_packet(self):
        host = self.start("packet")
        self.exchange()
        counts = host.stop()
        self.assertEqual((counts["checksum"], counts["malformed"]), ("0", "0"))
        # 32 MiB passed the link each way: in super-segments, or in at least 22 000 frames.
        self.assertLess(int(counts["in"]), 12000)
        self.assertLess(int(counts["out"]), 12000)

    def test_packet_keeps_vlans_apart(self):
        """The kernel takes the tag out of what it hands on; the link puts it back."""
        host = self.start("packet")
        got = self.lan.kernel(sys.executable, "-c", TAGGED_ARP, FOYER4)
        self.assertEqual(got.returncode, 0, got.stderr)
        got = self.lan.kernel("ping", "-c", "1", "-W", "5", FOYER4)
        self.assertEqual(got.returncode, 0, got.stdout)
        self.assertGreater(int(host.stop()["protocol"]), 0)

    def test_packet_interface_goes_down_and_away(self):
        host = self.start("packet")
        for state in ("down", "up"):
            self.lan.ip("-n", self.lan.foyer_ns, "link", "set", "eth0", state)
        got = self.lan.kernel("ping", "-c", "1", "-W", "5", FOYER4)
        self.assertEqual(got.returncode, 0, got.stdout)
        self.lan.ip("-n", self.lan.kernel_ns, "link", "del", "eth0")
        self.assertEqual(host.process.wait(10), 1)  # EPIPE

    def test_xdp(self):
        # The kernel leaves checksums to a veth's other end, which XDP does not tell.
        got = self.lan.kernel(sys.executable, "-c", CHECKSUMS_OFF)
        self.assertEqual(got.returncode, 0, got.stderr)
        host = self.start("xdp")
        if host is None:
            self.skipTest("built without libxdp")
        self.exchange()
        counts = host.stop()
        self.assertEqual((counts["checksum"], counts["malformed"]), ("0", "0"))

    def test_xdp_interface_goes_away(self):
        host = self.start("xdp")
        if host is None:
            self.skipTest("built without libxdp")
        self.lan.ip("-n", self.lan.kernel_ns, "link", "del", "eth0")
        self.assertEqual(host.process.wait(10), 1)  # EPIPE

    def test_stream_to_passt(self):
        """QEMU's framing, spoken by passt: the kernel's connections end at it and go on to us."""
        if missing("passt"):
            self.skipTest("passt is not installed")
        ns = self.lan.kernel_ns
        self.lan.ip("-n", ns, "route", "add", "default", "via", "192.0.2.254")
        self.lan.ip("-n", ns, "route", "add", "default", "via", "2001:db8::fe")
        with tempfile.TemporaryDirectory() as directory:
            os.chmod(directory, 0o777)  # passt gives up root
            path = f"{directory}/passt"
            passt = subprocess.Popen(
                ["ip", "netns", "exec", ns, "passt", "-f", "-s", path, "-t", "7007:7", "-q",
                 "-a", FOYER4, "-n", "24", "-g", KERNEL4, "-a", FOYER6, "-g", "fe80::1"],
                stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            self.addCleanup(passt.wait)
            self.addCleanup(passt.kill)
            wait_until(lambda: os.path.exists(path), "passt's socket")
            # passt sends a SYN once, and to all until it has heard of its guest: nobody takes that
            # one (RFC 1122 section 4.2.3.10), and after 10 s passt resets the client.
            host = self.start("stream", "greet", KERNEL4, argument=path)
            for address in ("192.0.2.1", "2001:db8::1"):
                got = self.lan.kernel(sys.executable, "-c", ECHO, address, str(8 << 20), "7007")
                self.assertEqual(got.returncode, 0, got.stderr)
            counts = host.stop()
            self.assertEqual((counts["checksum"], counts["malformed"]), ("0", "0"))


if __name__ == "__main__":
    main(unable("network namespaces", "ip", "ping", needs_tap=False))
