"""What to do about an error of the operating system: the mend goes by the kind of the error, wherever it is met."""

import errno
import os

_MENDS = {
    errno.ENOENT: "correct the path, or make what is missing in it",
    errno.ENOTDIR: "correct the path: it goes through a file as if that were a folder",
    errno.EISDIR: "name a file in that folder",
    errno.EEXIST: "name another place, or move away what is there",
    errno.ENOTEMPTY: "name another place, or move away what is there",
    errno.EACCES: "name a place that this user may use, or give the right to",
    errno.EPERM: "name a place that this user may use, or give the right to",
    errno.EROFS: "name a place on a disk that can be written",
    errno.ENOSPC: "make room on that disk, or name a place on another one",
    errno.EDQUOT: "make room within the quota, or name a place on another disk",
    errno.EFBIG: "raise the limit (`ulimit -f`), or name a place on another disk",
    errno.EIO: "look after that disk, or name a place on another one",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.ELOOP: "correct the link, which leads back to itself",
    errno.ENXIO: "start the program that reads from it, or name a file",
    errno.EBADF: "open it for what it is used for",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.ENFILE: "end other programs, which hold too many files open",
    errno.EAGAIN: "end other programs, or raise the limit of processes (`ulimit -u`)",
    errno.ENOMEM: "end other programs, or ask for less at once",
    errno.EADDRINUSE: "name another port, or end the program that has it",
}
_ANY = "name another place, or look after this one"


def with_mend(error: OSError) -> str:
    """What happened, and what to do: `No space left on device; make room on that disk, or ...`."""
    return f"{error.strerror or error}; {_MENDS.get(error.errno or 0, _ANY)}"


def with_place(error: OSError) -> str:
    """The same, with the place where it happened before it."""
    return f"{_place(error)}: {with_mend(error)}"


def _place(error: OSError) -> str:
    if error.filename is not None:
        return os.fsdecode(error.filename) if isinstance(error.filename, bytes) else str(error.filename)
    try:
        os.getcwd()
    except OSError:
        return "the current folder"
    return "the system"
