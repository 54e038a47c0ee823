#!/usr/bin/env python3
"""Real programs, unmodified, as servers and clients on foyer's hosts."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
from foyer_test import (BUILD, Building, missing, nginx_conf, vsftpd_conf,  # noqa: E402
                        wait_until)

SIZE = 10_000_000


def needs(*programs):
    gone = missing(*programs)
    return unittest.skipIf(gone, f"{gone} is not installed")


class Programs(unittest.TestCase):
    def setUp(self):
        self.building = self.enterContext(Building())
        self.site = self.building.dir / "site"
        self.site.mkdir()
        self.bytes = os.urandom(SIZE)
        (self.site / "file.bin").write_bytes(self.bytes)
        (self.site / "index.html").write_text("hello from foyer\n")
        self.site.chmod(0o555)

    def digest(self, data):
        self.assertEqual(len(data), SIZE)
        self.assertEqual(hashlib.sha256(data).digest(), hashlib.sha256(self.bytes).digest())

    # ---- the web ------------------------------------------------------------------------------

    def serve_nginx(self, host="web", **kwargs):
        conf = nginx_conf(self.building.dir, root=self.site, **kwargs)
        return self.building.serve(host, "nginx", "-c", str(conf), port=80)

    @needs("nginx", "curl")
    def test_nginx_and_curl(self):
        self.serve_nginx()
        got = self.building.run("visitor", "curl", "-sS", "http://web/file.bin", text=False)
        self.digest(got.stdout)

    @needs("nginx", "curl")
    def test_nginx_and_curl_ipv6(self):
        self.serve_nginx()
        got = self.building.run("visitor", "curl", "-sS", "-6", "http://web/file.bin", text=False)
        self.digest(got.stdout)
        address = self.building.address("web", 6)
        got = self.building.run("visitor", "curl", "-sS", f"http://[{address}]/index.html")
        self.assertEqual(got.stdout, "hello from foyer\n")

    @needs("nginx", "curl")
    def test_nginx_workers_share_the_listener_and_survive_reload(self):
        server = self.serve_nginx()
        self.building.run("visitor", "curl", "-sS", "-Z", "--parallel-max", "20",
                          *[a for i in range(40)
                            for a in ("http://web/index.html", "-o", os.devnull)])
        server.send_signal(__import__("signal").SIGHUP)
        for _ in range(20):
            got = self.building.run("visitor", "curl", "-sS", "--retry", "3",
                                    "http://web/index.html")
            self.assertEqual(got.stdout, "hello from foyer\n")

    @needs("nginx", "wrk")
    def test_nginx_and_wrk(self):
        self.serve_nginx()
        got = self.building.run("visitor", "wrk", "-t2", "-c64", "-d2s", "http://web/index.html")
        self.assertNotIn("Socket errors", got.stdout)
        self.assertNotIn("Non-2xx", got.stdout)
        self.assertGreater(float(re.search(r"Requests/sec:\s+([\d.]+)", got.stdout)[1]), 0)

    @needs("nginx", "curl")
    def test_loopback_is_the_hosts_own(self):
        self.serve_nginx()
        got = self.building.run("web", "curl", "-sS", "http://127.0.0.1/index.html")
        self.assertEqual(got.stdout, "hello from foyer\n")
        got = self.building.run("other", "curl", "-sS", "http://127.0.0.1/index.html",
                                check=False)
        self.assertEqual(got.returncode, 7, got.stderr)  # refused: that host listens nowhere

    @needs("python3")
    def test_groups_reach_members_on_all_hosts(self):
        ear = (
            "import socket, struct\n"
            "four = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "four.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,\n"
            "                socket.inet_aton('239.5.5.5') + socket.inet_aton('0.0.0.0'))\n"
            "six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n"
            "six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)\n"
            "six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,\n"
            "               socket.inet_pton(socket.AF_INET6, 'ff15::5') + struct.pack('I', 0))\n"
            "six.bind(('::', 999)); four.bind(('', 999))\n"
            "heard = []\n"
            "while 1:\n"
            "    for s in four, six:\n"
            "        text, source = s.recvfrom(100); heard.append(text)\n"
            "        s.sendto(b' '.join(heard), source)\n")
        mouth = (
            "import socket\n"
            "inner = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "inner.bind(('127.0.0.1', 0)); inner.sendto(b'inner', ('239.5.5.5', 999))\n"
            "near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "near.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)\n"
            "near.sendto(b'near', ('239.5.5.5', 999))\n"
            "for family, group in (socket.AF_INET, '239.5.5.5'), (socket.AF_INET6, 'ff15::5'):\n"
            "    s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(5)\n"
            "    s.sendto(group.encode(), (group, 999))\n"
            "    answers = [s.recvfrom(100) for i in range(2)]\n"
            "    heard = b'239.5.5.5' if family == socket.AF_INET else b'239.5.5.5 ff15::5'\n"
            "    assert [a[0] for a in answers] == [heard] * 2, answers\n"
            "    assert len({a[1][0] for a in answers}) == 2, answers\n")
        for host in ("left-ear", "right-ear"):
            self.building.serve(host, "python3", "-c", ear, port=999, protocol="udp")
        self.building.run("mouth", "python3", "-c", mouth)

    @needs("python3")
    def test_who_lends_a_user_starts_no_program_without_foyer(self):
        """ld.so ignores the module where the real user is not the effective one."""
        if os.getuid() != 0:
            self.skipTest("needs root, to take another user's identity")
        true = shutil.which("true")
        for call in (f"os.execv({true!r}, ['true'])", f"os.posix_spawn({true!r}, ['true'], {{}})"):
            script = ("import os; os.seteuid(65534)\n"
                      f"try: {call}\n"
                      "except PermissionError: print('refused')\n"
                      f"os.seteuid(0); os.execv({true!r}, ['true'])")
            got = self.building.run("visitor", "python3", "-uc", script)
            self.assertEqual(got.stdout, "refused\n")
            self.assertIn(f"{true} is not started on host visitor", got.stderr)
            self.assertIn("real user", got.stderr)

    @needs("python3", "curl")
    def test_python_http_server_and_urllib(self):
        self.building.serve("web", "python3", "-m", "http.server", "8000", "-d", str(self.site),
                            port=8000)
        got = self.building.run("visitor", "python3", "-c",
                                "import sys, urllib.request as u; sys.stdout.buffer.write("
                                "u.urlopen('http://web:8000/file.bin').read())", text=False)
        self.digest(got.stdout)
        got = self.building.run("visitor", "curl", "-sS", "http://web:8000/file.bin", text=False)
        self.digest(got.stdout)

    # ---- FTP ----------------------------------------------------------------------------------

    def ftp(self, *options):
        conf = vsftpd_conf(self.building.dir, self.site)
        self.building.serve("files", "vsftpd", str(conf), port=21)
        got = self.building.run("visitor", "curl", "-sS", *options, "ftp://files/file.bin",
                                text=False)
        self.digest(got.stdout)

    @needs("vsftpd", "curl")
    def test_vsftpd_and_curl_passive(self):
        self.ftp()

    @needs("vsftpd", "curl")
    def test_vsftpd_and_curl_passive_pasv(self):
        self.ftp("--disable-epsv")

    @needs("vsftpd", "curl")
    def test_vsftpd_and_curl_active(self):
        self.ftp("-P", "-")

    # ---- redis --------------------------------------------------------------------------------

    def test_connections_in_turn_need_no_doorbells(self):
        got = self.building.run("loop", str(BUILD / "tests" / "epoll_turns"))
        self.assertEqual(got.stdout, "0\n")

    def test_event_loops_miss_no_wake_up(self):
        program = str(BUILD / "tests" / "epoll_stress")
        for threads, spin in ((1, "0"), (3, "0"), (3, "30")):
            with self.subTest(threads=threads, spin=spin):
                command = ("env", f"FOYER_SPIN_US={spin}", program)
                server = self.building.serve("loop", *command, "serve", "7003", str(threads),
                                             port=7003)
                got = self.building.run("clients", *command, self.building.address("loop"), "7003",
                                        "3000", timeout=300)
                self.assertEqual(got.stdout, "ok\n")
                self.building.stop(server)

    @needs("redis-server", "redis-cli", "redis-benchmark")
    def test_redis(self):
        self.building.serve("store", "redis-server", "--port", "6379", "--save", "", "--bind",
                            "*", "-::*", "--protected-mode", "no", "--dir",
                            str(self.building.dir), port=6379)
        cli = ("redis-cli", "-h", "store")
        self.assertEqual(self.building.run("app", *cli, "set", "k", "v").stdout, "OK\n")
        self.assertEqual(self.building.run("app", *cli, "get", "k").stdout, "v\n")
        piped = "".join(f"set key{i} {i}\n" for i in range(2000))
        self.building.run("app", *cli, input=piped)
        self.assertEqual(self.building.run("app", *cli, "dbsize").stdout, "2001\n")
        got = self.building.run("app", "redis-benchmark", "-h", "store", "-c", "50", "-n", "20000",
                                "-t", "get,set", "--csv")
        self.assertEqual(len(re.findall(r'^"(?:GET|SET)"', got.stdout, re.M)), 2, got.stdout)
        # BGSAVE forks a child that holds all the sockets; clients go on.
        self.building.run("app", *cli, "bgsave")
        self.assertEqual(self.building.run("app", *cli, "ping").stdout, "PONG\n")

    # ---- iperf3 -------------------------------------------------------------------------------

    def iperf3(self, *options):
        self.building.serve("sink", "iperf3", "-s", port=5201)
        got = self.building.run("source", "iperf3", "-c", "sink", "-t", "2", "-J", *options)
        return json.loads(got.stdout)["end"]

    @needs("iperf3")
    def test_iperf3_tcp(self):
        self.assertGreater(self.iperf3()["sum_received"]["bits_per_second"], 1e6)

    @needs("iperf3")
    def test_iperf3_tcp_reverse_parallel(self):
        end = self.iperf3("-R", "-P", "4")
        self.assertGreater(end["sum_received"]["bits_per_second"], 1e6)

    @needs("iperf3")
    def test_iperf3_udp(self):
        # A receiver that waits for a core loses what its 256 KiB do not hold: at this rate, 0.4 s of it.
        end = self.iperf3("-u", "-b", "5M")
        self.assertGreater(end["sum"]["packets"], 100)
        self.assertLess(end["sum"]["lost_percent"], 5)

    # ---- socat, nc ----------------------------------------------------------------------------

    @needs("socat")
    def test_socat_forking_echo(self):
        self.building.serve("echo", "socat", "TCP-LISTEN:7,fork,reuseaddr", "EXEC:cat", port=7)
        for _ in range(3):
            got = self.building.run("visitor", "socat", "-t5", "-", "TCP:echo:7", text=False,
                                    input=self.bytes[:1_000_000])
            self.assertEqual(got.stdout, self.bytes[:1_000_000])

    @needs("socat")
    def test_socat_udp(self):
        self.building.serve("echo", "socat", "UDP-RECVFROM:7,fork", "EXEC:cat", port=7,
                            protocol="udp")
        got = self.building.run("visitor", "socat", "-t2", "-", "UDP:echo:7", input="datagram")
        self.assertEqual(got.stdout, "datagram")

    @needs("nc")
    def test_nc(self):
        out = self.building.dir / "received"
        with open(out, "wb") as sink:
            server = self.building.serve("sink", "nc", "-l", "4000", port=4000, stdout=sink)
            self.building.run("source", "nc", "-N", "sink", "4000", input=self.bytes, text=False)
            wait_until(lambda: server.poll() is not None, "nc -l to end")
        self.digest(out.read_bytes())

    # ---- names, transparency ------------------------------------------------------------------

    def test_names(self):
        self.building.serve("web", "python3", "-m", "http.server", "80", port=80)
        address = self.building.address("web")
        got = self.building.run("visitor", "getent", "hosts", "web").stdout.split()
        self.assertIn(got[0], (address, self.building.address("web", 6)))
        got = self.building.run("visitor", "getent", "ahostsv4", "web.foyer.internal").stdout
        self.assertEqual(got.split()[0], address)
        self.assertEqual(self.building.run("visitor", "hostname").stdout, "visitor\n")

    def test_ephemeral_ports_are_where_they_should(self):
        ask = ("import socket; s=socket.socket(); s.bind(('', 0)); print(s.getsockname()[1])")
        port = int(self.building.run("h", "python3", "-c", ask).stdout)
        self.assertGreaterEqual(port, 49152)
        self.building.foyer("down", "--force")
        self.building.foyer("up", "--ephemeral-ports", "2000-2003")
        ports = {int(self.building.run("h", "python3", "-c", ask).stdout) for _ in range(10)}
        self.assertLessEqual(ports, {2000, 2001, 2002, 2003})

    def test_run_is_transparent(self):
        run = self.building.run
        self.assertEqual(run("h", "sh", "-c", "exit 42", check=False).returncode, 42)
        self.assertEqual(run("h", "sh", "-c", "kill -TERM $$", check=False).returncode, -15)
        self.assertEqual(run("h", "pwd", cwd="/usr").stdout, "/usr\n")
        self.assertEqual(run("h", "cat", input="in").stdout, "in")
        got = run("h", "true")
        self.assertEqual((got.stdout, got.stderr), ("", ""))
        self.assertEqual(run("h", "no-such-program", check=False).returncode, 127)

    @needs("nginx")
    def test_conflict_names_the_holder(self):
        server = self.serve_nginx()
        got = self.building.run("web", "python3", "-m", "http.server", "80", check=False,
                                timeout=20)
        self.assertNotEqual(got.returncode, 0)
        lines = [l for l in got.stderr.splitlines() if l.startswith("foyer:")]
        self.assertEqual(len(lines), 1, got.stderr)
        self.assertRegex(lines[0], r"80/tcp.*web.*nginx.*pid \d+")
        self.assertIn(str(server.pid), lines[0])
        self.assertIn("Address already in use", got.stderr)

    def test_ports_lists_holder_and_gives_back(self):
        server = self.building.serve("web", "python3", "-m", "http.server", "80", port=80)
        entry = next(s for s in self.building.ports("web") if s["local"].endswith(":80"))
        self.assertEqual(entry["pid"], server.pid)
        self.assertEqual((entry["state"], entry["host"]), ("LISTEN", "web"))
        self.assertTrue(entry["program"].startswith("python3"))
        self.building.stop(server)
        wait_until(lambda: not self.building.ports("web"), "port 80 to be given back")


if __name__ == "__main__":
    unittest.main(verbosity=2)
