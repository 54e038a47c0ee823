"""The suites: where each is, how it is run, and what its output says of each test.

A suite knows neither whether it runs on foyer nor how: it gets a Run, whose call() starts a
program on the sockets that are being asked.
"""

import collections
import pathlib
import re
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
OK, FAIL, SKIP, HANG = "ok", "FAIL", "skip", "hang"
SUITES = {}


def package_version(name):
    done = subprocess.run(["dpkg-query", "-W", "-f=${Version}", name], capture_output=True,
                          text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def suite(body):
    SUITES[body.name] = body()
    return body


class Suite:
    name = ""
    title = ""
    source = None     # Debian source package
    packages = ()     # Debian packages that must be there
    def folder(self, src):
        """The unpacked source, or None."""
        found = sorted(src.glob(f"{self.source}-[0-9]*")) if self.source and src else []
        return found[-1] if found else None

    def gone(self, src):
        """Why it cannot run here, or None."""
        for name in self.packages:
            if not package_version(name):
                return f"package {name} is not installed"
        if self.source and not self.folder(src):
            return f"no source of {self.source} (run.py --fetch)"
        return None

    def version(self, src):
        if self.source:
            return self.folder(src).name.removeprefix(f"{self.source}-")
        return package_version(self.packages[0])

    def run(self, run, src, only):
        """{test: result}. only: a list of names to which it is limited, or None."""
        raise NotImplementedError


class Python(Suite):
    packages = ("libpython3.11-testsuite",)
    modules = ()
    hang_s = 120

    def run(self, run, src, only):
        path = run.dir / "results"
        for _ in range(20):  # each hang ends the interpreter; the next goes on behind it
            run.call("/usr/bin/python3.11", HERE / "python_tests.py", path, self.hang_s,
                     *(only or [f"test.{module}" for module in self.modules]), timeout=1800)
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            if text.endswith("end\n"):
                break
        results = {}
        for line in text.splitlines():
            if "\t" in line:
                outcome, name = line.split("\t", 1)
                results[name] = HANG if outcome == "start" else outcome
        return results


@suite
class PythonSocket(Python):
    name = "python-socket"
    title = "Python: test_socket, test_selectors, test_socketserver, test_select, test_poll, " \
            "test_epoll"
    modules = ("test_socket", "test_selectors", "test_socketserver", "test_select", "test_poll",
               "test_epoll")


@suite
class PythonAsyncio(Python):
    name = "python-asyncio"
    title = "Python: test_asyncio"
    modules = ("test_asyncio",)


@suite
class PythonProtocols(Python):
    name = "python-protocols"
    title = "Python: SSL, FTP, SMTP, POP, IMAP, HTTP, XML-RPC, telnet, logging, asyncore"
    modules = ("test_ssl", "test_ftplib", "test_smtplib", "test_poplib", "test_imaplib",
               "test_httpservers", "test_httplib", "test_urllib2_localnet", "test_xmlrpc",
               "test_docxmlrpc", "test_telnetlib", "test_asyncore", "test_asynchat", "test_smtpd",
               "test_nntplib", "test_logging", "test_wsgiref")


@suite
class PythonSome(Python):
    """What CI runs: bounded, and without tests that need more than a loopback."""
    name = "python-some"
    title = "Python: a selection"
    hang_s = 30
    modules = ("test_selectors", "test_epoll", "test_socketserver",
               "test_socket.GeneralModuleTests", "test_socket.BasicTCPTest",
               "test_socket.BasicTCPTest2", "test_socket.BasicUDPTest",
               "test_socket.NonBlockingTCPTests", "test_socket.FileObjectClassTestCase",
               "test_socket.NetworkConnectionNoServer",
               "test_socket.NetworkConnectionAttributesTest",
               "test_socket.TCPTimeoutTest",
               "test_socket.UDPTimeoutTest", "test_socket.ContextManagersTest",
               "test_socket.SendfileUsingSendTest", "test_socket.SendfileUsingSendfileTest",
               "test_socket.SendmsgTCPTest", "test_socket.RecvmsgTCPTest",
               "test_socket.RecvmsgIntoTCPTest", "test_socket.SendmsgUDPTest",
               "test_asyncio.test_sock_lowlevel", "test_asyncio.test_server",
               "test_asyncio.test_streams", "test_ftplib", "test_poplib")


@suite
class PythonProcesses(Python):
    name = "python-processes"
    title = "Python: multiprocessing (fork, forkserver, spawn), subprocess, concurrent.futures"
    modules = ("test_multiprocessing_fork", "test_multiprocessing_forkserver",
               "test_multiprocessing_spawn", "test_subprocess", "test_concurrent_futures")


@suite
class Node(Suite):
    name = "node"
    title = "Node.js: test-net-*, test-dgram-*, test-http-*"
    source = "node"
    pattern = re.compile(r"test-(net|dgram|http)-.*\.js$")

    def folder(self, src):
        found = sorted(src.glob("node*-v18*")) if src else []
        return found[-1] if found else None

    def program(self, src):
        unpacked = src / "node18/usr/bin/node"
        return unpacked if unpacked.exists() else pathlib.Path("/usr/bin/node")

    def gone(self, src):
        return super().gone(src) or (None if self.program(src).exists() else "no node")

    def version(self, src):
        return self.folder(src).name.rsplit("-v", 1)[1]

    def run(self, run, src, only):
        tests = self.folder(src) / "test"
        program = self.program(src)
        if program.is_relative_to(src):
            run.env["LD_LIBRARY_PATH"] = str(src / "node18/usr/lib/x86_64-linux-gnu")
        names = only or sorted(p.name for p in (tests / "parallel").iterdir()
                               if self.pattern.match(p.name))

        def one(name):
            path = tests / "parallel" / name
            flags = re.search(r"^// Flags: (.*)$", path.read_text(encoding="utf-8",
                                                                  errors="replace"), re.M)
            got = run.call(program, *(flags[1].split() if flags else ()), path, timeout=60,
                           env={"NODE_TEST_DIR": str(run.dir),
                                "TEST_THREAD_ID": str(names.index(name))})
            if got.hung:
                return HANG
            if got.returncode == 0:
                return SKIP if re.search(r"1\.\.0 # Skipped", got.out) else OK
            return FAIL
        return run.each(names, one)


@suite
class Libuv(Suite):
    name = "libuv"
    title = "libuv's test runner"
    source = "libuv1"

    def program(self, src):
        return src / "libuv-b" / "uv_run_tests"

    def gone(self, src):
        return super().gone(src) or (None if self.program(src).exists() else
                                     f"{self.program(src)} is not built")

    def run(self, run, src, only):
        names = only
        if not names:
            listed = run.call(self.program(src), "--list", plain=True).out.splitlines()
            names = [line.split()[0] for line in listed if line and not line.startswith("#")]

        tree = run.dir / "libuv"  # some tests write beside their fixtures
        shutil.copytree(self.folder(src) / "test", tree / "test")
        run.give(tree)
        run.jobs = 1  # all of them use the same ports

        def one(name):
            got = run.call(self.program(src), name, cwd=tree, timeout=90)
            if got.hung:
                return HANG
            if re.search(r"^ok \d+ - \S+ # SKIP|# SKIP", got.out, re.M):
                return SKIP
            return OK if got.returncode == 0 else FAIL
        return run.each(names, one)


@suite
class Redis(Suite):
    name = "redis"
    title = "redis: runtest (units about connections and replication), with Debian's redis-server"
    source = "redis"
    packages = ("redis-server", "redis-tools", "tcl")
    units = """unit/auth unit/protocol unit/info unit/multi unit/quit unit/acl unit/pubsub
        unit/pubsubshard unit/slowlog unit/scripting unit/introspection unit/introspection-2
        unit/limits unit/obuf-limits unit/wait unit/pause unit/querybuf unit/pendingquerybuf
        unit/tracking unit/shutdown unit/networking unit/client-eviction unit/replybufsize
        unit/cluster unit/cluster/misc unit/cluster/links unit/type/list unit/type/stream
        integration/block-repl integration/replication integration/replication-2
        integration/replication-3 integration/replication-4 integration/replication-psync
        integration/replication-buffer integration/shutdown integration/psync2
        integration/psync2-reg integration/psync2-pingoff integration/psync2-master-restart
        integration/failover integration/redis-cli integration/redis-benchmark
        integration/logging integration/aof integration/rdb""".split()

    def prepare(self, run, src):
        tree = run.dir / "redis"
        (tree / "src").mkdir(parents=True)
        for name in ("server", "cli", "benchmark", "check-aof", "check-rdb", "sentinel"):
            (tree / "src" / f"redis-{name}").symlink_to(f"/usr/bin/redis-{name}")
        shutil.copytree(self.folder(src) / "tests", tree / "tests")
        for name in ("redis.conf", "sentinel.conf"):
            shutil.copy(self.folder(src) / name, tree)
        shutil.copytree(self.folder(src) / "src/commands", tree / "src/commands")
        run.give(tree)
        return tree

    def run(self, run, src, only):
        tree = self.prepare(run, src)
        run.jobs = 1  # they share a folder

        def one(unit):
            got = run.call("/usr/bin/tclsh", "tests/test_helper.tcl", "--clients", "1",
                           "--single", unit, "--timeout", "240", cwd=tree, timeout=600)
            plain = re.sub(r"\x1b\[[0-9;]*m", "", got.out)
            found, times = {}, collections.Counter()
            for outcome, text in re.findall(r"^\[(ok|err|exception|ignore|skip)\]: (.*)$", plain,
                                            re.M):
                text = re.sub(r" in tests/\S+$", "", re.sub(r" \(\d+ ms\)$", "", text))
                text = re.sub(r"\b\d{5}\b", "N", text.split("\n")[0])
                name = f"{unit}: {text}"
                times[name] += 1
                if times[name] > 1:
                    name += f" #{times[name]}"
                found[name] = {"ok": OK, "ignore": SKIP, "skip": SKIP}.get(outcome, FAIL)
            found[f"{unit} (exit)"] = (HANG if got.hung else
                                       OK if "All tests passed" in plain else FAIL)
            return found
        results = {}
        for found in run.each(only or self.units, one).values():
            results.update(found)
        return results


@suite
class Memcached(Suite):
    name = "memcached"
    title = "memcached: t/*.t, with Debian's memcached"
    source = "memcached"
    packages = ("memcached", "perl")

    def run(self, run, src, only):
        tree = run.dir / "memcached"
        tree.mkdir()
        # Where a memcached knows UNIX sockets, the tests use nothing else; and Debian's lacks an
        # option of the tests that is about its own sandbox.
        scripts = {
            "memcached-debug":
                'if [ "$1" = -h ]; then memcached -h | grep -v unix-socket; exit; fi\n'
                'for arg; do shift; [ "$arg" = relaxed_privileges ] && arg=modern; '
                'set -- "$@" "$arg"; done\n'
                'exec memcached "$@"',
            "timedrun": 'shift; exec "$@"',
        }
        for name, script in scripts.items():
            (tree / name).write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
            (tree / name).chmod(0o755)
        shutil.copytree(self.folder(src) / "t", tree / "t")
        run.give(tree)
        # Of the sources' white space; of writing much to a disk.
        left_out = {"whitespace.t", "binary-extstore.t", "chunked-extstore.t"}
        names = only or sorted(p.name for p in (tree / "t").glob("*.t")
                               if p.name not in left_out)

        def one(name):
            got = run.call("/usr/bin/perl", "-It/lib", f"t/{name}", cwd=tree, timeout=180)
            found = {}
            for bad, number, text in re.findall(r"^(not )?ok (\d+)(.*)$", got.out, re.M):
                found[f"{name} {number}"] = (SKIP if "# skip" in text.lower() else
                                             FAIL if bad else OK)
            whole = re.search(r"^1\.\.0 # SKIP", got.out, re.M | re.I)
            found[f"{name} (exit)"] = (HANG if got.hung else SKIP if whole else
                                       OK if got.returncode == 0 else FAIL)
            return found
        results = {}
        for found in run.each(names, one).values():
            results.update(found)
        return results


@suite
class Curl(Suite):
    name = "curl"
    title = "curl: runtests.pl"
    source = "curl"
    # Not about sockets: checks of the sources and manual pages, unit tests of libcurl's insides.
    flags = ("-a", "-n", "-p", "!flaky", "!unittest", "!source analysis", "!documentation")

    def gone(self, src):
        return super().gone(src) or (
            None if (self.folder(src) / "tests/server/sws").exists() else "it is not built")

    def run(self, run, src, only):
        tree = self.folder(src) / "tests"
        for name in ("log", ".pids"):
            shutil.rmtree(tree / name, ignore_errors=True)
        run.give(tree)
        got = run.call("/usr/bin/perl", "-I.", "./runtests.pl", *self.flags, *(only or ()),
                       cwd=tree, timeout=3000)
        results = {}
        for number, rest in re.findall(r"^test (\d{4})(.*(?:\n(?!test \d{4}|TESTDONE).*)*)", got.out,
                                       re.M):
            if "SKIPPED" in rest.split("\n")[0]:
                results[number] = SKIP
            else:
                results[number] = OK if re.search(r" OK \(\d+", rest) else FAIL
        if got.hung:
            results["(whole)"] = HANG
        return results
