import sys

from tallying import tally

print("hello from mounts:", tally(sys.argv[1]))
