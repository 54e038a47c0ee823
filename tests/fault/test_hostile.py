#!/usr/bin/env python3
"""A hostile attached program spoils its own connections, and nothing else.

scribbler.c writes over all memory that it shares, with foyerd and with its peers, the honest UDP
server among them, rings every bell and sends nonsense. Meanwhile a pair of honest programs keeps its bytes and goes on; foyerd keeps
running, and afterwards has given everything back. Under ASan in the sanitizer build.
"""

import json
import os
import pathlib
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
from foyer_test import BUILD, ECHO_SERVER, Building, wait_until  # noqa: E402

TESTS = BUILD / "tests"
SCRIBBLER = str(TESTS / "scribbler")
HONEST = str(TESTS / "plain_sockets")
SECONDS = float(os.environ.get("FOYER_HOSTILE_SECONDS", "4"))
TRANSFERS = 15  # of each honest pair before the attack
SEED = int(os.environ.get("FOYER_HOSTILE_SEED", str(time.time_ns() % 1_000_000)))


class Victim:
    """An honest pair: how many transfers were whole; the first failure."""

    def __init__(self, building, kind):
        self.building, self.kind, self.done, self.failure = building, kind, 0, None
        self.is_over = threading.Event()
        self.changed = threading.Condition()
        if kind == "tcp":
            self.command = ("tcp-ask", building.address("victim"), "7000", "1000000")
        else:
            self.command = ("udp-ask", building.address("victim"), "7001", "100")
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.is_over.is_set() and self.failure is None:
            try:
                self.building.run("honest", HONEST, *self.command)
                with self.changed:
                    self.done += 1
                    self.changed.notify_all()
            except (AssertionError, OSError) as error:
                with self.changed:
                    self.failure = error
                    self.changed.notify_all()

    def rate(self, count):
        """Transfers per second, over so many of them."""
        begin = time.monotonic()
        with self.changed:
            goal = self.done + count
            self.changed.wait_for(lambda: self.failure or self.done >= goal, 60)
            if self.failure is None and self.done < goal:
                self.failure = AssertionError(f"{self.done} of {goal} {self.kind} transfers")
        return count / (time.monotonic() - begin)


class Hostile(unittest.TestCase):
    def foyerd(self):
        return json.loads(self.building.foyer("status", "--json").stdout)["pid"]

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def sockets(self):
        """Bound ones; those in TIME-WAIT are no program's."""
        return sum(s["state"] != "TIME-WAIT" and s["pid"] != 0 for s in self.building.ports())

    def direct_rings(self):
        """Those that lead to the honest UDP server, of honest and of hostile clients."""
        return sum(s["direct"] for s in self.building.ports("victim"))

    def setUp(self):
        print(f"seed {SEED}: FOYER_HOSTILE_SEED={SEED}", flush=True)
        self.building = self.enterContext(Building())
        self.building.serve("victim", HONEST, "tcp-serve", "7000", port=7000)
        self.building.serve("victim", HONEST, "udp-serve", "7001", "100000000", port=7001,
                            protocol="udp")
        self.public = self.building.serve("public", sys.executable, "-c", ECHO_SERVER, port=7000)
        self.pid = self.foyerd()

    def test_scribbler(self):
        resting = self.descriptors()
        victims = [Victim(self.building, "tcp"), Victim(self.building, "udp")]
        attackers = []
        try:
            calm = [victim.rate(TRANSFERS) for victim in victims]
            target = self.building.serve("evil", SCRIBBLER, "serve", "666", port=666)
            evil = self.building.address("evil")
            public = self.building.address("public")
            for i, (address, port) in enumerate(((evil, "666"), (public, "7000"))):
                attackers.append(self.building.serve(
                    f"attacker{i}", SCRIBBLER, address, port, str(SEED + i),
                    str(int(SECONDS * 1000)), self.building.address("victim"), "7001"))
            wait_until(lambda: self.direct_rings() > 1, "the attackers to have direct rings")
            before, begin = [victim.done for victim in victims], time.monotonic()
            for attacker in attackers:
                attacker.wait(SECONDS + 30)
            elapsed = time.monotonic() - begin
            stormy = [(victim.done - done) / elapsed for victim, done in zip(victims, before)]
        finally:
            for victim in victims:
                victim.is_over.set()
            for victim in victims:
                victim.thread.join()
        for victim, undisturbed, after in zip(victims, calm, stormy):
            self.assertIsNone(victim.failure)
            print(f"{victim.kind}: {undisturbed:.1f} transfers/s, under attack {after:.1f}", flush=True)
            # They share the cores with four more processes; but they go on.
            self.assertGreater(after, undisturbed / 20)
        self.assertEqual(self.foyerd(), self.pid)
        self.building.stop(target)
        for attacker in attackers:
            self.building.stop(attacker)
        wait_until(lambda: self.sockets() == 3, "the sockets to be given back")
        wait_until(lambda: self.descriptors() <= resting + 2, "the descriptors to be given back")
        # And all is as it was, also for the server whose clients were hostile.
        self.assertIsNone(self.public.poll())
        self.building.run("honest", HONEST, "tcp-ask", self.building.address("public"), "7000",
                          "1000000")
        self.building.run("honest", HONEST, "tcp-ask", self.building.address("victim"), "7000",
                          "1000000")


if __name__ == "__main__":
    unittest.main(verbosity=2)
