"""The exceptions that are meant for the user's eyes."""


class UserError(Exception):
    """Something the user gave is wrong, and one line can say what, where and what to do.

    The command line prints the message alone and exits with status 2; everything else that
    escapes is a defect of ours and keeps its traceback.
    """


class MachineError(UserError):
    """The machine is at fault, not what was given: no room on the disk, a process that died.

    What was done until then is good, and the command goes on from there when it is run again.
    """


class SharedError(UserError):
    """One that all processes of a run meet with in the same step; the first of them says it for all."""
