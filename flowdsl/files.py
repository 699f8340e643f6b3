"""Files that appear whole or not at all."""

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path

from flowdsl.errors import EnvironmentNotReady


def write_whole(path: Path, text: str) -> None:
    """Writes a text file by atomic replace; its folder is made if it is missing.

    Raises:
        EnvironmentNotReady: the folder or the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder, "new", "a.txt"), "hello")
    ...     Path(folder, "new", "a.txt").read_text()
    'hello'
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())
    except OSError as error:
        raise EnvironmentNotReady(f"cannot write {path}: {error.strerror or error}") from None


def replace_file(path: Path, content: bytes) -> None:
    """Puts a file in the place of what is there, in one move; it keeps the mode that the old one had.

    Raises:
        OSError: the folder cannot be written, or there is a file that may not be.
    """
    if path.exists():
        mode = stat.S_IMODE(path.stat().st_mode)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    else:
        umask = os.umask(0)
        os.umask(umask)
        mode = 0o666 & ~umask
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:80]}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
