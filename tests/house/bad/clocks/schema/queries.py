"""Even at the edge, a file of queries measures nothing."""

from time import perf_counter

STARTED = perf_counter()  # BAD
