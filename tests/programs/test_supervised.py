#!/usr/bin/env python3
"""Programs that no module can be loaded into: static ones and Go's, as first program and as child."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
from foyer_test import BUILD, Building, missing, wait_until  # noqa: E402

DYNAMIC = str(BUILD / "tests" / "plain_sockets")
STATIC = str(BUILD / "tests" / "plain_sockets_static")


def needs(*programs):
    gone = missing(*programs)
    return unittest.skipIf(gone, f"{gone} is not installed")


def static_busybox():
    """A statically linked busybox, or None: the package busybox has a dynamic one."""
    for path in ("/usr/bin/busybox", "/bin/busybox"):
        if os.path.exists(path) and b"statically linked" in subprocess.run(
                ["file", "-bL", path], capture_output=True, check=False).stdout:
            return path
    return None


def supervisors():
    """Process ids of all supervisors of this user."""
    found = set()
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if line[0] == b"foyer-supervise":
            found.add(int(folder.name))
    return found


class Supervised(unittest.TestCase):
    def setUp(self):
        self.before = supervisors()
        self.building = self.enterContext(Building())

    def check_tcp(self, server, client, *how):
        self.building.serve("server", server, "tcp-serve", "7000", *how, port=7000)
        address = self.building.address("server")
        self.building.run("client", client, "tcp-ask", address, "7000", "3000000", *how)
        # A second connection after the first was given back.
        self.building.run("client", client, "tcp-ask", address, "7000", "1", *how)

    def test_tcp_static_both(self):
        self.check_tcp(STATIC, STATIC)

    def test_tcp_static_server(self):
        self.check_tcp(STATIC, DYNAMIC)

    def test_tcp_static_client(self):
        self.check_tcp(DYNAMIC, STATIC)

    def test_tcp_without_blocking(self):
        self.check_tcp(STATIC, STATIC, "poll")

    def test_a_reset_is_no_end(self):
        script = ("import socket, struct\n"
                  "listener = socket.create_server(('', 7000))\n"
                  "while True:\n"
                  "    peer, _ = listener.accept()\n"
                  "    peer.recv(10, socket.MSG_WAITALL)\n"
                  "    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))\n"
                  "    peer.close()\n")
        self.building.serve("server", sys.executable, "-c", script, port=7000)
        address = self.building.address("server")
        for client in (DYNAMIC, STATIC):
            for how in ((), ("poll",)):
                got = self.building.run("client", client, "tcp-ask", address, "7000", "10", *how,
                                        check=False)
                self.assertIn("Connection reset by peer", got.stderr)

    def test_signals_do_not_repeat_calls(self):
        """Calls are interrupted and restarted; none may be done twice, or not at all."""
        self.building.serve("server", STATIC, "signals", "tcp-serve", "7000", port=7000)
        address = self.building.address("server")
        for _ in range(20):
            self.building.run("client", STATIC, "signals", "tcp-ask", address, "7000", "50000")

    def test_udp(self):
        self.building.serve("server", STATIC, "udp-serve", "7001", "120", port=7001,
                            protocol="udp")
        address = self.building.address("server")
        for how in ("", "connect", "message"):
            self.building.run("client", STATIC, "udp-ask", address, "7001", "40", how)

    def test_refused(self):
        self.building.run("server", "true")
        self.building.serve("server", STATIC, "tcp-serve", "7000", port=7000)
        self.building.run("client", STATIC, "refused", self.building.address("server"), "7002")

    def test_child_of_an_attached_program(self):
        self.building.serve("server", "sh", "-c", f"{STATIC} tcp-serve 7000; exit 3", port=7000)
        address = self.building.address("server")
        self.building.run("client", DYNAMIC, "exec", STATIC, "tcp-ask", address, "7000", "100000")
        self.building.run("client", sys.executable, "-c",
                          "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))",
                          STATIC, "tcp-ask", address, "7000", "100000")

    def test_attached_child_of_a_static_program(self):
        self.building.serve("server", STATIC, "exec", DYNAMIC, "tcp-serve", "7000", port=7000)
        self.building.run("client", STATIC, "exec", DYNAMIC, "exec", STATIC, "tcp-ask",
                          self.building.address("server"), "7000", "100000")

    def test_nothing_reaches_the_machines_network(self):
        """The same port on the machine's loopback is another one."""
        self.building.serve("server", STATIC, "tcp-serve", "7000", port=7000)
        refused = subprocess.run([DYNAMIC, "refused", "127.0.0.1", "7000"], check=False)
        # Should the machine itself serve that port, this says nothing.
        self.assertIn(refused.returncode, (0, 1))
        listening = pathlib.Path("/proc/net/tcp").read_text(encoding="ascii")
        self.assertFalse(re.search(r":1B58 00000000:0000 0A", listening) and
                         refused.returncode == 0)
        self.building.run("server", DYNAMIC, "tcp-ask", "127.0.0.1", "7000", "100000")

    @needs("socat")
    def test_inherits_a_connection(self):
        """As under inetd: standard input of a static program is an attached one's connection."""
        self.building.serve("server", "socat", "TCP-LISTEN:7000,fork,reuseaddr",
                            f"EXEC:{STATIC} inherited,nofork", port=7000)
        self.building.run("client", DYNAMIC, "tcp-ask", self.building.address("server"), "7000",
                          "300000")

    def test_holder_is_the_program(self):
        server = self.building.serve("server", STATIC, "tcp-serve", "7000", port=7000)
        holder = next(s for s in self.building.ports("server") if s["local"].endswith(":7000"))
        self.assertEqual(holder["pid"], server.pid)
        self.assertEqual(holder["program"], "plain_sockets_static"[:15])
        second = self.building.run("server", STATIC, "tcp-serve", "7000", check=False)
        self.assertEqual(second.returncode, 1)
        self.assertIn(f"pid {server.pid}", second.stderr)
        self.assertIn("Address already in use", second.stderr)

    def test_ends_with_its_program(self):
        """Killed in the middle: its port is free, its supervisor gone."""
        server = self.building.serve("server", STATIC, "tcp-serve", "7000", port=7000)
        self.assertTrue(supervisors() - self.before)
        server.send_signal(signal.SIGKILL)
        server.wait(10)
        wait_until(lambda: not self.building.ports("server"), "the port to be free")
        wait_until(lambda: not supervisors() - self.before, "the supervisor's end")

    def test_exit_status_and_signals(self):
        self.assertEqual(self.building.run("a", STATIC, check=False).returncode, 2)
        self.building.run("a", "sh", "-c", f"{STATIC}; test $? = 2")

    def test_set_user_id_child_is_refused(self):
        if os.getuid() == 0:
            self.skipTest("root gains nothing by a program of root's")
        program = next((p for p in ("/usr/bin/su", "/bin/su", "/usr/bin/passwd")
                        if os.path.exists(p) and os.stat(p).st_mode & 0o4000), None)
        if program is None:
            self.skipTest("no set-user-ID program here")
        done = self.building.run("a", "sh", "-c", f"{program} --help", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("is not started on host a", done.stderr)

    @unittest.skipUnless(static_busybox(), "busybox-static is not installed")
    @needs("curl")
    def test_busybox(self):
        busybox, site = static_busybox(), self.building.dir / "site"
        site.mkdir()
        (site / "file.bin").write_bytes(os.urandom(3_000_000))
        self.building.serve("web", busybox, "httpd", "-f", "-p", "80", "-h", str(site), port=80)
        got = self.building.run("visitor", "curl", "-sS", "http://web/file.bin", text=False)
        self.assertEqual(got.stdout, (site / "file.bin").read_bytes())
        address = self.building.address("web")
        got = self.building.run("visitor", busybox, "wget", "-q", "-O", "-",
                                f"http://{address}/file.bin", text=False)
        self.assertEqual(got.stdout, (site / "file.bin").read_bytes())

    @needs("hey", "webhook", "curl")
    def test_go(self):
        hooks = self.building.dir / "hooks.json"
        hooks.write_text('[{"id": "x", "execute-command": "/bin/true", '
                         '"response-message": "hooked"}]', encoding="ascii")
        self.building.serve("go", "webhook", "-hooks", str(hooks), "-port", "9000", port=9000)
        got = self.building.run("visitor", "curl", "-sS", "http://go:9000/hooks/x")
        self.assertEqual(got.stdout, "hooked")
        address = self.building.address("go")
        got = self.building.run("visitor", "hey", "-n", "200", "-c", "10",
                                f"http://{address}:9000/hooks/x")
        self.assertRegex(got.stdout, r"\[200\]\s+200 responses")


if __name__ == "__main__":
    unittest.main(verbosity=2)
