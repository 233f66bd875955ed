"""For all tests."""

from __future__ import annotations

import signal
import threading

# A shell starts what it puts into the background with SIGINT ignored, and children inherit that:
# programs that are ended with Ctrl-C could not be tried then.
_is_ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
if _is_ignored and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
