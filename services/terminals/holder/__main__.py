"""Run as a folder, ``python -I -S .../terminals/holder``: isolated from everything but this package."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Last: what lies beside this package is no part of it.
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    from terminals.holder.main import main

    main(sys.argv[1:])
