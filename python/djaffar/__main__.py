"""The command line ``djaffar``: the same program as the Rust binary."""

import signal
import sys

from djaffar import _djaffar


def main() -> None:
    # Ctrl-C is the server's to handle, not Python's.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(_djaffar.main(sys.argv[1:]))


if __name__ == "__main__":
    main()
