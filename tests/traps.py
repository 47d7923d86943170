"""What hostile files hold, and the edit of a record; shared by the tests of hostile input."""

import json
from pathlib import Path
from typing import Any


class Trap:
    """Whose unpickling leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
