"""The matrix: measuring tools, netcats, socat, telnet."""

import json
import subprocess

from compat import case, contains, equal, lacks
from foyer_test import wait_until


@case("iperf3", packages="iperf3")
def iperf3(t):
    """iperf3: TCP, four streams in reverse and both ways, UDP, IPv6 where the host has it."""
    t.serve("sink", "iperf3", "-s", port=5201)
    for options in ((), ("-R", "-P", "4"), ("--bidir",), ("-u", "-b", "50M")):
        got = json.loads(t.out("source", "iperf3", "-c", t.at("sink"), "-t", "1", "-J", *options))
        end = got["end"]
        if "-u" in options:
            equal(end["sum"]["lost_percent"] < 5 and end["sum"]["packets"] > 100, True)
        else:
            equal(end["sum_received"]["bits_per_second"] > 1e6, True)


@case("iperf", packages="iperf")
def iperf2(t):
    """iperf 2 (threads): TCP with two streams, both ways at once."""
    t.serve("sink", "iperf", "-s", port=5001)
    got = t.out("source", "iperf", "-c", t.at("sink"), "-t", "1", "-P", "2", "-y", "C")
    rates = [float(line.split(",")[8]) for line in got.split()]
    equal(len(rates) >= 2 and min(rates) > 1e6, True)
    got = t.out("source", "iperf", "-c", t.at("sink"), "-t", "1", "-d", "-y", "C")
    lacks(got, "error", "failed")


@case("sockperf", packages="sockperf", slow=True)
def sockperf(t):
    """sockperf: ping-pong over TCP and UDP, both under load; nothing lost in
    ping-pong, nothing out of order."""
    address = t.building.address if t.on == "foyer" else lambda _: "127.0.0.1"
    for protocol, options in (("tcp", ("--tcp",)), ("udp", ())):
        port = 11111 if protocol == "tcp" else 11112
        t.serve("sink", "sockperf", "server", "-p", port, *options,
                "-i", "0.0.0.0", port=port, protocol=protocol)
        at = ("-i", address("sink"), "-p", port, "-t", "1", *options)
        got = t.out("source", "sockperf", "ping-pong", *at)
        contains(got, "# dropped messages = 0", "# out-of-order messages = 0")
        got = t.out("source", "sockperf", "under-load", *at, "--mps=2000")
        # UDP may lose some where the machine is busy, the kernel's as well.
        contains(got, "# out-of-order messages = 0")


def receive(t, listen, send, port=4000):
    """A listener that writes what it gets to a file, and a sender of the data."""
    out = t.dir / f"received-{listen[0]}"
    with open(out, "wb") as sink:
        server = t.serve("sink", *listen, port=port, stdout=sink)
        t.run("source", *send, input=t.data)
        wait_until(lambda: server.poll() is not None, f"{listen[0]} to end")
    t.is_data(out)


@case("nc.openbsd", packages="netcat-openbsd")
def netcat_openbsd(t):
    """nc (OpenBSD): TCP one way with -N, scan with -z, UDP, keep listening with -k."""
    receive(t, ("nc.openbsd", "-l", "4000"), ("nc.openbsd", "-N", t.at("sink"), "4000"))
    with open(t.dir / "udp.txt", "wb") as sink:
        t.serve("sink", "nc.openbsd", "-u", "-l", "-k", "4001", port=4001, protocol="udp",
                stdout=sink)
    t.run("source", "nc.openbsd", "-u", "-w1", t.at("sink"), "4001", input="datagram\n")
    wait_until(lambda: (t.dir / "udp.txt").read_text() == "datagram\n", "the datagram")
    with open(t.dir / "many.txt", "wb") as sink:
        t.serve("sink", "nc.openbsd", "-l", "-k", "4002", port=4002, stdout=sink)
    for i in range(3):
        t.run("source", "nc.openbsd", "-N", t.at("sink"), "4002", input=f"{i}\n")
    wait_until(lambda: (t.dir / "many.txt").read_text() == "0\n1\n2\n", "three lines")
    equal(t.run("source", "nc.openbsd", "-z", t.at("sink"), "4002").returncode, 0)
    equal(t.run("source", "nc.openbsd", "-z", t.at("sink"), "4003", check=False).returncode, 1)


@case("nc.traditional", packages="netcat-traditional")
def netcat_traditional(t):
    """nc (traditional): TCP one way with -q; a program behind the listener with -e; UDP."""
    receive(t, ("nc.traditional", "-l", "-p", "4000"),
            ("nc.traditional", "-q", "0", t.at("sink"), "4000"))
    t.serve("sink", "nc.traditional", "-l", "-p", "4001", "-e", "/bin/cat", port=4001)
    got = t.out("source", "nc.traditional", "-q", "2", t.at("sink"), "4001", input="through cat\n")
    equal(got, "through cat\n")


def talk(t, client):
    """A client of a cat behind a server: its input stays open until all has come back."""
    lines = b"there and back\n" * 2000
    process = t.start("source", *client, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with process.stdin as stdin:
        stdin.write(lines)
        stdin.flush()
        wait_until(lambda: process.log.stat().st_size >= len(lines), f"{client[0]}'s echo")
    t.is_data(process.log, lines)
    t.stop(process)


@case("ncat", packages="ncat")
def ncat(t):
    """ncat: TCP one way; --exec with many connections; UDP; TLS."""
    receive(t, ("ncat", "-l", "4000"), ("ncat", "--send-only", t.at("sink"), "4000"))
    t.serve("sink", "ncat", "-lk", "4001", "--exec", "/bin/cat", port=4001)
    for _ in range(5):
        talk(t, ("ncat", t.at("sink"), "4001"))
    out = t.dir / "datagram"
    with open(out, "wb") as sink:
        t.serve("sink", "ncat", "-u", "-l", "4002", port=4002, protocol="udp", stdout=sink)
    t.run("source", "ncat", "-u", "--send-only", t.at("sink"), "4002", input="datagram\n")
    wait_until(lambda: out.read_text() == "datagram\n", "the datagram")
    t.serve("sink", "ncat", "-lk", "--ssl", "4003", "--exec", "/bin/cat", port=4003)
    talk(t, ("ncat", "--ssl", t.at("sink"), "4003"))


@case("socat", packages="socat")
def socat(t):
    """socat: TCP4, TCP6, UDP4, forking with EXEC, SYSTEM and pipes; a relay between two hosts."""
    some = t.data[:700_000]
    t.serve("echo", "socat", "TCP-LISTEN:7,fork,reuseaddr", "EXEC:cat", port=7)
    t.serve("echo", "socat", "TCP6-LISTEN:8,fork,reuseaddr,ipv6only=0", "SYSTEM:cat", port=8)
    t.serve("echo", "socat", "UDP-RECVFROM:7,fork", "EXEC:cat", port=7, protocol="udp")
    t.serve("echo", "socat", "TCP-LISTEN:9,fork,reuseaddr", "PIPE", port=9)
    t.serve("relay", "socat", "TCP-LISTEN:70,fork,reuseaddr", f"TCP:{t.at('echo')}:7", port=70)
    for host, port in (("echo", 7), ("echo", 8), ("echo", 9), ("relay", 70)):
        got = t.run("visitor", "socat", "-t5", "-", f"TCP4:{t.at(host)}:{port}", input=some)
        t.is_data(got.stdout, some)
    got = t.run("echo", "socat", "-t5", "-", "TCP6:[::1]:8", input=some)
    t.is_data(got.stdout, some)
    got = t.out("visitor", "socat", "-t1", "-", f"UDP:{t.at('echo')}:7", input="datagram")
    equal(got, "datagram")


@case("socat", packages="socat", slow=True)
def socat_modes(t):
    """socat: SOCKS4 and HTTP proxies, datagrams each way, a terminal, a descriptor that a program
    gets as its own, one-way, UNIX sockets and files at the other end, half close or none."""
    some, echo = t.data[:300_000], f"{t.at('echo')}:7"
    t.serve("echo", "socat", "TCP-LISTEN:7,fork,reuseaddr", "EXEC:cat", port=7)
    address = t.address("echo")
    for port, answerer in enumerate(("EXEC:cat,nofork", "EXEC:cat,pty,raw,echo=0", "EXEC:cat,pipes",
                                     "SYSTEM:'cat <&5 >&6',fdin=5,fdout=6"), 10):
        t.serve("echo", "socat", f"TCP-LISTEN:{port},fork,reuseaddr", answerer, port=port)
        few = some[:2000].hex().encode() + b"\n"
        got = t.run("visitor", "socat", "-t2", "-", f"TCP:{t.at('echo')}:{port},shut-down",
                    input=few)
        t.is_data(got.stdout, few)
    # The proxies are scripts: they answer as such a server does and then pass bytes on.
    relay = f"exec socat - TCP4:{address}:7"
    socks = t.write("socks.sh", f"""#!/bin/sh
dd bs=1 count=14 of={t.dir}/request 2>/dev/null
printf '\\000\\132\\000\\000\\000\\000\\000\\000'
{relay}
""", 0o755)
    proxy = t.write("proxy.sh", f"""#!/bin/sh
while read -r line && [ "$line" != "$(printf '\\r')" ]; do :; done
printf 'HTTP/1.0 200 OK\\r\\n\\r\\n'
{relay}
""", 0o755)
    t.serve("proxy", "socat", "TCP-LISTEN:1080,fork,reuseaddr", f"EXEC:{socks}", port=1080)
    t.serve("proxy", "socat", "TCP-LISTEN:8080,fork,reuseaddr", f"EXEC:{proxy}", port=8080)
    for way in (f"SOCKS4:{t.at('proxy')}:{address}:7,socksuser=foyer",
                f"PROXY:{t.at('proxy')}:{echo}",
                f"TCP:{echo},retry=2,connect-timeout=5,sourceport=5001,reuseaddr"):
        t.is_data(t.run("visitor", "socat", "-t5", "-", way, input=some).stdout, some)
    # One way each, to a file and from one; a UNIX socket before the connection.
    t.serve("sink", "socat", "-u", "TCP-LISTEN:20", f"CREATE:{t.dir}/sunk", port=20)
    t.run("visitor", "socat", "-u", f"OPEN:{t.site}/file.bin", f"TCP:{t.at('sink')}:20")
    wait_until(lambda: (t.dir / "sunk").stat().st_size == len(t.data), "all of the file")
    t.is_data(t.dir / "sunk")
    t.start("visitor", "socat", f"UNIX-LISTEN:{t.dir}/way,fork", f"TCP:{echo}")
    wait_until((t.dir / "way").exists, "the UNIX socket")
    t.is_data(t.run("visitor", "socat", "-t5", "-", f"UNIX:{t.dir}/way", input=some).stdout, some)
    for mode in ("LISTEN", "RECVFROM"):
        port = 30 if mode == "LISTEN" else 31
        t.serve("echo", "socat", f"UDP-{mode}:{port},fork", "PIPE", port=port, protocol="udp")
        for client in ("UDP-CONNECT", "UDP-SENDTO", "UDP-DATAGRAM"):
            got = t.out("visitor", "socat", "-t1", "-", f"{client}:{t.at('echo')}:{port}",
                        input="datagram")
            equal(got, "datagram")
    refused = t.run("visitor", "socat", "-", f"TCP:{t.at('echo')}:9", check=False)
    contains(refused.stderr, "Connection refused")


@case("tmux", "curl", "socat", packages="tmux socat")
def tmux(t):
    """tmux: its server's own UNIX socket; panes with a server and a client on foyer; detach."""
    socket = ("tmux", "-f", "/dev/null", "-S", t.dir / "tmux.socket")
    t.run("desk", *socket, "new-session", "-d", "-x", "80", "-y", "24",
          "socat TCP-LISTEN:7000,fork,reuseaddr EXEC:cat")
    t.until("a server in a pane", "visitor", "socat", "-u", "OPEN:/dev/null",
            f"TCP:{t.at('desk')}:7000")
    t.run("desk", *socket, "split-window", "-d", f"echo from a pane | "
          f"socat -t5 - TCP:{t.at('desk')}:7000 >{t.dir}/said; tmux wait-for -S said")
    t.run("desk", *socket, "wait-for", "said")
    equal((t.dir / "said").read_text(), "from a pane\n")
    got = t.run("visitor", "socat", "-t5", "-", f"TCP:{t.at('desk')}:7000", input=t.data[:100_000])
    t.is_data(got.stdout, t.data[:100_000])
    t.run("desk", *socket, "kill-server")


@case("socat", "openssl", packages="socat openssl")
def socat_tls(t):
    """socat with OPENSSL on both ends, options nodelay, keepalive, linger; shut-down."""
    t.run("ca", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
          "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=echo", "-keyout",
          t.dir / "key.pem", "-out", t.dir / "cert.pem")
    t.serve("echo", "socat", f"OPENSSL-LISTEN:7,fork,reuseaddr,verify=0,cert={t.dir}/cert.pem,"
            f"key={t.dir}/key.pem,nodelay", "EXEC:cat", port=7)
    out = t.run("visitor", "socat", "-t5", "-",
                f"OPENSSL:{t.at('echo')}:7,verify=0,nodelay,keepalive", input=t.data)
    t.is_data(out.stdout)


@case("openssl", packages="openssl")
def openssl(t):
    """openssl s_server -WWW and s_client; s_time with new connections for 1 s."""
    t.run("ca", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
          "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=web", "-keyout",
          t.dir / "key.pem", "-out", t.dir / "cert.pem")
    t.serve("web", "openssl", "s_server", "-accept", "443", "-WWW", "-cert", t.dir / "cert.pem",
            "-key", t.dir / "key.pem", "-quiet", port=443, cwd=t.site)
    t.is_data(t.out("visitor", "curl", "-sSk", "--http1.0", f"https://{t.at('web')}/file.bin",
                    text=False))
    got = t.out("visitor", "openssl", "s_time", "-connect", f"{t.at('web')}:443", "-new",
                "-time", "1", "-www", "/index.html")
    contains(got, "connections")


@case("telnet", "socat", packages="inetutils-telnet")
def telnet(t):
    """telnet (inetutils) to a line server: sends lines, prints answers, ends with its input."""
    t.serve("box", "socat", "TCP-LISTEN:23,reuseaddr,fork",
            "SYSTEM:'read a; echo got $a; read b; echo then $b; cat'", port=23)
    client = t.start("visitor", "telnet", t.at("box"), stdin=subprocess.PIPE)
    with client.stdin as stdin:
        stdin.write(b"one\ntwo\n")
        stdin.flush()
        wait_until(lambda: "then two" in client.log.read_text(), "the second answer")
    wait_until(lambda: client.poll() is not None, "telnet to end with its input")
    contains(client.log.read_text(), "Connected to", "got one", "then two")


@case("chronyd", packages="chrony", root=True)
def chrony(t):
    """chronyd as server without touching the clock; chronyd -Q and -x as client (UDP 123)."""
    user = ("-u", t.user)
    server = t.write("server.conf", f"local stratum 3\nallow all\ncmdport 0\n"
                     f"pidfile {t.dir}/server.pid\nbindcmdaddress {t.dir}/server.sock\n")
    client = t.write("client.conf", f"server {t.at('clock')} iburst\nport 0\ncmdport 0\n"
                     f"pidfile {t.dir}/client.pid\nbindcmdaddress {t.dir}/client.sock\n")
    t.serve("clock", "chronyd", "-x", "-d", *user, "-f", server, port=123, protocol="udp")
    got = t.run("visitor", "chronyd", "-Q", *user, "-t", "20", "-f", client)
    contains(got.stdout + got.stderr, "System clock wrong by")
