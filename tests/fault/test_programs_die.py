#!/usr/bin/env python3
"""Attached programs, and foyerd under them, are killed at the worst moments."""

import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
from foyer_test import FOYER, WAIT_S, Building, wait_until  # noqa: E402

# Waits with epoll; on demand says what it is told in a while, having accepted whatever it can.
POLLING_SERVER = """
import errno, os, select, socket, sys
listener = socket.create_server(("", 80))
listener.setblocking(False)
if sys.argv[1] == "forked" and os.fork() > 0:
    os.wait()  # the listener's other holder never accepts
    os._exit(0)
epoll = select.epoll()
epoll.register(listener, select.EPOLLIN)
print("ready", flush=True)
sys.stdin.readline()
failed, silent = [], False
for turn in range(10000):
    if not epoll.poll(0.5):
        silent = True
        break
    try:
        listener.accept()
    except OSError as error:
        failed.append(errno.errorcode[error.errno])
print(*failed, "silent" if silent else "loud", flush=True)
"""

# Each says on its standard output what it sees, one word per line.
SERVER = """
import socket, sys
def say(word): print(word, flush=True)
listener = socket.create_server(("", 80))
say("ready")
while True:
    peer, _ = listener.accept()
    say("accepted")
    try:
        while True:
            data = peer.recv(65536)
            if not data:
                say("end")
                break
            peer.sendall(data)
    except ConnectionError as error:
        say(type(error).__name__)
    peer.close()
"""

CLIENT = """
import os, socket, sys
def say(word): print(word, flush=True)
one = socket.create_connection(("web", 80))
say("connected")
for line in sys.stdin:
    command, _, size = line.split()[0], None, int((line.split() + ["0"])[1])
    try:
        if command == "echo":
            for done in range(0, size, 65536):
                part = os.urandom(min(size - done, 65536))
                one.sendall(part)
                if one.recv(len(part), socket.MSG_WAITALL) != part:
                    raise EOFError
            say("echoed")
        elif command == "recv":
            say("bytes" if one.recv(1) else "end")
        elif command == "peek":
            say("bytes" if one.recv(1, socket.MSG_PEEK) else "end")
        elif command == "send":
            one.sendall(bytes(size))
            say("sent")
        elif command == "close":
            one.close()
            say("closed")
    except (OSError, EOFError) as error:
        say(type(error).__name__)
"""


class Talker:
    """A program that is told what to do and says what it sees."""

    def __init__(self, building, host, code):
        self.process = subprocess.Popen(
            [FOYER, "run", "--host", host, "--", sys.executable, "-c", code], env=building.env,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True)
        building.started.append(self.process)

    def hears(self):
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([self.process.stdout], [], [], WAIT_S)[0]:
                raise AssertionError(f"the program says nothing for {WAIT_S} s")
            part = self.process.stdout.read(1)
            if not part:
                raise AssertionError(f"the program ended: {self.process.wait()}")
            line += part
        return line.decode().strip()

    def tell(self, command):
        self.process.stdin.write(command.encode() + b"\n")

    def ask(self, command):
        self.tell(command)
        return self.hears()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()


class Deaths(unittest.TestCase):
    def setUp(self):
        self.building = self.enterContext(Building())

    def talker(self, host, code):
        talker = Talker(self.building, host, code)
        self.addCleanup(talker.close)
        return talker

    def pair(self):
        server = self.talker("web", SERVER)
        self.assertEqual(server.hears(), "ready")
        client = self.talker("visitor", CLIENT)
        self.assertEqual(client.hears(), "connected")
        self.assertEqual(server.hears(), "accepted")
        self.assertEqual(client.ask("echo 1000"), "echoed")
        return server, client

    def foyerd_pid(self):
        return json.loads(self.building.foyer("status", "--json").stdout)["pid"]

    def test_client_is_killed(self):
        server, client = self.pair()
        client.kill()
        self.assertEqual(server.hears(), "end")

    def test_client_is_killed_with_bytes_unread(self):
        server, client = self.pair()
        self.assertEqual(client.ask("send 1000"), "sent")
        self.assertEqual(client.ask("peek"), "bytes")  # it came back, and nobody reads it
        client.kill()
        self.assertIn(server.hears(), ("ConnectionResetError", "BrokenPipeError"))

    def test_server_is_killed(self):
        server, client = self.pair()
        server.kill()
        self.assertEqual(client.ask("recv"), "end")
        wait_until(lambda: not any(s["state"] == "LISTEN" for s in self.building.ports("web")),
                   "the port to be given back")
        server, other = self.pair()
        self.assertEqual(other.ask("echo 70000"), "echoed")

    def test_server_is_killed_with_bytes_unread(self):
        server, client = self.pair()
        os.kill(server.process.pid, signal.SIGSTOP)
        self.assertEqual(client.ask("send 1000"), "sent")
        server.kill()
        self.assertEqual(client.ask("recv"), "ConnectionResetError")

    def test_blocked_reader_is_woken(self):
        server, client = self.pair()
        client.tell("recv")
        wait_until(lambda: "poll" in self.wchan(client) or "unix" in self.wchan(client)
                   or "wait" in self.wchan(client), "the client to sleep in the kernel")
        server.kill()
        self.assertEqual(client.hears(), "end")

    def wchan(self, talker):
        with open(f"/proc/{talker.process.pid}/wchan", encoding="ascii") as file:
            return file.read()

    def test_foyerd_is_killed(self):
        """The pair goes on; its end is still seen; a new foyerd serves new programs."""
        server, client = self.pair()
        os.kill(self.foyerd_pid(), signal.SIGKILL)
        for size in (1, 1000, 1000000):
            self.assertEqual(client.ask(f"echo {size}"), "echoed")
        self.assertEqual(client.ask("close"), "closed")
        self.assertIn(server.hears(), ("end", "ConnectionResetError"))
        again, other = self.pair()
        self.assertEqual(other.ask("echo 100"), "echoed")
        del again

    def test_listeners_of_a_dead_foyerd_are_silent(self):
        """One error, and then no event for ever, instead of a loop around accept."""
        for form in ("alone", "forked"):
            server = subprocess.Popen(
                [FOYER, "run", "--host", "polling", "--", sys.executable, "-c", POLLING_SERVER,
                 form], env=self.building.env, text=True, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            self.assertEqual(server.stdout.readline(), "ready\n")
            os.kill(self.foyerd_pid(), signal.SIGKILL)
            server.stdin.write("go\n")
            server.stdin.flush()
            self.assertEqual(server.stdout.readline(), "ENETDOWN silent\n")
            server.stdin.close()
            server.stdout.close()
            self.assertEqual(server.wait(WAIT_S), 0)
            wait_until(lambda: self.building.foyer("up", check=False).returncode == 0,
                       "a new foyerd")

    def test_foyerd_stands_still(self):
        """foyerd is not in the way of bytes."""
        _, client = self.pair()
        pid = self.foyerd_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            self.assertEqual(client.ask("echo 3000000"), "echoed")
        finally:
            os.kill(pid, signal.SIGCONT)

    def test_many_connections_die_at_once(self):
        server = self.talker("web", """
import socket
listener = socket.create_server(("", 80), backlog=1024)
print("ready", flush=True)
peers = []
while len(peers) < 800:
    peers.append(listener.accept()[0])
print("full", flush=True)
for peer in peers:
    while peer.recv(100):
        pass
print("ends", flush=True)
listener.accept()
""")
        self.assertEqual(server.hears(), "ready")
        client = self.talker("visitor", """
import socket, sys
many = [socket.create_connection(("web", 80)) for _ in range(800)]
for one in many:
    one.send(b"x")
print("full", flush=True)
sys.stdin.read()
""")
        self.assertEqual((client.hears(), server.hears()), ("full", "full"))
        pid = self.foyerd_pid()
        self.assertGreater(len(os.listdir(f"/proc/{pid}/fd")), 1600)
        client.kill()
        self.assertEqual(server.hears(), "ends")
        server.kill()
        wait_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) < 20, "foyerd to close all")


if __name__ == "__main__":
    unittest.main(verbosity=2)
