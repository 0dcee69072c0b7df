"""Processor time of a shell until its prompt: started by the holder, and by a program of C with posix_spawn.

    python -m benchmarks.spawn --rounds 200

By turns, on a terminal of its own each, in the same environment. It needs a C compiler, ``cc``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

from benchmarks.terminal import cpu_seconds
from tests.support.holder import RunningHolder

SHELL = ("/bin/bash", "--norc", "--noprofile")
PROMPT = b"shell> "
"""Ends what a shell prints first."""
SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* For each line that comes: start a shell, wait for its prompt, print the nanoseconds that it has taken. */
int main(int argc, char **argv)
{
    char line[16];
    char *environment[] = {getenv("SHELL_PATH"), "HOME=/tmp", "PS1=shell> ", NULL};
    while (fgets(line, sizeof line, stdin)) {
        int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (master < 0 || grantpt(master) || unlockpt(master))
            return 1;
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, 0, ptsname(master), O_RDWR, 0);
        posix_spawn_file_actions_adddup2(&actions, 0, 1);
        posix_spawn_file_actions_adddup2(&actions, 0, 2);
        posix_spawnattr_init(&attributes);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
        pid_t pid;
        if (posix_spawn(&pid, argv[1], &actions, &attributes, argv + 1, environment))
            return 2;
        char text[4096];
        size_t size = 0;
        while (size < 7 || memcmp(text + size - 7, "shell> ", 7)) {
            ssize_t more = read(master, text + size, sizeof text - size);
            if (more <= 0)
                return 3;
            size += more;
        }
        clockid_t clock;
        struct timespec taken;
        if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &taken))
            return 4;
        printf("%lld\n", (long long)taken.tv_sec * 1000000000 + taken.tv_nsec);
        fflush(stdout);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        close(master);
    }
    return 0;
}
"""


def measure(rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of the shells of the holder, and of the C program."""
    env = {"PATH": os.environ["PATH"], "HOME": "/tmp", "PS1": PROMPT.decode()}
    ours, theirs = [], []
    with RunningHolder() as holder, tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "spawn.c"), Path(folder, "spawn")
        source.write_text(SOURCE)
        subprocess.run(["cc", "-O2", "-o", program, source], check=True)
        manager = holder.manager()
        with subprocess.Popen(
            [program, *SHELL],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"SHELL_PATH": f"PATH={env['PATH']}"},
        ) as other:
            assert other.stdin is not None
            assert other.stdout is not None
            for number in range(rounds):
                screen = manager.spawn(f"shell {number}", *SHELL, env=env, cwd="/")
                screen.expect(PROMPT)
                ours.append(cpu_seconds([screen.pid]) * 1e3)
                manager.send({"type": "drop", "key": f"shell {number}"})
                other.stdin.write("next\n")
                other.stdin.flush()
                theirs.append(int(other.stdout.readline()) / 1e6)
            other.stdin.close()
    return ours, theirs


def main() -> None:
    """Run by hand."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=200)
    ours, theirs = map(statistics.median, measure(parser.parse_args().rounds))
    ratio, load = ours / theirs, os.getloadavg()[0]
    print(f"holder {ours:.2f} ms, C program {theirs:.2f} ms: {ratio:.2f} times; load {load:.1f}")


if __name__ == "__main__":
    main()
