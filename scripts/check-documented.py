#!/usr/bin/env python3
"""What a person can set must be in the manual: environment variables and long options.

Each name that the sources hand to getenv(), and each long option, must stand on a page of docs/man;
an option also in the usage text of the file that takes it. --self-test tries the patterns.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
COMMON = {"HOME", "PATH"}  # environ(7)

VARIABLE = re.compile(r'\bgetenv\("(\w+)"\)')
OPTION = re.compile(r'\{"([a-z0-9-]+)", (?:no|required|optional)_argument,')


def problems(path, source, manual):
    for name in sorted(set(VARIABLE.findall(source)) - COMMON):
        if not re.search(rf"\b{name}\b", manual):
            yield f"{path}: {name} is on no page of docs/man"
    for name in sorted(set(OPTION.findall(source))):
        if not re.search(rf"--{name}\b", manual):
            yield f"{path}: --{name} is on no page of docs/man"
        if not re.search(rf"--{name}\b", source):
            yield f"{path}: --{name} is not in the usage text"


def self_test():
    source = 'getenv("FOYER_X"); {"new", no_argument, NULL, 1}, "usage: --old"'
    assert len(list(problems("a.c", source, ""))) == 3
    assert not list(problems("a.c", source + '"--new"', "*FOYER_X* *--new*"))


def main():
    if "--self-test" in sys.argv:
        self_test()
        return 0
    manual = "\n".join(page.read_text() for page in sorted((ROOT / "docs" / "man").glob("*.scd")))
    found = [problem for path in sorted((ROOT / "src").rglob("*.c"))
             for problem in problems(path.relative_to(ROOT), path.read_text(), manual)]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
