"""`python -m novq.cli`."""

import sys

from novq.cli import main

sys.exit(main())
