#!/usr/bin/env python3
"""Runs test modules of Python's own suite: python_tests.py RESULTS FAULT_SECONDS MODULE...

Writes one line per test to RESULTS: a result and the test's name, tab between. Tests that stand
there already are left out, so that run.py can go on behind one that hung: it stands there without
a result. Nothing is imported from the project: this file is the program under test's.
"""

import faulthandler
import os
import sys
import unittest


class Recorder(unittest.TestResult):
    def __init__(self, sink, hang_s):
        super().__init__()
        self.sink = sink
        self.hang_s = hang_s
        self.outcome = None

    def write(self, line):
        os.write(self.sink, line.encode())

    def startTest(self, test):
        super().startTest(test)
        self.outcome = "ok"
        self.write(f"start\t{test.id()}\n")
        faulthandler.dump_traceback_later(self.hang_s, exit=True)

    def stopTest(self, test):
        faulthandler.cancel_dump_traceback_later()
        self.write(f"{self.outcome}\t{test.id()}\n")
        super().stopTest(test)

    def note(self, test, error, outcome):
        """A failure outside of any test (setUpModule) is one of the module."""
        text = self._exc_info_to_string(error, test)
        print(f"{outcome}: {test.id()}\n{text}", file=sys.stderr, flush=True)
        if self.outcome is None:
            self.write(f"{outcome}\t{test.id()}\n")
        self.outcome = outcome

    def addError(self, test, err):
        self.note(test, err, "FAIL")

    def addFailure(self, test, err):
        self.note(test, err, "FAIL")

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.note(test, err, "FAIL")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        if self.outcome is None:
            self.write(f"skip\t{test.id()}\n")
        self.outcome = "skip"

    def addUnexpectedSuccess(self, test):
        self.outcome = "FAIL"


def flatten(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flatten(test)
        else:
            yield test


def without(suite, done):
    """The same nesting, so that fixtures of modules and classes run as they should."""
    kept = [without(test, done) if isinstance(test, unittest.TestSuite) else test
            for test in suite
            if isinstance(test, unittest.TestSuite) or test.id() not in done]
    return type(suite)(kept) if isinstance(suite, unittest.TestSuite) else suite


def main():
    path, hang_s, names = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
    done = set()
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            done = {line.rstrip("\n").split("\t", 1)[1] for line in file if "\t" in line}
    sink = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    suite = without(unittest.defaultTestLoader.loadTestsFromNames(names), done)
    result = Recorder(sink, hang_s)
    suite.run(result)
    os.write(sink, b"end\n")


if __name__ == "__main__":
    main()
