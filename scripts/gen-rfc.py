#!/usr/bin/env python3
"""Writes docs/rfc.md: which requirement of which RFC is obeyed where, and what test shows it.

    gen-rfc.py             write docs/rfc.md
    gen-rfc.py --check     fail where it is stale, or where one of the rules below is broken
    gen-rfc.py --self-test

docs/requirements/rfc<number>.tsv lists the requirements (group, id, level, wording of our own); its
first line, a comment, says which text it was checked against.
docs/requirements/deviations.tsv says what is not done, and why (rfc, id, kind, reason):

    deviation        decided; the reason says by what it is outweighed
    not-applicable   addressed to somebody else: routers, applications, other links
    open             to be done

Tags stand in comments:

    in src/, include/   [RFC5961 3.2a] or [RFC5961 3.2a 3.2b] at the line that obeys. RFC 9293's own
                        names (MUST-57, SHLD-3) are tags without brackets too, and a citation
                        "RFC 5961 section 3.2" counts for every requirement of that section.
    in tests/           [test RFC5961 3.2a] above a test, in it, or at the row of a table. Only where
                        the test fails when the requirement is not obeyed.

Rules: a MUST needs a test or a line in deviations.tsv, a SHOULD a test, a place in the code or such
a line; every tag names a known requirement; every tagged test is one that ctest runs.
"""
import re
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("deviation", "not-applicable", "open")
TITLES = {
    9293: "TCP",
    1122: "Host requirements: IP, ICMP, UDP",
    3168: "Explicit congestion notification",
    3376: "IGMPv3, for hosts",
    3810: "MLDv2, for listeners",
    4821: "Packetization layer path MTU discovery",
    4861: "Neighbour discovery",
    4862: "Stateless address autoconfiguration",
    5682: "F-RTO",
    5961: "TCP against blind attacks",
    6298: "The retransmission timer",
    6675: "Loss recovery with SACK",
    6935: "UDP without checksums over IPv6",
    6936: "When UDP may do without checksums",
    7323: "TCP window scale and timestamps",
    7413: "TCP Fast Open",
    8200: "IPv6",
    8257: "DCTCP",
    8985: "RACK-TLP",
    9438: "CUBIC",
    9768: "More accurate ECN feedback",
}
TAG = re.compile(r"\[(test )?RFC ?(\d+) ([^\]\n]+)\]")
OWN_NAME = re.compile(r"\b(?:MUST|SHLD|MAY|REC)-\d+[a-z]?\b")
CITATION = re.compile(r"RFC (\d+)[\s*]+sections? ((?:\d+(?:\.\d+)*)(?:(?:, | and |,? to )\d+(?:\.\d+)+)*)")
IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


# ---- what is wanted --------------------------------------------------------------------------------


class Requirement:
    def __init__(self, rfc, group, name, level, text):
        self.rfc, self.group, self.name, self.level, self.text = rfc, group, name, level, text
        self.places, self.tests = [], []
        self.deviation = None

    @property
    def section(self):
        """3.2a stands in section 3.2; RFC 9293's names say nothing of sections."""
        match = re.fullmatch(r"(\d+(?:\.\d+)*)[a-z]+", self.name)
        return match.group(1) if match else None


def read_requirements(root):
    found = {}
    for path in sorted((root / "docs/requirements").glob("rfc*.tsv")):
        rfc = int(path.stem[3:])
        lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
        rows = [line.split("\t") for line in lines[1:]]
        for row in rows:
            if len(row) != 4:
                raise SystemExit(f"{path}: a row has four fields: {row}")
            group, name, level, text = row
            if (rfc, name) in found:
                raise SystemExit(f"{path}: {name} twice")
            found[rfc, name] = Requirement(rfc, group, name, level, text)
    return found


def read_deviations(root, requirements, errors):
    path = root / "docs/requirements/deviations.tsv"
    for line in path.read_text().splitlines()[1:]:
        if not line:
            continue
        rfc, name, kind, reason = line.split("\t")
        requirement = requirements.get((int(rfc), name))
        if requirement is None:
            errors.append(f"{path.name}: RFC {rfc} {name} is not known")
        elif kind not in KINDS or not reason:
            errors.append(f"{path.name}: RFC {rfc} {name}: no such kind, or no reason")
        else:
            requirement.deviation = (kind, reason)


# ---- where it is ------------------------------------------------------------------------------------


class Definition:
    def __init__(self, name, first, last, is_table):
        self.name, self.first, self.last, self.is_table = name, first, last, is_table


def signature_name(lines, brace):
    """The name of the function whose body begins at that line."""
    first = brace
    while first > 0 and lines[first - 1] and lines[first - 1][0] not in "}/#" and not lines[
        first - 1
    ].rstrip().endswith("*/"):
        first -= 1
    match = re.search(r"(\w+)\(", " ".join(lines[first:brace]))
    return (match.group(1) if match else None), first


def definitions_of(lines):
    found = []
    i = 0
    while i < len(lines):
        line = lines[i]
        name, first, is_table = None, i, False
        if line.startswith("#define"):
            found.append(Definition(line.split()[1].split("(")[0], i, i, True))
        elif line == "{":
            name, first = signature_name(lines, i)
        elif line.startswith("def ") and line.endswith(":"):
            name = line[4:].split("(")[0]
        elif line and line[0] not in " }/#" and line.rstrip().endswith("{"):
            match = re.search(r"(\w+)(?:\[\w*\])* = \{", line) or re.match(r"(?:struct|enum|union) (\w+)", line)
            name, is_table = (match.group(1) if match else None), True
            if name is None and i > 0 and re.match(r"} (\w+)\[", lines[i]):
                name = None
        if name is None:
            i += 1
            continue
        last = i
        if line.startswith("def "):
            while last + 1 < len(lines) and (not lines[last + 1] or lines[last + 1][0] in " )"):
                last += 1
        else:
            while last + 1 < len(lines) and not lines[last + 1].startswith("}"):
                last += 1
            last += 1
            # static const struct { ... } name[] = { ... };
            match = re.match(r"} (\w+)\[.*\] = \{$", lines[last]) if last < len(lines) else None
            if match:
                name = match.group(1)
                while last + 1 < len(lines) and not lines[last + 1].startswith("}"):
                    last += 1
                last += 1
        found.append(Definition(name, first, last, is_table))
        i = last + 1
    return found


def definition_at(definitions, line):
    """That which holds the line, or the next one: a comment stands above what it speaks of."""
    for definition in definitions:
        if line <= definition.last:
            return definition
    return None


def comment_text(lines):
    """The lines with all but comments blanked out."""
    inside = False
    for line in lines:
        kept = ""
        rest = line
        while rest:
            if inside:
                end = rest.find("*/")
                kept += rest if end < 0 else rest[:end]
                inside, rest = end < 0, "" if end < 0 else rest[end + 2 :]
            else:
                begin = rest.find("/*")
                rest = "" if begin < 0 else rest[begin + 2 :]
                inside = begin >= 0
                kept += " "
        yield kept


def split_names(text):
    return [name for name in re.split(r"[,\s]+", text) if name]


def add(places, place):
    if place not in places:
        places.append(place)


def match_names(requirements, rfc, name):
    """MUST-20 stands for MUST-20a and MUST-20b where the list has these."""
    if (rfc, name) in requirements:
        return [requirements[rfc, name]]
    if not re.search(r"[a-z]$", name):
        return [r for (n, key), r in requirements.items() if n == rfc and key[:-1] == name and key[-1].isalpha()]
    return []


def scan_code(root, requirements, errors):
    by_section = defaultdict(list)
    for requirement in requirements.values():
        if requirement.section:
            by_section[requirement.rfc, requirement.section].append(requirement)
    for path in sorted([*root.glob("src/**/*.[ch]"), *root.glob("include/**/*.h")]):
        lines = path.read_text().splitlines()
        definitions = definitions_of(lines)
        comments = list(comment_text(lines))
        for number, comment in enumerate(comments):
            if not comment.strip():
                continue
            definition = definition_at(definitions, number)
            is_head = not any(d.first <= number for d in definitions) and number < 40 and not (
                definition and definition.first - number < 8
            )
            place = path.name if is_head or definition is None else f"{path.name}:{definition.name}"
            for match in TAG.finditer(comment):
                for name in split_names(match.group(3)):
                    hits = match_names(requirements, int(match.group(2)), name)
                    if not hits or match.group(1):
                        errors.append(f"{path.relative_to(root)}:{number + 1}: no such requirement: {match.group(0)}")
                    for requirement in hits:
                        add(requirement.places, place)
            for match in OWN_NAME.finditer(comment):
                hits = match_names(requirements, 9293, match.group(0))
                if not hits:
                    errors.append(f"{path.relative_to(root)}:{number + 1}: no such requirement: {match.group(0)}")
                for requirement in hits:
                    add(requirement.places, place)
            following = comments[number + 1].strip(" *") if number + 1 < len(comments) else ""
            for match in CITATION.finditer(comment.rstrip() + " " + following):
                if match.start() >= len(comment.rstrip()):
                    continue
                for section in re.findall(r"\d+(?:\.\d+)*", match.group(2)):
                    for requirement in by_section[int(match.group(1)), section]:
                        add(requirement.places, place)


# ---- what shows it -----------------------------------------------------------------------------------


def test_group(root, path):
    """The name under which ctest runs the file, or None."""
    relative = path.relative_to(root / "tests")
    parts, stem = relative.parts, path.stem
    if parts[0] == "unit" and len(parts) == 3 and stem.startswith("test_"):
        return f"unit.{parts[1]}.{stem[5:]}"
    if parts[0] == "sim" and len(parts) == 2 and stem.startswith("sim_"):
        return f"sim.{stem[4:]}"
    if len(parts) == 2 and stem.startswith("test_") and path.suffix == ".py":
        return f"{parts[0]}.{stem[5:]}"
    return None


def reachable_from_main(lines, definitions):
    """What main names, and what those name: all that runs."""
    bodies = {d.name: "\n".join(lines[d.first : d.last + 1]) for d in definitions}
    found, waiting = set(), ["main"]
    while waiting:
        name = waiting.pop()
        if name in found or name not in bodies:
            continue
        found.add(name)
        waiting.extend(set(IDENTIFIER.findall(bodies[name])) & bodies.keys())
    return found


def row_name(lines, number, definition):
    """The first string of the row that a tag in a table stands at."""
    for line in lines[number : definition.last]:
        match = re.search(r'\{\s*"([^"]+)"', line)
        if match:
            return match.group(1)
    return definition.name


def scan_tests(root, requirements, errors):
    for path in sorted([*root.glob("tests/**/*.[ch]"), *root.glob("tests/**/*.py")]):
        text = path.read_text()
        if "[test RFC" not in text:
            continue
        lines = text.splitlines()
        group = test_group(root, path)
        definitions = definitions_of(lines)
        running = reachable_from_main(lines, definitions)
        for number, line in enumerate(lines):
            for match in TAG.finditer(line):
                if not match.group(1):
                    continue
                where = f"{path.relative_to(root)}:{number + 1}"
                definition = definition_at(definitions, number)
                if group is None or definition is None:
                    errors.append(f"{where}: ctest does not run this: {match.group(0)}")
                    continue
                if path.suffix != ".py" and definition.name not in running:
                    errors.append(f"{where}: {definition.name} is not among the tests of main()")
                    continue
                name = definition.name
                if definition.is_table and definition.first < number:
                    name = row_name(lines, number, definition)
                for wanted in split_names(match.group(3)):
                    requirement = requirements.get((int(match.group(2)), wanted))
                    if requirement is None:
                        errors.append(f"{where}: no such requirement: RFC {match.group(2)} {wanted}")
                    else:
                        add(requirement.tests, f"{group}: {name}")


# ---- the page ------------------------------------------------------------------------------------------


def judge(requirements, errors):
    for r in requirements.values():
        if r.deviation:
            continue
        if r.level.startswith("MUST") and not r.tests:
            errors.append(f"RFC {r.rfc} {r.name} ({r.level}): no test and no deviation: {r.text}")
        elif r.level.startswith("SHOULD") and not r.tests and not r.places:
            errors.append(f"RFC {r.rfc} {r.name} ({r.level}): nowhere, and no deviation: {r.text}")


def status_counts(rows):
    tested = sum(bool(r.tests) for r in rows)
    kinds = {kind: sum(r.deviation is not None and r.deviation[0] == kind for r in rows) for kind in KINDS}
    return tested, kinds


def write_page(requirements):
    by_rfc = defaultdict(list)
    for requirement in requirements.values():
        by_rfc[requirement.rfc].append(requirement)
    order = [rfc for rfc in TITLES if rfc in by_rfc] + sorted(set(by_rfc) - set(TITLES))
    out = [
        "# Requirements of the RFCs",
        "",
        "Written by `scripts/gen-rfc.py` from the tags in code and tests; do not edit. What the tags are",
        "says the script's head; the lists and the deviations are in `docs/requirements/`. CI fails where",
        "a MUST has neither a test nor a reason.",
        "",
        "| RFC | requirements | with a test | deviations | not applicable | open |",
        "|---|---|---|---|---|---|",
    ]
    for rfc in order:
        tested, kinds = status_counts(by_rfc[rfc])
        out.append(
            f"| [{rfc}](#rfc-{rfc}) {TITLES.get(rfc, '')} | {len(by_rfc[rfc])} | {tested} | {kinds['deviation']} "
            f"| {kinds['not-applicable']} | {kinds['open']} |"
        )
    for rfc in order:
        out += ["", f'<a id="rfc-{rfc}"></a>', "", f"## RFC {rfc}: {TITLES.get(rfc, '')}"]
        group = None
        for r in by_rfc[rfc]:
            if r.group != group:
                group = r.group
                out += ["", f"### {group}", "", "| | level | requirement | where | tests and reasons |", "|---|---|---|---|---|"]
            notes = [f"`{test}`" for test in r.tests]
            if r.deviation:
                notes.append(f"*{r.deviation[0]}*: {r.deviation[1]}")
            elif not notes and not r.places:
                notes.append("not done")
            places = "<br>".join(f"`{place}`" for place in r.places)
            out.append(f"| {r.name} | {r.level} | {r.text} | {places} | {'<br>'.join(notes)} |")
    return "\n".join(out) + "\n"


def run(root):
    errors = []
    requirements = read_requirements(root)
    read_deviations(root, requirements, errors)
    scan_code(root, requirements, errors)
    scan_tests(root, requirements, errors)
    judge(requirements, errors)
    return write_page(requirements), errors, requirements


# ---- the script's own test -------------------------------------------------------------------------------

SELF_TEST_FILES = {
    "docs/requirements/rfc9293.tsv": "group\tid\tlevel\tw\nG\tMUST-1\tMUST\tone\nG\tMUST-2a\tMUST\ttwo\n"
    "G\tMUST-3\tMUST\tthree\nG\tSHLD-1\tSHOULD\tfour\n",
    "docs/requirements/rfc5961.tsv": "group\tid\tlevel\tw\nG\t3.2a\tSHOULD\tfive\n",
    "docs/requirements/deviations.tsv": "rfc\tid\tkind\treason\n9293\tMUST-3\tdeviation\tbecause\n",
    "src/stack/x.c": "static int f(int a)\n{\n    return a; /* MUST-1, RFC 5961 section 3.2 */\n}\n",
    "tests/unit/stack/test_x.c": '/* [test RFC9293 MUST-1] */\nstatic void good(void **state)\n{\n}\n'
    'static const struct row rows[] = {\n    {"a_row", 1}, /* [test RFC9293 MUST-2a] */\n};\n'
    "int main(void)\n{\n    RUN(good);\n    use(rows);\n}\n",
}


def self_test():
    def errors_with(changes):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in {**SELF_TEST_FILES, **changes}.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            page, errors, found = run(Path(folder))
            return errors, found

    test = SELF_TEST_FILES["tests/unit/stack/test_x.c"]
    errors, found = errors_with({})
    assert errors == ["RFC 9293 SHLD-1 (SHOULD): nowhere, and no deviation: four"], errors
    assert found[9293, "MUST-1"].places == ["x.c:f"]
    assert found[9293, "MUST-1"].tests == ["unit.stack.x: good"]
    assert found[9293, "MUST-2a"].tests == ["unit.stack.x: a_row"]
    assert found[5961, "3.2a"].places == ["x.c:f"]
    bad = [
        {"docs/requirements/deviations.tsv": "rfc\tid\tkind\treason\n"},  # a MUST without a test
        {"tests/unit/stack/test_x.c": test.replace("MUST-1]", "MUST-9]")},
        {"tests/unit/stack/test_x.c": test.replace("RUN(good);", "")},
        {"tests/unit/stack/helper.c": test},
        {"src/stack/y.c": "/* MUST-77 */\nint x;\n"},
    ]
    for changes in bad:
        assert len(errors_with(changes)[0]) > 1, changes


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return
    page, errors, requirements = run(ROOT)
    path = ROOT / "docs/rfc.md"
    if sys.argv[1:] == ["--check"]:
        if not errors and (not path.exists() or path.read_text() != page):
            errors.append("docs/rfc.md is stale: run scripts/gen-rfc.py")
    else:
        path.write_text(page)
    for error in errors:
        print(error, file=sys.stderr)
    open_count = sum(r.deviation is not None and r.deviation[0] == "open" for r in requirements.values())
    print(f"{len(requirements)} requirements, {sum(bool(r.tests) for r in requirements.values())} with a test, {open_count} open")
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
