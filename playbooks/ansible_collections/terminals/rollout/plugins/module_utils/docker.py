# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""An environment as containers, by Docker Compose: what the modules ``docker_...`` do."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.terminals.rollout.plugins.module_utils.control import Control
from ansible_collections.terminals.rollout.plugins.module_utils.host import Failed, Host
from ansible_collections.terminals.rollout.plugins.module_utils.parts import Part, settings_file
from ansible_collections.terminals.rollout.plugins.module_utils.root import check, claim, remove

PUBLIC = 0o755
READABLE = 0o644
REMOVED_SECONDS = 20.0
"""So long a container may take to be gone ..."""
REMOVED_POLL = 0.2
"""... and so often the engine is asked."""
STARTS_AGAIN_SECONDS = 10
"""A container that is about to start again is waited for so long."""
RUN = "/run/terminals"
STATE = "/var/lib/terminals"
MONITOR = "/var/lib/monitor"
# In a container of its own, and shut off from all it does not need.
ALONE = ("run", "--rm", "--pull", "never", "--network", "none", "--read-only", "--cap-drop", "ALL")
KEEP_FILE = (
    'set -e; umask 077; cd "$2"; mkdir -p secrets; cat > "secrets/.$1";'
    ' if cmp -s "secrets/.$1" "secrets/$1"; then rm "secrets/.$1";'
    ' else mv "secrets/.$1" "secrets/$1"; echo changed; fi'
)


class Environment:
    """The environment whose directory on this host is ``root``, and whose Compose project is ``project``.

    ``variables``: what its Compose files ask for. ``compose``: the words of Compose there.
    """

    def __init__(
        self,
        host: Host,
        root: Path,
        project: str,
        *,
        compose: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        seconds: int = 60,
    ) -> None:
        self._host = host
        self._project = project
        self._root = root
        self._compose = list(compose)
        self._variables = {"TERMINALS_PROJECT": project, **(variables or {})}
        self._seconds = seconds
        """Until what is started has to be ready."""
        self.control = Control(host, ["docker", "exec", f"{project}-manager-1", "terminals", "ctl"])

    # --- builds ------------------------------------------------------------------------------

    def install(self, image: str | None, image_id: str | None, files: Mapping[str, str]) -> None:
        """Bring what runs a build, whose image has arrived already; without one, only that.

        Raises:
            Failed: the directory is not ours, or what arrived is not what was built.
        """
        claim(self._host, self._root, PUBLIC)
        for name in ("compose", "conf"):
            self._host.directory(self._root / name, PUBLIC)
        for name, text in sorted(files.items()):
            self._host.write("Bring the Compose files", self._root / "compose" / name, text, READABLE)
        if image is not None and not self._host.check:
            words = ["docker", "image", "inspect", "--format", "{{.Id}}", image]
            if (found := self._host.expect(f"no image {image} has arrived", words)) != image_id:
                raise Failed(f"the image that arrived is not what was built: {found} instead of {image_id}")

    # --- generations -------------------------------------------------------------------------

    def prepare(self, manager: Part, token: str | None, fence: int | None) -> None:
        """See that there is what a generation needs: a holder and a session manager.

        Raises:
            Failed: somebody else is in charge, or one of them cannot be started.
        """
        status = self.control.in_charge(fence)
        new = not self._there("holder", "status=running")
        if new:
            self._start_holder(token)
        # They may have changed, which no settings say.
        self.bring(manager)
        if not self._there("manager"):
            # One that runs is replaced as a step of its own.
            self.replace_manager(manager)
        if not new and status is not None:
            self._reap(status)

    def start(self, generation: str, workers: int, monitor: Part | None, *, started: bool = False) -> None:
        """Start a generation, without traffic, and the monitor where there is none. ``started``: a Swarm has
        done so with the generation.

        Raises:
            Failed: it is not ready in time.
        """
        if not started:
            self._start_containers(generation, workers)
        if not self._host.check:
            self.control.until_ready(generation, workers, self._seconds)
        if monitor and self._there("monitor"):
            self._bring_secrets("monitor", MONITOR, monitor["image"], monitor.get("secrets"))
        elif monitor:
            self.replace_monitor(monitor)

    def _start_containers(self, generation: str, workers: int) -> None:
        project = f"{self._project}-{generation}"
        filters = ["--filter", "status=running", "--filter", f"label=com.docker.compose.project={project}"]
        there = self._host.expect("containers cannot be listed", ["docker", "ps", "--quiet", *filters])
        words = ["--no-recreate", "--scale", f"worker={workers}", "worker", "web"]
        self._up("generation.yaml", words, project=project)
        if len(there.split()) != workers + 1:
            self._host.did.append("Start the generation")

    def verify(self, generation: str, workers: int, image_id: str) -> None:
        """See whether a generation is ready, and of the image that it is to be of.

        Raises:
            Failed: it is not.
        """
        self.control.until_ready(generation, workers, self._seconds)
        label = f"label=com.docker.compose.project={self._project}-{generation}"
        listed = self._host.expect(
            "containers cannot be listed", ["docker", "ps", "--quiet", "--no-trunc", "--filter", label]
        )
        words = ["docker", "inspect", "--format", "{{.Image}}", *listed.split()]
        images = set(self._host.expect("containers cannot be looked at", words).split())
        if images != {image_id}:
            raise Failed(f"containers of {generation} run {' and '.join(sorted(images))}, not {image_id}")

    def stop(self, generation: str, fence: int | None) -> None:
        """Stop a generation, and leave nothing of it but its image.

        Raises:
            Failed: the session manager refused, or its containers cannot be removed.
        """
        self.control.stop(generation, fence)
        self._remove_containers(f"label=com.docker.compose.project={self._project}-{generation}")

    def _reap(self, status: Mapping[str, Any]) -> None:
        """Take away what is left of retired generations."""
        for entry in status["generations"]:
            if entry["state"] == "retired":
                self._remove_containers(f"label=com.docker.compose.project={self._project}-{entry['name']}")

    # --- what stays while they come and go ----------------------------------------------------

    def _start_holder(self, token: str | None) -> None:
        self._have_volume("run")
        if token is not None:
            # By standard input: a command line is public on the host.
            self._inside(
                "run", RUN, self._variables["TERMINALS_IMAGE"], f"umask 077; cat > {RUN}/token", text=token
            )
            self._host.did.append("Bring the token")
        self._up("manager.yaml", ["--no-recreate", "holder"])
        self._host.did.append("Start the holder")

    def bring(self, part: Part) -> None:
        """Bring what a session manager of this host needs and no settings say, as it is now."""
        self._bring_secrets("run", RUN, part["image"], part.get("secrets"))
        if part.get("certificates"):
            self._bring_secrets("state", STATE, part["image"], part["certificates"])

    def replace_manager(self, part: Part) -> None:
        """Put a session manager of a build, with settings, in the place of the one that runs. Sessions go on.

        Raises:
            Failed: it cannot start, or does not go on with all sessions in time.
        """
        config = self._settings("managers", part)
        self.bring(part)
        inside = "/etc/terminals/manager.json"
        if not self._host.check:
            # Before the one that runs is touched.
            words = ["docker", *ALONE, "--volume", f"{config}:{inside}:ro", part["image"]]
            check = [*words, "manager", "--check", "--config", inside]
            self._host.expect("the session manager could not start", check)
        sessions = self.control.ask("sessions").out  # empty: none runs, or it does not answer
        before = self._there("manager")
        variables = {
            "TERMINALS_MANAGER_IMAGE": part["image"],
            "TERMINALS_MANAGER_BUILD": part["build"],
            "TERMINALS_MANAGER_CONFIG": str(config),
        }
        self._up("manager.yaml", ["--no-deps", "manager"], variables=variables)
        if self._host.check:
            return
        if self._there("manager") != before:
            self._host.did.append("Replace the session manager")
        managed = [
            "managed",
            part["build"],
            part["settings"],
            "--timeout",
            str(self._seconds),
            "--before",
            "-",
        ]
        words = [
            "docker",
            "exec",
            "--interactive",
            f"{self._project}-manager-1",
            "terminals",
            "ctl",
            *managed,
        ]
        end = time.monotonic() + STARTS_AGAIN_SECONDS
        while True:
            answer = self._host.ask(words, text=sessions)
            again = "is not running" in answer.err or "restarting" in answer.err
            if not again or time.monotonic() >= end:
                break
            time.sleep(0.5)
        if answer.code != 0:
            raise Failed(f"the session manager does not go on: {answer.reason}")

    def renew_holder(self, part: Part, fence: int | None) -> None:
        """Have the holder go on as another build: its process stays, with all shells, sockets and records.

        Raises:
            Failed: it cannot.
        """
        token = [] if fence is None else ["--fence", str(fence)]
        words = ["docker", *ALONE, "--volume", f"{self._project}_run:{RUN}", part["image"], "ctl"]
        words += ["--socket", f"{RUN}/manager.sock", *token, "renew-holder", part["build"]]
        self._host.run("Have the holder go on as another build", words)

    def replace_monitor(self, part: Part) -> None:
        """Put a monitor of a build, with settings, in the place of the one that runs.

        Raises:
            Failed: it does not watch in time.
        """
        config = self._settings("monitors", part)
        self._bring_secrets("monitor", MONITOR, part["image"], part.get("secrets"))
        variables = {
            "TERMINALS_MONITOR_IMAGE": part["image"],
            "TERMINALS_MONITOR_BUILD": part["build"],
            "TERMINALS_MONITOR_CONFIG": str(config),
        }
        self._up("manager.yaml", ["--no-deps", "monitor"], variables=variables)
        self._host.did.append("Start the monitor, in the place of the one that runs")
        if not self._host.check:
            words = ["monitored", part["build"], part["settings"], "--timeout", str(self._seconds)]
            self.control.expect("the monitor does not watch", *words)

    def remove_monitor(self) -> None:
        """Have no monitor; what it has seen stays in its volume."""
        words = ["docker", "ps", "--all", "--quiet", "--filter", f"name=^{self._project}-monitor-1$"]
        if found := self._host.expect("containers cannot be listed", words).split():
            self._remove("Remove the monitor; what it has seen stays in its volume", found)
        if not self._host.check:
            self.control.expect("the session manager does not forget the monitor", "unmonitored")

    def tear_down(self) -> None:
        """Remove everything, sessions included, and the directory.

        Raises:
            Failed: it is not an environment's, or something cannot be removed.
        """
        check(self._root)
        form = '{{.ID}} {{.Label "com.docker.compose.project"}}'
        listed = self._host.expect("containers cannot be listed", ["docker", "ps", "--all", "--format", form])
        mine = re.compile(re.escape(self._project) + r"(-g\d.*)?")
        ours = [
            words[0] for words in map(str.split, listed.splitlines()) if mine.fullmatch("".join(words[1:]))
        ]
        if ours:
            self._remove("Remove the containers", ours)
        label = f"label=com.docker.compose.project={self._project}"
        for kind in ("volume", "network"):
            words = ["docker", kind, "ls", "--quiet", "--filter", label]
            if found := self._host.expect(f"{kind}s cannot be listed", words).split():
                self._host.run(f"Remove the {kind}s", ["docker", kind, "rm", *found])
        remove(self._host, self._root)

    # --- the engine --------------------------------------------------------------------------

    def _there(self, service: str, *filters: str) -> str:
        """The container of a service that runs, or is about to again; "" where there is none."""
        words = ["docker", "ps", "--quiet", "--filter", f"name=^{self._project}-{service}-1$"]
        for which in filters:
            words += ["--filter", which]
        return self._host.expect("containers cannot be listed", words)

    def _up(
        self,
        file: str,
        words: Sequence[str],
        *,
        project: str = "",
        variables: Mapping[str, str] | None = None,
    ) -> None:
        if self._host.check:
            return
        files = ["-f", file]
        if file == "manager.yaml" and self._variables.get("TERMINALS_PEERS_PORT"):
            files += ["-f", "peers.yaml"]
        command = [*self._compose, "-p", project or self._project, *files, "up", "--detach", *words]
        environment = {**self._variables, **(variables or {})}
        what = f"Compose cannot start {words[-1]}"
        self._host.expect(what, command, cwd=self._root / "compose", environment=environment)

    def _remove_containers(self, which: str) -> None:
        """Those of a Swarm stay: it would start others in their place. They go with their service."""
        form = '{{.ID}} {{.Label "com.docker.swarm.service.id"}}'
        words = ["docker", "ps", "--all", "--format", form, "--filter", which]
        listed = self._host.expect("containers cannot be listed", words).splitlines()
        if found := [words[0] for line in listed if len(words := line.split()) == 1]:
            self._remove("Remove the generation's containers", found)

    def _remove(self, what: str, containers: Sequence[str]) -> None:
        """Remove containers. Of one that ends by itself meanwhile the engine says that it cannot be killed,
        and leaves it: it is asked again for those that are still there."""
        left = [] if self._host.check else list(containers)
        end = time.monotonic() + REMOVED_SECONDS
        while left:
            answer = self._host.ask(["docker", "rm", "--force", *left])
            there = self._host.expect("containers cannot be listed", ["docker", "ps", "--all", "--quiet"])
            left = [container for container in left if container in there.split()]
            if left and time.monotonic() >= end:
                raise Failed(f"{what}: {answer.reason}")
            time.sleep(REMOVED_POLL if left else 0.0)
        self._host.did.append(what)

    def _have_volume(self, name: str) -> None:
        label, volume = "com.docker.compose", f"{self._project}_{name}"
        words = ["--label", f"{label}.project={self._project}", "--label", f"{label}.volume={name}", volume]
        if not self._host.check:
            self._host.expect(f"the volume {volume} cannot be made", ["docker", "volume", "create", *words])

    def _inside(self, volume: str, place: str, image: str, script: str, *words: str, text: str) -> str:
        """Run a script of the shell with one volume, and nothing else of the environment."""
        command = ["docker", "run", "--rm", "--pull", "never", "--interactive", "--network", "none"]
        command += ["--volume", f"{self._project}_{volume}:{place}", "--entrypoint", "/bin/sh"]
        command += [image, "-c", script, "sh", *words]
        return (
            "" if self._host.check else self._host.expect(f"{volume} cannot be written", command, text=text)
        )

    def _bring_secrets(self, volume: str, place: str, image: str, texts: Mapping[str, str] | None) -> None:
        self._have_volume(volume)
        for name, text in sorted((texts or {}).items()):
            # By standard input: a command line is public on the host.
            if self._inside(volume, place, image, KEEP_FILE, name, place, text=text) == "changed":
                self._host.did.append(f"Bring the secret {name}")

    def _settings(self, folder: str, part: Part) -> Path:
        place = self._root / "conf" / folder
        return settings_file(self._host, place, part, directory=PUBLIC, file=READABLE)
