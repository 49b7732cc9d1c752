"""Runs the tests of one module against the engine at DOCKER_HOST and prints a line of JSON for each."""

import importlib
import json
import os
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


class JsonLines(unittest.TestResult):
    """One line for each test, as it ends: its name, and what went wrong."""

    def say(self, test, **more):
        name = test.shortDescription() if isinstance(test, unittest.TestCase) else None
        print(json.dumps({"name": name or str(test), **more}), flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.say(test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.say(test, error=self._exc_info_to_string(err, test))

    def addError(self, test, err):
        super().addError(test, err)
        self.say(test, error=self._exc_info_to_string(err, test))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.say(test, skipped=reason)


def main():
    module = importlib.import_module(sys.argv[1])
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{word}*" for word in sys.argv[2:]] or None
    tests = loader.loadTestsFromModule(module)
    result = JsonLines()
    tests.run(result)
    # Connections that a failed test left in the middle of a stream must not keep the program.
    sys.stdout.flush()
    os._exit(0 if result.wasSuccessful() else 1)


main()
