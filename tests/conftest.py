"""What holds for all tests: SIGINT and SIGHUP have their usual meaning, also where the tests were started by `nohup` or
as a shell's background job, which ignore them; and nothing is kept in the user's folder of caches."""

from __future__ import annotations

import os
import signal
import tempfile

signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

_CACHE = tempfile.TemporaryDirectory(prefix="semples-test-cache-")
os.environ["SEMPLES_CACHE"] = _CACHE.name
