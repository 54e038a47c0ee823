#!/usr/bin/env python3
"""Unmodified programs between two foyer hosts and over the kernel's loopback, in one run.

The two alternate (kernel, foyer, kernel, foyer, ...), so that a machine's mood hits both alike.
What counts is the ratio of the medians (more than 1: foyer is better); the spread, half the range
in per cent of the median, says how far to believe it. Prints a table and writes the figures as
BUILD/bench/programs.json and, as a picture, programs.svg.
"""

import argparse
import html
import json
import math
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys

from bench_rows import BUILD, METRICS, ROWS, Foyer, Kernel  # sets the path for the next one
from foyer_test import Building, missing  # noqa: E402

PACKAGES = ("redis-server", "nginx", "wrk", "iperf3", "sockperf", "memcached")


def spread(values):
    """Half the range, in per cent of the median."""
    median = statistics.median(values)
    return 50 * (max(values) - min(values)) / median if median else 0


def describe_machine():
    model = re.search(r"^model name\s*:\s*(.*)$",
                      pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}, ", *PACKAGES],
                          capture_output=True, text=True, check=False)
    return {"kernel": platform.release(), "cpus": os.cpu_count(), "machine": platform.machine(),
            "model": model[1] if model else "", "load": os.getloadavg()[0],
            "packages": done.stdout.rstrip(", ")}


def measure(args):
    """{metric: {side: [values]}}, in the order in which they come."""
    figures = {}
    for key in args.rows or ROWS:
        function, programs = ROWS[key]
        gone = missing(*programs)
        if gone:
            print(f"{key}: skipped, {gone} is not installed")
            continue
        with Building() as building:
            for pair in range(args.pairs):
                for side in (Kernel(building), Foyer(building)):
                    print(f"\r{key}: pair {pair + 1} of {args.pairs}, {side.name}     ", end="",
                          file=sys.stderr, flush=True)
                    for metric, value in function(side, args.seconds).items():
                        figures.setdefault(metric, {}).setdefault(side.name, []).append(value)
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr)
    return figures


def summarise(figures):
    rows = []
    for name, sides in figures.items():
        metric = METRICS[name]
        kernel, foyer = statistics.median(sides["kernel"]), statistics.median(sides["foyer"])
        ratio = metric.ratio(kernel, foyer) if kernel and foyer else None
        rows.append({"metric": name, "label": metric.label, "kernel": kernel, "foyer": foyer,
                     "ratio": ratio, "wanted": metric.wanted,
                     "spread": [spread(sides["kernel"]), spread(sides["foyer"])]})
    return rows


def figure(value):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def verdict(row):
    if not row["wanted"] or row["ratio"] is None:
        return ""
    return "met" if row["ratio"] >= row["wanted"] else "not met"


def print_table(rows, machine, pairs):
    print(f"Linux {machine['kernel']}, {machine['cpus']} CPUs ({machine['model']}), load "
          f"{machine['load']:.1f} before; medians of {pairs} pairs")
    print(machine["packages"])
    print(f"{'':64} {'kernel':>11} {'foyer':>11} {'times':>6} {'wanted':>6}          spread")
    for row in rows:
        ratio = f"{row['ratio']:.2f}" if row["ratio"] is not None else "-"
        wanted = f"{row['wanted']:g}" if row["wanted"] else "-"
        print(f"{row['label']:64} {figure(row['kernel']):>11} {figure(row['foyer']):>11} "
              f"{ratio:>6} {wanted:>6} {verdict(row):8} "
              f"{row['spread'][0]:.0f} % / {row['spread'][1]:.0f} %")


def draw(rows, machine):
    """Bars of the ratios on a logarithmic scale, with a mark where each is wanted."""
    rows = [row for row in rows if row["ratio"]]
    left, width, step, top = 430, 420, 22, 46
    low, high = math.log(0.1), math.log(150)

    def x(ratio):
        return left + width * (min(max(math.log(ratio), low), high) - low) / (high - low)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 80}" '
             f'height="{top + step * len(rows) + 20}" font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="#fff"/>',
             f'<text x="8" y="18">foyer beside the kernel\'s loopback: how many times as good; '
             f'Linux {html.escape(machine["kernel"])}, {machine["cpus"]} CPUs</text>']
    for ratio in (0.1, 0.3, 1, 3, 10, 30, 100):
        parts.append(f'<line x1="{x(ratio):.0f}" y1="{top - 12}" x2="{x(ratio):.0f}" '
                     f'y2="{top + step * len(rows)}" stroke="{"#444" if ratio == 1 else "#ddd"}"/>'
                     f'<text x="{x(ratio):.0f}" y="{top - 16}" text-anchor="middle" '
                     f'fill="#666">{ratio:g}</text>')
    for i, row in enumerate(rows):
        y = top + step * i
        color = "#2a7" if row["ratio"] >= (row["wanted"] or 1) else "#c73"
        begin, end = sorted((x(1), x(row["ratio"])))
        parts.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">'
                     f'{html.escape(row["label"])}</text>'
                     f'<rect x="{begin:.0f}" y="{y + 3}" width="{max(end - begin, 1):.0f}" '
                     f'height="13" fill="{color}"/>'
                     f'<text x="{left + width + 8}" y="{y + 13}">{row["ratio"]:.2f}</text>')
        if row["wanted"]:
            parts.append(f'<line x1="{x(row["wanted"]):.0f}" y1="{y}" '
                         f'x2="{x(row["wanted"]):.0f}" y2="{y + 19}" stroke="#000" '
                         'stroke-width="2"/>')
    return "\n".join(parts) + "\n</svg>\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, help="kernel/foyer pairs of each row")
    parser.add_argument("--seconds", type=int, default=3, help="about how long each run takes")
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}; all when none is given")
    args = parser.parse_args()
    if set(args.rows) - ROWS.keys():
        parser.error(f"no such row: {', '.join(sorted(set(args.rows) - ROWS.keys()))}")
    machine = describe_machine()
    figures = measure(args)
    rows = summarise(figures)
    print_table(rows, machine, args.pairs)
    out = BUILD / "bench"
    out.mkdir(parents=True, exist_ok=True)
    (out / "programs.json").write_text(
        json.dumps({"machine": machine, "rows": rows, "figures": figures}, indent=2) + "\n")
    (out / "programs.svg").write_text(draw(rows, machine))


if __name__ == "__main__":
    main()
