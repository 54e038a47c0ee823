#!/usr/bin/env python3
"""Counts instructions under valgrind and compares with callgrind.txt.

stack: callgrind_stack, libfoyer alone. calls: a program's send, recv, epoll_wait, poll, connect and
accept on foyer's sockets (micro.c), what libfoyer-preload.so has of it.

Fails where a count grew by more than 10 %: then either the change is worth it, and --update
writes the new reference, or it is not. Exit status 77: this machine cannot say.

    check_callgrind.py --per connects|requests|bulk

shows instead where the instructions of one connection, request or segment go, by file and by
function, both hosts and the C library together: the difference of 1,000 and 3,000 of them.
"""

import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "common"))
from foyer_test import BUILD, FOYER, Building  # noqa: E402

REFERENCE = HERE / "callgrind.txt"
SCENARIOS = {"stack": "callgrind_stack", "calls": "libfoyer-preload.so"}  # and whose code counts


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def valgrind(out, *program, **kwargs):
    subprocess.run(["valgrind", "-q", "--tool=callgrind", "--trace-children=yes",
                    f"--callgrind-out-file={out}/%p", *program], check=True, timeout=250, **kwargs)


def run(scenario, out):
    if scenario == "stack":
        valgrind(out, BUILD / "bench" / "callgrind_stack")
        return
    with Building() as building:
        building.run("calls", "true")
        valgrind(out, FOYER, "run", "--host", "calls", "--", "env", "FOYER_SPIN_US=0",
                 BUILD / "bench" / "micro", "127.0.0.1", "7005", "10", "10000",
                 env=building.env, stdout=subprocess.DEVNULL)


def count(scenario):
    """Of the process that did the most, [(instructions, file, function)], the largest first."""
    # What the C library contributes (malloc, memcpy) differs between machines; ours alone counts.
    ours = re.compile(r"^\s*([\d,]+)\s+\([^)]*\)\s+(\S+?):(\S+) \[\S*/"
                      + re.escape(SCENARIOS[scenario]) + r"\]", re.M)
    best = []
    with tempfile.TemporaryDirectory(prefix="foyer-callgrind-") as directory:
        run(scenario, directory)
        for out in pathlib.Path(directory).iterdir():
            text = subprocess.run(["callgrind_annotate", "--threshold=100", "--auto=no", out],
                                  check=True, capture_output=True, text=True).stdout
            rows = [(int(number.replace(",", "")), file.rsplit("/src/")[-1], function)
                    for number, file, function in ours.findall(text)]
            if sum(row[0] for row in rows) > sum(row[0] for row in best):
                best = rows
    if not best:
        skip("callgrind tells no source files; built without -g")
    return sorted(best, reverse=True)


def counts_of(kind, units, out):
    """{(file, function): instructions}; a function's inlined parts count as its file's."""
    row = re.compile(r"^\s*([\d,]+)\s+\([^)]*\)\s+(\S+?):(\S+)", re.M)
    subprocess.run(["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}",
                    BUILD / "bench" / "callgrind_stack", kind, str(units)], check=True)
    text = subprocess.run(["callgrind_annotate", "--threshold=100", "--auto=no", out],
                          check=True, capture_output=True, text=True).stdout
    counts, home = {}, {}
    for number, file, function in row.findall(text):
        counts[function] = counts.get(function, 0) + int(number.replace(",", ""))
        if not file.endswith(".h"):
            home.setdefault(function, file.rsplit("/", 1)[-1])
    return {(home.get(name, "?"), name): number for name, number in counts.items()}


def per_unit(kind):
    with tempfile.TemporaryDirectory(prefix="foyer-callgrind-") as directory:
        few, many = (counts_of(kind, units, pathlib.Path(directory, str(units)))
                     for units in (1000, 3000))
    files, functions = {}, {}
    for (file, function), number in many.items():
        number = (number - few.get((file, function), 0)) / 2000
        functions[f"{file}:{function}"] = number
        files[file] = files.get(file, 0) + number
    for table in (files, functions):
        for name, number in sorted(table.items(), key=lambda item: -item[1])[:25]:
            print(f"{number:>10.0f}  {name}")
        print(f"{sum(table.values()):>10.0f}  all of them\n")


def report(scenario, reference):
    """The count, and whether it is too large."""
    rows = count(scenario)
    total = sum(row[0] for row in rows)
    for number, file, function in rows[:20]:
        print(f"{number:>12}  {100 * number / total:5.1f} %  {file}:{function}")
    change = 100 * (total - reference) / reference if reference else 0
    print(f"{scenario}: {total} instructions, {change:+.2f} % against {reference}\n")
    return total, change > 10


def main():
    for tool in ("valgrind", "callgrind_annotate"):
        if not shutil.which(tool):
            skip(f"{tool} is not installed")
    if sys.argv[1:2] == ["--per"]:
        per_unit(sys.argv[2])
        return 0
    for program in ("callgrind_stack", "micro"):
        if not (BUILD / "bench" / program).exists():
            skip(f"{program} is not built")
    if platform.machine() != "x86_64":
        skip("the reference is of x86_64")
    references = {name: int(number) for number, name in
                  re.findall(r"^(\d+) (\w+)", REFERENCE.read_text(encoding="ascii"), re.M)}
    counts = {name: report(name, references.get(name)) for name in SCENARIOS}
    if "--update" in sys.argv:
        REFERENCE.write_text("".join(f"{total} {name}\n" for name, (total, _) in counts.items())
                             + "# Instructions in foyer's own code (preset dev, gcc 12, x86_64).\n"
                             "# python3 bench/check_callgrind.py --update writes it.\n")
        return 0
    return 1 if any(is_larger for _, is_larger in counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
