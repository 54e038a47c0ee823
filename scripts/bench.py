#!/usr/bin/env python3
"""Unmodified programs between two foyer hosts and over the kernel's loopback, in one run.

The two alternate (kernel, foyer, kernel, foyer, ...), so that a machine's mood hits both alike.
What counts is the ratio of the medians; the spread says how far to believe it. Prints a table
and writes the figures as JSON to BUILD/bench/programs.json.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import socket
import statistics
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests" / "common"))
from foyer_test import BUILD, Building, missing, nginx_conf, wait_until  # noqa: E402


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

    def serve(self, _host, *program, port):
        process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   env=self.building.env, start_new_session=True)
        self.building.started.append(process)

        def listens():
            assert process.poll() is None, f"{program} ended with {process.returncode}"
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0
        wait_until(listens, f"{program[0]} to listen")
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

    def serve(self, host, *program, port):
        return self.building.serve(host, *program, port=port)

    def run(self, host, *program):
        return self.building.run(host, *program, timeout=120)


def iperf3(side, seconds):
    port = side.port(5201)
    server = side.serve("sink", "iperf3", "-s", "-p", str(port), port=port)
    got = side.run("source", "iperf3", "-c", side.address("sink"), "-p", str(port), "-t",
                   str(seconds), "-l", "128K", "-J")
    side.building.stop(server)
    return {"iperf3 TCP, one stream, 128 KiB writes: Gbit/s":
            json.loads(got.stdout)["end"]["sum_received"]["bits_per_second"] / 1e9}


def redis(clients, pipeline=1):
    def measure(side, seconds):
        port = side.port(6379)
        server = side.serve("store", "redis-server", "--port", str(port), "--save", "", "--bind",
                            "0.0.0.0", "--protected-mode", "no", port=port)
        count = 20000 * seconds * (pipeline if pipeline > 1 else 1) // (4 if clients == 1 else 1)
        got = side.run("app", "redis-benchmark", "-h", side.address("store"), "-p", str(port),
                       "-c", str(clients), "-P", str(pipeline), "-n", str(count), "-d", "64",
                       "-t", "get,set", "--csv")
        side.building.stop(server)
        rows = re.findall(r'^"(GET|SET)","([\d.]+)"', got.stdout, re.M)
        label = f"redis-benchmark {{}}, {clients} clients, pipeline {pipeline}: requests/s"
        return {label.format(name): float(value) for name, value in rows}
    return measure


def wrk(side, seconds):
    port = side.port(80)
    directory = side.building.dir
    site = directory / "bench-site"
    if not site.exists():
        site.mkdir()
        (site / "1k").write_bytes(b"x" * 1024)
    conf = nginx_conf(directory, name=f"bench-{side.name}", port=port, root=site, workers=1)
    server = side.serve("web", "nginx", "-c", str(conf), port=port)
    got = side.run("app", "wrk", "-t1", "-c64", f"-d{seconds}s",
                   f"http://{side.address('web')}:{port}/1k")
    side.building.stop(server)
    return {"nginx 1 worker and wrk, 1 KiB, keep-alive, 64 connections: requests/s":
            float(re.search(r"Requests/sec:\s+([\d.]+)", got.stdout)[1])}


def wrk_close(side, seconds):
    port = side.port(80)
    directory = side.building.dir
    site = directory / "bench-site"
    if not site.exists():
        site.mkdir()
        (site / "1k").write_bytes(b"x" * 1024)
    conf = nginx_conf(directory, name=f"bench-close-{side.name}", port=port, root=site, workers=1)
    server = side.serve("web", "nginx", "-c", str(conf), port=port)
    got = side.run("app", "wrk", "-t1", "-c64", f"-d{seconds}s", "-H", "Connection: close",
                   f"http://{side.address('web')}:{port}/1k")
    side.building.stop(server)
    return {"nginx 1 worker and wrk, 1 KiB, a new connection per request: requests/s":
            float(re.search(r"Requests/sec:\s+([\d.]+)", got.stdout)[1])}


def connect_storm(side, seconds):
    program = str(BUILD / "bench" / "connect_storm")
    port = side.port(7000)
    server = side.serve("sink", program, "serve", str(port), port=port)
    got = side.run("source", program, side.address("sink"), str(port), str(seconds), "4")
    side.building.stop(server)
    return {"accept, connect, close, 4 client threads: connections/s": float(got.stdout)}


ROWS = {
    "iperf3": (iperf3, ("iperf3",)),
    "redis-50": (redis(50), ("redis-server", "redis-benchmark")),
    "redis-1": (redis(1), ("redis-server", "redis-benchmark")),
    "redis-50-p16": (redis(50, 16), ("redis-server", "redis-benchmark")),
    "wrk": (wrk, ("nginx", "wrk")),
    "wrk-close": (wrk_close, ("nginx", "wrk")),
    "connect-storm": (connect_storm, ()),
}


def spread(values):
    """Half the range, in per cent of the median."""
    return 50 * (max(values) - min(values)) / statistics.median(values)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, help="kernel/foyer pairs of each row")
    parser.add_argument("--seconds", type=int, default=3, help="about how long each run takes")
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}; all when none is given")
    args = parser.parse_args()
    if set(args.rows) - ROWS.keys():
        parser.error(f"no such row: {', '.join(set(args.rows) - ROWS.keys())}")

    figures = {}
    with Building() as building:
        for key in args.rows or ROWS:
            measure, programs = ROWS[key]
            gone = missing(*programs)
            if gone:
                print(f"{key}: skipped, {gone} is not installed")
                continue
            for pair in range(args.pairs):
                for side in (Kernel(building), Foyer(building)):
                    print(f"\r{key}: pair {pair + 1} of {args.pairs}, {side.name}     ", end="",
                          file=sys.stderr, flush=True)
                    for label, value in measure(side, args.seconds).items():
                        figures.setdefault(label, {}).setdefault(side.name, []).append(value)
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr)

    machine = {"kernel": platform.release(), "cpus": os.cpu_count(), "machine": platform.machine()}
    print(f"Linux {machine['kernel']}, {machine['cpus']} CPUs; medians of {args.pairs} pairs")
    print(f"{'':72} {'kernel':>10} {'foyer':>10} {'ratio':>6}  spread")
    for label, sides in figures.items():
        kernel, foyer = statistics.median(sides["kernel"]), statistics.median(sides["foyer"])
        print(f"{label:72} {kernel:10.4g} {foyer:10.4g} {foyer / kernel:6.2f}  "
              f"{spread(sides['kernel']):.0f} % / {spread(sides['foyer']):.0f} %")
    out = BUILD / "bench" / "programs.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"machine": machine, "figures": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
