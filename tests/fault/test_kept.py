#!/usr/bin/env python3
"""Connections that serve again: what others must not notice of them, and what ends them.

FOYER_KEPT_SECONDS for longer storms; the seed is printed and can be given as FOYER_KEPT_SEED.
"""

import json
import os
import pathlib
import random
import select
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
from foyer_test import FOYER, Building, wait_until  # noqa: E402

SECONDS = float(os.environ.get("FOYER_KEPT_SECONDS", "4"))
SEED = int(os.environ.get("FOYER_KEPT_SEED", str(time.time_ns() % 1_000_000)))

# Answers each connection with its process id and closes first. Commands on standard input:
# "close": the listener; "fork": a child that accepts as well, while this process waits for it.
SERVER = """
import os, select, socket, sys
listener = socket.create_server(("0.0.0.0", 7000), backlog=256)
while True:
    ready = select.select([sys.stdin] + ([listener] if listener else []), [], [])[0]
    if sys.stdin in ready:
        command = sys.stdin.readline().strip()
        if command == "close":
            listener.close()
            listener = None
        elif command == "fork":
            child = os.fork()
            if child:
                print("forked", child, flush=True)
                os.wait()
                sys.exit()
            continue
        elif command == "":
            sys.exit()
        print("done", flush=True)
    elif listener in ready:
        with listener.accept()[0] as end:
            end.sendall(b"%d" % os.getpid())
"""

# Workers as nginx and Apache have them: the listener, or a SO_REUSEPORT group of them, is open before
# they are forked, and the master accepts nothing. Each answers with its process id and closes first;
# who sends "hold" keeps its worker until it hangs up. Arguments: how they wait (accept, epoll) and
# how many listeners. Commands: "kill 0": kill -9 of that worker, and another one in its place;
# "stop 0", "continue 0".
WORKERS = """
import os, select, signal, socket, sys
COUNT = 3
waits_in, listener_count = sys.argv[1], int(sys.argv[2])
listeners = [socket.create_server(("0.0.0.0", 7000), backlog=256, reuse_port=listener_count > 1)
             for _ in range(listener_count)]
def answer(listener):
    with listener.accept()[0] as end:
        end.sendall(b"%d" % os.getpid())
        if end.recv(4) == b"hold":
            end.recv(1)
def work(listener):
    if waits_in == "accept":
        while True:
            answer(listener)
    listener.setblocking(False)
    ready = select.epoll()
    ready.register(listener, select.EPOLLIN)
    while True:
        for _ in ready.poll():
            try:
                answer(listener)
            except BlockingIOError:
                pass
def begin(index):
    child = os.fork()
    if child == 0:
        work(listeners[index % listener_count])
    return child
children = [begin(index) for index in range(COUNT)]
print(*children, flush=True)
for line in sys.stdin:
    command, index = line.split()
    index = int(index)
    if command == "kill":
        os.kill(children[index], signal.SIGKILL)
        os.waitpid(children[index], 0)
        children[index] = begin(index)
    elif command == "stop":
        os.kill(children[index], signal.SIGSTOP)
        os.waitpid(children[index], os.WUNTRACED)
    else:
        os.kill(children[index], signal.SIGCONT)
    print(*children, flush=True)
for child in children:
    os.kill(child, signal.SIGKILL)
"""

# Two listeners, each with a thread that sleeps in accept(); others answer and close.
THREADS = """
import socket, threading
def answer(end):
    end.sendall(b"fine")
    end.recv(1)
    end.close()
def serve(port):
    listener = socket.create_server(("0.0.0.0", port))
    while True:
        threading.Thread(target=answer, args=[listener.accept()[0]]).start()
for port in (7001, 7000):
    threading.Thread(target=serve, args=[port]).start()
"""

# One line per command: an answer and the local port, or the name of the error.
CLIENT = """
import errno, os, socket, sys
address = sys.argv[1]
def ask(port=7000, closes=False):
    with socket.socket() as end:
        end.settimeout(10)
        end.connect((address, port))
        port = end.getsockname()[1]
        answer = end.recv(100)
        end.shutdown(socket.SHUT_WR)
        assert closes or end.recv(1) == b""
        return answer.decode(), port
held = []
def hold():
    end = socket.create_connection((address, 7000), 10)
    answer = end.recv(100).decode()
    end.sendall(b"hold")
    held.append(end)
    return answer, end.getsockname()[1]
def let_go():
    while held:
        held.pop().close()
    return "free", 0
def bind(port):
    with socket.socket() as end:
        end.bind(("", port))
        return "bound", port
for line in sys.stdin:
    words = line.split()
    try:
        if words[0] == "connect":
            with socket.create_connection((address, 7000), 10):
                print("connected", flush=True)
        elif words[0] == "ask":
            print(*ask(), flush=True)
        elif words[0] in ("hold", "let_go"):
            print(*{"hold": hold, "let_go": let_go}[words[0]](), flush=True)
        elif words[0] == "ask-threads":
            print(*[ask(int(port), True)[0] for port in words[1:]], flush=True)
        else:
            print(*bind(int(words[1])), flush=True)
    except OSError as error:
        print(errno.errorcode.get(error.errno, error), 0, flush=True)
"""

# Threads that connect and close for so many seconds; a line after so many answers, and at the end one
# that says how many there were.
STORM = """
import socket, sys, threading, time
end_s = time.monotonic() + float(sys.argv[2])
lock = threading.Lock()
count = 0
def storm():
    global count
    while time.monotonic() < end_s:
        try:
            with socket.create_connection((sys.argv[1], 7000), 10) as end:
                is_answered = end.recv(100) != b""
            with lock:
                count += is_answered
                if is_answered and count == int(sys.argv[3]):
                    print("reached", flush=True)
        except TimeoutError:
            print("a connection hangs", flush=True)
        except OSError:
            pass  # the server was killed
threads = [threading.Thread(target=storm) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(count, flush=True)
"""


class Program:
    """A program on a host that takes commands on its standard input."""

    def __init__(self, building, host, source, *args):
        self.process = subprocess.Popen(
            [FOYER, "run", "--host", host, "--", sys.executable, "-c", source, *args],
            env=building.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True)
        building.started.append(self.process)

    def send(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def tell(self, command):
        self.send(command)
        return self.process.stdout.readline().split()

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.end()


class Kept(unittest.TestCase):
    def setUp(self):
        print(f"seed {SEED}: FOYER_KEPT_SEED={SEED}", flush=True)
        self.random = random.Random(SEED)
        self.building = self.enterContext(Building())
        self.building.foyer("up")
        self.building.foyer("host", "add", "server")  # stays without programs
        self.server = self.serve()
        self.address = self.building.address("server")
        self.client = Program(self.building, "client", CLIENT, self.address)
        self.addCleanup(self.client.end)

    def serve(self, source=SERVER, *args):
        server = Program(self.building, "server", source, *args)
        self.addCleanup(lambda: server.process.poll() is None and server.end())
        wait_until(lambda: any(s["state"] == "LISTEN" for s in self.building.ports("server")),
                   "the server to listen")
        return server

    def status(self):
        return json.loads(self.building.foyer("status", "--json").stdout)

    def ask_often(self, count=20):
        """The answers, and the local ports of the connections."""
        answers = [self.client.tell("ask") for _ in range(count)]
        return {answer for answer, _ in answers}, {port for _, port in answers}

    def test_serves_again(self):
        answers, ports = self.ask_often()
        self.assertEqual(len(answers), 1, answers)
        self.assertLess(len(ports), 5, ports)
        # The server may yet have to leave the last one, which ends with the client's close.
        wait_until(lambda: [s["state"] for s in self.building.ports() if s["pid"] != 0]
                   == ["LISTEN"], "what is kept to be nobody's")

    def test_is_taken_back(self):
        resting = self.status()
        descriptors = f"/proc/{resting['pid']}/fd"
        count = len(os.listdir(descriptors))
        self.ask_often()
        # Spare sockets may stay.
        wait_until(lambda: len(os.listdir(descriptors)) <= count + 16, "descriptors to be closed")
        _, port = self.client.tell("ask")
        before = self.status()["sockets"]
        wait_until(lambda: self.status()["sockets"] <= before - 2, "the connection to be dissolved")
        self.assertEqual(len(self.ask_often()[0]), 1)
        self.assertEqual(self.client.tell(f"bind {port}")[0], "bound")

    def test_port_is_free_at_once(self):
        answer, port = self.client.tell("ask")
        answer, again = self.client.tell("ask")
        self.assertEqual(again, port)
        self.assertEqual(self.client.tell(f"bind {port}")[0], "bound")
        self.assertEqual(self.client.tell("ask")[0], answer)

    def test_listener_closed(self):
        self.ask_often()
        self.server.tell("close")
        self.assertEqual(self.client.tell("ask")[0], "ECONNREFUSED")

    def test_server_ended(self):
        for _ in range(5):
            self.ask_often()
            self.server.end()
            self.assertEqual(self.client.tell("ask")[0], "ECONNREFUSED")
            self.server = self.serve()

    def test_server_killed(self):
        for _ in range(5):
            self.ask_often()
            self.server.kill()
            self.assertEqual(self.client.tell("ask")[0], "ECONNREFUSED")
            self.server = self.serve()

    def test_server_killed_unknown_to_foyerd(self):
        """Who connects looks whether the other end lives, and asks foyerd when it does not."""
        self.ask_often()
        foyerd = self.status()["pid"]
        os.kill(foyerd, signal.SIGSTOP)
        try:
            self.server.kill()
            self.client.send("connect")
            self.assertEqual(select.select([self.client.process.stdout], [], [], 0.5)[0], [],
                             "connected to a program that is dead")
        finally:
            os.kill(foyerd, signal.SIGCONT)
        self.assertEqual(self.client.process.stdout.readline().split()[0], "ECONNREFUSED")

    def test_threads_that_sleep(self):
        """Who is woken for one listener leaves the other's sleeper its ring."""
        self.server.end()
        self.server = self.serve(THREADS)
        wait_until(lambda: len(self.building.ports("server")) == 2, "two listeners")
        ports = [str(self.random.choice((7000, 7001))) for _ in range(60)]
        self.assertEqual(self.client.tell("ask-threads " + " ".join(ports)), ["fine"] * 60)
        self.server.kill()

    def test_other_acceptor(self):
        """The process that had them all waits for its child: that one gets what comes."""
        answers, _ = self.ask_often()
        word, child = self.server.tell("fork")
        self.assertEqual(word, "forked")
        more, _ = self.ask_often()
        self.assertNotEqual(more, answers)
        self.assertEqual(more, {child})

    # ---- several accepting processes ------------------------------------------------------------

    def workers(self, waits_in, listener_count=1):
        """Their process ids."""
        self.server.end()
        self.server = self.serve(WORKERS, waits_in, str(listener_count))
        return self.server.process.stdout.readline().split()

    def workers_serve_again(self, waits_in):
        pids = self.workers(waits_in)
        answers, ports = self.ask_often(40)
        self.assertLessEqual(answers, set(pids))
        self.assertLess(len(ports), 15, ports)

    def test_workers_in_accept(self):
        self.workers_serve_again("accept")

    def test_workers_in_epoll(self):
        self.workers_serve_again("epoll")

    def test_group_serves_again(self):
        """Each listener of a SO_REUSEPORT group has its share of the connections."""
        pids = self.workers("epoll", 3)
        answers, ports = self.ask_often(200)
        self.assertEqual(answers, set(pids))
        self.assertLess(len(ports), 100, ports)

    def test_worker_is_busy(self):
        """One that serves somebody else for long leaves what comes to the others."""
        for waits_in in ("accept", "epoll"):
            pids = self.workers(waits_in)
            self.ask_often()
            busy = {self.client.tell("hold")[0] for _ in range(2)}
            self.assertEqual(len(busy), 2, busy)
            answers, _ = self.ask_often(30)
            self.assertEqual(answers, set(pids) - busy)
            self.client.tell("let_go")
            self.ask_often()

    def test_worker_is_stopped(self):
        """It sleeps in accept for all that anybody knows, and does not wake."""
        pids = self.workers("accept")
        for index in range(3):
            self.ask_often(30)
            self.server.tell(f"stop {index}")
            answers, _ = self.ask_often(30)
            self.assertLessEqual(answers, set(pids) - {pids[index]})
            self.server.tell(f"continue {index}")

    def test_worker_is_killed(self):
        """What it had not accepted yet goes to the others."""
        for waits_in in ("accept", "epoll"):
            self.workers(waits_in)
            for _ in range(6):
                self.ask_often()
                pids = self.server.tell(f"kill {self.random.randrange(3)}")
                answers, _ = self.ask_often()
                self.assertLessEqual(answers, set(pids))

    def test_kills_of_workers_in_a_storm(self):
        descriptors = f"/proc/{self.status()['pid']}/fd"
        resting = len(os.listdir(descriptors))
        for waits_in in ("accept", "epoll"):
            self.workers(waits_in)
            storms = [self.storm(SECONDS) for _ in range(2)]
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                self.ask_often(self.random.randrange(1, 20))
                index = self.random.randrange(3)
                if self.random.random() < 0.5:
                    self.server.tell(f"kill {index}")
                else:
                    self.server.tell(f"stop {index}")
                    self.ask_often(self.random.randrange(1, 20))
                    self.server.tell(f"continue {index}")
            for storm in storms:
                output = storm.communicate(timeout=60)[0]
                self.assertNotIn("hangs", output)
                self.assertGreater(int(output), 10)
            self.server.end()
        wait_until(lambda: len(os.listdir(descriptors)) <= resting + 16,
                   "the descriptors to be closed")

    def test_foyerd_killed(self):
        self.ask_often()
        os.kill(self.status()["pid"], signal.SIGKILL)
        begin = time.monotonic()
        self.assertNotEqual(self.client.tell("ask")[1], "")
        self.assertLess(time.monotonic() - begin, 9)

    def storm(self, seconds, report_at=-1):
        return subprocess.Popen([FOYER, "run", "--host", "storm", "--", sys.executable, "-c", STORM,
                                 self.address, str(seconds), str(report_at)], env=self.building.env,
                                stdout=subprocess.PIPE, text=True)

    def test_kills_in_a_storm(self):
        descriptors = f"/proc/{self.status()['pid']}/fd"
        resting = len(os.listdir(descriptors))
        storms = [self.storm(SECONDS) for _ in range(2)]
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            victim = self.storm(SECONDS, self.random.randrange(1, 200))
            victim.stdout.readline()
            victim.kill()
            victim.wait()
            victim.stdout.close()
            if self.random.random() < 0.2:
                self.server.kill()
                self.server = self.serve()
        for storm in storms:
            output = storm.communicate(timeout=60)[0]
            self.assertNotIn("hangs", output)
            self.assertGreater(int(output), 10)
        self.client.tell("ask")
        wait_until(lambda: sum(s["pid"] != 0 for s in self.building.ports()) == 1,
                   "the sockets to be given back")
        wait_until(lambda: len(os.listdir(descriptors)) <= resting + 16,
                   "the descriptors to be closed")


if __name__ == "__main__":
    unittest.main(verbosity=2)
