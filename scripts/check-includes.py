#!/usr/bin/env python3
"""Checks that #include follows the layers: knowledge flows one way only.

usage: check-includes.py [--self-test] [root]

Each folder of src/ names the folders it may include. include/foyer counts as two: its types
(addresses, times, the ring) are words that everybody uses, down to the memory that a program and
foyerd share; its functions are for those that have a host. The sans-IO core (base, wire, stack)
may in addition include only those libc headers that neither do I/O nor read a clock: that is
what makes it deterministic under simulation.

Prints one line per violation, `file:line: reason`, and exits with 1 if there is any.
"""

import os
import re
import sys
import tempfile

PUBLIC = "foyer"  # include/foyer: hosts and sockets
TYPES = "foyer types"  # the headers there that declare no function of the library
TYPES_HEADERS = {"features.h", "types.h", "ring.h"}

ALLOWED = {
    TYPES: set(),
    PUBLIC: {TYPES},
    "base": {TYPES},
    "wire": {TYPES, "base"},
    "stack": {TYPES, "base", "wire", PUBLIC},
    "registry": {TYPES, "base"},
    "ipc": {TYPES, "base"},
    "link": {TYPES, "base", "wire", PUBLIC},  # impairment must tell IP from the rest
    "daemon": {TYPES, "base", "wire", "stack", "registry", "ipc", "link", PUBLIC},
    "preload": {TYPES, "ipc", "base"},
    "supervise": {TYPES, "base"},
    "cli": {TYPES, "ipc", "registry", "base"},
}

PURE = {
    "assert.h", "errno.h", "inttypes.h", "limits.h", "stdalign.h", "stdatomic.h", "stdbool.h",
    "stddef.h", "stdint.h", "string.h",
}  # fmt: skip
PURE_LAYERS = {TYPES, PUBLIC, "base", "wire", "stack"}

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:<([^>]+)>|"([^"]+)")')


def layer_of(root, path):
    """The layer a file belongs to, or None outside of the layers."""
    parts = os.path.relpath(path, root).split(os.sep)
    if parts[:2] == ["include", "foyer"]:
        return TYPES if parts[-1] in TYPES_HEADERS else PUBLIC
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    return None


def resolve(root, includer, name):
    """The file that the compiler would take for a name, or None."""
    folders = [os.path.dirname(includer), os.path.join(root, "include"), os.path.join(root, "src")]
    for folder in folders:
        path = os.path.normpath(os.path.join(folder, name))
        if os.path.isfile(path):
            return path
    return None


def check_file(root, path):
    layer = layer_of(root, path)
    if layer not in ALLOWED:
        yield 0, f"folder '{layer}' has no row in the table of layers"
        return
    with open(path, encoding="utf-8") as file:
        lines = file.readlines()
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        system, own = match.groups()
        target = resolve(root, path, own or system)
        if target:
            other = layer_of(root, target)
            if other != layer and other not in ALLOWED[layer]:
                yield number, f"{layer} may not include {other} ({own or system})"
        elif own:
            yield number, f'"{own}" is neither beside the file nor in include/ or src/'
        elif layer in PURE_LAYERS and system not in PURE:
            yield number, f"{layer} is free of I/O and clocks: <{system}> is not allowed"


def check_tree(root):
    violations = []
    for top in ("include", "src"):
        for folder, folders, files in os.walk(os.path.join(root, top)):
            folders.sort()
            for name in sorted(files):
                if name.endswith((".c", ".h")):
                    path = os.path.join(folder, name)
                    for number, reason in check_file(root, path):
                        violations.append((os.path.relpath(path, root), number, reason))
    return violations


# path -> (text, lines that must be reported)
FIXTURE = {
    "include/foyer/host.h": ("#include <stdint.h>\n#include <time.h>\n", [2]),
    "include/foyer/types.h": ("#include <stdint.h>\n", []),
    "src/base/ring.h": ('#include <stdatomic.h>\n#include "foyer/types.h"\n', []),
    "src/base/log.c": ('#include "base/ring.h"\n#include <stdio.h>\n', [2]),
    "src/base/up.c": ('#include "wire/tcp.h"\n', [1]),
    "src/wire/tcp.h": ('#include "base/ring.h"\n', []),
    "src/wire/tcp.c": ('#include "tcp.h"\n  # include "foyer/host.h"\n', [2]),
    "src/stack/host.h": ('#include "wire/tcp.h"\n#include <foyer/host.h>\n', []),
    "src/stack/clock.c": ('#include "stack/host.h"\n#include <sys/socket.h>\n', [2]),
    "src/ipc/layout.h": ('#include <sys/mman.h>\n#include "base/ring.h"\n', []),
    "src/ipc/bad.c": ('#include "../stack/host.h"\n', [1]),
    "src/registry/services.h": ('#include "ipc/layout.h"\n', [1]),
    "src/link/tap.c": ('#include "foyer/host.h"\n#include "stack/host.h"\n', [2]),
    "src/daemon/main.c": ('#include "stack/host.h"\n#include "preload/fd.h"\n', [2]),
    "src/preload/fd.h": ('#include "ipc/layout.h"\n#include "foyer/host.h"\n', [2]),
    "src/cli/main.c": ('#include "registry/services.h"\n#include "missing.h"\n', [2]),
    "src/extra/x.c": ("#include <stdint.h>\n", [0]),
}


def self_test():
    with tempfile.TemporaryDirectory() as root:
        for path, (text, _) in FIXTURE.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as file:
                file.write(text)
        found = {(path, number) for path, number, _ in check_tree(root)}
    expected = {(path, number) for path, (_, numbers) in FIXTURE.items() for number in numbers}
    for path, number in sorted(found ^ expected):
        kind = "missed" if (path, number) in expected else "wrongly reported"
        print(f"self-test: {path}:{number} {kind}", file=sys.stderr)
    return found == expected


def main(arguments):
    if "--self-test" in arguments:
        return 0 if self_test() else 1
    root = arguments[0] if arguments else os.path.join(os.path.dirname(__file__), "..")
    violations = check_tree(os.path.abspath(root))
    for path, number, reason in violations:
        print(f"{path}:{number}: {reason}", file=sys.stderr)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
