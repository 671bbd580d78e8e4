"""The declaration of a generator, and the registry of all generators, built-in and installed.

A spec module imports pydantic and nothing heavier: lists, pages and commands read it without torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, NamedTuple

from rebalance_core.config import PRESETS, Config
from rebalance_core.errors import UserError
from rebalance_core.runs.spec import load_named
from rebalance_core.training_sets.resolve import TrainingSet
from rebalance_core.workspace import check_name

if TYPE_CHECKING:
    from rebalance_core.generators.base import Generator

ENTRY_POINT_GROUP = "rebalance.generators"  # under which packages register generators
GENERATOR_FILE = "generator.json"  # in a generator's folder: its name


class SamplingOptions(Config):
    """The options of a generator's sampler; a subclass adds one field per option.

    Every field has the default None, which leaves the option to the generator. Pages make a widget
    from the field's type (bool, int, float, str or Literal, each `| None`), `title`, `description`
    and bounds (`ge`, `gt`, `le`, `lt`). Options with a value are passed as keyword arguments to
    `Generator.batches`.
    """


class Cost(NamedTuple):
    """The cost of a whole training."""

    flops: float  # floating-point operations; a multiply-add counts 2
    stored_floats: int  # float32 values left on disk, in the generator and its checkpoints
    notes: tuple[str, ...] = ()  # sentences on what makes this training a bad one


@dataclass(frozen=True)
class GeneratorSpec:
    """Everything that pages, commands, the estimate and the contract suite know of a generator.

    Classes and functions that are heavy to import are named as `module:name`. `check_spec` checks
    a spec; a plugin whose spec is invalid is reported and not used.
    """

    # Identity. `name` is used in commands, arms and records: it is a valid file name without "+"
    # and ",", and differs from that of every other generator.
    name: str
    title: str  # label on the page
    summary: str  # one clause about its images, shown as the description of its arm
    description: str  # one or two sentences on its training; `{minority}` becomes the classes
    # Implementation. The config has the fields `preset`, `size` (px) and `seed`, and the presets
    # quick, small, paper and strong.
    config: type[Config]
    implementation: str  # a subclass of generators.base.Generator
    main_fields: tuple[str, ...]  # of the config, shown first on the page
    sampling: type[SamplingOptions] = SamplingOptions
    step_fields: Mapping[str, str] = field(default_factory=dict)  # {field in steps: in epochs}
    # Continuing a finished training: the fields that may change, or the reason why it cannot be.
    continuable: tuple[str, ...] = ()
    not_continuable_reason: str = "it does not support that"
    # Properties.
    learns: bool = True  # False: it blends real images, so that its arm counts as a remedy
    min_images: int = 1  # training images of a class, below which it cannot be generated
    interpolates: bool = False  # it implements generators.base.Interpolates
    denoises: bool = False  # it implements generators.base.Denoises
    fixed_pose: bool = False  # a study at preset paper trains it on one pose of the training set
    # Its folder. Import refuses a folder with pickles if `safetensors_only`, which needs a
    # `marker_file`; that file also identifies folders written before generator.json.
    safetensors_only: bool = False
    marker_file: str | None = None
    file_names: str = ""  # the files of its folder, for the import form
    # Display: {name of a preview: its caption}, "" for all others; and parts of metric names, whose
    # metrics share one plot per part.
    preview_captions: Mapping[str, str] = field(default_factory=dict)
    plot_groups: tuple[str, ...] = ()
    # Estimate, both functions or neither.
    cost: str | None = None  # (config, training set, channels) -> Cost
    step_flops: str | None = None  # (config, channels) -> FLOPs of one logged step, as a float
    relative_speed: float = 1.0  # FLOPs per second of a step, relative to NumPy's fp32 matmul

    def generator_class(self) -> "type[Generator]":
        """The implementation; importing it usually imports torch."""
        implementation: type[Generator] = load_named(self.implementation)
        return implementation

    def training_cost(
        self, config: Config, training_set: TrainingSet, channels: int
    ) -> Cost | None:
        """The cost of a training; None if the spec has no `cost`."""
        if self.cost is None:
            return None
        cost: Cost = load_named(self.cost)(config, training_set, channels)
        return cost

    def option_names(self) -> tuple[str, ...]:
        """Names of the sampling options."""
        return tuple(self.sampling.model_fields)


def generator_specs() -> Mapping[str, GeneratorSpec]:
    """{name: spec}: the built-in generators, then those of installed packages."""
    return _load_specs()[0]


def plugin_problems() -> list[str]:
    """One sentence for each installed generator that cannot be used."""
    return list(_load_specs()[1])


def generator_spec(name: str) -> GeneratorSpec:
    """The spec of a generator; raises UserError for an unknown name."""
    specs = generator_specs()
    if name not in specs:
        raise UserError(f"There is no generator {name!r}; choose one of {', '.join(specs)}.")
    return specs[name]


def check_generator_name(name: str) -> str:
    """The name itself; raises ValueError if there is no such generator (a pydantic validator)."""
    if name not in generator_specs():
        names = ", ".join(generator_specs())
        raise ValueError(f"there is no such generator; choose one of {names}")
    return name


@cache
def _load_specs() -> tuple[dict[str, GeneratorSpec], list[str]]:
    """The specs by name, and the problems of plugins."""
    from rebalance_core.catalogue import GENERATORS

    specs: dict[str, GeneratorSpec] = {}
    for reference in GENERATORS:
        spec: GeneratorSpec = load_named(reference)
        specs[spec.name] = spec
    problems = []
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
        try:
            spec = _load_entry_point(entry, specs)
        except Exception as error:  # a plugin may raise anything
            problems.append(f"The generator plugin {entry.value} cannot be used: {error}")
        else:
            specs[spec.name] = spec
    return specs, problems


def _load_entry_point(entry: EntryPoint, specs: Mapping[str, GeneratorSpec]) -> GeneratorSpec:
    """The spec of an entry point; raises ValueError or UserError if it is not usable."""
    spec = entry.load()
    if not isinstance(spec, GeneratorSpec):
        raise ValueError("it is not a GeneratorSpec.")
    if spec.name in specs:
        raise ValueError(f"there is a generator {spec.name} already.")
    check_spec(spec)
    return spec


def check_spec(spec: GeneratorSpec) -> None:
    """Raise ValueError, or UserError for an invalid name, for the first problem of a spec."""
    check_name(spec.name, "name of a generator")
    if "+" in spec.name or "," in spec.name:
        raise ValueError(f"the name {spec.name!r} contains + or a comma, which separate arms.")
    for attribute in ("title", "summary", "description", "implementation"):
        if not getattr(spec, attribute).strip():
            raise ValueError(f"{attribute} is empty.")
    if not issubclass(spec.config, Config):
        raise ValueError("config is not a Config.")
    missing = set(PRESETS) - spec.config.presets.keys()
    if missing:
        raise ValueError(f"its config lacks the presets {', '.join(sorted(missing))}.")
    for name in ("preset", "size", "seed"):
        if name not in spec.config.model_fields:
            raise ValueError(f"its config lacks the field {name}.")
    steps = spec.step_fields
    fields = {*spec.main_fields, *steps, *steps.values(), *spec.continuable}
    unknown = fields - spec.config.model_fields.keys()
    if unknown:
        raise ValueError(f"its config has no field {', '.join(sorted(unknown))}.")
    for name, option in spec.sampling.model_fields.items():
        if option.is_required() or option.default is not None:
            raise ValueError(f"the sampling option {name} is not None by default.")
    if (spec.cost is None) != (spec.step_flops is None):
        raise ValueError("cost and step_flops belong together.")
