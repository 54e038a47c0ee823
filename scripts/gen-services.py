#!/usr/bin/env python3
"""Generate src/registry/iana_table.inc from two service lists that Debian ships.

Usage:
    scripts/gen-services.py            write the table
    scripts/gen-services.py --check    compare with the committed table; exit 0 when it is the
                                       same, 1 when it differs, 77 (skip) when the inputs are
                                       missing or are not those of the committed table

Inputs, both in the format of services(5):
    /usr/share/wireshark/services   package libwireshark-data, its copy of IANA's list
    /etc/services                   package netbase, aliases and long-standing unofficial ports

Only facts are taken: port number, protocol, name. Descriptions are never read.

How the two are merged. IANA's name is the name of a port. A netbase name for a port and protocol
that IANA names differently becomes an alias; for a port that IANA does not name, it becomes the
name. Protocols other than tcp, udp, sctp and dccp are left out.

The output depends on the inputs' bytes and on nothing else, so it can be compared byte by byte.
"""

import argparse
import collections
import hashlib
import os
import re
import sys

PROTOCOL_BITS = {"tcp": 1, "udp": 2, "sctp": 4, "dccp": 8}
FLAG_ALIAS = 16
NAME_SHIFT = 8
COLUMNS = 100

# RFC 6335 section 5.1: 1 to 15 letters, digits and hyphens; at least one letter; no hyphen at
# either end or beside another.
RFC6335_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9](?:-?[A-Za-z0-9])*\Z")
# Names older than that rule, which programs still use, and the characters they need.
LEGACY_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_-]{1,31}\Z")
# One line of the input has a mangled name; IANA lists the port under the name on the right.
CORRECTIONS = {"Escale-(Newton": "newton-dock"}

Entry = collections.namedtuple("Entry", "first last alias name")


def fold(name):
    return name.lower()


def is_rfc6335(name):
    return len(name) <= 15 and RFC6335_NAME.match(name) is not None


def read_services(data, path):
    """Yield (name, first, last, protocols, aliases) per line; names are checked."""
    for number, raw in enumerate(data.decode("utf-8").splitlines(), 1):
        fields = raw.split("#", 1)[0].split()
        if not fields:
            continue
        where = f"{path}:{number}"
        if len(fields) < 2:
            sys.exit(f"{where}: no port")
        ports, *protocols = fields[1].split("/")
        first, _, last = ports.partition("-")
        first, last = int(first), int(last or first)
        if not 1 <= first <= last <= 65535:
            sys.exit(f"{where}: bad port")
        known = [p for p in protocols if p in PROTOCOL_BITS]
        names = [CORRECTIONS.get(n, n) for n in [fields[0]] + fields[2:]]
        for name in names:
            if not is_rfc6335(name) and not LEGACY_NAME.match(name):
                sys.exit(f"{where}: name not understood: {name}")
        if known:
            yield names[0], first, last, known, names[1:]


def merge(iana_data, iana_path, netbase_data, netbase_path):
    """Return {Entry: protocol mask}."""
    masks = collections.defaultdict(int)
    official = collections.defaultdict(set)     # (port, protocol) -> folded names
    in_range = set()                            # (port, protocol)
    for name, first, last, protocols, aliases in read_services(iana_data, iana_path):
        for protocol in protocols:
            masks[Entry(first, last, False, name)] |= PROTOCOL_BITS[protocol]
            for alias in aliases:
                masks[Entry(first, last, True, alias)] |= PROTOCOL_BITS[protocol]
            for port in range(first, last + 1):
                official[port, protocol].add(fold(name))
                if first != last:
                    in_range.add((port, protocol))
    for name, first, last, protocols, aliases in read_services(netbase_data, netbase_path):
        if first != last:
            sys.exit(f"{netbase_path}: ranges are not expected here")
        for protocol in protocols:
            taken = official[first, protocol]
            # A port inside an official range may still have a name of its own.
            is_alias = bool(taken) and (first, protocol) not in in_range
            for candidate in [name] + aliases:
                if fold(candidate) not in taken:
                    alias = is_alias or candidate != name
                    masks[Entry(first, last, alias, candidate)] |= PROTOCOL_BITS[protocol]
    return masks


def wrap(items, separator):
    line = "   "
    for item in items:
        if len(line) + 1 + len(item) + len(separator) > COLUMNS:
            yield line
            line = "   "
        line += " " + item + separator
    yield line


def render(masks, digests):
    names = sorted({entry.name for entry in masks}, key=lambda name: (fold(name), name))
    offsets = {}
    offset = 0
    for name in names:
        offsets[name] = offset
        offset += len(name) + 1
    assert offset < 1 << 24

    entries = sorted(masks, key=lambda e: (e.first, e.last, e.alias, fold(e.name), e.name))
    assert len(entries) <= 65535
    by_name = sorted(range(len(entries)),
                     key=lambda i: (fold(entries[i].name), entries[i].alias, i))
    ranges = sorted((i for i, e in enumerate(entries) if e.first != e.last and not e.alias),
                    key=lambda i: (entries[i].last - entries[i].first, i))

    def pack(entry):
        flags = masks[entry] | (FLAG_ALIAS if entry.alias else 0)
        return f"{{{entry.first},{entry.last},{offsets[entry.name] << NAME_SHIFT | flags}}}"

    out = ["/*",
           " * Generated by scripts/gen-services.py; do not edit. iana.c says what this is.",
           " *"]
    for label, digest in digests:
        out.append(f" * input {label}: sha256 {digest}")
    out += [" */", "", "/* clang-format off */", "", "static const char iana_pool[] ="]
    out += wrap((f'"{name}\\0"' for name in names), "")
    out[-1] += ";"
    out += ["", "static const struct foyer_services_entry iana_entries[] = {"]
    out += wrap((pack(entry) for entry in entries), ",")
    out += ["};", "", "static const uint16_t iana_by_name[] = {"]
    out += wrap((str(i) for i in by_name), ",")
    out += ["};", "", "static const uint16_t iana_ranges[] = {"]
    out += wrap((str(i) for i in ranges), ",")
    out += ["};", ""]
    return "\n".join(out).encode("ascii")


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser = argparse.ArgumentParser(description="generate the built-in table of services")
    parser.add_argument("--iana", default="/usr/share/wireshark/services")
    parser.add_argument("--netbase", default="/etc/services")
    parser.add_argument("--output",
                        default=os.path.join(root, "src", "registry", "iana_table.inc"))
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()

    try:
        with open(args.iana, "rb") as file:
            iana_data = file.read()
        with open(args.netbase, "rb") as file:
            netbase_data = file.read()
    except OSError as error:
        print(f"input not available: {error}", file=sys.stderr)
        return 77 if args.check else 1

    digests = [("libwireshark-data", hashlib.sha256(iana_data).hexdigest()),
               ("netbase", hashlib.sha256(netbase_data).hexdigest())]
    if args.check:
        with open(args.output, "rb") as file:
            committed = file.read()
        if not all(digest.encode("ascii") in committed for _, digest in digests):
            print("inputs are of another release than the committed table", file=sys.stderr)
            return 77
    table = render(merge(iana_data, args.iana, netbase_data, args.netbase), digests)
    if args.check:
        if table != committed:
            print(f"{args.output} is not what the generator writes", file=sys.stderr)
            return 1
        return 0
    with open(args.output, "wb") as file:
        file.write(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
