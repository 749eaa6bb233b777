"""``python -m fastseq.bench`` is ``fastseq bench``."""

import sys

from fastseq.bench import main

if __name__ == "__main__":
    sys.exit(main())
