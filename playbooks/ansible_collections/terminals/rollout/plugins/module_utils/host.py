# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""What a task does on its host: it asks, it changes, and it says what it has changed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

Act = Callable[["Host", dict[str, Any]], "Mapping[str, Any] | None"]


class Failed(Exception):
    """Why a task has failed, in one line."""


@dataclass(frozen=True)
class Answer:
    """What a program has said, without the line's end, and its exit status."""

    code: int
    out: str
    err: str

    @property
    def reason(self) -> str:
        """What it gives as its reason, in one line."""
        return " ".join((self.err or self.out).split())[-300:] or f"exit status {self.code}"


class Host:
    """The host of a task. In check mode it is asked, and nothing on it is changed.

    ``did`` names all that has been changed, or would be, in that order; ``diff`` has the files among it.
    """

    def __init__(self, *, check: bool = False) -> None:
        self.check = check
        self.did: list[str] = []
        self.diff: list[dict[str, str]] = []

    def ask(
        self,
        argv: Sequence[str],
        *,
        text: str = "",
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Answer:
        """Run a program, ``text`` being its standard input."""
        try:
            done = subprocess.run(
                list(argv),
                input=text,
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        except OSError as error:
            return Answer(127, "", f"{argv[0]}: {error.strerror}")
        return Answer(done.returncode, done.stdout.rstrip("\n"), done.stderr.rstrip("\n"))

    def expect(self, what: str, argv: Sequence[str], **options: Any) -> str:
        """The same of a program that must not fail; ``what`` says what for. Gives what it printed.

        Raises:
            Failed: it did.
        """
        answer = self.ask(argv, **options)
        if answer.code != 0:
            raise Failed(f"{what}: {answer.reason}")
        return answer.out

    def run(self, what: str, argv: Sequence[str], **options: Any) -> str:
        """Change something by a program that must not fail; nothing is run in check mode.

        Raises:
            Failed: it did.
        """
        out = "" if self.check else self.expect(what, argv, **options)
        self.did.append(what)
        return out

    def directory(self, path: Path, mode: int) -> None:
        """Have a directory, with those above it."""
        if path.is_dir() and path.stat().st_mode & 0o7777 == mode:
            return
        if not self.check:
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(mode)
        self.did.append(f"Make the directory {path.name}")

    def write(self, what: str, path: Path, text: str, mode: int, *, secret: bool = False) -> bool:
        """Have a file say this, at no moment half of it. Gives whether it is to be another one.

        ``secret``: what it says is in no difference that is shown.
        """
        before = path.read_text() if path.exists() else None
        if before == text and path.stat().st_mode & 0o7777 == mode:
            return False
        if not self.check:
            new = path.with_name(f".{path.name}.new")
            try:
                new.touch(mode=0o600)
                new.write_text(text)
                new.chmod(mode)
                new.replace(path)
            except BaseException:
                new.unlink(missing_ok=True)
                raise
        self.did.append(what)
        if not secret:
            self.diff.append(
                {"before_header": str(path), "after_header": str(path), "before": before or "", "after": text}
            )
        return True

    def remove(self, what: str, path: Path) -> bool:
        """Have a file no more. Gives whether there was one."""
        if not path.exists():
            return False
        if not self.check:
            path.unlink()
        self.did.append(what)
        return True


def carry_out(spec: Mapping[str, Any], act: Act, **conditions: Any) -> None:
    """The whole of each module: ``act`` gets the host and the task's options, and may give more results.

    ``conditions``: on the options, as :class:`AnsibleModule` has them.
    """
    module = AnsibleModule(dict(spec), supports_check_mode=True, **conditions)
    host = Host(check=module.check_mode)
    try:
        results = act(host, module.params) or {}
    except Failed as error:
        module.fail_json(msg=str(error), changed=bool(host.did), did=host.did)
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or 'the host'}: {error.strerror}", changed=bool(host.did), did=host.did
        )
    module.exit_json(changed=bool(host.did), did=host.did, diff=host.diff, **results)
