#!/usr/bin/env python3
"""A selection of Python's own tests: what they say of the kernel's sockets they say of foyer's."""

import concurrent.futures
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "common"))
from foyer_test import skip_if  # noqa: E402
import run as upstream  # noqa: E402
from suites import SUITES  # noqa: E402

SUITE = SUITES["python-some"]


class PythonSuite(unittest.TestCase):
    def test_same_as_on_the_kernel(self):
        def one(on):
            with upstream.Run(SUITE.name, on, None, 1) as run:
                return SUITE.run(run, None, None)
        # Beside each other, since they mostly wait.
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            results = dict(zip(("kernel", "foyer"), pool.map(one, ("kernel", "foyer"))))
        for on, said in results.items():
            print(on, upstream.count(said), flush=True)
        self.assertGreater(upstream.count(results["kernel"])["ok"], 300)
        rows = upstream.compare(SUITE.name, results["kernel"], results["foyer"],
                                upstream.read_reasons())
        self.assertEqual([row for row in rows if row[3] is None], [])


if __name__ == "__main__":
    skip_if(SUITE.gone(None))
    upstream.own_namespaces()
    unittest.main(verbosity=2)
