"""What the tests of real programs share: a building of their own and programs on its hosts.

A Building has its own runtime folder, so tests never meet a foyer that a person uses. All waits
are for events (a port that listens, an exit) and bounded. Only processes started here are ended.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = pathlib.Path(os.environ.get("FOYER_BUILD", pathlib.Path(__file__).parents[2] / "build"))
FOYER = str(BUILD / "bin" / "foyer")
WAIT_S = 15

# A program for python3 -c: echoes on port 7000, whatever happens to its clients.
ECHO_SERVER = """
import asyncio
async def echo(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()
async def main():
    server = await asyncio.start_server(echo, "0.0.0.0", 7000)
    await server.serve_forever()
asyncio.run(main())
"""


def missing(*programs):
    """The first of the programs that is not installed, or None."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return next((p for p in programs if not shutil.which(p, path=path)), None)


def unable(root_for, *programs, needs_tap=True):
    """Why this machine cannot run a test that needs root and programs, or None."""
    if os.geteuid() != 0:
        return f"needs root: {root_for}"
    if needs_tap and not os.path.exists("/dev/net/tun"):
        return "needs /dev/net/tun"
    return not_installed(*programs)


def not_installed(*programs):
    gone = missing(*programs)
    return gone and f"{gone} is not installed"


def skip_if(reason):
    """Ends a test that cannot be run here; ctest counts it as skipped."""
    if reason:
        print(f"skipped: {reason}")
        sys.exit(77)


def main(reason=None):
    """Runs the test cases of the program, unless there is a reason not to."""
    skip_if(reason)
    unittest.main(verbosity=2)


def wait_until(condition, what, timeout_s=WAIT_S):
    """Calls condition until it returns something true; gives that back."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s for {what}")
        time.sleep(0.02)


class Building:
    """A foyerd with its hosts. Use as a context manager."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="foyer-test."))
        self.dir.chmod(0o755)
        self.env = dict(os.environ)
        for name in ("LD_PRELOAD", "FOYER_SOCKET", "FOYER_HOST", "FOYER_FD", "FOYER_SUPERVISOR",
                     "FOYER_SUPERVISED"):
            self.env.pop(name, None)
        self.env["FOYER_DIR"] = str(self.dir / "run")
        (self.dir / "run").mkdir(mode=0o700)
        self.env["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        self.env["no_proxy"] = "*"
        self.started = []

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for process in self.started:
            self.stop(process)
        self.foyer("down", "--force", check=False)
        if exc[0] is not None:
            for log in self.dir.glob("run/*/foyerd.log"):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}")
            for log in self.dir.glob("*.out"):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}")
        subprocess.run(["chmod", "-R", "u+w", str(self.dir)], check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def foyer(self, *args, check=True, timeout=30, **kwargs):
        """Runs the foyer command; the completed process, text captured."""
        return subprocess.run([FOYER, *args], env=self.env, check=check, timeout=timeout,
                              text=True, capture_output=True, **kwargs)

    def run(self, host, *program, check=True, timeout=60, **kwargs):
        """Runs a program on a host to its end."""
        kwargs.setdefault("capture_output", True)
        kwargs.setdefault("text", True)
        kwargs.setdefault("env", self.env)
        done = subprocess.run([FOYER, "run", "--host", host, "--", *program], check=False,
                              timeout=timeout, **kwargs)
        if check and done.returncode != 0:
            raise AssertionError(f"{program} on {host}: exit {done.returncode}\n"
                                 f"stdout: {str(done.stdout)[-2000:]}\n"
                                 f"stderr: {str(done.stderr)[-2000:]}")
        return done

    def serve(self, host, *program, port=None, protocol="tcp", **kwargs):
        """Starts a server on a host and waits until it holds its port."""
        log = open(self.dir / f"{host}-{len(self.started)}.out", "w", encoding="utf-8")
        kwargs.setdefault("stdout", log)
        kwargs.setdefault("stderr", log)
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen([FOYER, "run", "--host", host, "--", *program],
                                   env=self.env, start_new_session=True, **kwargs)
        log.close()
        self.started.append(process)
        if port is not None:
            def listens():
                if process.poll() is not None:
                    raise AssertionError(f"{program} ended with {process.returncode}: "
                                         + pathlib.Path(log.name).read_text(errors="replace"))
                return any(s["local"].endswith(f":{port}") and s["protocol"] == protocol
                           and s["state"] in ("LISTEN", "UNCONNECTED")
                           for s in self.ports(host))
            wait_until(listens, f"{program[0]} to hold port {port} on {host}")
        return process

    def ports(self, host=None):
        """The sockets foyerd knows, as `foyer ports --json` tells them."""
        args = ["ports"] + ([host] if host else []) + ["--json"]
        done = self.foyer(*args, check=False)
        return json.loads(done.stdout)["sockets"] if done.returncode == 0 else []

    def address(self, host, family=4):
        hosts = json.loads(self.foyer("host", "list", "--json").stdout)["hosts"]
        return next(h[f"address{family}"].split("/")[0] for h in hosts if h["name"] == host)

    def stop(self, process, sig=signal.SIGTERM):
        """Ends a server and its workers: the process group that serve made."""
        if process.poll() is None:
            process.send_signal(sig)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if process in self.started:
            self.started.remove(process)


def nginx_conf(directory, name="nginx", port=80, root=None, workers=2, extra=""):
    """Writes a configuration that an ordinary user can run in a folder of his own."""
    root = root or directory
    conf = directory / f"{name}.conf"
    user = "user root;\n" if os.getuid() == 0 else ""
    temps = "".join(f"{kind}_temp_path {directory}/{name}-{kind};\n"
                    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    conf.write_text(f"""{user}daemon off;
worker_processes {workers};
pid {directory}/{name}.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
access_log off;
{temps}
server {{ listen {port} backlog=1024; listen [::]:{port} backlog=1024; root {root}; {extra} }}
}}
""", encoding="utf-8")
    return conf


def vsftpd_conf(directory, root, port=21):
    import pwd
    conf = directory / "vsftpd.conf"
    conf.write_text(f"""listen=YES
listen_port={port}
background=NO
run_as_launching_user=YES
ftp_username={pwd.getpwuid(os.getuid()).pw_name}
anonymous_enable=YES
no_anon_password=YES
local_enable=NO
anon_root={root}
secure_chroot_dir={root}
connect_from_port_20=NO
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
""", encoding="utf-8")
    return conf
