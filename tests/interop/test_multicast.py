#!/usr/bin/env python3
"""Groups with source filters, with the Linux kernel as querier and as sender.

A bridge of the kernel's asks by IGMPv3 and MLDv2, keeps what libfoyer reports in its table, and forwards
by it; what it shows must be the filter that was asked for. Then the bridge floods, and libfoyer itself
has to keep out what it does not want. Needs root; says so and skips otherwise.
"""

import json
import os
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
from foyer_test import BUILD, main, unable, wait_until  # noqa: E402

LINK_HOST = str(BUILD / "tests" / "link_host")
GROUPS = ("239.1.2.3", "ff15::99")
WANTED = ("192.0.2.1", "2001:db8::1")
OTHERS = ("192.0.2.3", "2001:db8::3")

# Sends to the group's port 7 from argv[3], then from argv[2], which is answered: argv[2] is heard. Prints
# whether argv[3] was, too: it was sent first.
ASK = """
import socket, sys
group, heard, other = sys.argv[1:]
v6 = ":" in group
def ask(source):
    s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((source, 0))
    if v6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("br0"))
    else:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(source))
    s.sendto(b"who hears", (group, 7))
    return s
second, first = ask(other), ask(heard)
first.settimeout(30)
assert first.recv(100) == b"who hears"
second.setblocking(False)
try:
    second.recv(100)
    print("heard")
except BlockingIOError:
    print("silent")
"""


class Multicast(unittest.TestCase):
    def setUp(self):
        self.netns = f"foyer-mc-{os.getpid()}"
        self.run_ip("netns", "add", self.netns)
        self.addCleanup(self.run_ip, "netns", "del", self.netns)
        made = subprocess.run(
            ["ip", "-n", self.netns, "link", "add", "br0", "type", "bridge", "forward_delay", "0",
             "mcast_snooping", "1", "mcast_querier", "1", "mcast_igmp_version", "3",
             "mcast_mld_version", "2", "mcast_query_response_interval", "100",
             "mcast_startup_query_interval", "100"], check=False, capture_output=True, text=True)
        if made.returncode != 0:
            self.skipTest(f"no such bridge in this kernel: {made.stderr}")
        for address in (*WANTED, *OTHERS):
            length = ["/64", "nodad"] if ":" in address else ["/24"]
            self.ip("addr", "add", address + length[0], "dev", "br0", *length[1:])
        self.ip("tuntap", "add", "foyer0", "mode", "tap", "vnet_hdr")
        self.ip("link", "set", "foyer0", "master", "br0", "up")
        self.ip("link", "set", "br0", "up")

    def run_ip(self, *words):
        subprocess.run(["ip", *words], check=True)

    def ip(self, *words):
        self.run_ip("-n", self.netns, *words)

    def kernel(self, *program):
        done = subprocess.run(["ip", "netns", "exec", self.netns, *program], check=False,
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def start(self, *words):
        host = subprocess.Popen(
            ["ip", "netns", "exec", self.netns, LINK_HOST, "tap", "foyer0", "02:00:00:00:00:02",
             "1500", "192.0.2.2/24", "2001:db8::2/64", *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(host.stdout.close)
        self.addCleanup(host.wait, timeout=30)
        self.addCleanup(host.stdin.close)
        self.assertEqual(host.stdout.readline(), "ready\n")

    def reported(self, group):
        """(filter mode, sources) of the group in the bridge's table; None: it has none."""
        tables = json.loads(self.kernel("bridge", "-d", "-j", "mdb", "show", "dev", "br0"))
        for entry in tables[0]["mdb"]:
            if entry["grp"] == group and "src" not in entry and entry.get("filter_mode"):
                sources = entry.get("source_list", [])
                return entry["filter_mode"], sorted(s["address"] for s in sources)
        return None

    def check(self, mode, source_of, heard, silent):
        for i, group in enumerate(GROUPS):
            wait_until(lambda: self.reported(group) == (mode, [source_of[i]]),
                       f"{mode} {source_of[i]} of {group} in the bridge's table")
        for snooping in ("1", "0"):
            self.ip("link", "set", "br0", "type", "bridge", "mcast_snooping", snooping)
            for i, group in enumerate(GROUPS):
                said = self.kernel(sys.executable, "-c", ASK, group, heard[i], silent[i])
                self.assertEqual(said, "silent\n", f"{group}, snooping {snooping}")

    def test_one_source(self):
        self.start(*(word for pair in zip(GROUPS, WANTED) for word in ("join", *pair)))
        self.check("include", WANTED, WANTED, OTHERS)

    def test_all_but_one_source(self):
        self.start(*(word for pair in zip(GROUPS, OTHERS) for word in ("block", *pair)))
        self.check("exclude", OTHERS, WANTED, OTHERS)


if __name__ == "__main__":
    main(unable("a network namespace, a bridge and a TAP device", "ip", "bridge"))
