"""What holds for all tests: SIGHUP has its usual meaning, also where they were started under nohup."""

from __future__ import annotations

import signal

signal.signal(signal.SIGHUP, signal.SIG_DFL)
