#!/usr/bin/env python3
"""Explicit congestion notification with other ends than libfoyer's own, on a wire that marks.

Accurate feedback (RFC 9768) with the kernel where it knows it (Linux 7.0 and later: tcp_ecn=3), and
RFC 3168's, which a host that asks for more falls back to, where it does not. And between two hosts,
with tshark's reading of the capture beside what both ends have counted. Needs root; says so and
skips otherwise.
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from test_differential import (  # noqa: E402
    DIFFERENTIAL, KERNEL, PEER, SINK_PORT, SIZE, Lan, gone, main, wait_until)

ACCURATE = 4  # enum foyer_ecn
MARKS = {"mark": 100_000, "delay_us": 2_000, "ecn": ACCURATE}
COUNTS = ("ce", "ce_bytes", "e0_bytes", "e1_bytes")


def counters(talker):
    return {name: int(value) for name, value in
            (pair.split("=") for pair in talker.ask("ecn").split())}


def send(talker, addresses):
    """Uploads to each address; what the host has counted by the end."""
    for address in addresses:
        talker.ask("send", address, SINK_PORT, 0, SIZE)
    wanted = f"{len(addresses)} 0"
    wait_until(lambda: talker.ask("sent") == wanted or talker.ask("sent").split()[1] != "0",
               "the host's transfers", 40)
    assert talker.ask("sent") == wanted, talker.ask("sent")
    return counters(talker)


class WithTheKernel(unittest.TestCase):
    def sysctl(self, lan, value):
        done = subprocess.run(["ip", "netns", "exec", lan.namespaces[0], "sysctl", "-qw",
                               f"net.ipv4.tcp_ecn={value}"], check=False, capture_output=True)
        return done.returncode == 0

    def kernel_marks(self, lan):
        """Packets with CE that the kernel has received."""
        text = subprocess.run(["ip", "netns", "exec", lan.namespaces[0], "cat",
                               "/proc/net/netstat"], check=True, capture_output=True,
                              text=True).stdout
        names, values = (line.split()[1:] for line in text.splitlines()
                         if line.startswith("IpExt:"))
        return int(dict(zip(names, values))["InCEPkts"])

    def both_ways(self, lan):
        """The host connects and sends, then the kernel does. What both have counted."""
        lan.serve(0)
        before = self.kernel_marks(lan)
        sent = send(lan.wire, KERNEL)
        self.assertGreater(sent["reductions"], 0)
        marks = self.kernel_marks(lan) - before
        self.assertGreater(marks, 0)
        lan.transfer([1000])
        wait_until(lambda: counters(lan.wire)["accurate"] + counters(lan.wire)["classic"] >=
                   len(KERNEL) + 2 * len(PEER), "the host's connections to end")
        return marks, sent, counters(lan.wire)

    def test_fallback(self):
        """Whoever does not know the question is asked RFC 3168's by it."""
        with Lan(MARKS, False) as lan:
            self.assertTrue(self.sysctl(lan, 1))
            _, _, total = self.both_ways(lan)
            self.assertEqual(total["classic"], len(KERNEL) + 2 * len(PEER))
            self.assertEqual(total["accurate"], 0)

    def test_none(self):
        with Lan(MARKS, False) as lan:
            self.assertTrue(self.sysctl(lan, 0))
            lan.serve(0)
            total = send(lan.wire, KERNEL)
            self.assertEqual((total["classic"], total["accurate"], total["reductions"]), (0, 0, 0))
            self.assertEqual(self.kernel_marks(lan), 0)

    def test_accurate(self):
        with Lan(MARKS, False) as lan:
            if not self.sysctl(lan, 3):
                self.skipTest("this kernel does not speak RFC 9768: it refuses tcp_ecn=3")
            marks, sent, total = self.both_ways(lan)
            self.assertEqual(total["accurate"], len(KERNEL) + 2 * len(PEER))
            self.assertEqual(total["classic"], 0)
            self.assertEqual(sent["delivered_ce"], marks)
            self.assertGreater(total["received_ce"], 0)


class BetweenHosts(unittest.TestCase):
    """Two hosts on TAPs that the kernel bridges: it passes on what they say, and tshark reads it."""

    def setUp(self):
        self.lan = Lan({}, False)
        self.namespace = self.lan.namespaces[0]
        self.record = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / "b.pcapng"
        self.ip("netns", "add", self.namespace)
        self.addCleanup(self.ip, "netns", "del", self.namespace)
        self.ip("-n", self.namespace, "link", "add", "br0", "type", "bridge")
        self.ip("-n", self.namespace, "link", "set", "br0", "up")

    def ip(self, *words):
        subprocess.run(["ip", *words], check=True)

    def host(self, name, mac, *words):
        talker = self.lan.talk(0, DIFFERENTIAL, "host", name, f"mac={mac}", f"ecn={ACCURATE}",
                               *words)
        self.addCleanup(talker.end)
        talker.expect("ready")
        self.ip("-n", self.namespace, "link", "set", name, "master", "br0", "up")
        return talker

    def fields(self, what, *names):
        """Of the packets that a filter finds in the capture."""
        out = subprocess.run(
            ["tshark", "-r", self.record, "-Y", what, "-T", "fields",
             *(word for name in names for word in ("-e", name))], check=True,
            capture_output=True, text=True).stdout
        return [[int(value, 0) if value else 0 for value in line.split("\t")]
                for line in out.splitlines()]

    def upload(self, sender, receiver, address):
        """What the receiver counted of it, which the sender was told."""
        before = counters(sender), counters(receiver)
        sender.ask("send", address, SINK_PORT, 0, SIZE)
        wait_until(lambda: counters(sender)["accurate"] > before[0]["accurate"] and
                   counters(receiver)["accurate"] > before[1]["accurate"], "both ends' ends")
        told, counted = ({name: after[name] - then[name] for name in after} for after, then in
                         zip((counters(sender), counters(receiver)), before))
        self.assertEqual(sender.ask("sent"), "1 0")
        self.assertGreater(counted["received_ce"], 0)
        self.assertGreater(told["reductions"], 0)
        for count in COUNTS:
            self.assertEqual(told[f"delivered_{count}"], counted[f"received_{count}"], count)
        return counted

    def test_both_ends_agree(self):
        a = self.host("fa", 1, f"{PEER[0]}/24", "mark=100000", "delay_us=2000")
        b = self.host("fb", 2, f"{KERNEL[0]}/24", f"record={self.record}")
        self.read_capture(self.upload(a, b, KERNEL[0]))
        self.upload(b, a, PEER[0])  # marked behind what is recorded

    def read_capture(self, theirs):
        to_b, from_b = f"ip.dst == {KERNEL[0]}", f"ip.src == {KERNEL[0]}"
        marked = self.fields(f"tcp && {to_b} && ip.dsfield.ecn == 3", "tcp.len")
        self.assertEqual(len(marked), theirs["received_ce"])
        self.assertEqual(sum(size for size, in marked), theirs["received_ce_bytes"])
        plain = self.fields(f"tcp && {to_b} && ip.dsfield.ecn == 2", "tcp.len")
        self.assertEqual(sum(size for size, in plain), theirs["received_e0_bytes"])
        # The handshake: asked by 7, agreed by 2, and an option that counts from (1, 0, 1).
        names = ("tcp.flags", "tcp.options.acc_ecn.ee0b", "tcp.options.acc_ecn.eceb",
                 "tcp.options.acc_ecn.ee1b")

        def ecn_of(what):
            return [[flags >> 6 & 7, *counts] for flags, *counts in self.fields(what, *names)]
        self.assertEqual(ecn_of(f"tcp.flags.syn == 1 && {to_b}"), [[7, 0, 0, 0]])
        self.assertEqual(ecn_of(f"tcp.flags.syn == 1 && {from_b}"), [[2, 1, 0, 1]])
        last = ecn_of(f"tcp.flags.syn == 0 && {from_b}")
        self.assertEqual(last[-1][0], (5 + theirs["received_ce"]) % 8)
        told = [row for row in last if row[1] != 0][-1]
        self.assertEqual(told[1:3], [1 + theirs["received_e0_bytes"], theirs["received_ce_bytes"]])


if __name__ == "__main__":
    main(gone())
