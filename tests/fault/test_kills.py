#!/usr/bin/env python3
"""kill -9 of either end at any moment, under load; nothing may leak and nobody may hang.

FOYER_KILLS=10000 for the long run; the seed is printed and can be given as FOYER_KILLS_SEED.
"""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
from foyer_test import BUILD, ECHO_SERVER, FOYER, Building, wait_until  # noqa: E402

HONEST = str(BUILD / "tests" / "plain_sockets")
KILLS = int(os.environ.get("FOYER_KILLS", "150"))
SEED = int(os.environ.get("FOYER_KILLS_SEED", str(time.time_ns() % 1_000_000)))

class Kills(unittest.TestCase):
    def setUp(self):
        print(f"seed {SEED}: FOYER_KILLS_SEED={SEED}", flush=True)
        self.random = random.Random(SEED)
        self.building = self.enterContext(Building())
        self.server = self.serve()
        status = json.loads(self.building.foyer("status", "--json").stdout)
        self.pid = status["pid"]
        self.address = self.building.address("server")
        self.resting = self.descriptors()

    def serve(self):
        return self.building.serve("server", sys.executable, "-c", ECHO_SERVER, port=7000)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def ask(self):
        return subprocess.Popen([FOYER, "run", "--host", "client", "--", HONEST, "tcp-ask",
                                 self.address, "7000", "1000000000", "dots"],
                                env=self.building.env, stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL)

    def await_moment(self, client):
        """Any moment: while it starts, connects, or after some of its bytes have come back."""
        for _ in range(self.random.choice((0, 0, 1, 1, 2, 5, 20, 60))):
            self.assertEqual(os.read(client.stdout.fileno(), 1), b".")

    def end(self, client):
        client.kill()
        client.wait()
        client.stdout.close()

    def at_rest(self):
        wait_until(lambda: sum(s["pid"] != 0 for s in self.building.ports()) == 1,
                   "the sockets to be given back")
        wait_until(lambda: self.descriptors() <= self.resting + 2,
                   f"the descriptors to be given back: {self.descriptors()} of {self.resting}")
        self.building.run("client", HONEST, "tcp-ask", self.address, "7000", "100000")

    def test_clients_die(self):
        running = [self.ask() for _ in range(3)]
        for _ in range(KILLS):
            victim = running.pop(self.random.randrange(len(running)))
            self.await_moment(victim)
            self.end(victim)
            running.append(self.ask())
        for victim in running:
            self.end(victim)
        self.at_rest()
        self.assertIsNone(self.server.poll())

    def direct_rings(self):
        return sum(s["direct"] for s in self.building.ports())

    def test_datagrams(self):
        """Of either end, while their datagrams go from program to program and before that."""
        def serve():
            return self.building.serve("server", HONEST, "udp-serve", "7001", "1000000000",
                                       port=7001, protocol="udp")

        def ask():
            return subprocess.Popen([FOYER, "run", "--host", "client", "--", HONEST, "udp-ask",
                                     self.address, "7001", "1000000000"],
                                    env=self.building.env, stderr=subprocess.DEVNULL)

        server = serve()
        for number in range(max(KILLS // 15, 1)):
            clients = [ask() for _ in range(2)]
            if self.random.randrange(4) != 0:
                wait_until(lambda: self.direct_rings() >= 2, "the rings")
            if number % 3 == 0:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()
                self.building.stop(server)
            for client in clients:
                client.kill()
                client.wait()
            if number % 3 == 0:
                wait_until(lambda: not any(s["protocol"] == "udp" for s in self.building.ports()),
                           "the ports to be free")
                server = serve()
        self.building.stop(server)
        wait_until(lambda: self.direct_rings() == 0, "the rings to be given back")
        self.at_rest()

    def test_servers_die(self):
        for _ in range(max(KILLS // 15, 1)):
            clients = [self.ask() for _ in range(3)]
            for client in clients:
                self.await_moment(client)
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait()
            self.building.stop(self.server)
            for client in clients:  # at once, not after a timeout: reset, or refused
                self.assertEqual(client.wait(5), 1)
                client.stdout.close()
            wait_until(lambda: not self.building.ports(), "the port to be free")
            self.server = self.serve()
        self.at_rest()


if __name__ == "__main__":
    unittest.main(verbosity=2)
