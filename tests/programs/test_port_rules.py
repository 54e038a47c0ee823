#!/usr/bin/env python3
"""Port rules: the same calls on the kernel's sockets and on foyer's must have the same answers.

Differences that are meant are in port_rules.expected, each with its reason; a difference that is
not listed fails, and so does a listed one that is gone.
"""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))
from foyer_test import Building  # noqa: E402

PROGRAM = ["python3", str(HERE / "port_rules.py")]


def lines(done):
    if done.returncode != 0:
        sys.exit(f"port_rules.py failed:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}")
    return dict(line.rsplit(": ", 1) for line in done.stdout.splitlines() if ": " in line)


def expected():
    found = {}
    for line in (HERE / "port_rules.expected").read_text().splitlines():
        if line and not line.startswith("#"):
            case, answers = line.rsplit(": ", 1)
            kernel, foyer = answers.split(" -> ")
            found[case] = (kernel, foyer)
    return found


def main():
    kernel = lines(subprocess.run(PROGRAM, capture_output=True, text=True, timeout=100))
    with Building() as building:
        foyer = lines(building.run("rules", *PROGRAM, timeout=100))
    different = {case: (kernel[case], foyer.get(case, "missing"))
                 for case in kernel if kernel[case] != foyer.get(case)}
    listed = expected()
    for case in sorted(different.keys() | listed.keys()):
        if different.get(case) != listed.get(case):
            k, f = different.get(case, ("same", "same"))
            print(f"{case}: {k} -> {f}  (kernel -> foyer; listed: {listed.get(case)})")
    unlisted = sum(different.get(c) != listed.get(c) for c in different.keys() | listed.keys())
    print(f"{len(kernel)} cases, {len(different)} differences, {unlisted} of them not as listed")
    return 1 if unlisted or len(kernel) < 2000 else 0


if __name__ == "__main__":
    sys.exit(main())
