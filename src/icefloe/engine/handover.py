"""How a manager of workers hands tasks over so that none is lost when a worker is killed.

Parsl's workers help themselves from a queue that all of them share and note afterwards what they
took. One that is killed in between takes the task along; one that is killed at the queue keeps its
lock, or leaves half a message in it; one that is killed between its answer and the note of it is
answered for twice, which ends the run's own thread for results. Here each worker has a line of its
own to the manager, and the manager notes what it gives before it gives it. Whatever a worker wrote
before it died still arrives, whole or not at all, and then the line ends. So at every moment a task
waits, is with one worker, or is answered.

`Desk` is the manager's end. It makes what Parsl takes for its queues and its table of tasks; in
the workers these speak over the line.
"""

from __future__ import annotations

import os
import pickle
import queue
import secrets
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from functools import cache
from multiprocessing import AuthenticationError, current_process
from multiprocessing.connection import (
    Client,
    Connection,
    Listener,
    answer_challenge,
    deliver_challenge,
)
from typing import Any

__all__ = ["Desk", "Tasks", "Tray"]

# How long the end of a dead worker's line is waited for: a process that it started may hold it.
_LINE_ENDS = 5.0  # s
_MOST_AT_ONCE = 128


class _Worker:
    """A worker as the manager sees it."""

    def __init__(self, line: Connection) -> None:
        self.line = line
        self.task: Any = None  # given and not answered
        self.gone = threading.Event()


class Desk:
    """The manager's end of the lines to its workers.

    It has the methods of a `multiprocessing` manager that Parsl uses.
    """

    def __init__(self) -> None:
        # An abstract name leaves no file behind, however the manager ends.
        name = f"\0icefloe-{secrets.token_hex(12)}" if sys.platform == "linux" else None
        self._listener = Listener(name, "AF_UNIX", backlog=_MOST_AT_ONCE)
        self.address = self._listener.address
        self.changed = threading.Condition()
        self.trays: list[Tray] = []
        self._workers: dict[int, list[_Worker]] = {}
        threading.Thread(target=self._accept, name="icefloe-desk", daemon=True).start()

    def Queue(self) -> Tray:  # noqa: N802 - as the method of a manager is called
        """Return a tray for what workers tell meanwhile: putting there does not end a task."""
        return Tray(self, answers=False)

    def dict(self) -> Tasks:
        """Return the table of what each worker is at."""
        return Tasks(self)

    def _accept(self) -> None:
        while True:
            try:
                line = self._listener.accept()
            except OSError:  # that one was killed, or too many files are open
                time.sleep(0.05)
                continue
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: Connection) -> None:
        """Do what a worker asks for, until it is gone."""
        worker = _Worker(line)
        with suppress(EOFError, OSError, AuthenticationError):
            key = bytes(current_process().authkey)
            deliver_challenge(line, key)
            answer_challenge(line, key)
            while True:
                what, number, content = pickle.loads(line.recv_bytes())
                with self.changed:
                    if what == "hello":
                        self._workers.setdefault(number, []).append(worker)
                    elif what == "wants":
                        self.trays[number].wanted_by(worker)
                    else:
                        tray = self.trays[number]
                        if tray.answers:
                            worker.task = None
                        tray.put_here(content)
        with self.changed:
            for tray in self.trays:
                tray.forget(worker)
        worker.gone.set()
        line.close()

    def unanswered(self, rank: int) -> Any:
        """Return what a worker that died was at; KeyError if nothing."""
        with self.changed:
            # Its successor is started after this.
            dead = self._workers.pop(rank, [])
        tasks = []
        for worker in dead:
            worker.gone.wait(_LINE_ENDS)
            with self.changed:
                if worker.task is not None:
                    tasks.append(worker.task)
                    worker.task = None
        if not tasks:
            raise KeyError(rank)
        return tasks[0]


class Tray:
    """A queue between the manager and its workers.

    Parameters
    ----------
    desk
        The manager's end.
    answers
        What a worker puts here is the answer to its task.
    """

    def __init__(self, desk: Desk, *, answers: bool = True) -> None:
        self.answers = answers
        self._desk: Desk | None = desk
        self._things: deque[Any] = deque()
        self._wanting: deque[_Worker] = deque()
        with desk.changed:
            self._number = len(desk.trays)
            desk.trays.append(self)

    def __getstate__(self) -> tuple[Any, int]:
        assert self._desk is not None, "only the manager gives trays to workers"
        return self._desk.address, self._number

    def __setstate__(self, state: tuple[Any, int]) -> None:
        self._desk = None
        self._address, self._number = state
        self._asked = False

    def put(self, thing: Any) -> None:
        """Put a thing in."""
        if self._desk is None:
            _line(self._address).send("gives", self._number, thing)
            return
        with self._desk.changed:
            self.put_here(thing)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the next thing, as `queue.Queue.get` does."""
        limit = timeout if block else 0.0
        if self._desk is None:
            return self._ask(limit)
        with self._desk.changed:
            if not self._desk.changed.wait_for(lambda: self._things, limit):
                raise queue.Empty
            return self._things.popleft()

    def qsize(self) -> int:
        """Return how many things lie in the manager's end."""
        return len(self._things)

    def _ask(self, limit: float | None) -> Any:
        line = _line(self._address)
        if not self._asked:
            line.send("wants", self._number)
            self._asked = True  # also when this call ends without: what comes is for the next one
        if not line.poll(limit):
            raise queue.Empty
        thing = line.receive()
        self._asked = False
        return thing

    # What follows is called by the desk, which holds its lock.

    def put_here(self, thing: Any) -> None:
        """Give a thing to a worker that waits for it, or keep it."""
        assert self._desk is not None
        while self._wanting:
            if self._give(self._wanting.popleft(), thing):
                return
        self._things.append(thing)
        self._desk.changed.notify_all()

    def wanted_by(self, worker: _Worker) -> None:
        """Give a worker the next thing, now or when there is one."""
        if not self._things:
            self._wanting.append(worker)
        elif self._give(worker, self._things[0]):
            self._things.popleft()

    def forget(self, worker: _Worker) -> None:
        """Give nothing to a worker any more."""
        with suppress(ValueError):
            self._wanting.remove(worker)

    def _give(self, worker: _Worker, thing: Any) -> bool:
        worker.task = thing
        try:
            worker.line.send_bytes(pickle.dumps(thing))
        except OSError:  # it is gone
            worker.task = None
            return False
        return True


class Tasks:
    """What each worker is at, for Parsl's manager; workers have nothing to note."""

    def __init__(self, desk: Desk) -> None:
        self._desk: Desk | None = desk

    def __getstate__(self) -> dict[str, Any]:
        return {"_desk": None}

    def __setitem__(self, rank: int, task: Any) -> None:
        """Do nothing: the manager noted what it gave."""

    def pop(self, rank: int) -> Any:
        """Return the unanswered task of a dead worker; KeyError if it had none."""
        return None if self._desk is None else self._desk.unanswered(rank)


class _Line:
    """A worker's line to its manager."""

    def __init__(self, address: Any) -> None:
        self._line = Client(address, "AF_UNIX", bytes(current_process().authkey))
        self._one = threading.Lock()
        self.poll = self._line.poll
        self.send("hello", int(os.environ["PARSL_WORKER_RANK"]))

    def send(self, what: str, number: int, content: Any = None) -> None:
        with self._one:
            self._line.send_bytes(pickle.dumps((what, number, content)))

    def receive(self) -> Any:
        return pickle.loads(self._line.recv_bytes())


@cache
def _line(address: Any) -> _Line:
    return _Line(address)
