"""A function over many jobs in several processes: results in order, with a bar or lines, and no process left behind."""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.queues import SimpleQueue
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import track

from tte_tee.errors import MachineError

T = TypeVar("T")
_FEW = 4  # jobs that are done sooner than a process starts
_AHEAD = 8  # jobs per process that are begun before the first of them is taken
_QUIET = 20.0  # seconds from line to line of a log file; what is done sooner says nothing
_rank = 0


def in_order(
    function: Callable[..., Any],
    jobs: Sequence[tuple[Any, ...]],
    *,
    workers: int | None,
    description: str,
    progress: bool,
) -> Iterator[Any]:
    """``function(*job)`` for each job, in the order of the jobs.

    Args:
        function: importable by name, since other processes import it.
        jobs: arguments; must pickle.
        workers: processes; None takes one per CPU core, 0 runs here.
        description: stands before the progress bar.
        progress: shows how far it is on stderr: a bar on a terminal, else a line now and then.

    Raises:
        MachineError: a worker died. Its error, or that of any job, ends the others at once.
    """
    count = cores() if workers is None else workers
    results = _here(function, jobs) if count == 0 or len(jobs) < _FEW else _elsewhere(function, jobs, count)
    return iter(with_bar(results, description, progress, len(jobs)))


def with_bar(items: Iterable[T], description: str, progress: bool, total: int | None = None) -> Iterable[T]:
    """The items; how far they are on stderr if that is wanted, a bar on a terminal, else a line now and then.

    Args:
        items: the items.
        description: stands before the bar, and in every line.
        progress: whether to show anything.
        total: of what has no length.
    """
    console, about = Console(stderr=True), escape(description)
    if progress and not console.is_terminal:
        return _with_lines(items, about, console, len(items) if isinstance(items, Sized) else total)
    return track(items, about, total, console=console, disable=not progress, transient=True)


def _with_lines(items: Iterable[T], about: str, console: Console, total: int | None) -> Iterator[T]:
    said = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - said >= _QUIET:
            said = time.monotonic()
            console.print(f"{about}: {done:,}" + (f" of {total:,}" if total else ""))
        yield item


def _here(function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
    return (function(*job) for job in jobs)


def cores() -> int:
    """CPU cores that this process may use: a batch system gives a job some of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def rank() -> int:
    """Number of this process among those of :func:`in_order`; 0 outside of them."""
    return _rank


def _elsewhere(function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], workers: int) -> Iterator[Any]:
    # Spawned, not forked: a fork copies the locks of threads that it does not copy.
    context = multiprocessing.get_context("spawn")
    ranks = context.SimpleQueue()
    count = min(workers, len(jobs))
    for number in range(count):
        ranks.put(number)
    strangers = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_start, initargs=(ranks,))
    try:
        rest, under_way = iter(jobs), deque[Future[Any]]()
        while True:
            # So many and no more, since results wait in memory until their turn comes.
            under_way.extend(pool.submit(function, *job) for job in islice(rest, _AHEAD * count - len(under_way)))
            if not under_way:
                return
            while not under_way[0].done():
                for future in wait([f for f in under_way if not f.done()], return_when=FIRST_COMPLETED).done:
                    future.result()  # raises what failed first, before its turn comes
            yield under_way.popleft().result()
    except BrokenProcessPool as error:
        raise MachineError(
            "a worker process died: perhaps for want of memory, which fewer processes would mend; or a script lacks "
            "its 'if __name__ == \"__main__\":', and workers run it again"
        ) from error
    except BaseException:
        for child in set(multiprocessing.active_children()) - strangers:
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start(ranks: "SimpleQueue[int]") -> None:
    """Ctrl-C is the parent's to handle; and a worker ends when its parent is killed."""
    global _rank
    _rank = ranks.get()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
