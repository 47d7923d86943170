"""What breaks a command without being a defect of it: no disk, no memory, a file or a process that went away.

Libraries raise these under many types and in many lines; here they become one line for the user.
"""

import errno
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tte_tee.errors import UserError

_DISK = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f)",
    errno.EROFS: "name a folder that can be written",
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.EIO: "check the disk",
    errno.ESTALE: "check the network drive",
    errno.ENOENT: "put it back where it was",
    errno.ENOTDIR: "name a folder",
    errno.EMFILE: "raise the limit of open files (ulimit -n), or use fewer processes",
    errno.ENFILE: "use fewer processes",
}
"""Errors of a file system that a user can mend -> what to do."""

_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|Insufficient memory", re.IGNORECASE)
_WORKER = re.compile(r"DataLoader worker \(pid\(?s?\)? ?([\d, ]+)\)")
_NUMBER = re.compile(r"(?:errno = |os error |code: )(\d+)")  # HDF5, and what Rust says (safetensors)
_FILE = re.compile(r"(?:file)?name = '([^']+)'")
_RAISED_ELSEWHERE = re.compile(r"Caught \w+ in DataLoader worker process \d+\.|\s*-- Process \d+ terminated with")
_SAID_LAST = re.compile(r"^\S*(?:User|Shared)Error: (.+)\Z", re.MULTILINE)
_PEER = re.compile(r"Connection (?:closed|reset) by peer|Broken pipe", re.IGNORECASE)


def told(error: BaseException) -> str | None:
    """The one line for an error that is a mistake of the user's or a fault of the machine; None for a defect.

    Parsers wrap what a constructor raises, and libraries what the system raises: whatever stands
    behind the error counts, a mistake before a fault.
    """
    behind = list(_chain(error))
    mistakes = (line for one in behind if (line := _mistake(one)))
    faults = (line for one in behind if (line := _fault(one)))
    return next(mistakes, None) or next(faults, None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _mistake(error: BaseException) -> str | None:
    """What a UserError says; one of another process arrives with its traceback as text."""
    text = str(error)
    if _RAISED_ELSEWHERE.match(text):
        said = _SAID_LAST.search(text.rstrip())
        return said[1] if said else None
    return text if isinstance(error, UserError) else None


def _fault(error: BaseException) -> str | None:
    text = str(error)
    if isinstance(error, MemoryError) or _MEMORY.search(text):
        return "the memory is too small; use smaller batches (--data.batch_size, --batch-size) or fewer processes"
    if worker := _WORKER.search(text):
        return (
            f"a process that reads data ({worker[1].strip()}) died, perhaps for want of memory; "
            "try again with fewer --data.num_workers"
        )
    if isinstance(error, RuntimeError) and _PEER.search(text):
        return "another process of this run (a peer) is gone; what it said, if it could, stands beside this"
    number = _error_number(error)
    if number not in _DISK:
        return None
    named = _FILE.search(text)
    where = str(getattr(error, "filename", None) or (named[1] if named else "a file"))
    return f"{where}: {os.strerror(number)}; {_DISK[number]} and run the command again"


def _error_number(error: BaseException) -> int:
    """The system's number of an error, 0 for none; many say it in their text alone."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = _NUMBER.search(str(error))
    return int(found[1]) if found else 0


@contextmanager
def quiet_threads() -> Iterator[None]:
    """Keeps threads from printing faults; a logger's comes again, in the main thread, when it is next written to."""
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is None or told(args.exc_value) is None:
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before
