#!/usr/bin/env python3
"""Test suites of other projects, on the kernel's sockets and on foyer's.

    run.py --fetch                        the sources, as Debian has them, into --src
    run.py [--suite NAME ...]             both runs of the suites, and what differs
    run.py --json FILE                    the same, results kept in FILE
    run.py --json FILE --report docs/upstream-suites.md

Every difference is either listed in reasons.tsv or makes the exit status 1.
"""

import argparse
import collections
import concurrent.futures
import fnmatch
import json
import os
import pathlib
import platform
import pwd
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "common"))
from foyer_test import FOYER, Building  # noqa: E402
from suites import FAIL, HANG, OK, SKIP, SUITES  # noqa: E402

SRC = pathlib.Path(os.environ.get("FOYER_UPSTREAM", "/var/cache/foyer-upstream"))
REASONS = HERE / "reasons.tsv"
INSIDE = "FOYER_UPSTREAM_INSIDE"
Result = collections.namedtuple("Result", "returncode out hung")


class Run:
    """One suite on one kind of sockets. Use as a context manager."""

    def __init__(self, name, on, user, jobs):
        self.name, self.on, self.jobs = name, on, jobs
        self.user = pwd.getpwnam(user) if user and os.getuid() == 0 else None

    def __enter__(self):
        self.building = Building()
        self.dir = self.building.dir
        self.env = self.building.env
        for name in ("LC_ALL", "LANG"):
            self.env[name] = "C.UTF-8"
        self.env["HOME"] = self.env["TMPDIR"] = str(self.dir)
        if self.user:
            self.env["USER"] = self.env["LOGNAME"] = self.user.pw_name
        self.log = open(f"{tempfile.gettempdir()}/foyer-upstream-{self.name}-{self.on}.log", "wb")
        self.give(self.dir)
        return self

    def __exit__(self, *exc):
        self.log.close()
        if self.on == "foyer":
            subprocess.run(self.as_user([FOYER, "down", "--force"]), env=self.env, check=False,
                           capture_output=True)
        self.building.__exit__(None, None, None)

    def give(self, path):
        """Makes the user who runs the suite the owner of a folder."""
        if self.user:
            subprocess.run(["chown", "-R", f"{self.user.pw_uid}:{self.user.pw_gid}", path],
                           check=True)

    def as_user(self, command):
        if not self.user:
            return command
        return ["setpriv", f"--reuid={self.user.pw_uid}", f"--regid={self.user.pw_gid}",
                "--clear-groups", "--", *command]

    def call(self, *program, timeout=60, cwd=None, env=None, plain=False):
        """Runs a program to its end, and everything that it started; output as text."""
        command = [str(word) for word in program]
        if self.on == "foyer" and not plain:
            command = [FOYER, "run", "--host", self.name, "--", *command]
        # A file, not a pipe: what a suite leaves behind may hold it for ever.
        with tempfile.TemporaryFile() as sink:
            process = subprocess.Popen(
                self.as_user(command), env={**self.env, **(env or {})}, cwd=cwd or self.dir,
                stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT,
                start_new_session=True)
            try:
                process.wait(timeout)
                hung = False
            except subprocess.TimeoutExpired:
                hung = True
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
            sink.seek(0)
            out = sink.read()
        self.log.write(f"\n=== {' '.join(command)}: {process.returncode}{' HUNG' * hung}\n"
                       .encode() + out)
        self.log.flush()
        return Result(process.returncode, out.decode(errors="replace"), hung)

    def each(self, names, one):
        """{name: one(name)}, as many at once as allowed."""
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            return dict(zip(names, pool.map(one, names)))


def own_namespaces():
    """
    Goes on in namespaces of this program's own, as another process: fixed ports of a suite meet
    nobody's, names go nowhere, a host that is renamed is none of this machine's, processes and
    shared memory that are left behind end with us. False: not possible, for lack of rights; an
    ordinary user's suites cannot do harm.
    """
    if os.environ.pop(INSIDE, None):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/dev/shm"],
                       check=True)
        return True
    unshare = ["unshare", "--net", "--uts", "--ipc", "--mount", "--pid", "--fork", "--mount-proc",
               "--kill-child"]
    if os.getuid() != 0 or subprocess.run([*unshare, "true"], check=False,
                                          stderr=subprocess.DEVNULL).returncode != 0:
        return False
    os.environ[INSIDE] = "1"
    os.execvp(unshare[0], [*unshare, sys.executable, *sys.argv])


# ---- the suites' sources --------------------------------------------------------------------

def fetch(src):
    """Debian's source packages of this release, by apt-get."""
    src.mkdir(parents=True, exist_ok=True)
    lists = src / "apt"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    sources = src / "sources.list"
    sources.write_text("deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
                       "http://deb.debian.org/debian bookworm main\n", encoding="ascii")
    apt = ["apt-get", "-q", "-o", f"Dir::Etc::sourcelist={sources}", "-o",
           "Dir::Etc::sourceparts=-", "-o", f"Dir::State::lists={lists}"]
    subprocess.run([*apt, "update"], check=True)
    for name in ("redis", "memcached", "libuv1", "curl", "nodejs"):
        subprocess.run([*apt, "source", name], cwd=src, check=True)


# ---- judging --------------------------------------------------------------------------------

def read_reasons():
    """[(suite, pattern of tests, reason)]"""
    rows = []
    for line in REASONS.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            rows.append(line.split("\t"))
    return rows


def reason_for(reasons, name, test):
    return next((why for suite, pattern, why in reasons
                 if fnmatch.fnmatchcase(name, suite) and fnmatch.fnmatchcase(test, pattern)), None)


def count(results):
    kinds = collections.Counter(results.values())
    return {"ok": kinds[OK], "failed": kinds[FAIL] + kinds[HANG], "skipped": kinds[SKIP]}


def compare(name, kernel, foyer, reasons):
    """What differs: [(test, kernel's, foyer's, reason or None)]"""
    rows = []
    for test in sorted(kernel.keys() | foyer.keys()):
        one, other = kernel.get(test, "not run"), foyer.get(test, "not run")
        if one != other:
            rows.append((test, one, other, reason_for(reasons, name, test)))
    return rows


def run_suite(entry, args):
    """What the report tells of one suite."""
    sides, seconds = {}, {}
    for on in args.on:
        begin = time.monotonic()
        with Run(entry.name, on, args.user, args.jobs) as run:
            sides[on] = entry.run(run, args.src, args.only)
        seconds[on] = time.monotonic() - begin
        print(f"{entry.name} on {on}: {count(sides[on])} in {seconds[on]:.0f} s", flush=True)
    rows = compare(entry.name, sides["kernel"], sides["foyer"], read_reasons()) \
        if len(sides) == 2 else []
    for test, one, other, why in rows:
        print(f"  {test}: kernel {one}, foyer {other}"
              + (f" ({why})" if why else "  UNEXPLAINED"), flush=True)
    return {"name": entry.name, "title": entry.title, "version": entry.version(args.src),
            "kernel": sides.get("kernel", {}), "foyer": sides.get("foyer", {}), "rows": rows}


# ---- the report -----------------------------------------------------------------------------

HEAD = """# Other projects' test suites on foyer

<!-- Written by tests/upstream/run.py --report; do not edit. -->

The same tests, unchanged, by the same programs: once on the kernel's sockets, once as
`foyer run` gives them foyer's. How to run them: [tests/upstream](../tests/upstream/README.md).
Every difference is listed below with its reason; what fails on both sides is none of them. A test that
failed for lack of time on a busy machine, on either side, was run again. Measured on Linux {kernel}, {day}.

| suite | version | kernel: passed, failed, skipped | foyer: passed, failed, skipped | differences |
|---|---|---|---|---|
"""


def numbers(results):
    have = count(results)
    return f"{have['ok']}, {have['failed']}, {have['skipped']}"


def write_report(path, told):
    reasons = read_reasons()
    text = HEAD.format(kernel=platform.release(), day=time.strftime("%Y-%m-%d"))
    details = []
    for entry in told.values():
        rows = compare(entry["name"], entry["kernel"], entry["foyer"], reasons)
        text += (f"| {entry['title']} | {entry['version']} | {numbers(entry['kernel'])} | "
                 f"{numbers(entry['foyer'])} | {len(rows) or 'none'} |\n")
        by_reason = collections.defaultdict(list)
        for test, one, other, why in rows:
            by_reason[why or "Not explained."].append(f"`{test}` ({one} / {other})")
        if by_reason:
            details.append(f"\n## {entry['title']}\n\nKernel / foyer.\n\n")
        for why, tests in by_reason.items():
            shown = [f"  - {test}\n" for test in tests[:6]]
            if len(tests) > 6:
                shown.append(f"  - and {len(tests) - 6} more like these\n")
            details.append(f"- {len(tests)}: {why}\n" + "".join(shown))
    path.write_text(text + "".join(details), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", action="append", choices=sorted(SUITES))
    parser.add_argument("--only", nargs="+", help="tests by the suite's own names")
    parser.add_argument("--on", action="append", choices=["kernel", "foyer"])
    parser.add_argument("--src", type=pathlib.Path, default=SRC)
    parser.add_argument("--fetch", action="store_true")
    parser.add_argument("--user", default="nobody", help="who runs the suites, for root")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path, help="results are added to this file")
    parser.add_argument("--report", type=pathlib.Path, help="writes what --json has, runs nothing")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" has it ignored
    args.src = args.src.resolve()
    args.on = args.on or ["kernel", "foyer"]
    if args.fetch:
        return fetch(args.src)
    if args.report:
        return write_report(args.report, json.loads(args.json.read_text()))
    if not own_namespaces():
        print("no namespaces of its own: fixed ports of a suite may be taken", file=sys.stderr)
    unexplained = 0
    told = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    for name in args.suite or [name for name in SUITES if name != "python-some"]:
        gone = SUITES[name].gone(args.src)
        if gone:
            print(f"{name}: left out, {gone}", flush=True)
            continue
        told[name] = run_suite(SUITES[name], args)
        unexplained += sum(1 for row in told[name]["rows"] if row[3] is None)
        if args.json:
            args.json.write_text(json.dumps(told, indent=1))
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
