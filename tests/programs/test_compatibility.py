#!/usr/bin/env python3
"""The compatibility matrix: packaged programs, unmodified, as servers and clients on foyer.

usage: test_compatibility.py [--full] [--on foyer|kernel|both] [CASE ...]
       test_compatibility.py --install
       test_compatibility.py --report FILE [--as USER]

Without options: the quick cases of what is installed, on foyer. A case that fails there is run on
the kernel's loopback too, in a network namespace of its own, so that one sees whose fault it is.
--install installs the packages of all cases (as root). --report runs everything on the kernel, on
foyer, and with --as on foyer as that ordinary user, and writes the matrix as Markdown.
"""

import argparse
import collections
import json
import os
import pathlib
import platform
import pwd
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import compat  # noqa: E402
import compat_web  # noqa: E402,F401
import compat_data  # noqa: E402,F401
import compat_mail_files  # noqa: E402,F401
import compat_languages  # noqa: E402,F401
import compat_tools  # noqa: E402,F401

SKIPPED = 77
# Names of commands that a package of another name brings.
EXTRA_PACKAGES = ["libc-bin", "openssl", "postgresql-contrib", "mariadb-client"]
# They conflict with vsftpd and systemd-timesyncd; their files are unpacked beside.
UNPACKED_PACKAGES = ["proftpd-core", "chrony"]
UNPACKED_LIBRARIES = ["libhiredis0.14", "libpcre2-posix3"]


def packages():
    names = {name for entry in compat.CASES for name in entry.packages}
    # A machine may have node or Java from elsewhere.
    present = {"nodejs": "node", "default-jdk-headless": "javac"}
    names -= {name for name, probe in present.items() if shutil.which(probe)}
    return sorted((names | set(EXTRA_PACKAGES) | set(UNPACKED_LIBRARIES))
                  - set(UNPACKED_PACKAGES))


def install():
    """Installs what the matrix needs; no service is started."""
    policy = pathlib.Path("/usr/sbin/policy-rc.d")
    is_ours = not policy.exists()
    if is_ours:
        policy.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
        policy.chmod(0o755)
    try:
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "--no-upgrade",
                        *packages()], check=True,
                       env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)
            subprocess.run(["apt-get", "download", *UNPACKED_PACKAGES], check=True, cwd=folder)
            for package in pathlib.Path(folder).glob("*.deb"):
                compat.UNPACKED.mkdir(parents=True, exist_ok=True)
                subprocess.run(["dpkg", "-x", package, compat.UNPACKED], check=True)
                version = subprocess.run(["dpkg-deb", "-f", package, "Version"], check=True,
                                         text=True, capture_output=True).stdout
                name = package.name.split("_")[0]
                (compat.UNPACKED / f"{name}.version").write_text(version, encoding="ascii")
    finally:
        if is_ours:
            policy.unlink()


def version(package):
    unpacked = compat.UNPACKED / f"{package}.version"
    if unpacked.exists():
        return unpacked.read_text(encoding="ascii").strip()
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], text=True,
                          capture_output=True, check=False)
    if done.returncode == 0 and done.stdout:
        return done.stdout
    probe = {"nodejs": ["node", "--version"], "default-jdk-headless": ["java", "--version"]}
    if package in probe and shutil.which(probe[package][0]):
        done = subprocess.run(probe[package], text=True, capture_output=True, check=False)
        return done.stdout.split("\n")[0]
    return "not installed"


def run_cases(entries, on, verbose=True):
    """Runs cases here and now; {name: (result, note, seconds)}."""
    results = {}
    for entry in entries:
        result, note, seconds = compat.run_case(entry, on)
        results[entry.name] = (result, note, round(seconds, 2))
        if verbose:
            print(f"{result:4} {on:6} {entry.name:24} {seconds:6.2f} s"
                  + (f"  {note}" if note else ""), flush=True)
    return results


def run_elsewhere(entries, on, user=None):
    """Runs cases in a process of their own: the kernel's in a namespace, or as another user."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        command = [sys.executable, __file__, "--inside", on, "--json", f"{folder}/results",
                   *(entry.name for entry in entries)]
        env = dict(os.environ)
        if user:
            copy_for_user(folder, env)
            entry = pwd.getpwnam(user)
            command[1] = f"{folder}/tests/programs/test_compatibility.py"
            command = ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}",
                       "--clear-groups", *command]
            env.update(USER=user, LOGNAME=user, HOME=entry.pw_dir)
        if on == "kernel":
            rights = [] if os.getuid() == 0 else ["-U", "-c", "--keep-caps"]
            command = ["unshare", *rights, "-n", "sh", "-c",
                       'ip link set lo up && exec "$@"', "sh", *command]
        subprocess.run(command, check=False, env=env, cwd="/")
        try:
            return json.loads(pathlib.Path(f"{folder}/results").read_text(encoding="utf-8"))
        except OSError:
            return {entry.name: ("FAIL", f"could not be run on {on}", 0) for entry in entries}


def copy_for_user(folder, env):
    """The tests and the built programs, where an ordinary user can read them."""
    here = pathlib.Path(__file__).resolve()
    build = pathlib.Path(compat.FOYER).parents[1]
    for name in ("common", "programs"):
        shutil.copytree(here.parents[1] / name, f"{folder}/tests/{name}")
    for name in ("bin", "lib"):
        shutil.copytree(build / name, f"{folder}/build/{name}", symlinks=True)
    subprocess.run(["chmod", "-R", "a+rX", f"{folder}/tests", f"{folder}/build"], check=True)
    env["FOYER_BUILD"] = f"{folder}/build"


def summary(results):
    count = collections.Counter(result for result, _, _ in results.values())
    return f"{count['ok']} ok, {count['FAIL']} failed, {count['skip']} skipped"


def short(note):
    line = note.split("\n")[0].replace("|", "/")
    return line if len(line) <= 110 else line[:107] + "..."


def report(entries, path, user):
    columns = {"kernel": run_elsewhere(entries, "kernel"), "foyer": run_cases(entries, "foyer")}
    if user:
        columns["foyer, ordinary user"] = run_elsewhere(entries, "foyer", user)
    lines = [
        "# Compatibility", "",
        "Written by `tests/programs/test_compatibility.py --report`; not edited by hand. Each row "
        "is one case:",
        "packaged programs, unmodified, started, used and compared by content. The same code runs "
        "on the",
        "kernel's loopback and under `foyer run`, so a case that is wrong shows in the first "
        "column. Case names",
        "are those of the script.", "",
        f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux "
        f"{platform.release().split('-')[0]}. "
        + " ".join(f"{name[0].upper() + name[1:]}: {summary(results)}."
                   for name, results in columns.items()), "",
        "| case | packages | exercised | " + " | ".join(columns) + " | note |",
        "|---|---|---|" + "---|" * len(columns) + "---|"]
    for entry in entries:
        results = [results[entry.name] for results in columns.values()]
        notes = [entry.note] * bool(entry.note) + [short(note) for _, note, _ in results if note]
        lines.append(
            f"| {entry.name} | {'<br>'.join(f'{p} {version(p)}' for p in entry.packages)} | "
            f"{entry.what} | " + " | ".join(result for result, _, _ in results)
            + f" | {'; '.join(dict.fromkeys(notes))} |")
    pathlib.Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return columns["foyer"]


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--on", default="foyer", choices=("foyer", "kernel", "both"))
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--report")
    parser.add_argument("--as", dest="user")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--json", help=argparse.SUPPRESS)
    options = parser.parse_args()
    entries = compat.CASES
    if options.cases:
        unknown = set(options.cases) - {entry.name for entry in entries}
        if unknown:
            parser.error(f"no case {', '.join(sorted(unknown))}; see --list")
        entries = [entry for entry in entries if entry.name in options.cases]
    elif not options.full and not options.report:
        entries = [entry for entry in entries if not entry.slow]
    if options.list:
        for entry in entries:
            print(f"{entry.name:24} {entry.what}")
        return 0
    if options.install:
        install()
        return 0
    if options.inside:
        compat.dump(run_cases(entries, options.inside), options.json)
        return 0
    return run(options, entries)


def run(options, entries):
    if options.report:
        results = report(entries, options.report, options.user)
    elif options.user:
        results = run_elsewhere(entries, options.on, options.user)
    else:
        results = {}
        if options.on != "foyer":
            results.update(run_elsewhere(entries, "kernel"))
            bad = [name for name, result in results.items() if result[0] == "FAIL"]
            if bad:
                print(f"wrong on the kernel: {', '.join(bad)}")
        if options.on != "kernel":
            results = run_cases(entries, "foyer")
            bad = [entry for entry in entries if results[entry.name][0] == "FAIL"]
            if bad and options.on == "foyer":
                print("The same cases on the kernel's loopback:", flush=True)
                run_elsewhere(bad, "kernel")
    print(summary(results))
    if all(result[0] == "skip" for result in results.values()):
        return SKIPPED
    return 1 if any(result[0] == "FAIL" for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
