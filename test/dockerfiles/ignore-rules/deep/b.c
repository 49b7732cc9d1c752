deep/b.c
