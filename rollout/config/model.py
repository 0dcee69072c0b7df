"""``rollout.yaml`` as typed, frozen objects. Durations are seconds, sizes bytes, paths absolute.

The objects are made once, by :func:`rollout.config.load`; relations between keys are checked in
:mod:`rollout.config.lint`, so that their errors can name the exact place too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StrictBool,
    StrictInt,
    StrictStr,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from terminals.configfile import check_networks, check_origins, check_recording_bytes
from terminals.oidc import (
    check_client,
    check_issuer,
    check_prefix,
    check_public_urls,
    check_scopes,
    check_session,
    nobody_or_everybody,
)

from rollout.config.metrics import METRICS, Metric
from rollout.config.units import describe, parse_duration, parse_share, parse_size
from rollout.config.wording import shown, suggestion
from rollout.errors import ConfigError


def _path(value: Any, info: ValidationInfo) -> Path:
    if not isinstance(value, str | Path) or not str(value).strip():
        raise ValueError(f"expected a path, got {describe(value)}")
    base = (info.context or {}).get("base", Path())
    return Path(base, Path(value).expanduser()).absolute()


def _source(value: Any, info: ValidationInfo) -> Path | str:
    return value if value == "installed" else _path(value, info)


def _ipv4(value: str) -> str:
    try:
        return str(IPv4Address(value))
    except ValueError:
        raise ValueError(f"expected an IPv4 address, got {describe(value)}") from None


def _batch_size(value: Any) -> int | str:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    share = isinstance(value, str) and re.fullmatch(r"[1-9]\d?%|100%", value)
    if not (whole or share):
        raise ValueError(f'expected a number of hosts or a share such as "50%", got {describe(value)}')
    return value  # type: ignore[no-any-return]


Duration = Annotated[float, BeforeValidator(parse_duration)]
Size = Annotated[int, BeforeValidator(parse_size)]
FilePath = Annotated[Path, BeforeValidator(_path)]
Source = Annotated[Path | Literal["installed"], BeforeValidator(_source)]
"""A folder, or the services that came with this program."""
Name = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z][a-z0-9-]{0,31}$")]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Words = Annotated[tuple[StrictStr, ...], Field(min_length=1)]
BatchSize = Annotated[int | str, BeforeValidator(_batch_size)]
"""A number of hosts, or a share of all of them such as ``50%``."""
ProfileName = Literal["system", "claude"]
EngineName = Literal["process", "docker", "swarm"]
Suite = Literal["validate", "smoke", "infra"]
Op = Literal["<", "<=", ">", ">=", "=="]
When = Literal["shift", "checks", "any"]


SWARM_MANAGERS = 3
"""The fewest of which one may be lost."""
FEW = 4
"""Sessions: whoever has fewer has none worth waiting for."""


class Section(BaseModel):
    """A part of the file: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Host(Section):
    """A machine of an environment, and the directory there that holds everything of it.

    ``lost``: it is not to be reached, and all goes on without it; the others still know of it. ``swarm``:
    what it is in the Swarm, with that engine.
    """

    name: str = ""
    root: FilePath
    listen: Listen | None = None
    ssh: StrictStr | None = None
    address: StrictStr | None = None
    tag: Annotated[StrictStr, Field(pattern=r"^[a-z0-9]{4}$")] | None = None
    region: Annotated[StrictStr, Field(pattern=r"^[a-z0-9-]{1,32}$")] | None = None
    swarm: Literal["manager", "worker"] | None = None
    lost: StrictBool = False

    @property
    def directory(self) -> Path:
        """What belongs to who logs in there: the directory that ``root`` is in, as others of ours may be; or
        ``root`` alone, where that one is the system's, as ``/srv``."""
        return self.root if self.root.parent.parent == Path("/") else self.root.parent


class Tls(Section):
    """Certificate and key of an environment's listeners, in PEM form.

    Checks and load connect to ``name``, as users do, and trust the certificates in ``ca`` in place
    of the system's.
    """

    certificate: FilePath
    key: FilePath
    name: StrictStr | None = None
    ca: FilePath | None = None


class Authority(Section):
    """By whose certificates the hosts of an environment know each other: files of this machine, in PEM form.

    The key makes certificates, and never leaves it; ``rollout certify`` makes both.
    """

    certificate: FilePath
    key: FilePath


class DoorHost(Section):
    """A machine that a door runs on, with its files in ``root``. ``address``: by which others know it."""

    name: str = ""
    root: FilePath
    address: Annotated[StrictStr, AfterValidator(_ipv4)]
    ssh: StrictStr | None = None

    @property
    def network(self) -> str:
        """Of its address alone, in CIDR notation."""
        return f"{self.address}/32"


class Door(Section):
    """One address for all hosts of an environment: HAProxy, which ends TLS there and asks for nothing else.

    Whoever comes by ``name`` is led to any host, whoever comes by ``h-TAG.name`` to that one. ``certificate``
    and ``key``, in PEM form, are for both.
    """

    name: Annotated[StrictStr, Field(pattern=r"^[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63}){0,9}$")]
    certificate: FilePath
    key: FilePath
    hosts: Annotated[dict[Name, DoorHost], Field(min_length=1)]
    port: Port = 443
    image: StrictStr = "haproxy:3.0"

    @field_validator("hosts", mode="after")
    @classmethod
    def _name_hosts(cls, hosts: dict[str, DoorHost]) -> dict[str, DoorHost]:
        return {name: host.model_copy(update={"name": name}) for name, host in hosts.items()}

    def url(self, scheme: Literal["https", "wss"], tag: str | None = None) -> str:
        """Where people come in, or, with a ``tag``, where one host of all is reached. No slash at the end."""
        name = self.name if tag is None else f"h-{tag}.{self.name}"
        return f"{scheme}://{name}" if self.port == 443 else f"{scheme}://{name}:{self.port}"


class Listen(Section):
    """The addresses users reach: one port for each terminal profile, one for the web page and its API.

    At ``peers`` hosts of the environment ask each other how they are.
    """

    host: StrictStr = "127.0.0.1"
    system: Port
    claude: Port
    web: Port
    peers: Port | None = None
    tls: Tls | None = None

    def url(self, port: int, scheme: Literal["http", "ws"], *, at: str | None = None) -> str:
        """Where ``port`` is reached: over TLS where it is configured. ``at`` is the host's own address."""
        host = self.tls.name if self.tls and self.tls.name else at or self.host
        return f"{scheme}{'s' if self.tls else ''}://{f'[{host}]' if ':' in host else host}:{port}/"


class Files(Section):
    """Which files may be transferred in the sessions of a profile. ``folder``: where uploads go; ``None``: to
    the current folder of the shell. ``at_once``: uploads of one user."""

    upload: StrictBool = False
    download: StrictBool = False
    max_bytes: Annotated[Size, Field(ge=1, le=1 << 53)] = 1 << 30
    at_once: Annotated[StrictInt, Field(ge=1, le=100)] = 3
    folder: Annotated[StrictStr, Field(pattern=r"^/[^\x00]*$")] | None = None


class Profile(Section):
    """What a session of this profile runs, how and where, whether it is recorded, and which files go."""

    command: Words
    env: dict[StrictStr, StrictStr] = Field(default={})
    cwd: StrictStr | None = None
    ready: Annotated[StrictInt, Field(ge=0, le=64)] = 0
    record: StrictBool = False
    files: Files = Files()


class Oidc(Section):
    """A provider of OpenID Connect that people may sign in by, beside the token and tickets.

    ``client_secret_file`` and ``ca`` are files of this machine; the former holds nothing but the secret, with
    mode 0600. ``roles``: values of the claim ``roles_claim``, by the role that they give.
    """

    issuer: Annotated[StrictStr, AfterValidator(check_issuer)]
    client_id: Annotated[StrictStr, AfterValidator(check_client)]
    public_urls: Annotated[tuple[StrictStr, ...], AfterValidator(check_public_urls)]
    client_secret_file: FilePath | None = None
    ca: FilePath | None = None
    label: StrictStr | None = None
    scopes: Annotated[tuple[StrictStr, ...], AfterValidator(check_scopes)] = ("openid",)
    user_claim: StrictStr = "sub"
    user_prefix: Annotated[StrictStr, AfterValidator(check_prefix)] = "oidc:"
    roles_claim: StrictStr = "groups"
    roles: dict[Literal["operator", "user", "viewer"], tuple[StrictStr, ...]] = Field(default={})
    default_role: Literal["operator", "user", "viewer"] | None = None
    session_seconds: Annotated[Duration, AfterValidator(check_session)] = 12 * 3600.0

    @model_validator(mode="after")
    def _some_may_come_in(self) -> Oidc:
        if why := nobody_or_everybody(self.issuer, self.roles, self.default_role):
            raise ValueError(why)
        return self

    def settings(self) -> dict[str, Any]:
        """As the session manager's configuration has it, for all web processes; only what was changed."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def files(self) -> dict[str, Path]:
        """The files that it names, by the key of each."""
        named = {"client_secret_file": self.client_secret_file, "ca": self.ca}
        return {key: path for key, path in named.items() if path is not None}


class CanaryStep(Section):
    """``weight`` percent of the sessions on the new generation, watched for at least ``hold`` seconds."""

    weight: Annotated[StrictInt, Field(ge=1, le=100)]
    hold: Duration = 0.0


class Move(Section):
    """How live sessions change generation: ``batch`` at a time, ``interval`` seconds between batches.

    Whoever has not followed ``deadline`` seconds after being told is cut off, counted as severed.
    """

    batch: Annotated[StrictInt, Field(ge=1)] = 5
    interval: Duration = 0.2
    deadline: Duration = 30.0


class Load(Section):
    """Locust users through the cutover, each with a live shell; ``cut_every``: mean seconds between cuts.

    ``processes``: Locust's workers, which share the users; one: there is no master.
    """

    users: Annotated[StrictInt, Field(ge=1, le=5000)]
    spawn_rate: Annotated[float, Field(gt=0)] = 20.0
    cut_every: Duration = 3.0
    processes: Annotated[StrictInt, Field(ge=1, le=64)] = 1


class Gate(Section):
    """A condition on one metric. ``threshold`` is in the metric's own unit: a share, ms, bytes or a count.

    ``percentile`` belongs to metrics made of samples; ``confidence`` is that of every interval, one-sided:
    rates, percentiles, trends and comparisons. ``on`` says when it is judged: while sessions ``shift``, after
    the ``checks``, or both (``any``).

    ``window``: only the last so many seconds count; ``None``: all since the first shift (a soak gate: since
    the build came). ``max_age``: older than so many seconds, evidence is stale. ``severity``: a ``warning``
    is reported and never decides. ``compare``: ``baseline`` judges the new generation against the one before
    at the same time; the threshold is then the ratio of the two that is still good. ``each``: every host, or
    region, has to pass by itself, and not all of them together; of load only. ``query`` and ``total``
    are PromQL, of metrics that Prometheus is asked for (see :mod:`rollout.config.sources`); of
    ``junit.pass_ratio`` the query is a file, or a pattern of files, below the configuration's folder.
    """

    name: StrictStr = ""
    metric: StrictStr
    op: Op
    compare: Literal["threshold", "baseline"] = "threshold"
    threshold: float
    percentile: Annotated[float, Field(gt=0, lt=100)] = 95.0
    min_samples: Annotated[StrictInt, Field(ge=1)] = 1
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    on: When = "any"
    window: Duration | None = None
    max_age: Duration = 300.0
    severity: Literal["critical", "warning"] = "critical"
    query: StrictStr | None = None
    total: StrictStr | None = None
    each: Literal["all", "host", "region"] = "all"

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: Any) -> Any:
        metric = METRICS.get(str(data.get("metric"))) if isinstance(data, dict) else None
        if metric is None:
            return data
        name = metric.name
        if metric.kind == "samples" and isinstance(data.get("percentile", 95), int | float):
            name += f" p{data.get('percentile', 95):g}"
        if data.get("compare") == "baseline":
            name += " to baseline"
        usual: dict[str, Any] = {
            "name": name,
            "min_samples": 20 if metric.kind == "samples" else 1,
            "on": "checks" if metric.source in ("checks", "junit") else "shift",
        }
        return usual | data

    @field_validator("metric", mode="after")
    @classmethod
    def _known_metric(cls, value: str) -> str:
        if value not in METRICS:
            raise ValueError(f'no metric "{value}"; {suggestion(value, METRICS)}')
        return value

    @field_validator("threshold", mode="before")
    @classmethod
    def _in_the_metrics_unit(cls, value: Any, info: ValidationInfo) -> float:
        metric = METRICS.get(str(info.data.get("metric")))
        unit = metric.unit if metric and info.data.get("compare") != "baseline" else ""
        if unit == "share":
            return parse_share(value)
        if unit == "bytes":
            return float(parse_size(value))
        if unit == "ms" and isinstance(value, str):
            return parse_duration(value) * 1000
        if unit == "s":
            return parse_duration(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            example = "100 or 100ms" if unit == "ms" else "0"
            raise ValueError(f"expected a number such as {example}, got {describe(value)}")
        return float(value)

    @property
    def about(self) -> Metric:
        """The metric's entry in the catalogue."""
        return METRICS[self.metric]

    @property
    def unit(self) -> str:
        """Of the threshold; a comparison with a baseline is a ratio, and has none."""
        return "" if self.compare == "baseline" else self.about.unit


class Alert(Section):
    """A rule of the monitor: ``metric`` compared with ``threshold`` for at least ``hold`` seconds raises it.

    ``metric`` is one that the monitor knows (docs/reference/monitoring.md); ``profile`` narrows it to one.
    """

    name: Name
    severity: Literal["critical", "warning", "info"]
    metric: Literal["up", "success_ratio", "memory_bytes", "breaker_opened", "loops", "reconnect_ms"]
    op: Op
    threshold: float
    profile: ProfileName | None = None
    window: Duration = 300.0
    hold: Annotated[Duration, Field(alias="for")] = 0.0

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


USUAL_ALERTS = (
    Alert(name="system-terminal-down", severity="critical", metric="up", op="==", threshold=0,
          profile="system", hold=60.0),
    Alert(name="success-rate-low", severity="warning", metric="success_ratio", op="<", threshold=0.95),
    Alert(name="memory-high", severity="warning", metric="memory_bytes", op=">", threshold=100e6, hold=60.0),
    Alert(name="breaker-activated", severity="info", metric="breaker_opened", op=">", threshold=0),
)  # fmt: skip
"""The four rules that every monitor has unless ``alerts`` says otherwise."""


class Monitor(Section):
    """The monitor on each host: a check through the front door ``every`` so many seconds, on each profile.

    ``keep``: seconds that its records are kept. ``profiles``: those it checks; ``None``: all there are.
    """

    every: Annotated[Duration, Field(ge=0.2)] = 60.0
    timeout: Annotated[Duration, Field(gt=0)] = 20.0
    keep: Duration = 14 * 86400.0
    profiles: tuple[ProfileName, ...] | None = None
    alerts: tuple[Alert, ...] = USUAL_ALERTS


class Notify(Section):
    """Somebody to be told: an Apprise URL, on its own or, as most hold a secret, in a file of mode 0600."""

    url: StrictStr | None = None
    url_file: FilePath | None = None
    severity: Literal["critical", "warning", "info"] = "info"

    @model_validator(mode="after")
    def _one_of_them(self) -> Notify:
        if (self.url is None) == (self.url_file is None):
            raise ValueError("expected either url or url_file")
        return self


class Vault(Section):
    """Variables of the playbooks, encrypted by ansible-vault: ``terminals_docker_token`` for one."""

    file: FilePath
    password_file: FilePath


class Limits(Section):
    """What the containers of an environment may take, in bytes and processors; ``None``: all there is.

    ``manager_memory`` counts everybody's shells and what they run, beside the session manager itself.
    ``process_*`` are of each worker and of the web process.
    """

    manager_memory: Annotated[Size, Field(ge=64 << 20)] | None = None
    process_memory: Annotated[Size, Field(ge=64 << 20)] = 256 << 20
    process_cpus: Annotated[float, Field(gt=0)] | None = None


class Logs(Section):
    """How the containers of an environment write their logs: ``size`` bytes a file, and three files each."""

    format: Literal["text", "json"] = "text"
    size: Annotated[Size, Field(ge=1_000_000)] = 10_000_000


class Environment(Section):
    """A place where one build at a time serves users, and the gates for a build to get and stay there."""

    name: str = ""
    engine: EngineName = "process"
    after: StrictStr | None = None
    hosts: Annotated[dict[Name, Host], Field(min_length=1)]
    listen: Listen
    workers: Annotated[StrictInt, Field(ge=1, le=64)] = 1
    profiles: dict[ProfileName, Profile] = Field(
        default={
            "system": Profile(command=("/bin/bash", "-l")),
            "claude": Profile(command=("claude",)),
        }
    )
    oidc: Oidc | None = None
    ssh_config: FilePath | None = None
    vault: Vault | None = None
    authority: Authority | None = None
    last_screens: Annotated[Duration, Field(ge=1, le=3600)] | None = None
    door: Door | None = None
    firewall: StrictBool = False
    limits: Limits = Limits()
    logs: Logs = Logs()
    batches: Annotated[tuple[BatchSize, ...], Field(min_length=1)] = ("100%",)
    canary: Annotated[tuple[CanaryStep, ...], Field(min_length=1)] = (CanaryStep(weight=100),)
    move: Move = Move()
    checks: tuple[Suite, ...] = ()
    load: Load | None = None
    monitor: Monitor | None = None
    soak_gates: tuple[Gate, ...] = ()
    approvals: Annotated[StrictInt, Field(ge=0, le=2)] = 0
    rehearsal: Duration | None = None
    notify: tuple[Name, ...] = ()
    takeback: StrictBool = False
    gates: Annotated[tuple[Gate, ...], Field(min_length=1)]
    max_hold: Duration = 60.0
    soak: Duration = 24 * 3600.0
    rollback_window: Duration = 24 * 3600.0
    keep: Annotated[StrictInt, Field(ge=2)] = 3
    _absent: dict[str, Host] = PrivateAttr(default_factory=dict)
    _managers: tuple[str, ...] | None = PrivateAttr(default=None)

    @property
    def containers(self) -> bool:
        """Whether the services are containers, on hosts that are reached over SSH."""
        return self.engine != "process"

    @property
    def absent(self) -> dict[str, Host]:
        """The hosts that are stated to be lost; they are not among ``hosts``."""
        return self._absent

    @property
    def swarm_managers(self) -> tuple[str, ...]:
        """The hosts that manage the Swarm: those that are said to; else the first three, or the first one.

        Whoever is lost stays one of them: no other takes its place.
        """
        if self._managers is not None:
            return tuple(name for name in self._managers if name in self.hosts)
        named = tuple(name for name, host in self.hosts.items() if host.swarm == "manager")
        may = [name for name, host in self.hosts.items() if host.swarm is None]
        return named or tuple(may[: SWARM_MANAGERS if len(may) >= SWARM_MANAGERS else 1])

    @property
    def known(self) -> dict[str, Host]:
        """All hosts, those that are lost too."""
        return self.hosts | self._absent

    def without_lost(self) -> Environment:
        """With the hosts that are stated to be lost set apart."""
        there = {name: host for name, host in self.hosts.items() if not host.lost}
        parted = self.model_copy(update={"hosts": there})
        parted._absent = {name: host for name, host in self.hosts.items() if host.lost}
        parted._managers = self.swarm_managers
        return parted

    def parts(self, by: Literal["host", "region"], hosts: Iterable[str]) -> dict[str, str]:
        """Which part each of these hosts belongs to: itself, or its region."""
        return {name: name if by == "host" else self.hosts[name].region or "" for name in hosts}

    def host_batches(self, sessions: Mapping[str, int] | None = None) -> list[list[str]]:
        """The hosts in their turns: as many at a time as ``batches`` says, the last size again and again.

        One region after the other, and those first where fewest people are at work: ``sessions``, by host.
        Those that are nearly alike (up to twice as many) come in the order of ``hosts``.
        """
        busy = sessions or {}

        def many(names: Iterable[str]) -> int:
            return (sum(busy.get(name, 0) for name in names) // FEW).bit_length()

        regions: dict[str | None, list[str]] = {}
        for name, host in self.hosts.items():
            regions.setdefault(host.region, []).append(name)
        total = len(self.hosts)
        sizes = [
            max(1, total * int(size[:-1]) // 100) if isinstance(size, str) else size for size in self.batches
        ]
        turns: list[list[str]] = []
        for names in sorted(regions.values(), key=many):
            left = sorted(names, key=lambda name: many([name]))
            while left:
                size = sizes[min(len(turns), len(sizes) - 1)]
                turns.append(left[:size])
                left = left[size:]
        return turns

    def listens(self, host: str) -> Listen:
        """Where a host is reached, or was."""
        return self.known[host].listen or self.listen

    def address(self, host: str) -> str:
        """By what others know a host: its own address, or the one that it listens at."""
        return self.known[host].address or self.listens(host).host

    @field_validator("hosts", mode="after")
    @classmethod
    def _name_hosts(cls, hosts: dict[str, Host]) -> dict[str, Host]:
        return {name: host.model_copy(update={"name": name}) for name, host in hosts.items()}


class Recordings(Section):
    """What is kept of recordings, and what becomes of a session that is to be recorded and cannot be.

    ``refuse``: none begins, and those that run go on; ``end``: those are ended; ``notify``: all go on.
    """

    when_lost: Literal["refuse", "end", "notify"] = "refuse"
    lost_seconds: Annotated[Duration, Field(ge=2, le=3600)] = 10.0
    max_recording_bytes: Annotated[Size, AfterValidator(check_recording_bytes)] = 100 << 20
    max_bytes: Size = 1 << 30
    max_age_seconds: Duration = 30 * 86400.0


class Defaults(Section):
    """Settings of every session manager, under the names it uses itself."""

    ring_bytes: Size = 1 << 20
    max_rings_bytes: Size = 0
    hold_seconds: Duration = 60.0
    heartbeat_seconds: Annotated[Duration, Field(ge=0.1, le=3600)] = 15.0
    max_sessions: Annotated[StrictInt, Field(ge=1)] = 1000
    max_ended_sessions: Annotated[StrictInt, Field(ge=0)] = 256
    max_ended_bytes: Size = 1 << 28
    max_ended_sessions_per_user: Annotated[StrictInt, Field(ge=0)] = 32
    idle_seconds: Duration = 0.0
    max_age_seconds: Duration = 0.0
    max_sessions_per_user: Annotated[StrictInt, Field(ge=0)] = 0
    allowed_origins: Annotated[tuple[StrictStr, ...], AfterValidator(check_origins)] = ()
    trusted_proxies: Annotated[tuple[StrictStr, ...], AfterValidator(check_networks)] = ()
    recordings: Recordings = Recordings()


class Image(Section):
    """What images are made on, and the registry they travel by; without one they go straight to the hosts."""

    base: StrictStr = "python:3.11-slim-bookworm"
    registry: StrictStr | None = None


class Prometheus(Section):
    """The Prometheus that gates ask; ``prometheus: URL`` where nothing else is to be said.

    ``token_file`` holds a bearer token; a user name and a password are those of the host in ``~/.netrc``.
    ``ca``: certificates to trust in place of the system's.
    """

    url: StrictStr
    token_file: FilePath | None = None
    ca: FilePath | None = None

    @field_validator("url", mode="after")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        url = urlsplit(value)
        if url.username is not None or url.password is not None:
            raise ValueError(
                "credentials do not belong here; put a user and a password into ~/.netrc, a bearer token into"
                " a file that token_file names"
            )
        if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
            raise ValueError(f"expected a URL such as http://127.0.0.1:9090, got {describe(value)}")
        return value.rstrip("/")


def _server(value: Any) -> Any:
    return {"url": value} if isinstance(value, str) else value


class Config(Section):
    """The whole of ``rollout.yaml``."""

    version: Literal[1]
    project: Name
    source: Source
    state: FilePath
    ledger: StrictStr | None = None
    image: Image = Image()
    prometheus: Annotated[Prometheus | None, BeforeValidator(_server)] = None
    notify: dict[Name, Notify] = Field(default={})
    defaults: Defaults = Defaults()
    environments: Annotated[dict[Name, Environment], Field(min_length=1)]
    path: FilePath = Path("rollout.yaml")

    @field_validator("environments", mode="after")
    @classmethod
    def _name_environments(cls, environments: dict[str, Environment]) -> dict[str, Environment]:
        return {name: env.model_copy(update={"name": name}) for name, env in environments.items()}

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger: the configured one, or a SQLite file in the state directory."""
        return self.ledger or f"sqlite:///{self.state / 'ledger.db'}"

    def runs(self, environment: str, number: int) -> Path:
        """What a rollout leaves behind: load, checks, its incident."""
        return self.state / "runs" / environment / str(number)

    @property
    def builds_dir(self) -> Path:
        """Where ``rollout build`` leaves builds on the control machine."""
        return self.state / "builds"

    def certificates(self, environment: str) -> Path:
        """Where those that the hosts of an environment know each other by are kept on the control machine."""
        return self.state / "certificates" / environment

    @property
    def needs_image(self) -> bool:
        """Whether an environment runs builds as images."""
        return any(environment.containers for environment in self.environments.values())

    def environment(self, name: str) -> Environment:
        """Find an environment by its name.

        Raises:
            ConfigError: there is none of that name; the message lists those there are.
        """
        try:
            return self.environments[name]
        except KeyError:
            raise ConfigError(
                f'{shown(self.path)}: no environment "{name}"; {suggestion(name, self.environments)}'
            ) from None

    def successors(self, name: str) -> tuple[Environment, ...]:
        """The environments that come right after ``name``."""
        return tuple(env for env in self.environments.values() if env.after == name)
