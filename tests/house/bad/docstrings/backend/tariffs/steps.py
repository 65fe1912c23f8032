"""Says what it is; what a condition defines is public too."""

import sys

if sys.platform == "linux":

    def limit() -> int:  # BAD
        return 1
