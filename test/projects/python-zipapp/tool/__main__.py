import sys

from rows import total

print("hello from zipapp:", total(sys.argv[1]))
