"""The records of a run on disk, typed and checked, since anybody may have edited them."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from rebalance_core.config import STRICT, Timestamp, problem, read_model
from rebalance_core.errors import UserError
from rebalance_core.runs.spec import job_specs

Status = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
NonNegative = Annotated[float, Field(ge=0)]
REMEDY = "remove the run"


class RunRecord(BaseModel):
    """`run.json`, written once: what was asked for, by which code."""

    model_config = STRICT
    kind: str
    name: str
    config: dict[str, Any]
    created: Timestamp
    parents: list[str] = []  # run ids
    seed: int | None = None
    code: str | None = None  # commit


class Progress(BaseModel):
    model_config = STRICT
    fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    stage: str = ""
    seconds_left: NonNegative | None = None


class MemoryUse(BaseModel):
    """Bytes used by the process, available and in total; the system's count of OOM kills."""

    model_config = STRICT
    used: NonNegative
    left: NonNegative
    total: NonNegative
    ended: Annotated[int, Field(ge=0)]


class RunState(BaseModel):
    """`state.json`, replaced every second while the run's process lives."""

    model_config = STRICT | ConfigDict(extra="allow")  # kept when the state is written again
    status: Status
    heartbeat: Timestamp = 0.0
    pid: Annotated[int, Field(gt=0, lt=2**31)] | None = None
    pid_started: Timestamp | None = None
    birth: str | None = None  # of the process, independent of the clock
    host: str | None = None
    progress: Progress | None = None
    memory: MemoryUse | None = None
    started: Timestamp | None = None
    finished: Timestamp | None = None
    worked: Annotated[float, Field(ge=0, lt=2**37)] | None = None  # seconds, over all starts
    reason: str | None = None
    device: str | None = None

    @property
    def work_seconds(self) -> float | None:
        """Seconds of work, those before an interruption included; None if unknown."""
        if self.worked is not None or self.finished is None or self.started is None:
            return self.worked
        return max(0.0, self.finished - self.started)  # versions up to 0.1

    @property
    def process_start(self) -> float | str:
        """The start of the run's process, which identifies it among others with its pid."""
        return self.birth or self.pid_started or 0.0

    @model_validator(mode="after")
    def _pid_is_complete(self) -> Self:
        if self.pid is not None and self.pid_started is None:
            raise ValueError("pid_started is missing, without which pid identifies no process")
        return self


class MetricsLine(BaseModel):
    """One line of `metrics.jsonl`; further fields are the logged numbers and texts."""

    model_config = STRICT | ConfigDict(extra="allow", allow_inf_nan=True)  # a loss may be NaN
    __pydantic_extra__: dict[str, Annotated[int, Field(ge=-(2**63), lt=2**63)] | float | str | None]
    step: Annotated[int, Field(ge=-(2**63), lt=2**63)]
    time: Annotated[float, Field(allow_inf_nan=False)] = 0.0


class About(BaseModel):
    """`about.json`: the name and the note that people gave the run."""

    model_config = STRICT
    name: str = ""
    note: str = ""


def read_record(run: Path) -> RunRecord:
    """A run's `run.json`; raises UserError where a value is not of its type."""
    path = run / "run.json"
    record = read_model(RunRecord, path, REMEDY)
    stored = _stored_config(record.kind)
    if stored is not None:
        try:
            stored.model_validate(record.config)
        except ValidationError as error:
            raise UserError(f"{path} is damaged (config.{problem(error)}); {REMEDY}.") from error
    return record


def read_state(run: Path) -> RunState:
    """A run's `state.json`; raises UserError where a value is not of its type."""
    return read_model(RunState, run / "state.json", REMEDY)


def read_about(run: Path) -> About:
    """A run's `about.json`, empty where there is none; raises UserError for any other content."""
    path = run / "about.json"
    return read_model(About, path, "remove it") if path.exists() else About()


@cache
def _stored_config(kind: str) -> type[BaseModel] | None:
    """The fields of a stored config that pages, lists and lineage read, each of them optional.

    The job itself checks the whole config; a config of another version must still be listed.
    """
    spec = job_specs().get(kind)
    return None if spec is None else _optional(spec.stored_fields())


def _optional(fields: Mapping[str, Any]) -> type[BaseModel]:
    defaults: dict[str, Any] = {name: (annotation, None) for name, annotation in fields.items()}
    return create_model("StoredConfig", __config__=STRICT, **defaults)
