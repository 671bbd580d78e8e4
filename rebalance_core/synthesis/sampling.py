"""The job that samples a trained generator into a synthetic set; goes on where it was killed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from rebalance_core.config import Config, NewSynthetic, RunRef, Seed
from rebalance_core.errors import UserError
from rebalance_core.generators.base import Generator, class_error
from rebalance_core.generators.spec import generator_spec, generator_specs
from rebalance_core.generators.training import load_generator, makes, run_set
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.runs.directory import RunDirectory, find_run
from rebalance_core.runs.executor import RunView, view_run
from rebalance_core.runs.run import Cancelled
from rebalance_core.synthesis.records import Provenance
from rebalance_core.synthesis.synthetic_set import check_free, finish_set, was_finished
from rebalance_core.system.files import write_bytes
from rebalance_core.workspace import Workspace

# Options of the sampler that earlier versions kept as fields of the run's config.
EARLIER_OPTIONS = ("sampler", "steps", "truncation", "guidance")


def collect_options(values: Any) -> Any:
    """A run's config of an earlier version in the form of this one: options in a field of their
    own."""
    if not isinstance(values, Mapping):
        return values
    earlier = {k: values[k] for k in EARLIER_OPTIONS if values.get(k) is not None}
    kept = {k: v for k, v in values.items() if k not in EARLIER_OPTIONS}
    return {**kept, "options": {**earlier, **(kept.get("options") or {})}}


Options = dict[str, Any]  # of the generator's sampler: its spec says which, and checks them


class SampleConfig(Config):
    run: RunRef  # a training
    name: NewSynthetic
    count: int = Field(default=1000, ge=1, le=1_000_000)  # images a class (paper 5.1, 5.3)
    classes: tuple[str, ...] = ()  # empty: every class the generator makes
    seed: Seed = 0
    options: Options = Field(default_factory=dict)  # those left out: the generator's own

    _earlier = model_validator(mode="before")(collect_options)


def check_sample(workspace: Workspace, config: SampleConfig) -> RunView:
    """The training run to sample; raises UserError before any work for what cannot be done."""
    check_free(workspace, config.name)
    source = finished_training(workspace, config.run)
    check_classes(source, config.classes)
    check_options(source.config.get("generator", ""), config.options)
    return source


def finished_training(workspace: Workspace, run_id: str) -> RunView:
    """The training run; raises UserError unless it is one, and done."""
    source = view_run(find_run(workspace, run_id))
    if source.kind != "train" or source.status != "done":
        raise UserError(f"Run {source.id} is no finished training run; name one to sample from.")
    return source


def check_options(kind: str, options: Mapping[str, Any]) -> None:
    """Raises UserError for an option that a generator's sampler does not have, or for its value."""
    spec = generator_spec(kind)
    foreign = [option for option in options if option not in spec.option_names()]
    if foreign:
        raise UserError(
            f"A {kind} has no {' or '.join(foreign)} to set; it has "
            f"{', '.join(spec.option_names()) or 'no such option'}."
        )
    spec.sampling.build(**options)


def check_classes(source: RunView, labels: Sequence[str]) -> None:
    """Raises UserError for a class that the trained generator cannot make."""
    for label in labels:
        if label not in makes(source):
            seen = run_set(source).counts.get(label)
            spec = generator_specs().get(source.config.get("generator", ""))
            is_too_few = seen == 0 or (seen == 1 and spec is not None and spec.min_images > 1)
            raise class_error(label, makes(source), seen if is_too_few else None)


def sample_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = SampleConfig.build(**run.config)
    if was_finished(workspace, config.name, run.id):
        return {"synthetic": config.name}
    source = check_sample(workspace, config)
    run.progress(0.0, "loading the generator")
    generator = load_generator(source)
    labels = config.classes or generator.classes
    aside = workspace.partial_samples(run.id)
    for number, label in enumerate(labels):
        _fill(generator, aside / label, label, config, run, (number, len(labels)))
    unverified = bool(source.config.get("believed"))
    provenance = Provenance(
        generator=source.config.get("generator", ""),
        run=source.id,
        training_set=run_set(source),
        training=None if unverified else source.config.get("training"),
        unverified=unverified,
        seed=config.seed,
        sampler=config.options,
        size=generator.size,
        counts=dict.fromkeys(labels, config.count),
        filters=[],
    )
    finish_set(workspace, config.name, run.id, provenance)
    return {"synthetic": config.name}


def _fill(
    generator: Generator,
    folder: Path,
    label: str,
    config: SampleConfig,
    run: RunDirectory,
    place: tuple[int, int],
) -> None:
    """Write images as they come; image k depends on the seed and k alone, so going on is exact."""
    there = len(list(folder.glob("*.png")))
    if there >= config.count:
        return
    number, classes = place
    batches = generator.sample(
        label, config.count - there, config.seed, first=there, **config.options
    )
    for batch in batches:
        for image in batch:
            write_bytes(folder / f"{there:06d}.png", png_bytes(image))
            there += 1
        run.progress(
            (number + there / config.count) / classes, f"{label}, {there} of {config.count}"
        )
        if run.should_stop():
            raise Cancelled
