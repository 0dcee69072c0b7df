"""systemd as process 1, in namespaces of its own, on this machine's files; what it writes goes with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.stack import PATIENCE, Stack, until

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "playbooks/ansible_collections/terminals/rollout/roles/terminals_process/files"
HOLDER = "terminals-holder@.service"
CGROUPS = Path("/sys/fs/cgroup")
_TARGETS = {
    "trial.target": "",
    "other.target": "Requires=sysinit.target\nAllowIsolate=yes\n",
    "sysinit.target": "",
    "basic.target": "",
    "shutdown.target": "",
}
_BOOT = r"""
set -e
folder=$1 repository=$2 root=$1/disk/root
# Below a group of its own: the machine's own systemd, where it has one, keeps its groups.
for group in /sys/fs/cgroup /sys/fs/cgroup/*/; do
    own=$group/${folder##*/}
    [ ! -w "$group/cgroup.procs" ] || { mkdir "$own" && echo $$ >"$own/cgroup.procs"; } || true
done 2>/dev/null
mkdir "$folder/disk"
mount -t tmpfs tmpfs "$folder/disk"
mkdir "$folder/disk/written" "$folder/disk/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$folder/disk/written,workdir=$folder/disk/work" overlay "$root"
# None of the machine's units and generators, which would set the machine up once more, and clean its /tmp.
for empty in /run /tmp /dev /etc/systemd/system /usr/lib/systemd/system /usr/lib/systemd/system-generators; do
    mount -t tmpfs tmpfs "$root$empty"
done
cp "$folder"/units/* "$root/etc/systemd/system/"
for shared in "$folder" "$repository" /sys/fs/cgroup /dev/pts; do
    mkdir -p "$root$shared"
    mount --rbind "$shared" "$root$shared"
done
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s pts/ptmx "$root/dev/ptmx"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,ro,bind "$root/proc/sys"
exec chroot "$root" env -i PATH="$PATH" container=trial \
    setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-mknod \
    /lib/systemd/systemd --unit=trial.target --log-target=console
"""


class Booted:
    """A running systemd. ``run`` is a command beside its units."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="terminals-systemd-"))
        units = self.folder / "units"
        units.mkdir()
        shutil.copy(UNITS / HOLDER, units)
        for name, more in _TARGETS.items():
            (units / name).write_text(f"[Unit]\nDescription={name}\nDefaultDependencies=no\n{more}")
        words = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
        with (self.folder / "log").open("wb") as log:
            self._unshare = subprocess.Popen(
                [*words, "bash", "-c", _BOOT, "boot", str(self.folder), str(ROOT)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            until(self._is_up, "systemd being up")
        except BaseException:
            self.close()
            raise

    def run(self, *words: str, check: bool = True) -> str:
        """What the command says."""
        enter = ["nsenter", "-t", str(self._pid), "--mount", "--pid", "--uts", "--ipc", "--root", "--wd=/"]
        done = subprocess.run([*enter, *words], capture_output=True, text=True, timeout=PATIENCE)
        assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", "--property", name, unit)

    def close(self) -> None:
        """End it, and with it all that is in its namespaces."""
        self._unshare.kill()
        self._unshare.wait(PATIENCE)
        groups = [*CGROUPS.glob(self.folder.name), *CGROUPS.glob(f"*/{self.folder.name}")]
        until(lambda: all(self._removed(group) for group in groups), "its control groups being empty")
        shutil.rmtree(self.folder)

    @property
    def _pid(self) -> int:
        pid = self._unshare.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def _is_up(self) -> bool:
        said = (self.folder / "log").read_text()
        assert self._unshare.poll() is None, said
        try:
            return self.run("systemctl", "is-active", "trial.target", check=False) == "active"
        except IndexError:
            return False

    @staticmethod
    def _removed(group: Path) -> bool:
        with contextlib.suppress(OSError):
            for folder, _, _ in os.walk(group, topdown=False):
                Path(folder).rmdir()
        return not group.exists()


class Unit:
    """A process that systemd started, as :class:`tests.support.stack.Stack` takes one."""

    def __init__(self, booted: Booted, name: str) -> None:
        self.name = name
        self._booted = booted

    @property
    def pid(self) -> int:
        """By its own PID namespace; 0 where it does not run."""
        return int(self._booted.show(self.name, "MainPID"))

    def poll(self) -> int | None:
        """Its status; ``None`` while it runs."""
        if self._booted.show(self.name, "ActiveState") in ("active", "activating", "deactivating"):
            return None
        return int(self._booted.show(self.name, "ExecMainStatus"))

    def send_signal(self, number: int) -> None:
        """To all of its control group, as from a supervisor that takes everything along."""
        # Unless it is gone, and forgotten.
        self._booted.run("systemctl", "kill", f"--signal={number}", self.name, check=False)

    def wait(self, timeout: float) -> int:
        until(lambda: self.poll() is not None, f"the end of {self.name}", timeout)
        status = self.poll()
        assert status is not None
        return status


class StackUnderSystemd(Stack):
    """Its holder is the unit that is offered for one; all others are units that go with their end."""

    def __init__(self, booted: Booted) -> None:
        self.booted = booted
        self.within = booted.folder
        super().__init__()

    def start_holder(self) -> None:
        program = self.root / "base" / "venv" / "bin" / "terminals"
        program.parent.mkdir(parents=True)
        program.symlink_to(ROOT / ".venv" / "bin" / "terminals")
        name = self.booted.run("systemd-escape", "--path", f"--template={HOLDER}", str(self.root))
        self.booted.run("systemctl", "start", name)
        self.processes["holder"] = Unit(self.booted, name)  # type: ignore[assignment]

    def _spawn(self, name: str, role: str, *arguments: str) -> None:
        unit = f"{self.root.name}-{name}"
        words = [
            "systemd-run",
            "--quiet",
            "--collect",
            f"--unit={unit}",
            f"--property=StandardError=append:{self.root}/{name}.log",
        ]
        self.booted.run(*words, str(ROOT / ".venv" / "bin" / "terminals"), role, *arguments)
        self.processes[name] = Unit(self.booted, unit)  # type: ignore[assignment]


@contextlib.contextmanager
def booted() -> Iterator[Booted]:
    """For a fixture."""
    running = Booted()
    try:
        yield running
    finally:
        running.close()
