import tempfile
import unittest

from rows import total


class Rows(unittest.TestCase):
    def test_are_summed(self):
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
            file.write("count\n1\n2\n")
            file.flush()
            self.assertEqual(total(file.name), 3)
