"""The rows of bench.py: what is run, and what its output says.

A measurement gets a side (Kernel or Foyer) and about how many seconds it may take, and returns
{metric: value}. METRICS says what each metric is called and which ratio is wanted.
"""

import dataclasses
import json
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests" / "common"))
from foyer_test import BUILD, FOYER, nginx_conf, wait_until  # noqa: E402

IDLE_CONNECTIONS = 1000


def descriptors():
    """How many one process may have; more than usual where we may say so."""
    wanted = 131072
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    except (OSError, ValueError):
        pass
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


# foyerd needs three descriptors for each, and a reserve.
HELD_CONNECTIONS = min(20000, descriptors() // 4)
HELD_BEFORE = 200
WATCHED_CONNECTIONS = min(10000, HELD_CONNECTIONS)


@dataclasses.dataclass
class Metric:
    label: str
    wanted: float  # foyer is at least so many times as good; 0: nothing is promised
    lower_is_better: bool = False

    def ratio(self, kernel, foyer):
        """How many times as good foyer is."""
        return kernel / foyer if self.lower_is_better else foyer / kernel


class Kernel:
    """The same calls as Building, on the machine's own loopback."""

    name = "kernel"

    def __init__(self, building):
        self.building = building

    def address(self, _host):
        return "127.0.0.1"

    def port(self, _wanted):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    def command(self, _host, *program):
        return list(program)

    def serve(self, _host, *program, port, protocol="tcp", stdout=subprocess.DEVNULL):
        process = subprocess.Popen(program, stdout=stdout, stderr=subprocess.DEVNULL,
                                   env=self.building.env, start_new_session=True)
        self.building.started.append(process)

        def listens():
            assert process.poll() is None, f"{program} ended with {process.returncode}"
            table = pathlib.Path(f"/proc/net/{protocol}").read_text(encoding="ascii")
            return re.search(rf":{port:04X} 00000000:0000 0[A7]", table)
        wait_until(listens, f"{program[0]} to hold port {port}")
        return process

    def run(self, _host, *program):
        return subprocess.run(program, env=self.building.env, check=True, text=True,
                              capture_output=True, timeout=120)


class Foyer:
    name = "foyer"

    def __init__(self, building):
        self.building = building

    def address(self, host):
        return self.building.address(host)

    def port(self, wanted):
        return wanted

    def command(self, host, *program):
        return [FOYER, "run", "--host", host, "--", *program]

    def serve(self, host, *program, port, protocol="tcp", **kwargs):
        return self.building.serve(host, *program, port=port, protocol=protocol, **kwargs)

    def run(self, host, *program):
        return self.building.run(host, *program, timeout=120)


# ---- streams ------------------------------------------------------------------------------------


def iperf3(side, seconds):
    port = side.port(5201)
    server = side.serve("sink", "iperf3", "-4", "-s", "-p", str(port), port=port)
    got = side.run("source", "iperf3", "-c", side.address("sink"), "-p", str(port), "-t",
                   str(seconds), "-l", "128K", "-J")
    side.building.stop(server)
    return {"iperf3": json.loads(got.stdout)["end"]["sum_received"]["bits_per_second"] / 1e9}


def messages(side, seconds):
    program = str(BUILD / "bench" / "messages")
    port = side.port(7001)
    server = side.serve("sink", program, "serve", str(port), port=port)
    got = side.run("source", program, side.address("sink"), str(port), str(seconds))
    side.building.stop(server)
    rate, median, p99 = map(float, got.stdout.split())
    return {"messages": rate, "messages-median": median, "messages-p99": p99}


# ---- sockperf -----------------------------------------------------------------------------------


def ping_pong(protocol):
    def measure(side, seconds):
        port = side.port(11111)
        flags = ["--tcp"] if protocol == "tcp" else []
        server = side.serve("pong", "sockperf", "server", *flags, "-i", "0.0.0.0", "-p", str(port),
                            port=port, protocol=protocol)
        # --mps: by default its sequence numbers are for answers in 1.7 us and more.
        got = side.run("ping", "sockperf", "ping-pong", *flags, "-i", side.address("pong"), "-p",
                       str(port), "-m", "64", "--mps", "5000000", "-t", str(seconds))
        side.building.stop(server)
        found = re.search(r"percentile 50\.000\s*=\s*([\d.]+)", got.stdout)
        return {f"ping-pong-{protocol}": float(found[1])}
    return measure


def udp_flood(side, seconds):
    """What arrives counts; the sender is not held back by anything."""
    port = side.port(11112)
    with tempfile.TemporaryFile("w+") as log:
        server = side.serve("sink", "sockperf", "server", "-i", "0.0.0.0", "-p", str(port),
                            port=port, protocol="udp", stdout=log)
        side.run("source", "sockperf", "throughput", "-i", side.address("sink"), "-p", str(port),
                 "-m", "1024", "--mps", "max", "-t", str(seconds))
        side.building.stop(server, signal.SIGINT)
        log.seek(0)
        received = re.search(r"Total (\d+) messages received", log.read())
    return {"udp-flood": int(received[1]) / seconds}


# ---- redis and memcached ------------------------------------------------------------------------


def redis_server(side, name, port, *more):
    return side.serve(name, "redis-server", "--port", str(port), "--save", "", "--bind", "0.0.0.0",
                      "--protected-mode", "no", *more, port=port)


def redis_benchmark(*where, clients, pipeline, count):
    return ["redis-benchmark", *where, "-c", str(clients), "-P", str(pipeline), "-n", str(count),
            "-d", "64", "-t", "get,set", "--csv"]


def redis_rates(text):
    return {name: float(value)
            for name, value in re.findall(r'^"(GET|SET)","([\d.]+)"', text, re.M)}


def redis(clients, pipeline=1):
    def measure(side, seconds):
        port = side.port(6379)
        server = redis_server(side, "store", port)
        count = 20000 * seconds * (pipeline if pipeline > 1 else 1) // (4 if clients == 1 else 1)
        if side.name == "foyer":
            count *= 4  # it would be over before it is warm
        got = side.run("app", *redis_benchmark("-h", side.address("store"), "-p", str(port),
                                               clients=clients, pipeline=pipeline, count=count))
        side.building.stop(server)
        suffix = f"-p{pipeline}" if pipeline > 1 else ""
        return {f"redis-{clients}{suffix}-{name.lower()}": rate
                for name, rate in redis_rates(got.stdout).items()}
    return measure


def redis_unix(side, seconds):
    """Beside foyer's TCP: the kernel's AF_UNIX, not its TCP."""
    port = side.port(6379)
    path = side.building.dir / "redis.sock"
    count = 20000 * seconds * (4 if side.name == "foyer" else 1)
    if side.name == "kernel":
        server = redis_server(side, "store", port, "--unixsocket", str(path))
        where = ["-s", str(path)]
    else:
        server = redis_server(side, "store", port)
        where = ["-h", side.address("store"), "-p", str(port)]
    got = side.run("app", *redis_benchmark(*where, clients=50, pipeline=1, count=count))
    side.building.stop(server)
    return {"redis-unix": redis_rates(got.stdout)["GET"]}


def redis_pairs(side, seconds):
    """Eight servers and eight clients on all cores: total of the rates while all run."""
    ports = [side.port(7100 + i) for i in range(8)]
    servers = [redis_server(side, f"store{i}", port) for i, port in enumerate(ports)]
    count = 5000 * seconds * (2 if side.name == "foyer" else 1)
    clients = [subprocess.Popen(
        side.command(f"app{i}", *redis_benchmark("-h", side.address(f"store{i}"), "-p", str(port),
                                                 clients=10, pipeline=1, count=count)),
        env=side.building.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for i, port in enumerate(ports)]
    rates = [redis_rates(client.communicate(timeout=120)[0]) for client in clients]
    for server in servers:
        side.building.stop(server)
    return {"pairs-8": sum(rate["GET"] for rate in rates)}


def memcached(side, seconds):
    port = side.port(11211)
    server = side.serve("cache", "memcached", "-u", "nobody", "-l", "0.0.0.0", "-U", "0", "-p",
                        str(port), port=port)
    got = side.run("app", "memcaslap", "-s", f"{side.address('cache')}:{port}", "-T", "1", "-c",
                   "50", "-t", f"{seconds}s")
    side.building.stop(server)
    return {"memcached-50": float(re.search(r"TPS:\s*(\d+)", got.stdout)[1])}


# ---- the web ------------------------------------------------------------------------------------


def wrk(workers, is_closing=False):
    def measure(side, seconds):
        port = side.port(80)
        directory = side.building.dir
        site = directory / "bench-site"
        if not site.exists():
            site.mkdir()
            (site / "1k").write_bytes(b"x" * 1024)
        conf = nginx_conf(directory, name=f"bench-{side.name}", port=port, root=site,
                          workers=workers)
        server = side.serve("web", "nginx", "-c", str(conf), port=port)
        close = ["-H", "Connection: close"] if is_closing else []
        got = side.run("app", "wrk", "-t1", "-c64", f"-d{seconds}s", *close,
                       f"http://{side.address('web')}:{port}/1k")
        side.building.stop(server)
        name = f"wrk-{workers}-close" if is_closing else f"wrk-{workers}"
        return {name: float(re.search(r"Requests/sec:\s+([\d.]+)", got.stdout)[1])}
    return measure


def connect_storm(metric, *server_args, client_args=()):
    """server_args: how many processes accept, and from what; see bench/connect_storm.c."""
    def measure(side, seconds):
        program = str(BUILD / "bench" / "connect_storm")
        port = side.port(7000)
        server = side.serve("sink", program, "serve", str(port), *server_args, port=port)
        got = side.run("source", program, side.address("sink"), str(port), str(seconds), "4",
                       *client_args)
        side.building.stop(server)
        return {metric: float(got.stdout)}
    return measure


# ---- single calls -------------------------------------------------------------------------------


def micro(side, _seconds):
    got = side.run("micro", str(BUILD / "bench" / "micro"), "127.0.0.1",
                   str(side.port(7005)), str(WATCHED_CONNECTIONS))
    return {f"micro-{name}": float(value)
            for name, value in (line.split() for line in got.stdout.splitlines())}


def ring(side, seconds):
    """foyer's connection beside a bare ring in shared memory, which stands in the kernel's place."""
    args = ("bare",) if side.name == "kernel" else ("connection", str(side.port(7006)))
    got = side.run("ring", str(BUILD / "bench" / "ring"), *args, str(int(seconds * 500)))
    return {f"ring-{name}": float(value)
            for name, value in (line.split() for line in got.stdout.splitlines())}


# ---- doing nothing ------------------------------------------------------------------------------


def cpu_seconds(pids):
    """Processor time that the processes have used so far."""
    ticks = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1]
        ticks += sum(map(int, fields.split()[11:13]))
    return ticks / 100


class MemoryGroup:
    """A control group: all memory that its processes cause, sockets and page tables included.

    Where there is none to be had, what the whole machine spends, whatever else it does."""

    USAGE = {"/sys/fs/cgroup/memory": "memory.usage_in_bytes", "/sys/fs/cgroup": "memory.current"}

    def __init__(self):
        self.directory = None
        for top, usage in self.USAGE.items():
            directory = pathlib.Path(top, f"foyer-bench-{os.getpid()}")
            try:
                directory.mkdir()
            except OSError:
                continue
            if (directory / usage).exists():
                self.directory, self.usage = directory, directory / usage
                return
            directory.rmdir()

    def command(self, *program):
        if self.directory is None:
            return program
        return ("sh", "-c", f"echo $$ >{self.directory}/cgroup.procs && exec \"$@\"", "sh", *program)

    def add(self, pid):
        if self.directory is not None:
            (self.directory / "cgroup.procs").write_text(f"{pid}\n", encoding="ascii")

    def bytes(self):
        if self.directory is not None:
            return int(self.usage.read_text(encoding="ascii"))
        info = dict(re.findall(r"^(\w+):\s+(\d+)", pathlib.Path("/proc/meminfo").read_text(
            encoding="ascii"), re.M))
        return 1024 * sum(int(info[name]) for name in
                          ("AnonPages", "Shmem", "Slab", "PageTables", "KernelStack", "Percpu"))

    def remove(self):
        if self.directory is None:
            return
        for pid in (self.directory / "cgroup.procs").read_text(encoding="ascii").split():
            (self.directory.parent / "cgroup.procs").write_text(f"{pid}\n", encoding="ascii")

        def is_removed():
            try:
                self.directory.rmdir()
                return True
            except OSError:  # processes that ended a moment ago
                return False
        wait_until(is_removed, "the control group to be empty")


def foyerd_pid(side):
    status = json.loads(side.building.foyer("status", "--json").stdout)
    return status["pid"]


def idle_server(side, *wrapper):
    port = side.port(7002)
    return side.serve("sink", *wrapper, str(BUILD / "bench" / "idle_connections"), "serve", str(port),
                      port=port), port


def hold_connections(side, port, count, *wrapper):
    program = str(BUILD / "bench" / "idle_connections")
    client = subprocess.Popen(side.command("source", *wrapper, program, side.address("sink"),
                                           str(port), str(count)),
                              env=side.building.env, text=True, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
    assert client.stdout.readline() == "open\n", "the connections could not be opened"
    return client


def let_go(side, server, *clients):
    for client in clients:
        client.stdin.close()
        client.wait(60)
    side.building.stop(server)


def idle_cpu(side, seconds):
    server, port = idle_server(side)
    client = hold_connections(side, port, IDLE_CONNECTIONS)
    pids = [server.pid, client.pid] + ([foyerd_pid(side)] if side.name == "foyer" else [])
    before = cpu_seconds(pids)
    try:
        client.wait(10 * seconds)
        raise AssertionError("the client has let go of its connections")
    except subprocess.TimeoutExpired:
        used = cpu_seconds(pids) - before
    let_go(side, server, client)
    return {"idle-cpu": 100 * used / (10 * seconds)}


def accepted_socket_bytes():
    """The kernel makes it when the handshake ends, in a soft interrupt: no group is charged."""
    try:
        table = pathlib.Path("/proc/slabinfo").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"^TCP\s+\d+\s+\d+\s+(\d+)", table, re.M)
    return int(found[1]) if found else 0


def idle_memory(side, _seconds):
    """Four processes open them, one accepts; what programs and foyerd are without is not counted."""
    group = MemoryGroup()
    if side.name == "foyer":
        side.run("sink", "true")
        group.add(foyerd_pid(side))
    server, port = idle_server(side, *group.command())
    clients = [hold_connections(side, port, HELD_BEFORE, *group.command())]
    before = group.bytes()
    for _ in range(4):
        clients.append(hold_connections(side, port, HELD_CONNECTIONS // 4, *group.command()))
    used = (group.bytes() - before) / HELD_CONNECTIONS
    if side.name == "kernel" and group.directory is not None:
        used += accepted_socket_bytes()
    let_go(side, server, *clients)
    group.remove()
    return {"idle-memory": used}


METRICS = {
    "iperf3": Metric("iperf3 TCP, one stream, 128 KiB writes: Gbit/s", 2),
    "messages": Metric("64-byte messages one way: messages/s", 17),
    "messages-median": Metric("the same, median of a message's way: us", 0, True),
    "messages-p99": Metric("the same, 99th percentile: us", 5, True),
    "ping-pong-tcp": Metric("sockperf ping-pong TCP, 64 B, median: us", 13, True),
    "ping-pong-udp": Metric("sockperf ping-pong UDP, 64 B, median: us", 4, True),
    "udp-flood": Metric("sockperf UDP flood, 1 KiB: messages/s received", 4),
    "redis-50-set": Metric("redis-benchmark SET, 50 clients: requests/s", 4),
    "redis-50-get": Metric("redis-benchmark GET, 50 clients: requests/s", 4),
    "redis-1-set": Metric("redis-benchmark SET, 1 client: requests/s", 5),
    "redis-1-get": Metric("redis-benchmark GET, 1 client: requests/s", 5),
    "redis-50-p16-set": Metric("redis-benchmark SET, 50 clients, pipeline 16: requests/s", 1.5),
    "redis-50-p16-get": Metric("redis-benchmark GET, 50 clients, pipeline 16: requests/s", 1.5),
    "redis-500-set": Metric("redis-benchmark SET, 500 clients: requests/s", 3),
    "redis-500-get": Metric("redis-benchmark GET, 500 clients: requests/s", 3),
    "redis-unix": Metric("redis GET, 50 clients, beside AF_UNIX: requests/s", 1),
    "memcached-50": Metric("memcached and memcaslap, 50 connections: requests/s", 3),
    "wrk-1": Metric("nginx, 1 worker, wrk, keep-alive, 64 connections: requests/s", 2.5),
    "wrk-2": Metric("nginx, 2 workers, wrk, keep-alive, 64 connections: requests/s", 2.5),
    "wrk-1-close": Metric("nginx, wrk, a new connection per request: requests/s", 2),
    "wrk-2-close": Metric("the same, 2 workers: requests/s", 2),
    "connect-storm": Metric("accept, connect, close, 4 client threads: connections/s", 3),
    "connect-storm-shared": Metric("the same, two processes accept from one listener", 1),
    "connect-storm-reuseport": Metric("the same, two listeners of a SO_REUSEPORT group", 1),
    "connect-storm-forked": Metric("the same, by the child of a client that has connected", 1),
    "pairs-8": Metric("8 redis pairs on all cores, 10 clients each: GETs/s", 1.5),
    "micro-send-recv": Metric("send and recv of 64 B, one thread: ns", 0, True),
    "micro-connect-accept": Metric("connect, accept and two closes, one thread: ns", 0, True),
    **{f"micro-{call}-{count}": Metric(f"{call} on {count} connections, one readable: ns", 0, True)
       for call in ("epoll", "poll") for count in (1, 100, WATCHED_CONNECTIONS)},
    "ring-round-trip": Metric("64 B there and back, beside a bare ring in memory: ns", 0, True),
    "ring-stream": Metric("64 KiB writes one way, beside a bare memcpy ring: MB/s", 0),
    "idle-cpu": Metric(f"{IDLE_CONNECTIONS} idle connections: % of a core", 0, True),
    "idle-memory": Metric(f"{HELD_CONNECTIONS} idle connections: bytes each, all in all", 1, True),
}

# Name on the command line: measurement, programs that it needs.
ROWS = {
    "ping-pong-tcp": (ping_pong("tcp"), ("sockperf",)),
    "messages": (messages, ()),
    "redis-50": (redis(50), ("redis-server", "redis-benchmark")),
    "redis-1": (redis(1), ("redis-server", "redis-benchmark")),
    "redis-50-p16": (redis(50, 16), ("redis-server", "redis-benchmark")),
    "redis-500": (redis(500), ("redis-server", "redis-benchmark")),
    "redis-unix": (redis_unix, ("redis-server", "redis-benchmark")),
    "memcached": (memcached, ("memcached", "memcaslap")),
    "wrk-1": (wrk(1), ("nginx", "wrk")),
    "wrk-2": (wrk(2), ("nginx", "wrk")),
    "wrk-1-close": (wrk(1, is_closing=True), ("nginx", "wrk")),
    "wrk-2-close": (wrk(2, is_closing=True), ("nginx", "wrk")),
    "connect-storm": (connect_storm("connect-storm"), ()),
    "connect-storm-shared": (connect_storm("connect-storm-shared", "shared", "2"), ()),
    "connect-storm-reuseport": (connect_storm("connect-storm-reuseport", "reuseport", "2"), ()),
    "connect-storm-forked": (connect_storm("connect-storm-forked", client_args=("forked",)), ()),
    "iperf3": (iperf3, ("iperf3",)),
    "ping-pong-udp": (ping_pong("udp"), ("sockperf",)),
    "udp-flood": (udp_flood, ("sockperf",)),
    "pairs-8": (redis_pairs, ("redis-server", "redis-benchmark")),
    "micro": (micro, ()),
    "ring": (ring, ()),
    "idle-cpu": (idle_cpu, ()),
    "idle-memory": (idle_memory, ()),
}
