#!/usr/bin/env python3
"""Sums JUnit files of ctest into one line: `N passed, N failed, N skipped`.

usage: test-summary.py <failures of other steps> [ctest.xml ...]

Counts the test cases themselves. A test that ctest could not start, or that was cut off by its
time limit, is a failure; only status 77 (SKIP_RETURN_CODE) and DISABLED make a skipped one.
"""

import sys
import xml.etree.ElementTree as ElementTree


def main(arguments):
    passed, failed, skipped = 0, int(arguments[0]), 0
    for path in arguments[1:]:
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            status = case.get("status")
            if status == "run":
                passed += 1
            elif status == "disabled" or is_skip(case):
                skipped += 1
            else:
                failed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")


def is_skip(case):
    """ctest marks both skipped tests and tests without an executable as `notrun`."""
    skip = case.find("skipped")
    return (
        case.get("status") == "notrun"
        and skip is not None
        and skip.get("message", "").startswith("SKIP_")
    )


if __name__ == "__main__":
    main(sys.argv[1:])
