#!/usr/bin/env python3
"""Breaks the stack on purpose, one small change at a time, and asks the tests.

    mutate.py --check                 every anchor of tests/mutation/list.txt is found exactly once
    mutate.py --run SCRATCH [name..]  build each in a copy under SCRATCH, run the unit tests, then the
                                      simulations, and stop at the first that fails; those that
                                      SCRATCH has a result of are not asked again, unless named
    mutate.py --report SCRATCH        write docs/mutation.md of the results in SCRATCH

A mutation in the list:

    == name path/of/file.c
    what would be wrong
    - the code as it is, one line or more
    + what takes its place; no line: nothing

White space counts as one blank in the search, so that reformatting breaks no anchor.
"""
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "tests/mutation/list.txt"
# Asked before all others, since they know most of TCP or of IP: linking all tests takes longest.
FIRST = {
    True: re.compile(r"unit\.stack\.tcp_(states|send|options|recovery|rack|timers|conformance|rules|cc)$"),
    False: re.compile(r"unit\.(stack\.(ip|ip_conformance|link|ndp|udp|ports|socket)|base\.checksum)$"),
}
SIMULATIONS = ("sim.transfer", "sim.connect", "sim.udp", "sim.ecn")


class Mutation:
    def __init__(self, name, file):
        self.name, self.file = name, file
        self.why, self.old, self.new = [], [], []


def read_list():
    found = []
    for line in LIST.read_text().splitlines():
        if line.startswith("== "):
            found.append(Mutation(*line[3:].split()))
        elif line.startswith("- "):
            found[-1].old.append(line[2:])
        elif line.startswith("+ "):
            found[-1].new.append(line[2:])
        elif line and not line.startswith("#"):
            found[-1].why.append(line)
    return found


def apply_to(mutation, text):
    """The changed text, or None where the anchor is not there exactly once."""
    words = " ".join(mutation.old).split()
    pattern = r"\s+".join(re.escape(word) for word in words)
    if len(re.findall(pattern, text)) != 1:
        return None
    return re.sub(pattern, lambda _: "\n".join(mutation.new), text)


def check():
    mutations = read_list()
    bad = [m for m in mutations if apply_to(m, (ROOT / m.file).read_text()) is None]
    for m in bad:
        print(f"tests/mutation/list.txt: {m.name}: the anchor is not found once in {m.file}", file=sys.stderr)
    if len({m.name for m in mutations}) != len(mutations) or len(mutations) < 40:
        sys.exit("tests/mutation/list.txt: a name twice, or too few")
    print(f"{len(mutations)} mutations")
    sys.exit(bool(bad))


def call(command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)


def copy_tree(scratch):
    tree = scratch / "tree"
    tree.mkdir(parents=True, exist_ok=True)
    files = call(["git", "ls-files", "-z"], cwd=ROOT).stdout.split("\0")
    call(["rsync", "-a", "--files-from=-", "--from0", str(ROOT) + "/", str(tree)], input="\0".join(files))
    build = scratch / "build"
    configured = call(["cmake", "-S", str(tree), "-B", str(build), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=None",
                       "-DFOYER_BENCH=OFF", "-DCMAKE_C_FLAGS=-O1 -w"])
    if configured.returncode != 0:
        sys.exit(configured.stdout)
    return tree, build


def test_names(build):
    listed = call(["ctest", "-N"], cwd=build).stdout
    names = re.findall(r"Test +#\d+: (\S+)", listed)
    units = [n for n in names if re.match(r"unit\.(base|wire|stack)\.", n)]
    return units, [n for n in SIMULATIONS if n in names]


def first_failure(build, names):
    """The test (and the function in it) that fails first, or None."""
    built = call(["cmake", "--build", str(build), "-j2", "--target", *names])
    if built.returncode != 0:
        return "it does not compile:\n" + built.stdout[-2000:]
    for name in names:
        folder = build.parent / "tree/tests/unit" / name.split(".")[1]
        try:
            done = call([str(build / "tests" / name)], timeout=120, cwd=folder if folder.is_dir() else None)
        except subprocess.TimeoutExpired:
            return f"{name} (does not end)"
        if done.returncode != 0:
            function = re.search(r"\[  FAILED  \] (\w+)", done.stdout)
            return name + (f": {function.group(1)}" if function else "")
    return None


def run(scratch, wanted):
    tree, build = copy_tree(scratch)
    units, simulations = test_names(build)
    results = scratch / "results"
    results.mkdir(exist_ok=True)
    failure = first_failure(build, units)
    if failure is not None:
        sys.exit(f"without any mutation: {failure}")
    for m in read_list():
        known = results / m.name
        if m.name not in wanted if wanted else known.exists() and known.read_text():
            continue
        path = tree / m.file
        original = path.read_text()
        changed = apply_to(m, original)
        if changed is None:
            sys.exit(f"{m.name}: the anchor is not found once")
        try:
            path.write_text(changed)
            likely = [n for n in units if FIRST["/tcp" in m.file].match(n)]
            others = [n for n in units if n not in likely]
            caught = (first_failure(build, likely) or first_failure(build, others)
                      or first_failure(build, simulations))
        finally:
            path.write_text(original)
        known.write_text(caught or "")
        print(f"{m.name}: {caught or 'SURVIVED'}", flush=True)


def report(scratch):
    out = [
        "# Mutations",
        "",
        "The stack broken on purpose (`tests/mutation/list.txt`), and the test that notices first:",
        "`scripts/mutate.py --run /tmp/mutants`, then `--report /tmp/mutants`. Unit tests are asked before",
        "simulations. CI checks that each mutation still finds its place in the code.",
        "",
        "| mutation | file | what is wrong then | caught by |",
        "|---|---|---|---|",
    ]
    survivors = 0
    for m in read_list():
        path = scratch / "results" / m.name
        caught = path.read_text() if path.exists() else "not run"
        survivors += caught in ("", "not run")
        shown = f"`{caught}`" if caught not in ("", "not run") else f"**{caught or 'nothing'}**"
        out.append(f"| {m.name} | `{m.file.removeprefix('src/')}` | {' '.join(m.why)} | {shown} |")
    out += ["", f"{len(read_list())} mutations, {survivors} not caught."]
    (ROOT / "docs/mutation.md").write_text("\n".join(out) + "\n")
    print(out[-1])


def main():
    if sys.argv[1:2] == ["--check"]:
        check()
    elif len(sys.argv) > 2 and sys.argv[1] == "--run":
        os.environ.setdefault("CMAKE_C_COMPILER_LAUNCHER", "")
        run(Path(sys.argv[2]), sys.argv[3:])
    elif len(sys.argv) == 3 and sys.argv[1] == "--report":
        report(Path(sys.argv[2]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
