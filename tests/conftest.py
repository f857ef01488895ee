"""What holds for all tests: SIGINT and SIGHUP have their usual meaning, also where the tests were started by `nohup` or
as a shell's background job, which ignore them."""

from __future__ import annotations

import signal

signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
