"""Signals that end a command by an exception, so that it takes away what it has not finished."""

import signal
import sys
from types import FrameType

_AGAIN = 0.1  # seconds


def end_on(*numbers: signal.Signals, status: int) -> None:
    """Ends the command with exit status ``status`` when one of the signals arrives.

    Python drops what is raised inside of a finaliser or a weak reference's callback, so the exception
    is raised again until it is on its way; then it is left alone, for it must not cut short what cleans up.
    """

    def end(number: int, frame: FrameType | None) -> None:
        if not _ending():
            signal.setitimer(signal.ITIMER_REAL, _AGAIN, _AGAIN)
            sys.exit(status)

    for number in (*numbers, signal.SIGALRM):
        signal.signal(number, end)


def ended() -> None:
    """To be called when the exception has arrived: it is not raised again."""
    signal.setitimer(signal.ITIMER_REAL, 0)


def _ending() -> bool:
    """Whether this thread is handling an exit, perhaps with another error on top of it."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, SystemExit):
        error = error.__context__
    return error is not None
