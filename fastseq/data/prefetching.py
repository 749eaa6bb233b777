"""Prefetching: the next batches are made in a thread while a model works on this one."""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastseq import checks

_END = object()


def prefetch(iterable: Iterable, size: int = 2) -> Prefetcher:
    """The same items in the same order, made in a thread some items ahead.

    Parameters
    ----------
    iterable : iterable
        Such as :class:`Batches`.  Only the thread may use it while an iteration runs; each item
        must be an object of its own.
    size : int
        How many items are made ahead at most.

    Returns
    -------
    ahead : Prefetcher
        An iterable with ``state_dict``, ``load_state_dict`` and ``close``.

    Notes
    -----
    An error in the iterable is raised where its item would have come.  The thread ends with the
    iteration: at the end, after ``break``, an error or ``KeyboardInterrupt``, with ``close`` or
    a ``with`` statement.  It first finishes the item it is working on.

    Where an iteration stops early, an iterable with ``state_dict`` and ``load_state_dict`` is
    set back to the last item that was handed out, and an iterator keeps the items made ahead
    for the next iteration.  So nothing is lost.

    After a fork an iteration goes on in the child with a thread of its own, if the iterable has
    ``state_dict`` and ``load_state_dict``; otherwise it raises RuntimeError there.

    Examples
    --------
    >>> import fastseq as fs
    >>> batches = fs.Batches([[1, 2], [3], [4, 5, 6]], batch_size=1, shuffle=False)
    >>> ahead = fs.prefetch(batches)
    >>> for batch in ahead:
    ...     print(batch.x.T.tolist(), ahead.state_dict()["position"])
    [[3]] 1
    [[1, 2]] 2
    [[4, 5, 6]] 3
    """
    return Prefetcher(iterable, size)


class Prefetcher:
    """What :func:`prefetch` returns: an iterable whose items are made ahead in a thread.

    Examples
    --------
    >>> import fastseq as fs
    >>> with fs.prefetch(iter("abcdef")) as ahead:
    ...     next(iter(ahead))
    'a'
    >>> list(ahead)
    ['b', 'c', 'd', 'e', 'f']
    """

    def __init__(self, iterable: Iterable, size: int = 2) -> None:
        if not isinstance(iterable, Iterable):
            raise TypeError(f"iterable must be an iterable, got {type(iterable).__name__}")
        self._source = iterable
        self._size = checks.positive_int("size", size)
        self._has_state = hasattr(iterable, "state_dict") and hasattr(iterable, "load_state_dict")
        self._worker = None  # of the iteration under way, or of one that was not wound up
        self._length = None
        self._state = None  # after the last item handed out, while there is a worker
        self._left = deque()  # made by an iterator, and not handed out

    def __len__(self) -> int:
        """The number of items of an iteration: of the one under way, if there is one."""
        if self._length is not None:
            return self._length
        try:
            return len(self._source)
        except TypeError:
            raise TypeError(
                f"the number of items is not known, since a {type(self._source).__name__} has no "
                "length"
            ) from None

    def __getstate__(self):
        if self._worker is not None:
            raise TypeError(
                "a Prefetcher can't be copied or pickled while an iteration is under way: call "
                "close() first, or save state_dict()"
            )
        return self.__dict__

    def __iter__(self) -> Iterator:
        """The items.  An earlier iteration that is still under way can't go on then."""
        worker = None
        try:
            while True:
                worker = self._check_worker(worker)
                item, state, error = self._left.popleft() if self._left else worker.take()
                if error is not None:
                    raise error
                if item is _END:
                    self._state = state
                    return
                self._state = state
                yield item
        finally:
            error = None  # it holds this frame, too
            if worker is not None and worker is self._worker:
                self.close()

    def close(self) -> None:
        """End the thread, if there is one; items made ahead are made again, or kept."""
        worker, self._length = self._worker, None
        if worker is None:
            return
        worker.stop()
        if self._has_state:
            self._source.load_state_dict(self._state)
        elif iter(self._source) is self._source:
            self._left.extend(worker.rest())
        self._worker = None

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def state_dict(self) -> Any:
        """The iterable's state after the last item handed out, whatever was made ahead."""
        self._need_state()
        return self._source.state_dict() if self._worker is None else self._state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load the iterable's state, for the next iteration; ends one that is under way."""
        self._need_state()
        self.close()
        self._source.load_state_dict(state_dict)

    def _check_worker(self, worker):
        """The worker of this iteration; a new one at the beginning, and in a forked child."""
        if worker is None:
            self.close()
        elif worker is not self._worker:
            raise RuntimeError("this iteration was ended, by close() or by one that began later")
        elif worker.pid != os.getpid():
            if not self._has_state:
                raise RuntimeError(
                    "an iteration can't go on after a fork, as its thread is in the parent: "
                    "begin it in the child, or give an iterable with state_dict"
                )
            self.close()
        else:
            return worker
        if self._has_state:
            self._state = self._source.state_dict()
        with contextlib.suppress(TypeError):
            self._length = len(self._source)
        self._worker = _Worker(self._source, self._size, self._has_state)
        return self._worker

    def _need_state(self):
        if not self._has_state:
            raise TypeError(
                f"{type(self._source).__name__} has no state to save: it needs state_dict and "
                "load_state_dict"
            )


class _Worker:
    """A thread that makes items ahead: triples of item, state after it, and error."""

    def __init__(self, source, size, has_state):
        self.pid = os.getpid()
        self._source = source
        self._has_state = has_state
        self._room = threading.Semaphore(size)
        self._made = queue.SimpleQueue()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="fastseq-prefetch", daemon=True)
        self._thread.start()
        _workers.add(self)

    def take(self):
        """The next triple, when it is there."""
        triple = self._made.get()
        self._room.release()
        return triple

    def stop(self):
        """End the thread; in the child of a fork there is none."""
        self._stopped = True
        if self.pid == os.getpid():
            self._room.release()
            self._thread.join()

    def rest(self):
        """What was made and not taken."""
        while not self._made.empty():
            yield self._made.get()

    def _run(self):
        try:
            items = iter(self._source)
            while True:
                self._room.acquire()
                if self._stopped:
                    return
                item = next(items, _END)
                state = self._source.state_dict() if self._has_state else None
                self._made.put((item, state, None))
                if item is _END:
                    return
        except BaseException as error:  # the consumer raises it
            self._made.put((None, None, error))


_workers = weakref.WeakSet()


@atexit.register
def _stop_all():
    """A thread must not run on while the interpreter is taken down."""
    for worker in list(_workers):
        worker.stop()
