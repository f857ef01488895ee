"""What holds for all tests: SIGINT and SIGHUP have their usual meaning, also where the tests were started by `nohup` or
as a shell's background job, which ignore them; nothing is kept in the user's folder of caches. On Windows, tests that
need POSIX are left out. Where there is a GPU tests do without it, since they promise the same bits (SEMPLES_TEST_GPU:
they use it; what a GPU does is checked by benchmarks/gpu.py). Property tests try the same examples every time; with
SEMPLES_FUZZ set, others each time."""

from __future__ import annotations

import os
import signal
import tempfile

from hypothesis import settings

settings.register_profile("same", derandomize=True)
if "SEMPLES_FUZZ" not in os.environ:
    settings.load_profile("same")

# Pipes, links, signals, limits: `test_portable` says when one is missing here.
POSIX_ONLY = (
    "app/test_command.py",
    "app/test_server.py",
    "core/test_disk.py",
    "core/test_files.py",
    "core/test_lock.py",
    "core/test_signals.py",
    "data/test_decoded_processes.py",
    "data/test_hostile.py",
    "e2e/test_ending.py",
    "e2e/test_interrupted.py",
    "robust/test_share.py",
    "run/test_corrections.py",
    "run/test_numbered.py",
    "training/test_trackers.py",
    "run/test_pool.py",
)

collect_ignore = [] if os.name == "posix" else list(POSIX_ONLY)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

if "SEMPLES_TEST_GPU" not in os.environ:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

_CACHE = tempfile.TemporaryDirectory(prefix="semples-test-cache-")
os.environ["SEMPLES_CACHE"] = _CACHE.name
