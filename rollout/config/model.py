"""``rollout.yaml`` as typed, frozen objects. Durations are seconds, sizes bytes, paths absolute.

The objects are made once, by :func:`rollout.config.load`; relations between keys are checked in
:mod:`rollout.config.lint`, so that their errors can name the exact place too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from terminals.manager.config import check_networks, check_origins

from rollout.config.metrics import METRICS, Metric
from rollout.config.units import describe, parse_duration, parse_share, parse_size
from rollout.config.wording import shown, suggestion
from rollout.errors import ConfigError


def _path(value: Any, info: ValidationInfo) -> Path:
    if not isinstance(value, str | Path) or not str(value).strip():
        raise ValueError(f"expected a path, got {describe(value)}")
    base = (info.context or {}).get("base", Path())
    return Path(base, Path(value).expanduser()).absolute()


Duration = Annotated[float, BeforeValidator(parse_duration)]
Size = Annotated[int, BeforeValidator(parse_size)]
FilePath = Annotated[Path, BeforeValidator(_path)]
Name = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z][a-z0-9-]{0,31}$")]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Words = Annotated[tuple[StrictStr, ...], Field(min_length=1)]
ProfileName = Literal["system", "claude"]
Suite = Literal["validate", "smoke"]
Op = Literal["<", "<=", ">", ">=", "=="]
When = Literal["shift", "checks", "any"]


class Section(BaseModel):
    """A part of the file: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Host(Section):
    """A machine of an environment, and the directory there that holds everything of it."""

    name: str = ""
    root: FilePath


class Listen(Section):
    """The addresses users reach: one port for each terminal profile, one for the web page and its API."""

    host: StrictStr = "127.0.0.1"
    system: Port
    claude: Port
    web: Port


class Profile(Section):
    """What a session of this profile runs, with which variables, and in which folder."""

    command: Words
    env: dict[StrictStr, StrictStr] = Field(default={})
    cwd: StrictStr | None = None


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
    """Locust users through the cutover, each with a live shell; ``cut_every``: mean seconds between cuts."""

    users: Annotated[StrictInt, Field(ge=1, le=5000)]
    spawn_rate: Annotated[float, Field(gt=0)] = 20.0
    cut_every: Duration = 3.0


class Gate(Section):
    """A criterion on one metric. ``threshold`` is in the metric's own unit: a share, ms, bytes or a count.

    ``percentile`` and ``min_samples`` belong to metrics made of samples, ``confidence`` to rates. ``on`` says
    when it is judged: while sessions ``shift``, after the ``checks``, or both (``any``).
    """

    name: StrictStr = ""
    metric: StrictStr
    op: Op
    threshold: float
    percentile: Annotated[float, Field(gt=0, lt=100)] = 95.0
    min_samples: Annotated[StrictInt, Field(ge=1)] = 1
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    on: When = "any"

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: Any) -> Any:
        metric = METRICS.get(str(data.get("metric"))) if isinstance(data, dict) else None
        if metric is None:
            return data
        usual: dict[str, Any] = {
            "name": f"{metric.name} p{data.get('percentile', 95):g}"
            if metric.kind == "samples" and isinstance(data.get("percentile", 95), int | float)
            else metric.name,
            "min_samples": 20 if metric.kind == "samples" else 1,
            "on": "checks" if metric.source == "checks" else "shift",
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
        unit = metric.unit if metric else ""
        if unit == "share":
            return parse_share(value)
        if unit == "bytes":
            return float(parse_size(value))
        if unit == "ms" and isinstance(value, str):
            return parse_duration(value) * 1000
        if isinstance(value, bool) or not isinstance(value, int | float):
            example = "100 or 100ms" if unit == "ms" else "0"
            raise ValueError(f"expected a number such as {example}, got {describe(value)}")
        return float(value)

    @property
    def about(self) -> Metric:
        """The metric's entry in the catalogue."""
        return METRICS[self.metric]


class Environment(Section):
    """A place where one build at a time serves users, and the criteria for a build to get and stay there."""

    name: str = ""
    engine: Literal["process"] = "process"
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
    canary: Annotated[tuple[CanaryStep, ...], Field(min_length=1)] = (CanaryStep(weight=100),)
    move: Move = Move()
    checks: tuple[Suite, ...] = ()
    load: Load | None = None
    gates: Annotated[tuple[Gate, ...], Field(min_length=1)]
    max_hold: Duration = 60.0
    soak: Duration = 24 * 3600.0
    rollback_window: Duration = 24 * 3600.0
    keep: Annotated[StrictInt, Field(ge=2)] = 3

    @field_validator("hosts", mode="after")
    @classmethod
    def _name_hosts(cls, hosts: dict[str, Host]) -> dict[str, Host]:
        return {name: host.model_copy(update={"name": name}) for name, host in hosts.items()}


class Defaults(Section):
    """Settings of every session manager, under the names it uses itself."""

    ring_bytes: Size = 1 << 20
    hold_seconds: Duration = 60.0
    max_sessions: Annotated[StrictInt, Field(ge=1)] = 1000
    idle_seconds: Duration = 0.0
    max_age_seconds: Duration = 0.0
    shell_pool: Annotated[StrictInt, Field(ge=0, le=256)] = 4
    max_sessions_per_user: Annotated[StrictInt, Field(ge=0)] = 0
    allowed_origins: Annotated[tuple[StrictStr, ...], AfterValidator(check_origins)] = ()
    trusted_proxies: Annotated[tuple[StrictStr, ...], AfterValidator(check_networks)] = ()


class Config(Section):
    """The whole of ``rollout.yaml``."""

    version: Literal[1]
    project: Name
    source: FilePath
    state: FilePath
    ledger: StrictStr | None = None
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

    @property
    def builds_dir(self) -> Path:
        """Where ``rollout build`` leaves builds on the control machine."""
        return self.state / "builds"

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
