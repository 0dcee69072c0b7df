"""Opens, names and removes files with the rights of a session's shell, and in its place.

The holder starts it where it starts the shells: in their container, among their mounts. It is given to Python
as text, so that it is there wherever they are; so it is one file, and needs the standard library alone. It
hears from the session manager what to do, becomes the shell's account, does that one thing, and ends.
"""

from __future__ import annotations

import array
import errno
import json
import os
import signal
import socket
import stat
import sys
from collections.abc import Iterator

SECONDS = 20
"""After that it ends, whatever it waits for."""
NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
"""What a file system says that has no hard links."""


def open_part(folder: str | None, pid: int, part: str) -> list[int]:
    """A folder and the part file in it, made if it is not there: its own, and nothing but a file.

    Raises:
        OSError: it cannot be had.
    """
    where = os.open(folder or f"/proc/{pid}/cwd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(part, flags, 0o600, dir_fd=where)
    except OSError:
        os.close(where)
        raise
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
        os.close(where)
        os.close(file)
        raise FileExistsError(errno.EEXIST, "something else is in its place")
    return [where, file]


def finish(where: int, file: int, wanted: str, part: str) -> str:
    """Give the part file its name, or the next that is free: never one that something else has. Done again,
    it is what it was.

    Raises:
        OSError: it cannot.
    """
    own = os.fstat(file)
    os.fchmod(file, 0o666 & ~_umask())
    for name in _names(wanted):
        found = _lstat(where, name)
        if found is None and _take(where, file, name, part):
            break
        found = _lstat(where, name)
        if found is not None and os.path.samestat(found, own):
            break  # whoever was told to do it before has done it
    remove(where, file, part)
    os.fsync(where)
    return name


def remove(where: int, file: int, part: str) -> None:
    """Take the part file's own name away."""
    found = _lstat(where, part)
    if found is not None and os.path.samestat(found, os.fstat(file)):
        os.unlink(part, dir_fd=where)


def _take(where: int, file: int, name: str, part: str) -> bool:
    """Whether the file has this name now; not, if somebody was faster."""
    try:
        # By its descriptor: whatever may have happened to the part file's name.
        os.link(f"/proc/self/fd/{file}", name, dst_dir_fd=where, follow_symlinks=True)
        return True
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    try:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=where))
    except FileExistsError:
        return False
    os.rename(part, name, src_dir_fd=where, dst_dir_fd=where)  # over what is ours
    return True


def _names(wanted: str) -> Iterator[str]:
    stem, suffix = os.path.splitext(wanted)  # noqa: PTH122 - a path would cost more imports than all else
    yield wanted
    number = 0
    while True:
        number += 1
        yield f"{stem} ({number}){suffix}"


def _lstat(where: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=where, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def become(uid: int, gid: int, groups: list[int]) -> None:
    """Be an account from now on, with its rights and no others.

    Only here: the account need not be able to run this interpreter, or to reach the session manager.
    """
    os.setgroups(groups)
    os.setgid(gid)
    os.setuid(uid)


def main(path: str) -> None:
    """Ask at the socket ``path`` what to do, do it, and say what has come of it."""
    signal.alarm(SECONDS)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(path)
    sock.send(json.dumps({"type": "child", "secret": os.environ["TERMINAL_CHILD"]}).encode())
    data, fds, _, _ = socket.recv_fds(sock, 1 << 17, 2)
    answer: dict[str, object] = {"type": "done"}
    given: list[int] = []
    try:
        job = json.loads(data)
        if job.get("uid") is not None:
            become(job["uid"], job["gid"], job["groups"])
        match job["kind"]:
            case "open":
                given = open_part(job.get("folder"), job.get("pid", 0), job["part"])
            case "finish":
                answer["name"] = finish(fds[0], fds[1], job["name"], job["part"])
            case "remove":
                remove(fds[0], fds[1], job["part"])
    except OSError as error:
        answer |= {"errno": error.errno or errno.EIO, "error": error.strerror or str(error)}
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", given))] if given else []
    sock.sendmsg([json.dumps(answer).encode()], rights)


if __name__ == "__main__":
    main(sys.argv[1])
