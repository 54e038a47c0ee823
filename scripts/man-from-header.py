#!/usr/bin/env python3
"""Writes a page of section 3 in scdoc's language from a public header: man-from-header.py PAGE

The headers are the reference: each function with its comment, each type as it stands. So a page
cannot lack a function or differ from what the compiler reads. PAGE is a name of PAGES.
With --check: every exported function (libfoyer.map) must be on exactly one page.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]

# page: (header, what it is, which functions, example, others)
PAGES = {
    "foyer_host": ("host.h", "a TCP/IP host as a state machine", r"foyer_host_(?!events)",
                   "examples/echo_tap.c", ("foyer_socket",)),
    "foyer_socket": ("socket.h", "sockets of a libfoyer host", r"foyer_(socket_|host_events)",
                     "examples/two_hosts.c", ("foyer_host", "foyer_request")),
    "foyer_request": ("socket.h", "connection requests that wait for the caller",
                      r"foyer_request_", None, ("foyer_host", "foyer_socket")),
    "foyer_dhcp": ("dhcp.h", "DHCP clients of a libfoyer host", r"foyer_dhcp", None,
                   ("foyer_host",)),
}

EXAMPLES = {
    "foyer_request": """foyer_request request;
struct foyer_request_info info;

foyer_socket_set_option(host, listener, FOYER_OPT_HOLD, 1);
...
while (foyer_request_next(host, listener, &request) == 0) {
    foyer_request_info(host, request, &info);
    if (is_welcome(&info.remote.addr))
        foyer_request_accept(host, request, now);
    else
        foyer_request_refuse(host, request, now);
}""",
    "foyer_dhcp": """struct foyer_dhcp4_lease lease;

foyer_dhcp4_start(host, NULL, now);
...
if (foyer_dhcp4_lease(host, &lease) == 0 && lease.state == FOYER_DHCP_BOUND)
    use(&lease.address);
...
foyer_dhcp4_stop(host, true, now);""",
}

TOKEN = re.compile(r"(?P<comment>/\*.*?\*/)|(?P<function>FOYER_API [^;]*;)|"
                   r"(?P<type>(?:enum|struct) \w+ \{.*?\n\};|typedef struct \{.*?\n\} \w+;)", re.S)


def plain(comment):
    """A comment's words, line by line."""
    lines = comment[2:-2].strip().splitlines()
    return [re.sub(r"^\s*\* ?", "", line).rstrip() for line in lines]


def escape(text):
    text = text.replace("\\", "\\\\").replace("*", "\\*").replace("_", "\\_")
    return re.sub(r"^([#.+\-\[|`])", r"\\\1", text)


def paragraphs(lines):
    """Running text; what is indented in the comment is code."""
    out, code = [], False
    for line in lines:
        is_code = line.startswith("    ")
        if is_code != code and (is_code or line):
            if is_code and out and out[-1]:
                out.append("")
            out.append("```")
            code = is_code
        out.append(line[4:] if code else escape(line))
    if code:
        out.append("```")
    return "\n".join(out)


def read(header, wanted):
    """The head's words, groups of (comment, prototypes), and types."""
    text = (ROOT / "include/foyer" / header).read_text(encoding="utf-8")
    head, groups, types, comment, at = [], [], [], None, 0
    for match in TOKEN.finditer(text):
        fresh = text[at:match.start()].strip() == "" and at != 0
        at = match.end()
        if match["comment"]:
            if not head:
                head = plain(match["comment"])
            if not match["comment"].startswith("/* ----"):
                comment = plain(match["comment"])
        elif match["function"]:
            prototype = re.sub(r"\s+", " ", match["function"][len("FOYER_API "):])
            if comment is None and groups and fresh:
                groups[-1][1].append(prototype)
            else:
                groups.append((comment or [], [prototype]))
            comment = None
        else:
            types.append((comment or [], match["type"]))
            comment = None
    groups = [(words, [p for p in prototypes if re.search(rf"\b(?:{wanted})\w*\(", p)])
              for words, prototypes in groups]
    return head, [g for g in groups if g[1]], types


def name_of(prototype):
    return re.search(r"(foyer_\w+)\(", prototype)[1]


def page(name):
    header, what, wanted, example, others = PAGES[name]
    head, groups, types = read(header, wanted)
    out = [f'{name}(3) "foyer" "Library Functions"', "# NAME", f"{escape(name)} - {what}",
           "# SYNOPSIS", f"*#include <foyer/{header}>*", "*cc ... -lfoyer*", "# DESCRIPTION",
           paragraphs(head), "# FUNCTIONS"]
    for words, prototypes in groups:
        out.append("```\n" + "\n".join(prototypes) + "\n```")
        out.append(paragraphs(words))
    out.append("# TYPES")
    for words, text in types:
        is_of_requests = re.search(r"^struct foyer_request|\} foyer_request;$", text) is not None
        if header == "socket.h" and is_of_requests != (name == "foyer_request"):
            continue
        out.append(paragraphs(words))
        out.append(f"```\n{text}\n```")
    code = (ROOT / example).read_text(encoding="utf-8") if example else EXAMPLES[name]
    out += ["# EXAMPLE", f"```\n{code.strip()}\n```", "# SEE ALSO",
            ", ".join(f"*{escape(other)}*(3)" for other in others)]
    return "\n\n".join(part for part in out if part) + "\n"


def check():
    symbols = set(re.findall(r"^ +(foyer_\w+);", (ROOT / "src/stack/libfoyer.map").read_text(),
                             re.M))
    found = [name_of(p) for header, _, wanted, _, _ in PAGES.values()
             for _, prototypes in read(header, wanted)[1] for p in prototypes]
    for name in sorted(symbols ^ set(found)) + sorted({n for n in found if found.count(n) > 1}):
        print(f"man-from-header: {name}: on no page, twice, or not exported", file=sys.stderr)
    return sorted(found) != sorted(symbols)


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(check())
    sys.stdout.write(page(sys.argv[1]))
