"""``python -m skcnf``."""

import sys

from skcnf.cli import main

sys.exit(main())
