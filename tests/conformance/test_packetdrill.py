#!/usr/bin/env python3
"""Runs packetdrill's scripts against libfoyer, or against the kernel for comparison.

usage: test_packetdrill.py [--kernel] [--family 4|6|mapped] [--only WORD] [--verbose] [--json FILE]
                           [--update] [--table]

Environment:
    PACKETDRILL          the packetdrill program; without it the test is skipped (exit 77)
    PACKETDRILL_SCRIPTS  further folders of .pkt files, separated by colons; names in
                         packetdrill/results.tsv are relative to them
    FOYER_BUILD          the build, configured with -DFOYER_PACKETDRILL=ON

Our own scripts, in scripts/, are run first; each of them has to pass. Neither packetdrill nor its
scripts are part of this repository. packetdrill/results.tsv says
what each script is known to do; a script that passes there and fails here fails the test. Scripts
that are not listed are run and reported, and decide nothing. --update writes what happened into that file;
--table prints it for docs/packetdrill.md. Each script runs in a network
namespace of its own, because scripts set sysctls; so it takes root.
"""

import argparse
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
OWN_SCRIPTS = os.path.join(HERE, "scripts")
RESULTS = os.path.join(HERE, "packetdrill", "results.tsv")
TIMEOUT_S = 60
SKIPPED = 77

# The addresses that the scripts' own runner uses; -D are words the scripts leave open.
FAMILY_ARGS = {
    "4": [
        "--ip_version=ipv4", "--local_ip=192.168.0.1", "--gateway_ip=192.168.0.1",
        "--netmask_ip=255.255.0.0", "--remote_ip=192.0.2.1",
        "-D", "TFO_COOKIE=3021b9d889017eeb", "-D", "TFO_COOKIE_ZERO=b7c12350a90dc8f5",
        "-D", "CODE=host_unreachable",
        "-D", "CMSG_LEVEL_IP=SOL_IP", "-D", "CMSG_TYPE_RECVERR=IP_RECVERR",
    ],
    # IPv4 through sockets of IPv6.
    "mapped": [
        "--ip_version=ipv4-mapped-ipv6", "--local_ip=192.168.0.1", "--gateway_ip=192.168.0.1",
        "--netmask_ip=255.255.0.0", "--remote_ip=192.0.2.1",
        "-D", "TFO_COOKIE=3021b9d889017eeb", "-D", "TFO_COOKIE_ZERO=b7c12350a90dc8f5",
        "-D", "CODE=host_unreachable",
        "-D", "CMSG_LEVEL_IP=SOL_IPV6", "-D", "CMSG_TYPE_RECVERR=IPV6_RECVERR",
    ],
    "6": [
        "--ip_version=ipv6", "--mtu=1520", "--local_ip=fd3d:0a0b:17d6::1",
        "--gateway_ip=fd3d:0a0b:17d6:8888::1", "--remote_ip=fd3d:fa7b:d17d::1",
        "-D", "TFO_COOKIE=c1d1e9742a47a9bc", "-D", "TFO_COOKIE_ZERO=82af1a8f9a205c34",
        "-D", "CMSG_LEVEL_IP=SOL_IPV6", "-D", "CMSG_TYPE_RECVERR=IPV6_RECVERR",
    ],
}  # fmt: skip
FAMILY_NAMES = {"4": "IPv4", "mapped": "IPv4-mapped", "6": "IPv6"}
STACK_FLAGS = {"4": "mtu=1500", "mapped": "mtu=1500", "6": "mtu=1520"}


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def find_scripts(folders):
    """(name, path) of each .pkt file, names relative to the folder given."""
    found = []
    for folder in folders:
        for at, _, names in sorted(os.walk(folder)):
            for name in sorted(names):
                path = os.path.join(at, name)
                if name.endswith(".pkt"):
                    found.append((os.path.relpath(path, folder), path))
    return found


def families_of(name, path):
    """Scripts for one family say so in their name, or by an option of packetdrill's."""
    with open(path, encoding="utf-8", errors="replace") as text:
        for line in text:
            if line.startswith("--ip_version=ipv"):
                return [line.split("=ipv", 1)[1].strip()]
    if name.endswith("v6.pkt"):
        return ["6"]
    if name.endswith("v4.pkt"):
        return ["4", "mapped"]
    return ["4", "mapped", "6"]


def read_rows():
    """(comment lines, {(script, family): [foyer, kernel, class, note]}) of results.tsv."""
    comments, rows = [], {}
    if not os.path.exists(RESULTS):
        return comments, rows
    with open(RESULTS, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("#"):
                comments.append(line)
            elif line.strip():
                script, family, *rest = line.rstrip("\n").split("\t")
                rows[script, family] = (rest + ["", "", "", ""])[:4]
    return comments, rows


def update_rows(results, column):
    """Results of this run into one column; a script that passes needs no reason any more."""
    comments, rows = read_rows()
    for key, result in results.items():
        row = rows.setdefault(tuple(key.rsplit(" ", 1)), ["?", "?", "", ""])
        row[column] = "pass" if result["passed"] else "fail"
        if row[0] == "pass":
            row[2:] = ["", ""]
        elif not row[2]:
            row[2:] = ["?", "not looked at yet"]
    with open(RESULTS, "w", encoding="utf-8") as out:
        out.writelines(comments)
        for (script, family), row in sorted(rows.items()):
            out.write("\t".join([script, family, *row]).rstrip() + "\n")


def print_table():
    """One line per script, all families together; Linux's own, which are in no folder, last."""
    _, rows = read_rows()
    scripts = sorted({script for script, _ in rows})
    google = [script for script in scripts if "/" in script]
    print("## Script by script: Google's\n")
    print_rows(rows, google)
    print("\n## Script by script: Linux's own\n")
    print_rows(rows, [script for script in scripts if "/" not in script])


def print_rows(rows, scripts):
    print("| script | libfoyer 4, mapped, 6 | Linux 4, mapped, 6 | why |\n|---|---|---|---|")
    for script in scripts:
        all_of_it = [rows.get((script, family)) for family in FAMILY_ARGS]
        cells = [", ".join(row[i] if row else "-" for row in all_of_it) for i in (0, 1)]
        kind, note = next((row[2:] for row in all_of_it if row and row[2]), ("", ""))
        print(f"| {script[:-4]} | {' | '.join(cells)} | {kind + ': ' + note if kind else ''} |")


def stack_flags_of(path):
    """A script may name its own local address, and switch off what the device offers."""
    flags = []
    with open(path, encoding="utf-8", errors="replace") as text:
        for line in text:
            word = line.strip().lstrip("-")
            if line.strip().startswith("--local_ip="):
                address = word.split("=", 1)[1].split()[0]
                flags.append(f"local{6 if ':' in address else 4}={address}")
            if line.startswith("ethtool -K") and "tso off" in line:
                flags.append("tso=off")
            if line.startswith("ip link set dev tun0 mtu "):
                flags.append("mtu=" + line.split()[6])
    return flags


def command_for(program, library, path, family):
    args = [program, "--send_omit_free", *FAMILY_ARGS[family]]
    if library:
        flags = ",".join([STACK_FLAGS[family], *stack_flags_of(path)])
        args += [f"--so_filename={library}", f"--so_flags={flags}"]
    # Scripts set a queue discipline on the device that packetdrill would have made. tcp_ecn is a
    # file of ours: a kernel without RFC 9768 refuses the values that ask for it.
    setup = (
        "ip link set lo up; ip tuntap add tun0 mode tun; file=$(mktemp); echo 2 >$file; "
        "mount --bind $file /proc/sys/net/ipv4/tcp_ecn; rm $file; "
        if library
        else ""
    )
    # Preloaded, the stack also answers the calls that packetdrill makes past its table.
    preload = f"export LD_PRELOAD={library}; " if library else ""
    return [
        "unshare", "--net", "--mount", "sh", "-c", f'{setup}{preload}exec "$@"', "sh",
        *args, os.path.basename(path),
    ]  # fmt: skip


def run_one(program, library, path, family):
    """(passed, what was said)"""
    try:
        done = subprocess.run(
            command_for(program, library, path, family),
            cwd=os.path.dirname(path),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"still running after {TIMEOUT_S} s"
    said = done.stderr.strip()
    if done.returncode < 0:
        said += f"\nended by signal {-done.returncode}"
    return done.returncode == 0, said


def run_all(options, program, library, scripts):
    _, known = read_rows()
    results = {}
    regressions = 0
    for name, path in scripts:
        for family in families_of(name, path):
            if options.family not in (None, family) or options.only not in name:
                continue
            passed, said = run_one(program, library, path, family)
            is_own = path.startswith(OWN_SCRIPTS)
            if is_own and options.kernel:
                continue  # they know libfoyer's timers and windows
            expected = known.get((name, family), ["?", "?"])[1 if options.kernel else 0]
            if is_own:
                expected = "pass"
            regressed = expected == "pass" and not passed
            regressions += regressed
            if not is_own:
                results[f"{name} {family}"] = {"passed": passed, "said": said}
            word = "FAIL" if regressed else "pass" if passed else "fail"
            news = " (listed as failing)" if passed and expected == "fail" else ""
            print(f"{word} {name} {FAMILY_NAMES[family]}{news}", flush=True)
            if said and not passed and (regressed or options.verbose):
                print("    " + said.replace("\n", "\n    "))
    return results, regressions


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kernel", action="store_true", help="run against the kernel instead")
    parser.add_argument("--family", choices=list(FAMILY_ARGS))
    parser.add_argument("--only", default="", help="scripts whose name has this in it")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--json", help="write what each script said")
    parser.add_argument("--update", action="store_true", help="write results.tsv")
    parser.add_argument("--table", action="store_true", help="print results.tsv as a table")
    options = parser.parse_args()
    if options.table:
        print_table()
        return

    program = os.environ.get("PACKETDRILL")
    folders = [f for f in os.environ.get("PACKETDRILL_SCRIPTS", "").split(":") if f]
    build = os.environ.get("FOYER_BUILD", "build")
    library = os.path.abspath(os.path.join(build, "lib", "libfoyer-packetdrill.so"))
    if not program or not os.access(program, os.X_OK):
        skip("PACKETDRILL names no program")
    if os.geteuid() != 0:
        skip("network namespaces and locked memory take root")
    if options.kernel:
        library = None
    elif not os.path.exists(library):
        skip("configure with -DFOYER_PACKETDRILL=ON")

    scripts = find_scripts([OWN_SCRIPTS, *folders])
    results, regressions = run_all(options, os.path.abspath(program), library, scripts)
    passed = sum(result["passed"] for result in results.values())
    print(f"{passed} of {len(results)} pass; {regressions} that are known to pass fail")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as out:
            json.dump(results, out, indent=1)
    if options.update:
        update_rows(results, 1 if options.kernel else 0)
    sys.exit(1 if regressions or not (results or scripts) else 0)


if __name__ == "__main__":
    main()
