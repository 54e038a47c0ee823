"""One case of the compatibility matrix: real programs, used on foyer or on the kernel's loopback.

A case is a function of a Trial. It knows neither which of the two it runs on nor whose sockets
its programs get: it starts servers, uses them through clients and compares content. The same code
on the kernel tells whether the case itself is right.
"""

import ctypes
import hashlib
import json
import os
import pathlib
import pwd
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
from foyer_test import FOYER, Building, missing, wait_until  # noqa: E402

# Packages that conflict with others of the matrix are unpacked here, not installed.
UNPACKED = pathlib.Path("/var/cache/foyer-matrix")
# Debian's own programs go before what a person has built.
FOLDERS = ["/usr/bin", "/usr/sbin", "/sbin", UNPACKED / "usr/sbin", UNPACKED / "usr/bin"]
os.environ["PATH"] = ":".join([*map(str, FOLDERS), os.environ.get("PATH", "")])
DATA_SIZE = 3_000_000
PR_SET_CHILD_SUBREAPER = 36

CASES = []


class Case:
    def __init__(self, body, needs, packages, slow, root, note):
        self.body = body
        self.name = body.__name__
        self.what = " ".join(body.__doc__.split())
        self.needs = needs
        self.packages = packages
        self.slow = slow
        self.root = root
        self.note = note

    def gone(self):
        """Why it cannot run here, or None."""
        program = missing(*self.needs)
        if program:
            return f"{program} is not installed"
        return "needs root" if self.root and os.getuid() != 0 else None


def case(*needs, packages, slow=False, root=False, note=""):
    """Enters a case. needs: its programs; packages: whose versions the matrix shows;
    note: what it leaves out or works round, for the matrix."""
    def enter(body):
        CASES.append(Case(body, needs, packages.split(), slow, root, note))
        return body
    return enter


def is_listening_in_kernel(port, protocol):
    for family in ("", "6"):
        table = pathlib.Path(f"/proc/net/{protocol}{family}").read_text(encoding="ascii")
        for line in table.splitlines()[1:]:
            field = line.split()
            if int(field[1].rsplit(":", 1)[1], 16) == port and (
                    protocol == "udp" or field[3] == "0A"):
                return True
    return False


class Trial:
    """Folder, servers and clients of one case. Use as a context manager."""

    def __init__(self, on):
        self.on = on
        self.is_root = os.getuid() == 0
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.servers = []
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def __enter__(self):
        self.building = Building()
        self.dir = self.building.dir
        self.env = self.building.env
        self.env["HOME"] = str(self.dir)
        self.env.pop("XDG_CONFIG_HOME", None)
        self.site = self.dir / "site"
        self.site.mkdir()
        self.data = os.urandom(DATA_SIZE)
        (self.site / "file.bin").write_bytes(self.data)
        (self.site / "index.html").write_text("hello from foyer\n")
        for path in (self.site, *self.site.iterdir()):
            path.chmod(0o755)
        return self

    def __exit__(self, *exc):
        for process in reversed(self.servers):
            self.stop(process)
        self.building.__exit__(*exc)
        end_orphans()

    # ---- programs -----------------------------------------------------------------------------

    def at(self, host):
        """What a client calls a host."""
        return host if self.on == "foyer" else "127.0.0.1"

    def address(self, host):
        """The same for programs that look names up without libc: supervised ones."""
        return self.building.address(host) if self.on == "foyer" else "127.0.0.1"

    def command(self, host, program):
        program = [str(word) for word in program]
        return [FOYER, "run", "--host", host, "--", *program] if self.on == "foyer" else program

    def start(self, host, *program, **options):
        """Starts a program that runs beside the case; its output is in its .out file."""
        log = self.dir / f"{host}-{len(self.servers)}.out"
        with open(log, "wb") as sink:
            for name in ("stdout", "stderr"):
                options.setdefault(name, sink)
            options.setdefault("stdin", subprocess.DEVNULL)
            options.setdefault("cwd", self.dir)
            process = subprocess.Popen(self.command(host, program), env=self.env,
                                       start_new_session=True, **options)
        process.log = log
        self.servers.append(process)
        return process

    def serve(self, host, *program, port, protocol="tcp", **options):
        """Starts a server and waits until it holds its port."""
        process = self.start(host, *program, **options)

        def holds():
            if process.poll() is not None:
                raise AssertionError(f"{program[0]} ended with {process.returncode}:\n"
                                     + process.log.read_text(errors="replace")[-3000:])
            if self.on == "kernel":
                return is_listening_in_kernel(port, protocol)
            return any(s["local"].endswith(f":{port}") and s["protocol"] == protocol
                       and s["state"] in ("LISTEN", "UNCONNECTED")
                       for s in self.building.ports(host))
        try:
            wait_until(holds, f"{program[0]} to hold port {port} on {host}")
        except AssertionError as error:
            raise AssertionError(
                f"{error}\n{process.log.read_text(errors='replace')[-3000:]}") from None
        return process

    def run(self, host, *program, check=True, timeout=30, **options):
        """Runs a client to its end; stdout and stderr captured, text unless input is bytes."""
        options.setdefault("text", not isinstance(options.get("input"), bytes))
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("cwd", self.dir)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        process = subprocess.Popen(
            self.command(host, program), env=self.env, start_new_session=True,
            stdin=subprocess.PIPE if options.get("input") is not None else options.pop("stdin"),
            **{k: v for k, v in options.items() if k not in ("input", "stdin")})
        try:
            out, err = process.communicate(options.get("input"), timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise AssertionError(f"{program} on {host}: no end after {timeout} s\n"
                                 f"stdout: {str(out)[-1500:]}\nstderr: {str(err)[-1500:]}"
                                 ) from None
        done = subprocess.CompletedProcess(program, process.returncode, out, err)
        if check and done.returncode != 0:
            raise AssertionError(f"{program} on {host}: exit {done.returncode}\n"
                                 f"stdout: {str(out)[-1500:]}\nstderr: {str(err)[-1500:]}")
        return done

    def out(self, host, *program, **options):
        return self.run(host, *program, **options).stdout

    def until(self, what, host, *program, timeout=20, **options):
        """Repeats a client until it succeeds: for servers that answer later than they listen."""
        return wait_until(lambda: self.run(host, *program, check=False, **options).returncode == 0,
                          what, timeout)

    def stop(self, process, sig=signal.SIGTERM):
        """Ends a server by its pid and what is left of its group."""
        if process.poll() is None:
            process.send_signal(sig)
            try:
                process.wait(8)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if process in self.servers:
            self.servers.remove(process)

    # ---- files and claims ---------------------------------------------------------------------

    def write(self, name, text, mode=0o644):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    def folder(self, name, user=None, mode=0o755):
        path = self.dir / name
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
        if user and self.is_root:
            entry = pwd.getpwnam(user)
            os.chown(path, entry.pw_uid, entry.pw_gid)
        return path

    def as_user(self, user, *program):
        """The command line that runs a program as that user where the case runs as root."""
        if not self.is_root:
            return program
        entry = pwd.getpwnam(user)
        return ("setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}",
                "--clear-groups", "--", *program)

    def is_data(self, got, want=None):
        """got: bytes, or the path of a file with them."""
        want = self.data if want is None else want
        if isinstance(got, pathlib.Path):
            got = got.read_bytes()
        equal(len(got), len(want))
        equal(hashlib.sha256(got).hexdigest(), hashlib.sha256(want).hexdigest())


def equal(got, want):
    if got != want:
        raise AssertionError(f"got {str(got)[:1500]!r}, expected {str(want)[:1500]!r}")


def contains(text, *wanted):
    for want in wanted:
        if want not in text:
            raise AssertionError(f"no {want!r} in {text[-2000:]!r}")


def lacks(text, *unwanted):
    for word in unwanted:
        if word in text:
            raise AssertionError(f"{word!r} in {text[-2000:]!r}")


def children():
    """Processes whose parent is this one: started here, or left to it by one that was."""
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rsplit(")", 1)[1].split()[1]) == os.getpid():
                yield int(stat.parent.name)
        except (OSError, ValueError, IndexError):
            continue


def end_orphans():
    """Ends what servers left behind. As sub-reaper this process is the parent of all of it."""
    deadline = time.monotonic() + 5
    while left := list(children()):
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        if time.monotonic() > deadline:
            raise AssertionError(f"processes {left} do not end")


def run_case(entry, on):
    """Returns (result, note, seconds); result is ok, FAIL or skip."""
    gone = entry.gone()
    if gone:
        return "skip", gone, 0.0
    begin = time.monotonic()
    try:
        with Trial(on) as trial:
            entry.body(trial)
        result, note = "ok", ""
    except Exception as error:  # pylint: disable=broad-except  # one case must not end the others
        result, note = "FAIL", f"{type(error).__name__}: {error}"
    return result, note, time.monotonic() - begin


def dump(results, path):
    pathlib.Path(path).write_text(json.dumps(results, indent=1), encoding="utf-8")
