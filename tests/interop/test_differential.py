#!/usr/bin/env python3
"""libfoyer beside the kernel's TCP: transfers over bad wires, states of both ends, captures.

One end of a bad wire is a TAP in a network namespace made here; at the other sits libfoyer
(differential.c), or, for comparison, a second TAP with a second kernel. Both families, both
directions, every congestion control that the library has. Needs root; says so and skips otherwise.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
from foyer_test import BUILD, main, unable, wait_until  # noqa: E402

DIFFERENTIAL = str(BUILD / "tests" / "differential")
KERNEL = ["192.0.2.1", "2001:db8::1"]
PEER = ["192.0.2.2", "2001:db8::2"]
SIZE = 400_000
SINK_PORT = 2000

IMPAIRMENTS = {
    "clean": {},
    "loss": {"loss": 10_000, "delay_us": 5_000},
    "reorder": {"reorder": 50_000, "delay_us": 5_000},
    "duplicate": {"duplicate": 50_000, "delay_us": 5_000},
    "damage": {"damage": 10_000, "delay_us": 5_000},
    "jitter": {"delay_us": 10_000, "jitter_us": 10_000},
    "queue": {"rate": 50_000_000, "queue": 60_000, "delay_us": 10_000},
    "all": {"loss": 5_000, "reorder": 20_000, "duplicate": 20_000, "damage": 5_000,
            "delay_us": 10_000, "jitter_us": 5_000},
}

# What a wire that loses and reorders makes of any TCP, now and then.
OF_BAD_WIRES = {("Warns", "TCP", kind) for kind in (
    "Connection reset (RST)", "D-SACK Sequence",
    "Previous segment(s) not captured (common at capture start)",
    "ACKed segment that wasn't captured (common at capture start)",
    "TCP Zero Window segment", "TCP window specified by the receiver is now completely full",
    "This frame is a (suspected) out-of-order segment")}

# Runs in the kernel's namespace. argv[1]: JSON of what to do. Bytes are differential.c's pattern.
CLIENT = """
import json, socket, sys, threading, zlib
job = json.loads(sys.argv[1])
size = job["size"]
data = bytes((i ^ i >> 8 ^ i >> 16) & 255 for i in range(size))
errors = []

def fetch(address, port):
    s = socket.create_connection((address, port), timeout=40)
    s.sendall(b"%08x" % size)
    got = b""
    while piece := s.recv(1 << 16):
        got += piece
    assert got == data, f"{len(got)} bytes, not those that were sent"

def deliver(address, port):
    s = socket.create_connection((address, port), timeout=40)
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
    got = b""
    while piece := s.recv(64):
        got += piece
    assert got == b"%08x" % zlib.crc32(data), got

def run(what, *arguments):
    try:
        what(*arguments)
    except Exception as error:
        errors.append(f"{what.__name__} {arguments}: {error!r}")

threads = []
for address in job["addresses"]:
    for port in job["sources"]:
        threads.append(threading.Thread(target=run, args=(fetch, address, port)))
    threads.append(threading.Thread(target=run, args=(deliver, address, 2000)))
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit("\\n".join(errors) or 0)
"""

# The same services as differential.c's, by the kernel.
SERVER = """
import socket, sys, threading, zlib
def serve(port, talk):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True,
                                    backlog=64)
    def accept():
        while True:
            s, _ = listener.accept()
            threading.Thread(target=one, args=(s,), daemon=True).start()
    def one(s):
        try:
            talk(s)
        except OSError:
            pass
        s.close()
    threading.Thread(target=accept, daemon=True).start()
def all_of(s):
    got = b""
    while piece := s.recv(1 << 16):
        got += piece
    return got
def source(s):
    size = int(s.recv(8, socket.MSG_WAITALL), 16)
    s.sendall(bytes((i ^ i >> 8 ^ i >> 16) & 255 for i in range(size)))
def sink(s):
    s.sendall(b"%08x" % zlib.crc32(all_of(s)))
serve(1000, source)
serve(2000, sink)
print("ready", flush=True)
sys.stdin.read()
"""

# One connection to argv[1] port argv[2], which does what standard input says.
HAND = """
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
s.settimeout(20)
for line in sys.stdin:
    verb = line.strip()
    if verb == "connect":
        s.setblocking(False)
        s.connect_ex((sys.argv[1], int(sys.argv[2])))
    elif verb == "shut":
        s.shutdown(socket.SHUT_WR)
    elif verb == "close":
        s.close()
    elif verb == "listen":
        l = socket.create_server((sys.argv[1], int(sys.argv[2])),
                                 family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
    elif verb == "accept":
        s, _ = l.accept()
        l.close()
    print("done", flush=True)
"""


def gone():
    return unable("network namespaces and TAP devices", "ip", "ss", "tshark")


class Talker:
    """A program that answers each line with one."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)

    def expect(self, line):
        got = self.process.stdout.readline().strip()
        assert got == line, f"{got!r} instead of {line!r}"

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def ask_lines(self, *words):
        line, lines = self.ask(*words), []
        while line != ".":
            lines.append(line)
            line = self.process.stdout.readline().strip()
        return lines

    def end(self):
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()
        assert self.process.returncode == 0, self.process.args


class Lan:
    """A kernel in a namespace and what is at the other end of its TAP's wire."""

    def __init__(self, impairment, has_peer_kernel, record=None):
        self.namespaces = [f"foyer-d{i}-{os.getpid()}" for i in range(1 + has_peer_kernel)]
        self.impairment = [f"{name}={value}" for name, value in impairment.items()]
        self.record = [f"record={record}"] if record else []
        self.talkers = []

    def __enter__(self):
        for namespace in self.namespaces:
            subprocess.run(["ip", "netns", "add", namespace], check=True)
            subprocess.run(["ip", "-n", namespace, "link", "set", "lo", "up"], check=True)
        taps = [f"fd{i}{os.getpid() % 100000}" for i in range(len(self.namespaces))]
        ends = taps if len(taps) == 2 else taps + [f"{PEER[0]}/24", f"{PEER[1]}/64"]
        command = ["host", "bridge"][len(taps) - 1]
        self.wire = self.talk(0, DIFFERENTIAL, command, *ends, *self.impairment, *self.record)
        self.wire.expect("ready")
        for i, addresses in enumerate([KERNEL, PEER][:len(taps)]):
            if i == 1:
                subprocess.run(["ip", "-n", self.namespaces[0], "link", "set", taps[1], "netns",
                                self.namespaces[1]], check=True)
            ip = ["ip", "-n", self.namespaces[i]]
            subprocess.run([*ip, "addr", "add", f"{addresses[0]}/24", "dev", taps[i]], check=True)
            subprocess.run([*ip, "addr", "add", f"{addresses[1]}/64", "dev", taps[i], "nodad"],
                           check=True)
            subprocess.run([*ip, "link", "set", taps[i], "up"], check=True)
        return self

    def __exit__(self, *exc):
        try:
            for talker in reversed(self.talkers):
                if exc[0] is None:
                    talker.end()
                else:
                    talker.process.kill()
                    talker.process.wait()
                    talker.process.stdin.close()
                    talker.process.stdout.close()
        finally:
            for namespace in self.namespaces:
                subprocess.run(["ip", "netns", "del", namespace], check=False)

    def talk(self, i, *command):
        talker = Talker("ip", "netns", "exec", self.namespaces[i], *command)
        self.talkers.append(talker)
        return talker

    def serve(self, i):
        self.talk(i, "python3", "-c", SERVER).expect("ready")

    def transfer(self, sources):
        job = json.dumps({"size": SIZE, "addresses": PEER, "sources": sources})
        done = subprocess.run(["ip", "netns", "exec", self.namespaces[0], "python3", "-c", CLIENT,
                               job], check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

    def kernel_state(self, port):
        """Of the connection with that port at either end, as ss tells it."""
        out = subprocess.run(["ip", "netns", "exec", self.namespaces[0], "ss", "-Htan"],
                             check=True, capture_output=True, text=True).stdout
        for line in out.splitlines():
            state, _, _, local, remote = line.split()[:5]
            if state != "LISTEN" and str(port) in (local.rsplit(":")[-1], remote.rsplit(":")[-1]):
                return state
        return "none"

    def foyer_state(self, port):
        for line in self.wire.ask_lines("sockets"):
            state, local, remote, requests = line.split()
            if state == "LISTEN" and requests != "0":
                return "request"
            if state not in ("LISTEN", "CLOSED") and str(port) in (local, remote):
                return state
        return "none"


def expert(record):
    """Kinds of errors and warnings that tshark's experts find, protocol by protocol."""
    out = subprocess.run(["tshark", "-r", record, "-q", "-z", "expert,warn"], check=True,
                         capture_output=True, text=True).stdout
    kinds, severity = set(), None
    for line in out.splitlines():
        heading = re.match(r"(Errors|Warns) \(\d+\)", line)
        if heading:
            severity = heading[1]
        row = re.match(r"\s+\d+\s+(\S+)\s+(\S+)\s+(.*)", line)
        if row and severity and row[1] != "Group":
            kinds.add((severity, row[2], re.sub(r"[\d.]+", "N", row[3])))
    return kinds


class Differential(unittest.TestCase):
    captures = {}  # of foyer, and of two kernels

    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))

    def test_transfers(self):
        for name, impairment in IMPAIRMENTS.items():
            record = self.dir / f"foyer-{name}.pcapng"
            with self.subTest(name), Lan(impairment, False, record) as lan:
                lan.serve(0)
                controls = int(lan.wire.ask("controls"))
                self.assertGreaterEqual(controls, 2)
                for address in KERNEL:
                    for control in range(controls):
                        lan.wire.ask("send", address, SINK_PORT, control, SIZE)
                lan.transfer([1000 + control for control in range(controls)])
                wanted = f"{len(KERNEL) * controls} 0"
                wait_until(lambda: lan.wire.ask("sent") == wanted or "0" !=
                           lan.wire.ask("sent").split()[1], "foyer's own transfers", 40)
                self.assertEqual(lan.wire.ask("sent"), wanted)
            self.captures["foyer", name] = record

    def test_transfers_of_two_kernels(self):
        """The same wires; for the captures."""
        for name, impairment in IMPAIRMENTS.items():
            record = self.dir / f"kernels-{name}.pcapng"
            with self.subTest(name), Lan(impairment, True, record) as lan:
                lan.serve(1)
                lan.transfer([1000, 1000])
            self.captures["kernels", name] = record

    def test_z_experts_find_nothing_new(self):
        """Last, since it looks at what the others recorded. Damaged frames are errors by design."""
        self.assertEqual(len(self.captures), 2 * len(IMPAIRMENTS))
        found = {who: set().union(*(expert(path) for (by, name), path in self.captures.items()
                                    if by == who and "damage" not in IMPAIRMENTS[name]))
                 for who in ("kernels", "foyer")}
        for who, kinds in found.items():
            print(f"tshark's experts, {who}:", *sorted(kinds), sep="\n  ")
        self.assertEqual(found["foyer"] - found["kernels"] - OF_BAD_WIRES, set())

    def states(self, lan, port, kernel, foyer):
        wait_until(lambda: (lan.kernel_state(port), lan.foyer_state(port)) == (kernel, foyer),
                   f"kernel {kernel}, foyer {foyer}; they are {lan.kernel_state(port)}, "
                   f"{lan.foyer_state(port)}")

    def kernel_calls(self, lan, address, foyer_port, after):
        """The kernel calls connect; after: (who, what it does, the kernel's state, foyer's)."""
        hand = lan.talk(0, "python3", "-c", HAND, address, str(foyer_port))
        hand.ask("connect")
        for who, what, kernel, foyer in after:
            if who == "kernel":
                hand.ask(what)
            elif who == "foyer":
                lan.wire.ask(*what.split(), *([foyer_port] if what != "accept" else []))
            self.states(lan, foyer_port, kernel, foyer)

    def test_states(self):
        established = ("both", "", "ESTAB", "ESTAB")
        for address in PEER:
            with self.subTest(address), Lan({}, False) as lan:
                self.kernel_calls(lan, address, 3000, [
                    established,
                    ("foyer", "shut", "CLOSE-WAIT", "FIN-WAIT-2"),
                    ("kernel", "close", "none", "TIME-WAIT")])
            with self.subTest(address), Lan({}, False) as lan:
                self.kernel_calls(lan, address, 3000, [
                    established,
                    ("kernel", "shut", "FIN-WAIT-2", "CLOSE-WAIT"),
                    ("foyer", "close", "TIME-WAIT", "none")])
            with self.subTest(address), Lan({}, False) as lan:
                self.kernel_calls(lan, address, 3001, [
                    ("both", "", "SYN-SENT", "request"),
                    ("foyer", "accept", "ESTAB", "ESTAB"),
                    ("kernel", "close", "FIN-WAIT-2", "CLOSE-WAIT"),
                    ("foyer", "close", "TIME-WAIT", "none")])

    def test_states_of_connections_that_foyer_makes(self):
        for address in KERNEL:
            with self.subTest(address), Lan({}, False) as lan:
                hand = lan.talk(0, "python3", "-c", HAND, address, "4001")
                hand.ask("listen")
                lan.wire.ask("dial", address, 4001)
                hand.ask("accept")
                self.states(lan, 4001, "ESTAB", "ESTAB")
                lan.wire.ask("shut", 4001)
                self.states(lan, 4001, "CLOSE-WAIT", "FIN-WAIT-2")
                hand.ask("shut")
                self.states(lan, 4001, "none", "TIME-WAIT")


if __name__ == "__main__":
    main(gone())
