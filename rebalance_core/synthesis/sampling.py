"""The job that samples a trained generator into a synthetic set and resumes after a kill."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from rebalance_core.config import Config, NewSynthetic, RunRef, Seed
from rebalance_core.errors import UserError
from rebalance_core.generators.base import Generator, class_error
from rebalance_core.generators.spec import generator_spec, generator_specs
from rebalance_core.generators.training import generated_classes, load_generator, run_set
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.runs.directory import RunDirectory, find_run
from rebalance_core.runs.executor import RunView, view_run
from rebalance_core.runs.run import Cancelled
from rebalance_core.synthesis.records import Provenance
from rebalance_core.synthesis.synthetic_set import check_new_name, is_complete, publish_set
from rebalance_core.system.files import write_bytes
from rebalance_core.workspace import Workspace

# Options of the sampler that earlier versions stored as fields of the run's config.
EARLIER_OPTIONS = ("sampler", "steps", "truncation", "guidance")


def collect_options(values: Any) -> Any:
    """Convert the config of an earlier version: options move to a field of their own."""
    if not isinstance(values, Mapping):
        return values
    earlier = {k: values[k] for k in EARLIER_OPTIONS if values.get(k) is not None}
    other = {k: v for k, v in values.items() if k not in EARLIER_OPTIONS}
    return {**other, "options": {**earlier, **(other.get("options") or {})}}


Options = dict[str, Any]  # of the generator's sampler, validated by its spec


class SampleConfig(Config):
    run: RunRef  # a finished training
    name: NewSynthetic
    count: int = Field(default=1000, ge=1, le=1_000_000)  # images per class (paper 5.1, 5.3)
    classes: tuple[str, ...] = ()  # empty: every class that the generator generates
    seed: Seed = 0
    options: Options = Field(default_factory=dict)  # missing ones: the generator's defaults

    _collect_options = model_validator(mode="before")(collect_options)


def check_sample(workspace: Workspace, config: SampleConfig) -> RunView:
    """The training run; raises UserError where the job would fail."""
    check_new_name(workspace, config.name)
    source = finished_training(workspace, config.run)
    check_classes(source, config.classes)
    check_options(source.config.get("generator", ""), config.options)
    return source


def finished_training(workspace: Workspace, run_id: str) -> RunView:
    """A training run by id; raises UserError where it is not a finished training."""
    source = view_run(find_run(workspace, run_id))
    if source.kind != "train" or source.status != "done":
        raise UserError(
            f"Run {source.id} is not a finished training run; choose one to sample from."
        )
    return source


def check_options(generator: str, options: Mapping[str, Any]) -> None:
    """Raises UserError for an option that the generator's sampler does not have, and for a value
    that is not valid."""
    spec = generator_spec(generator)
    unknown = [option for option in options if option not in spec.option_names()]
    if unknown:
        raise UserError(
            f"{generator} does not have the option {' or '.join(unknown)}; its options are "
            f"{', '.join(spec.option_names()) or 'none'}."
        )
    spec.sampling.build(**options)


def check_classes(source: RunView, labels: Sequence[str]) -> None:
    """Raises UserError for a class that the trained generator cannot generate."""
    for label in labels:
        if label not in generated_classes(source):
            count = run_set(source).counts.get(label)
            spec = generator_specs().get(source.config.get("generator", ""))
            is_too_few = count == 0 or (count == 1 and spec is not None and spec.min_images > 1)
            raise class_error(label, generated_classes(source), count if is_too_few else None)


def sample_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = SampleConfig.build(**run.config)
    if is_complete(workspace, config.name, run.id):
        return {"synthetic": config.name}
    source = check_sample(workspace, config)
    run.progress(0.0, "loading the generator")
    generator = load_generator(source)
    labels = config.classes or generator.classes
    folder = workspace.partial_samples(run.id)
    for index, label in enumerate(labels):
        _sample_class(generator, folder / label, label, config, run, (index, len(labels)))
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
    publish_set(workspace, config.name, run.id, provenance)
    return {"synthetic": config.name}


def _sample_class(
    generator: Generator,
    folder: Path,
    label: str,
    config: SampleConfig,
    run: RunDirectory,
    position: tuple[int, int],
) -> None:
    """Write the missing images of a class: image k depends only on the seed and k, so that
    resuming is exact. `position`: (index, total) of the class, for the progress bar."""
    count = len(list(folder.glob("*.png")))
    if count >= config.count:
        return
    index, total = position
    batches = generator.sample(
        label, config.count - count, config.seed, first=count, **config.options
    )
    for batch in batches:
        for image in batch:
            write_bytes(folder / f"{count:06d}.png", png_bytes(image))
            count += 1
        run.progress((index + count / config.count) / total, f"{label}, {count} of {config.count}")
        if run.should_stop():
            raise Cancelled
