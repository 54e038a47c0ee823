#!/usr/bin/env python3
"""foyer against the Linux kernel's own TCP/IP over a TAP device, both ways, both families.

The TAP lives in a network namespace made here, so the machine's own network is untouched.
Needs root (or CAP_NET_ADMIN and CAP_SYS_ADMIN) and /dev/net/tun; says so and skips otherwise.
"""

import hashlib
import os
import pathlib
import re
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
from foyer_test import FOYER, Building, main, nginx_conf, unable, wait_until  # noqa: E402

SIZE = 10_000_000


class Tap(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.netns = f"foyer-test-{os.getpid()}"
        subprocess.run(["ip", "netns", "add", cls.netns], check=True)
        cls.addClassCleanup(subprocess.run, ["ip", "netns", "del", cls.netns], check=True)
        subprocess.run(["ip", "-n", cls.netns, "link", "set", "lo", "up"], check=True)
        cls.building = cls.enterClassContext(Building())
        site = cls.site = cls.building.dir / "site"
        site.mkdir()
        cls.bytes = os.urandom(SIZE)
        (site / "file.bin").write_bytes(cls.bytes)
        conf = nginx_conf(cls.building.dir, root=site)
        cls.nginx = cls.building.serve("web", "nginx", "-c", str(conf), port=80)
        added = cls.kernel(FOYER, "link", "add", "tap", "foyer0", env=cls.building.env)
        assert added.returncode == 0, added.stderr
        cls.web4, cls.web6 = cls.building.address("web", 4), cls.building.address("web", 6)
        addresses = cls.kernel("ip", "-o", "addr", "show", "dev", "foyer0").stdout
        cls.kernel4 = re.search(r"inet ([\d.]+)/", addresses)[1]
        cls.kernel6 = re.search(r"inet6 ([0-9a-f:]+)/\d+ scope global", addresses)[1]
        # Duplicate address detection of the kernel's own address must have ended.
        wait_until(lambda: "tentative" not in cls.kernel("ip", "addr", "show", "dev",
                                                         "foyer0").stdout, "the kernel's DAD")

    @classmethod
    def kernel(cls, *program, **kwargs):
        """Runs a program on the kernel's side of the TAP."""
        kwargs.setdefault("text", True)
        kwargs.setdefault("timeout", 60)
        return subprocess.run(["ip", "netns", "exec", cls.netns, *program], check=False,
                              capture_output=True, **kwargs)

    def kernel_serve(self, *program, port, **kwargs):
        server = subprocess.Popen(["ip", "netns", "exec", self.netns, *program],
                                  stdout=kwargs.pop("stdout", subprocess.DEVNULL),
                                  stderr=subprocess.DEVNULL, **kwargs)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        wait_until(lambda: f":{port} " in self.kernel("ss", "-Hltun").stdout, f"port {port}")
        return server

    def digest(self, data):
        self.assertEqual(len(data), SIZE)
        self.assertEqual(hashlib.sha256(data).digest(), hashlib.sha256(self.bytes).digest())

    def test_kernel_fetches_from_foyer(self):
        for url in (f"http://{self.web4}/file.bin", f"http://[{self.web6}]/file.bin"):
            with self.subTest(url):
                got = self.kernel("curl", "-sS", "-m", "30", url, text=False)
                self.assertEqual(got.returncode, 0, got.stderr)
                self.digest(got.stdout)

    def test_foyer_fetches_from_kernel(self):
        self.kernel_serve("python3", "-m", "http.server", "--bind", "::", "8000", "-d",
                          str(self.site), port=8000)
        for url in (f"http://{self.kernel4}:8000/file.bin",
                    f"http://[{self.kernel6}]:8000/file.bin"):
            with self.subTest(url):
                got = self.building.run("visitor", "curl", "-sS", "-m", "30", url, text=False)
                self.digest(got.stdout)

    def test_foyer_sends_to_kernel(self):
        out = self.building.dir / "kernel-received"
        with open(out, "wb") as sink:
            server = self.kernel_serve("nc", "-l", "4000", port=4000, stdout=sink)
            self.building.run("source", "nc", "-N", self.kernel4, "4000", input=self.bytes,
                              text=False)
            wait_until(lambda: server.poll() is not None, "the kernel's nc to end")
        self.digest(out.read_bytes())

    def test_kernel_sends_to_foyer(self):
        out = self.building.dir / "foyer-received"
        with open(out, "wb") as sink:
            server = self.building.serve("sink", "nc", "-l", "4000", port=4000, stdout=sink)
            done = self.kernel("nc", "-N", self.building.address("sink"), "4000",
                               input=self.bytes, text=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            wait_until(lambda: server.poll() is not None, "foyer's nc to end")
        self.digest(out.read_bytes())

    def test_both_directions_at_once(self):
        """An echo of 10 MB: the same connection is full both ways."""
        self.building.serve("echo", "socat", "TCP-LISTEN:7,fork", "EXEC:cat", port=7)
        got = self.kernel("socat", "-t10", "-", f"TCP:{self.building.address('echo')}:7",
                          input=self.bytes, text=False)
        self.digest(got.stdout)

    def test_urgent_data_both_ways(self):
        """Each end sends the other urgent data in the middle of a stream, and reads it."""
        dialog = (
            "import fcntl, os, select, signal, socket, sys\n"
            "def tell(s):\n"
            "    for i in range(3):\n"
            "        s.send(b'12'); s.send(b'!', socket.MSG_OOB); s.send(b'34'); hear(s, b'ok')\n"
            "def hear(s, what):\n"
            "    got = b''\n"
            "    while len(got) < len(what): got += s.recv(len(what) - len(got))\n"
            "    assert got == what, got\n"
            "def listen(s):\n"
            "    for i in range(3):\n"
            "        assert select.select([], [], [s], 5)[2]\n"
            "        assert s.recv(1, socket.MSG_OOB) == b'!'\n"
            "        hear(s, b'12'); hear(s, b'34'); s.send(b'ok')\n"
            "signals = []\n"
            "signal.signal(signal.SIGURG, lambda *a: signals.append(a))\n"
            "if sys.argv[1] == 'serve':\n"
            "    l = socket.create_server(('', 23)); s = l.accept()[0]\n"
            "else: s = socket.create_connection((sys.argv[1], 23), 5)\n"
            "s.settimeout(5); s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)\n"
            "fcntl.fcntl(s, fcntl.F_SETOWN, os.getpid())\n"
            "if sys.argv[1] == 'serve': s.send(b'go'); listen(s); tell(s)\n"
            "else: hear(s, b'go'); tell(s); listen(s)\n"
            "assert signals, 'SIGURG'\n")
        server = self.building.serve("urgent", "python3", "-c", dialog, "serve", port=23)
        got = self.kernel("python3", "-c", dialog, self.building.address("urgent"))
        self.assertEqual(got.returncode, 0, got.stderr)
        self.assertEqual(server.wait(5), 0)
        server = self.kernel_serve("python3", "-c", dialog, "serve", port=23)
        self.building.run("visitor", "python3", "-c", dialog, self.kernel4)
        self.assertEqual(server.wait(5), 0)

    # One end does not read. The other one sends without blocking; it tells how much the peer's TCP
    # has taken once that offers no window any more (tcpi_probes), then all is read.
    SMALL_BUFFERS = (
        "import hashlib, select, socket, struct, sys, time\n"
        "role, host, option, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])\n"
        "data = bytes(range(256)) * 4096\n"
        "def keep(s):\n"
        "    if size: s.setsockopt(socket.SOL_SOCKET, option, size)\n"
        "if role == 'read':\n"
        "    l = socket.socket(); keep(l); l.bind(('', 27)); l.listen()\n"
        "    s = l.accept()[0]; sys.stdin.readline(); got = b''\n"
        "    while chunk := s.recv(65536): got += chunk\n"
        "    assert got == data, len(got); sys.exit()\n"
        "s = socket.socket(); keep(s); s.settimeout(10); s.connect((host, 27))\n"
        "s.setblocking(False); sent = acked = 0; end = time.monotonic() + 20; is_full = False\n"
        "while not is_full:\n"
        "    try: sent += s.send(data[sent:])\n"
        "    except BlockingIOError: pass\n"
        "    if sys.argv[5] == 'acked':\n"
        "        info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)\n"
        "        acked, is_full = struct.unpack_from('Q', info, 120)[0], info[3] > 0\n"
        "        select.select([], [s], [], .01)\n"
        "    else: is_full = not select.select([], [s], [], .3)[1]\n"
        "    assert time.monotonic() < end, (sent, acked)\n"
        "print(sent, acked, flush=True)\n"
        "s.setblocking(True); s.sendall(data[sent:]); s.close()\n")

    def test_small_receive_buffer(self):
        """What the kernel may send is what SO_RCVBUF leaves room for, also after reading began."""
        reader = self.building.serve("reader", "python3", "-c", self.SMALL_BUFFERS, "read", "",
                                     str(socket.SO_RCVBUF), "8192", port=27,
                                     stdin=subprocess.PIPE, text=True)
        sender = subprocess.Popen(
            ["ip", "netns", "exec", self.netns, "python3", "-c", self.SMALL_BUFFERS, "send",
             self.building.address("reader"), "0", "0", "acked"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(sender.stdout.close)
        self.addCleanup(sender.wait)
        self.addCleanup(sender.kill)
        acked = int(sender.stdout.readline().split()[1])
        self.assertLessEqual(acked, 8192 + 2) # and SYN
        self.assertGreater(acked, 2048)
        reader.communicate("\n", timeout=20)
        self.assertEqual(reader.returncode, 0)
        self.assertEqual(sender.wait(5), 0)

    def test_small_send_buffer(self):
        """A program's send() takes what SO_SNDBUF has room for."""
        reader = self.kernel_serve("python3", "-c", self.SMALL_BUFFERS, "read", "",
                                   str(socket.SO_RCVBUF), "4096", port=27, stdin=subprocess.PIPE,
                                   text=True)
        told = self.building.dir / "sent"
        command = ["python3", "-c", self.SMALL_BUFFERS, "send", self.kernel4,
                   str(socket.SO_SNDBUF), "8192", "sent"]
        with open(told, "w", encoding="ascii") as sink:
            sender = self.building.serve("sender", *command, stdout=sink)
            wait_until(lambda: told.read_text(), "the sender to stop")
            sent = int(told.read_text().split()[0])
            self.assertLess(sent, 8192 + 4096 * 4)
            self.assertGreaterEqual(sent, 8192)
            reader.communicate("\n", timeout=20)
            self.assertEqual(reader.returncode, 0)
            self.assertEqual(sender.wait(5), 0)

    # Sends more than the peer has room for, then closes. The clock is the machine's, so that what both
    # ends tell can be compared.
    LINGER = (
        "import socket, struct, sys, time\n"
        "role, host, linger_s = sys.argv[1], sys.argv[2], int(sys.argv[3])\n"
        "s = socket.socket()\n"
        "if role == 'read':\n"
        "    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)\n"
        "    s.bind(('', 29)); s.listen(); s = s.accept()[0]; sys.stdin.readline()\n"
        "    begun, got = time.monotonic(), 0\n"
        "    while chunk := s.recv(65536): got += len(chunk)\n"
        "    print(got, begun); sys.exit()\n"
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, linger_s))\n"
        "s.settimeout(10); s.connect((host, 29)); s.setblocking(False)\n"
        "sent = s.send(bytes(100000)); begun = time.monotonic(); print('closing', flush=True)\n"
        "s.close(); print(sent, begun, time.monotonic(), flush=True)\n")

    def linger(self, is_foyer, linger_s, *, reads_before_end):
        """(when reading began, when close was called, when it returned) of a sender."""
        reader = self.kernel_serve("python3", "-c", self.LINGER, "read", "", "0", port=29,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        told = self.building.dir / f"lingered-{is_foyer}-{linger_s}"
        command = ["python3", "-c", self.LINGER, "close", self.kernel4, str(linger_s)]
        with open(told, "w", encoding="ascii") as sink:
            if is_foyer:
                sender = self.building.serve("sender", *command, stdout=sink)
            else:
                sender = subprocess.Popen(["ip", "netns", "exec", self.netns, *command],
                                          stdout=sink)
                self.addCleanup(sender.wait)
                self.addCleanup(sender.kill)
        lines = 1 if reads_before_end else 2
        wait_until(lambda: told.read_text().count("\n") >= lines, "the sender", 40)
        got, read_at = reader.communicate("\n", timeout=30)[0].split()
        self.assertEqual(sender.wait(30), 0)
        sent, begun, ended = told.read_text().splitlines()[1].split()
        self.assertEqual(got, sent) # the rest is sent in the background
        return float(read_at), float(begun), float(ended)

    def test_close_lingers(self):
        """close() waits for its peer's TCP as long as SO_LINGER has it, also without blocking."""
        for is_foyer in (False, True):
            with self.subTest(is_foyer=is_foyer, reads="late"):
                _, begun, ended = self.linger(is_foyer, 1, reads_before_end=False)
                self.assertGreaterEqual(ended - begun, 0.9)
            with self.subTest(is_foyer=is_foyer, reads="meanwhile"):
                read_at, begun, ended = self.linger(is_foyer, 60, reads_before_end=True)
                self.assertGreaterEqual(ended, read_at)
                self.assertLess(ended - begun, 50)

    def test_many_connections(self):
        got = self.kernel("curl", "-sS", "-m", "50", "-Z", "--parallel-max", "50",
                          *[a for i in range(100)
                            for a in (f"http://{self.web4}/file.bin?{i}", "-o", os.devnull)])
        self.assertEqual(got.returncode, 0, got.stderr[-500:])

    def test_iperf3_both_ways(self):
        self.building.serve("sink", "iperf3", "-s", port=5201)
        for option in ("", "-R"):
            got = self.kernel("iperf3", "-c", self.building.address("sink"), "-t", "2",
                              *option.split())
            self.assertEqual(got.returncode, 0, got.stdout + got.stderr)
            rate = re.findall(r"([\d.]+) ([MG])bits/sec", got.stdout)[-1]
            print(f"iperf3 kernel {'<-' if option else '->'} foyer: {rate[0]} {rate[1]}bit/s")

    def test_ping(self):
        for address in (self.web4, self.web6):
            got = self.kernel("ping", "-c", "3", "-i", "0.1", "-W", "2", address)
            self.assertEqual(got.returncode, 0, got.stdout)
        got = self.kernel("ping", "-c", "2", "-i", "0.1", "-s", "1400", self.web4)
        self.assertEqual(got.returncode, 0, got.stdout)

    def test_refused(self):
        got = self.kernel("curl", "-sS", "-m", "5", f"http://{self.web4}:81/")
        self.assertEqual(got.returncode, 7, got.stderr)
        got = self.building.run("visitor", "curl", "-sS", "-m", "5",
                                f"http://{self.kernel4}:81/", check=False)
        self.assertEqual(got.returncode, 7, got.stderr)

    def test_udp_both_ways(self):
        echo = ("import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
                "s.bind(('', 9)); \nwhile 1: s.sendto(*s.recvfrom(65535))")
        ask = ("import socket, sys; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
               "s.settimeout(5); s.connect((sys.argv[1], 9))\n"
               "for n in (0, 1, 512, 1400, 8000): s.send(b'x' * n);"
               " assert s.recv(65535) == b'x' * n, n")
        self.building.serve("udp", "python3", "-c", echo, port=9, protocol="udp")
        got = self.kernel("python3", "-c", ask, self.building.address("udp"))
        self.assertEqual(got.returncode, 0, got.stderr)
        self.kernel_serve("python3", "-c", echo, port=9)
        self.building.run("visitor", "python3", "-c", ask, self.kernel4)

    def test_udp_port_unreachable(self):
        ask = ("import socket, sys; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
               "s.settimeout(5); s.connect((sys.argv[1], 99)); s.send(b'x')\n"
               "try: s.recv(1)\nexcept ConnectionRefusedError: sys.exit(0)\nsys.exit(1)")
        got = self.kernel("python3", "-c", ask, self.web4)
        self.assertEqual(got.returncode, 0, got.stderr)
        self.building.run("visitor", "python3", "-c", ask, self.kernel4)

    def test_kill_9_of_foyers_server_resets_the_kernels_client(self):
        server = self.building.serve("victim", "nc", "-l", "4001", port=4001)
        client = subprocess.Popen(["ip", "netns", "exec", self.netns, "nc", "-d",
                                   self.building.address("victim"), "4001"])
        self.addCleanup(client.kill)
        wait_until(lambda: any(s["state"] == "ESTABLISHED"
                               for s in self.building.ports("victim")), "the connection")
        server.kill()
        self.assertIsNotNone(client.wait(5))

    def test_zz_link_counts_and_goes_away(self):
        shown = self.building.foyer("link", "list").stdout
        self.assertIn("foyer0", shown)
        self.building.foyer("link", "remove", "foyer0")
        self.assertNotIn("foyer0", self.kernel("ip", "-o", "link").stdout)


if __name__ == "__main__":
    main(unable("a network namespace and a TAP device", "ip", "curl", "nginx", "nc", "iperf3", "ping"))
