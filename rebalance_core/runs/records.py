"""What a run's `run.json` and `state.json` say, checked: anybody may have edited them."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, create_model, model_validator

from rebalance_core.config import STRICT, Timestamp, problem
from rebalance_core.errors import UserError
from rebalance_core.runs.spec import job_specs
from rebalance_core.system.files import read_json

Status = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
Amount = Annotated[float, Field(ge=0)]


class _Record(BaseModel):
    model_config = STRICT
    kind: str
    name: str
    config: dict[str, Any]
    created: Timestamp
    parents: list[str] = []
    seed: int | None = None
    code: str | None = None


class _Progress(BaseModel):
    model_config = STRICT
    fraction: Annotated[float, Field(ge=0, le=1)]
    stage: str
    seconds_left: Amount | None


class _Memory(BaseModel):
    model_config = STRICT
    used: Amount
    left: Amount
    total: Amount
    ended: Annotated[int, Field(ge=0)]


class _State(BaseModel):
    model_config = STRICT
    status: Status
    heartbeat: Timestamp = 0.0
    pid: Annotated[int, Field(gt=0, lt=2**31)] | None = None
    pid_started: Timestamp | None = None
    host: str = ""
    progress: _Progress | None = None
    memory: _Memory | None = None
    started: Timestamp | None = None
    finished: Timestamp | None = None
    reason: str | None = None
    device: str | None = None

    @model_validator(mode="after")
    def _process_is_whole(self) -> "_State":
        if self.pid is not None and self.pid_started is None:
            raise ValueError("pid_started is missing, without which pid names no process")
        return self


def _optional(fields: Mapping[str, Any]) -> type[BaseModel]:
    """A model of these fields, each of which may be missing."""
    defaults: dict[str, Any] = {name: (kind, None) for name, kind in fields.items()}
    return create_model("Config", __config__=STRICT, **defaults)


@cache
def _stored_config(kind: str) -> type[BaseModel] | None:
    """What pages, lists and lineage read of a config on disk, each where it is there.

    The job itself checks the whole config; a config of another version must still be listed.
    """
    spec = job_specs().get(kind)
    return None if spec is None else _optional(spec.stored_fields())


def read_record(run: Path) -> dict[str, Any]:
    """A run's `run.json`; raises UserError where a value is not of its type."""
    path = run / "run.json"
    record: dict[str, Any] = _checked(_Record, path)
    stored = _stored_config(record["kind"])
    if stored is not None:
        _check(stored, record["config"], path, "config.")
    return record


def read_state(run: Path) -> dict[str, Any]:
    """A run's `state.json`; raises UserError where a value is not of its type."""
    return {"heartbeat": 0.0, **_checked(_State, run / "state.json")}


def _checked(model: type[BaseModel], path: Path) -> dict[str, Any]:
    value: dict[str, Any] = read_json(path)
    _check(model, value, path)
    return value


def _check(model: type[BaseModel], value: Any, path: Path, within: str = "") -> None:
    try:
        model.model_validate(value)
    except ValidationError as error:
        raise UserError(f"{path} is damaged ({within}{problem(error)}); remove the run.") from error
