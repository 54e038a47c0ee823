#!/usr/bin/env python3
"""The examples that need a peer, against the kernel's own TCP in namespaces made here.

Needs root and /dev/net/tun; says so and skips otherwise.
"""

import os
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
from foyer_test import BUILD, main, unable, wait_until  # noqa: E402

# Sends argv[2] bytes to argv[1] port 7 and wants the same back; several connections at once.
ECHO = """
import hashlib, os, socket, sys, threading
def talk():
    s = socket.create_connection((sys.argv[1], 7), timeout=30)
    data = os.urandom(1 << 16) * (int(sys.argv[2]) >> 16)
    sender = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)))
    sender.start()
    got = b''.join(iter(lambda: s.recv(1 << 16), b''))
    sender.join()
    assert got == data, (len(got), len(data))
    good.append(1)
good = []
threads = [threading.Thread(target=talk) for _ in range(int(sys.argv[3]))]
[t.start() for t in threads], [t.join() for t in threads]
assert len(good) == len(threads), len(good)
"""

# One connection to argv[1] port argv[2]; prints what became of it.
CONNECT = """
import socket, sys
try:
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3]))
    print("connected")
except OSError as error:
    print(type(error).__name__)
"""

# A server on all addresses of the namespace: greets first, then echoes, half-close by half-close.
SERVER = """
import socketserver, socket
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"welcome to " + self.request.getsockname()[0].encode() + b"\\n")
        while piece := self.request.recv(1 << 16):
            if piece == b"end":
                self.request.shutdown(socket.SHUT_WR)
            else:
                self.request.sendall(piece)
class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 128
Server(("::", 9000), Handler).serve_forever()
"""

CLIENT = """
import os, socket, sys, threading
def talk():
    s = socket.create_connection((sys.argv[1], 9000), timeout=30)
    greeting = s.makefile("rb", 0).readline()
    assert greeting.strip().endswith(sys.argv[1].encode()), greeting
    data = os.urandom(1 << 16) * (int(sys.argv[2]) >> 16)
    sender = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)))
    sender.start()
    got = b''.join(iter(lambda: s.recv(1 << 16), b''))
    sender.join()
    assert got == data, (len(got), len(data))
    good.append(1)
good = []
threads = [threading.Thread(target=talk) for _ in range(int(sys.argv[3]))]
[t.start() for t in threads], [t.join() for t in threads]
assert len(good) == len(threads), len(good)
"""


class Examples(unittest.TestCase):
    def setUp(self):
        self.started = []
        self.spaces = []
        self.outside = self.namespace("o")

    def tearDown(self):
        for process in self.started:
            process.kill()
            process.wait()
        for name in self.spaces:
            self.ip("netns", "del", name)

    def ip(self, *words):
        subprocess.run(["ip", *words], check=True)

    def namespace(self, letter):
        name = f"foyer-{letter}-{os.getpid()}"
        self.ip("netns", "add", name)
        self.spaces.append(name)
        self.ip("-n", name, "link", "set", "lo", "up")
        return name

    def start(self, *program):
        process = subprocess.Popen(["ip", "netns", "exec", self.outside, *program],
                                   stderr=subprocess.DEVNULL if program[0] == sys.executable
                                   else None)
        self.started.append(process)
        return process

    def start_example(self, name, *words):
        """With a TAP device called tap0."""
        example = BUILD / "examples" / name
        if not example.exists():
            self.skipTest(f"{name} is not built")
        process = self.start(str(example), "tap0", *words)

        def is_there():
            self.assertIsNone(process.poll(), f"{name} ended")
            shown = subprocess.run(["ip", "-n", self.outside, "-o", "link"], check=True,
                                   capture_output=True, text=True).stdout
            return "tap0" in shown
        wait_until(is_there, "the device")
        return process

    def run_in(self, space, *program, **kwargs):
        kwargs.setdefault("text", True)
        return subprocess.run(["ip", "netns", "exec", space, *program], check=False,
                              capture_output=True, timeout=60, **kwargs)

    def check_run(self, space, *program, **kwargs):
        got = self.run_in(space, *program, **kwargs)
        self.assertEqual(got.returncode, 0, (program[0], got.stdout, got.stderr))
        return got.stdout

    def configure_tap(self):
        self.ip("-n", self.outside, "addr", "add", "192.0.2.1/24", "dev", "tap0")
        self.ip("-n", self.outside, "link", "set", "tap0", "up")

    def test_echo_tap(self):
        self.start_example("echo_tap", "192.0.2.2")
        self.configure_tap()
        # As its head says; then much more than a send buffer holds, on many connections.
        self.assertEqual(self.check_run(self.outside, "nc", "-N", "192.0.2.2", "7",
                                        input="hello\n"), "hello\n")
        self.check_run(self.outside, sys.executable, "-c", ECHO, "192.0.2.2", str(2 << 20), "8")
        self.check_run(self.outside, "ping", "-c", "1", "-W", "5", "192.0.2.2")

    def test_libuv(self):
        self.start_example("libuv", "192.0.2.2")
        self.configure_tap()
        urls = [f"http://192.0.2.2/{i}" for i in range(50)]
        said = self.check_run(self.outside, "curl", "-sS", "-m", "30", "-Z",
                              "--parallel-max", "25", *urls)
        numbers = sorted(int(line.split()[1].rstrip(",")) for line in said.splitlines())
        self.assertEqual(numbers, list(range(1, 51)))

    def start_terminator(self):
        """A sandbox whose only way out is the terminator; the world is the other namespace."""
        sandbox = self.namespace("s")
        for address in ("198.51.100.7/32", "2001:db8:7::7/128"):
            self.ip("-n", self.outside, "addr", "add", address, "dev", "lo")
        self.start(sys.executable, "-c", SERVER)
        wait_until(lambda: ":9000 " in self.check_run(self.outside, "ss", "-Hltn"), "the server")
        # Nobody answers there, nobody refuses: a neighbour that does not exist.
        self.ip("-n", self.outside, "link", "add", "void", "type", "veth", "peer", "name", "end")
        for end in ("void", "end"):
            self.ip("-n", self.outside, "link", "set", end, "up")
        self.ip("-n", self.outside, "route", "add", "203.0.113.0/24", "dev", "void")
        self.ip("-n", self.outside, "neigh", "add", "203.0.113.9", "lladdr",
                "02:00:00:00:00:99", "dev", "void")
        self.start_example("terminator", "192.0.2.1", "2001:db8::1")
        self.ip("-n", self.outside, "link", "set", "tap0", "netns", sandbox)
        self.ip("-n", sandbox, "addr", "add", "192.0.2.2/24", "dev", "tap0")
        self.ip("-n", sandbox, "addr", "add", "2001:db8::2/64", "dev", "tap0", "nodad")
        self.ip("-n", sandbox, "link", "set", "tap0", "up")
        self.ip("-n", sandbox, "route", "add", "default", "via", "192.0.2.1")
        self.ip("-n", sandbox, "route", "add", "default", "via", "2001:db8::1")
        return sandbox

    def test_terminator(self):
        sandbox = self.start_terminator()
        for address in ("198.51.100.7", "2001:db8:7::7"):
            self.check_run(sandbox, sys.executable, "-c", CLIENT, address, str(1 << 20), "10")
        # What is true of the destination is what the sandbox sees, before any SYN-ACK.
        self.assertEqual(self.check_run(sandbox, sys.executable, "-c", CONNECT, "198.51.100.7",
                                        "9001", "20").strip(), "ConnectionRefusedError")
        self.assertEqual(self.check_run(sandbox, sys.executable, "-c", CONNECT, "203.0.113.9",
                                        "80", "2").strip(), "TimeoutError")
        # After all of that it still serves, and holds no socket of what is over.
        self.check_run(sandbox, sys.executable, "-c", CLIENT, "198.51.100.7", str(1 << 16), "1")
        wait_until(lambda: "ESTAB" not in self.check_run(self.outside, "ss", "-Htn"),
                   "the terminator's sockets to close")

    def test_terminator_passes_one_direction_s_end_on(self):
        """FIN from outside arrives while the sandbox goes on sending."""
        sandbox = self.start_terminator()
        half = ("import socket\n"
                "s = socket.create_connection(('198.51.100.7', 9000), timeout=20)\n"
                "s.makefile('rb', 0).readline(); s.sendall(b'end')\n"
                "assert s.recv(1) == b''; s.sendall(b'end'); s.close()")
        self.check_run(sandbox, sys.executable, "-c", half)

    def test_terminator_passes_resets_on(self):
        sandbox = self.start_terminator()
        kill = ("import socket, struct\n"
                "s = socket.create_connection(('198.51.100.7', 9000), timeout=20)\n"
                "s.recv(100); s.setsockopt(1, 13, struct.pack('ii', 1, 0)); s.close()")
        self.check_run(sandbox, sys.executable, "-c", kill)
        wait_until(lambda: "ESTAB" not in self.check_run(self.outside, "ss", "-Htn"),
                   "the reset to arrive outside")


if __name__ == "__main__":
    main(unable("network namespaces and TAP devices", "ip", "curl", "nc", "ping"))
