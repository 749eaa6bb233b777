"""Ctrl-C that ends a run at the next place where that loses nothing."""

import signal
import threading


class Interrupt:
    """A context in which the first Ctrl-C is noted; the next one is Python's own again.

    A context within another one, such as a run that a callback begins, hands it on: both end.
    """

    def __init__(self):
        self.is_noted = False

    def __enter__(self):
        is_main = threading.current_thread() is threading.main_thread()
        self._before = signal.getsignal(signal.SIGINT) if is_main else None
        self._is_within = isinstance(getattr(self._before, "__self__", None), Interrupt)
        self._is_ours = self._is_within or self._before is signal.default_int_handler
        if self._is_ours:
            signal.signal(signal.SIGINT, self._note)

    def __exit__(self, *exception):
        if self._is_ours:
            self._put_back()

    def _note(self, number, frame):
        self.is_noted = True
        self._put_back()
        if self._is_within:
            self._before(number, frame)

    def _put_back(self):
        if signal.getsignal(signal.SIGINT) == self._note:  # and not replaced by someone else
            signal.signal(signal.SIGINT, self._before)
