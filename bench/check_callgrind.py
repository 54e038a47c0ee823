#!/usr/bin/env python3
"""Counts the instructions of callgrind_stack under valgrind and compares with callgrind.txt.

Fails where the count grew by more than 10 %: then either the change is worth it, and --update
writes the new reference, or it is not. Exit status 77: this machine cannot say.
"""

import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
REFERENCE = HERE / "callgrind.txt"
PROGRAM = pathlib.Path(os.environ.get("FOYER_BUILD", HERE.parent / "build"), "bench",
                       "callgrind_stack")
# What the C library contributes (malloc, memcpy) differs between machines; ours alone counts.
OURS = re.compile(r"^\s*([\d,]+)\s+\([^)]*\)\s+(\S+?):(\S+) \[\S*/callgrind_stack\]", re.M)


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def count():
    with tempfile.TemporaryDirectory(prefix="foyer-callgrind-") as directory:
        out = pathlib.Path(directory, "out")
        subprocess.run(["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}",
                        PROGRAM], check=True)
        text = subprocess.run(["callgrind_annotate", "--threshold=100", "--auto=no", out],
                              check=True, capture_output=True, text=True).stdout
    rows = [(int(number.replace(",", "")), file.rsplit("/src/")[-1], function)
            for number, file, function in OURS.findall(text)]
    if not rows:
        skip("callgrind tells no source files; built without -g")
    return sum(row[0] for row in rows), sorted(rows, reverse=True)


def main():
    for tool in ("valgrind", "callgrind_annotate"):
        if not shutil.which(tool):
            skip(f"{tool} is not installed")
    if not PROGRAM.exists():
        skip(f"{PROGRAM} is not built")
    if platform.machine() != "x86_64":
        skip("the reference is of x86_64")
    reference = int(re.search(r"^(\d+)", REFERENCE.read_text(), re.M)[1]) if REFERENCE.exists() \
        else None
    total, rows = count()
    for number, file, function in rows[:20]:
        print(f"{number:>12}  {100 * number / total:5.1f} %  {file}:{function}")
    if "--update" in sys.argv:
        REFERENCE.write_text(f"{total}\n# Instructions in foyer's own code, of bench/callgrind_stack.c "
                             "(preset dev, gcc 12, x86_64).\n# python3 bench/check_callgrind.py --update "
                             "writes it.\n")
        print(f"{total} instructions: written")
        return 0
    if reference is None:
        skip("there is no reference")
    change = 100 * (total - reference) / reference
    print(f"{total} instructions, {change:+.2f} % against {reference}")
    return 1 if change > 10 else 0


if __name__ == "__main__":
    sys.exit(main())
