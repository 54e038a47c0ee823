#!/usr/bin/env python3
"""The DHCP clients of libfoyer against real servers: dnsmasq, and ISC dhcpd where it is installed.

A namespace holds the kernel's side of a TAP with the server on it; the other side is
dhcp_client, which speaks through libfoyer.

The cases mostly wait, for servers whose shortest lease is long, and share nothing: each runs in a
process of its own, all at once. `test_dhcp.py Dhcp.test_v4_renews` runs one.
"""

import concurrent.futures
import os
import pathlib
import re
import select
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "common"))
from foyer_test import BUILD, missing, not_installed, skip_if, wait_until  # noqa: E402

CLIENT = BUILD / "tests" / "dhcp_client"
TAP = "foyer0"
SERVER4 = "192.168.77.1"


def unable():
    with open("/proc/self/status", encoding="ascii") as status:
        capabilities = int(re.search(r"CapEff:\s*(\w+)", status.read())[1], 16)
    if not capabilities >> 12 & 1 or not capabilities >> 21 & 1:
        return "needs CAP_NET_ADMIN and CAP_SYS_ADMIN (a network namespace)"
    if not os.path.exists("/dev/net/tun"):
        return "needs /dev/net/tun"
    return not_installed("ip", "dnsmasq", "ping")


class Client:
    """dhcp_client, and what it said."""

    def __init__(self, netns):
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", netns, str(CLIENT), TAP], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, bufsize=1)
        self.lines = []
        os.set_blocking(self.process.stdout.fileno(), False)
        self.rest = ""
        self.wait("^open ")

    def say(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def read(self, timeout_s):
        if select.select([self.process.stdout], [], [], timeout_s)[0]:
            self.rest += os.read(self.process.stdout.fileno(), 65536).decode()
            *lines, self.rest = self.rest.split("\n")
            self.lines += lines

    def wait(self, pattern, timeout_s=30):
        """The first line from now on that the pattern is in; earlier ones are forgotten."""
        deadline = time.monotonic() + timeout_s
        while True:
            for number, line in enumerate(self.lines):
                if re.search(pattern, line):
                    del self.lines[: number + 1]
                    return line
            self.lines.clear()
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"waited {timeout_s} s for {pattern!r}")
            self.read(left)

    def end(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


class Dhcp(unittest.TestCase):
    def setUp(self):
        self.netns = f"foyer-dhcp-{os.getpid()}"
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="foyer-dhcp."))
        self.dir.chmod(0o755)
        self.addCleanup(subprocess.run, ["rm", "-rf", str(self.dir)], check=True)
        self.log = self.dir / "server.log"
        subprocess.run(["ip", "netns", "add", self.netns], check=True)
        self.addCleanup(subprocess.run, ["ip", "netns", "del", self.netns], check=True)
        self.client = Client(self.netns)
        self.addCleanup(self.client.end)
        self.inside("ip", "link", "set", "lo", "up")
        self.inside("ip", "addr", "add", f"{SERVER4}/24", "dev", TAP)
        self.inside("ip", "addr", "add", "fd77::1/64", "dev", TAP, "nodad")
        self.inside("ip", "link", "set", TAP, "up")
        wait_until(lambda: "tentative" not in self.inside("ip", "addr", "show", "dev", TAP),
                   "the kernel's DAD")

    def inside(self, *program, check=True):
        return subprocess.run(["ip", "netns", "exec", self.netns, *program], check=check,
                              capture_output=True, text=True, timeout=60).stdout

    def serve(self, *program, ready):
        with open(self.log, "ab") as log:
            server = subprocess.Popen(["ip", "netns", "exec", self.netns, *program],
                                      stdout=log, stderr=log)
        self.addCleanup(server.wait, 10)
        self.addCleanup(server.terminate)
        self.addCleanup(self.show_log)
        wait_until(lambda: re.search(ready, self.log.read_text()), f"{program[0]} to start")
        return server

    def show_log(self):
        if self._outcome.result.failures or self._outcome.result.errors:
            print(self.log.read_text()[-4000:])

    def dnsmasq(self, *options):
        leases = self.dir / "leases"
        leases.touch()
        return self.serve(
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root",
            f"--pid-file={self.dir / 'dnsmasq.pid'}",
            f"--interface={TAP}", "--bind-interfaces", "--no-ping", "--dhcp-authoritative",
            f"--dhcp-leasefile={leases}", "--log-dhcp", "--log-facility=-", "--no-resolv",
            "--dhcp-range=192.168.77.50,192.168.77.60,255.255.255.0,2m",
            "--dhcp-option=option:dns-server,192.168.77.3", "--domain=foyer.test",
            *options, ready="started, version")

    def ping(self, address):
        self.inside("ping", "-c", "1", "-W", "3", address)

    def test_v4_from_discover_to_release(self):
        self.dnsmasq("--dhcp-option=option:mtu,1400")
        self.client.say("start4")
        line = self.client.wait("^v4 bound")
        address = re.search(r"addr=([\d.]+)/24 ", line)[1]
        self.assertIn("domain=foyer.test", line)
        self.assertIn("router=192.168.77.1", line)
        self.assertIn("dns=192.168.77.3", line)
        self.assertIn("mtu=1400", line)
        self.assertIn(int(re.search(r"left=(\d+)", line)[1]), range(100, 121))
        self.ping(address)
        self.assertIn("foyer-test", (self.dir / "leases").read_text())
        self.client.say("release4")
        self.client.wait("^v4 off")
        wait_until(lambda: f"DHCPRELEASE({TAP}) {address}" in self.log.read_text(), "the release")

    def test_v4_renews(self):
        # What dnsmasq is told of T1 it passes on; the lease itself is never below two minutes.
        self.dnsmasq("--dhcp-option=option:T1,3s", "--dhcp-option=option:T2,60s")
        self.client.say("start4")
        self.client.wait("^v4 bound")
        self.client.wait("^v4 renewing")
        line = self.client.wait("^v4 bound")
        self.assertGreaterEqual(int(re.search(r"left=(\d+)", line)[1]), 119)

    def test_v4_reboot_and_nak(self):
        self.dnsmasq()
        self.client.say("start4 192.168.77.57")
        self.assertIn("addr=192.168.77.57/24", self.client.wait("^v4 bound"))
        self.client.say("stop4")
        self.client.wait("^v4 off")
        self.assertNotIn("DHCPDISCOVER", self.log.read_text())
        self.client.say("start4 10.1.2.3")  # of another network: refused at once
        self.assertIn("addr=192.168.77.", self.client.wait("^v4 bound"))
        self.assertIn("DHCPNAK", self.log.read_text())

    def test_v4_declines_an_address_that_the_kernel_has(self):
        # The server's pool has one address that somebody took without asking.
        # On another device, since dnsmasq gives out none of its own; Linux answers ARP for it.
        self.inside("ip", "addr", "add", "192.168.77.50/32", "dev", "lo")
        self.dnsmasq("--dhcp-host=02:f0:1e:00:00:07,192.168.77.50")
        self.client.say("start4")
        self.client.wait("^v4 checking addr=192.168.77.50/")
        self.client.wait("^v4 searching")
        wait_until(lambda: "DHCPDECLINE" in self.log.read_text(), "the DECLINE")
        line = self.client.wait("^v4 bound", 40)
        self.assertNotIn("addr=192.168.77.50/", line)

    def test_v4_classless_routes(self):
        self.dnsmasq("--dhcp-option=121,172.16.0.0/12,192.168.77.9", "--dhcp-option=3")
        self.client.say("start4")
        self.client.wait("^v4 bound")
        self.assertRegex(self.log.read_text(), "classless-static-route")

    def test_v6_as_the_router_says(self):
        self.dnsmasq("--dhcp-range=fd77::50,fd77::60,64,2m", "--enable-ra", "--ra-param=foyer0,4",
                     "--dhcp-option=option6:dns-server,[fd77::3]",
                     "--dhcp-option=option6:domain-search,foyer.test,example.net")
        self.client.say("start6 advertised")
        line = self.client.wait("^v6 bound")
        address = re.search(r"addr=(fd77::5\w|fd77::60) ", line)[1]
        self.assertIn("domains=foyer.test example.net", line)
        self.assertIn("dns=fd77::3", line)
        self.ping(address)
        self.client.say("confirm6")
        wait_until(lambda: "DHCPCONFIRM" in self.log.read_text(), "the question")
        self.client.wait("^v6 bound")
        self.client.say("release6")
        self.client.wait("^v6 off")
        wait_until(lambda: "DHCPRELEASE" in self.log.read_text(), "the release")

    def test_v6_information_only(self):
        self.dnsmasq("--dhcp-range=fd77::,ra-stateless", "--ra-param=foyer0,4",
                     "--dhcp-option=option6:dns-server,[fd77::3]")
        self.client.say("start6 advertised")
        line = self.client.wait("^v6 informed")
        self.assertIn("dns=fd77::3", line)
        self.assertNotIn("addr=", line)

    @unittest.skipIf(missing("dhcpd"), "ISC dhcpd is not installed")
    def test_isc_v4_renews_and_outlives_the_server(self):
        conf = self.dir / "dhcpd.conf"
        conf.write_text("authoritative; default-lease-time 20; max-lease-time 20;\n"
                        "option dhcp-renewal-time 5; option dhcp-rebinding-time 8;\n"
                        "subnet 192.168.77.0 netmask 255.255.255.0 {\n"
                        "  range 192.168.77.50 192.168.77.60; }\n")
        server = self.isc("-4", conf)
        self.client.say("start4")
        self.client.wait("^v4 bound")
        self.client.wait("^v4 renewing")
        self.client.wait("^v4 bound")
        server.kill()
        self.client.wait("^v4 renewing")
        self.client.wait("^v4 rebinding")
        self.client.wait("^v4 searching")
        server.wait()
        self.isc("-4", conf)
        self.client.wait("^v4 bound")

    @unittest.skipIf(missing("dhcpd"), "ISC dhcpd is not installed")
    def test_isc_v6_renews_and_outlives_the_server(self):
        conf = self.dir / "dhcpd6.conf"
        conf.write_text("authoritative; default-lease-time 20; preferred-lifetime 14;\n"
                        "option dhcp-renewal-time 5; option dhcp-rebinding-time 8;\n"
                        "subnet6 fd77::/64 { range6 fd77::50 fd77::60; }\n")
        server = self.isc("-6", conf)
        self.client.say("start6 addresses")
        self.client.wait("^v6 bound")
        self.client.wait("^v6 renewing")
        self.client.wait("^v6 bound")
        server.kill()
        self.client.wait("^v6 renewing")
        self.client.wait("^v6 rebinding")
        self.client.wait("^v6 searching")
        server.wait()
        self.isc("-6", conf)
        self.client.wait("^v6 bound")

    def isc(self, family, conf):
        leases = self.dir / f"leases{family}"
        leases.touch()
        before = self.log.read_text().count("Server starting") if self.log.exists() else 0
        return self.serve("dhcpd", family, "-f", "-d", "-cf", str(conf), "-lf", str(leases),
                          "--no-pid", TAP, ready=f"(?s)(Server starting.*){{{before + 1}}}")


def run_all():
    """Every case beside the others; the number of those that failed."""
    def run(case):
        return subprocess.run([sys.executable, __file__, f"Dhcp.{case}"], check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    cases = unittest.defaultTestLoader.getTestCaseNames(Dhcp)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        for done in pool.map(run, cases):
            print(done.stdout, flush=True)
            failed += done.returncode != 0
    return failed


if __name__ == "__main__":
    skip_if(unable())
    if len(sys.argv) > 1:
        unittest.main(verbosity=2)
    sys.exit(1 if run_all() else 0)
