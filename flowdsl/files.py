"""Files that appear whole or not at all."""

import contextlib
import os
import tempfile
from pathlib import Path

from flowdsl.errors import EnvironmentNotReady


def write_whole(path: Path, text: str) -> None:
    """Writes a text file by atomic replace; its folder is made if it is missing.

    Raises:
        EnvironmentNotReady: the folder cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder, "new", "a.txt"), "hello")
    ...     Path(folder, "new", "a.txt").read_text()
    'hello'
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:80]}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(name, 0o666 & ~umask)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise EnvironmentNotReady(f"cannot write {path}: {error.strerror or error}") from None
