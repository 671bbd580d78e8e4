"""What a generator declares of itself, and the list of all generators, own and foreign.

A spec module imports pydantic and nothing heavier: lists, pages and commands read it without torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, NamedTuple

from rebalance_core.config import Config
from rebalance_core.errors import UserError
from rebalance_core.runs.spec import load_named
from rebalance_core.training_sets.resolve import TrainingSet
from rebalance_core.workspace import check_name

if TYPE_CHECKING:
    from rebalance_core.generators.base import Generator

ENTRY_POINTS = "rebalance.generators"  # the group under which packages add generators
NAMED = "generator.json"  # in a generator's folder: which generator it is


class SamplingOptions(Config):
    """What the sampler of a generator can be asked; a field that is None is left to the generator.

    Each field has a title and a description, from which pages make their widgets.
    """

    @property
    def given(self) -> dict[str, Any]:
        """The options that are not left to the generator."""
        return {k: v for k, v in self.model_dump(mode="json").items() if v is not None}


class Cost(NamedTuple):
    """What a whole training takes: floating-point operations, and numbers left on disk."""

    operations: float
    numbers: int  # float32


@dataclass(frozen=True)
class GeneratorSpec:
    """Everything that pages, commands, the estimate and the contract test need of a generator.

    Functions and classes that are heavy to import are named as `module:name`.
    """

    name: str  # in commands, arms and records
    title: str  # on the page
    summary: str  # one clause: what its images are
    description: str  # what training it does; `{minority}` stands for the minority classes
    config: type[Config]  # with the four presets
    implementation: str  # a subclass of generators.base.Generator
    main_fields: tuple[str, ...]  # of the config, shown first on the page
    sampling: type[SamplingOptions] = SamplingOptions
    lengths: Mapping[str, str] = field(default_factory=dict)  # {field in steps: in epochs instead}
    continuable: tuple[str, ...] = ()  # fields that may change when a training is continued
    not_continuable_reason: str = "it does not support that"
    learns: bool = True  # False: its images are blends of real ones, so that it is a remedy
    min_images: int = 1  # of a class, below which nothing can be generated
    safetensors_only: bool = False  # a folder with anything that could be unpickled is refused
    own_file: str | None = None  # by which a folder of before `generator.json` is recognised
    files: str = ""  # in words: what is in its folder
    previews: Mapping[str, str] = field(default_factory=dict)  # {preview: its rows}; "": any other
    plots: tuple[str, ...] = ()  # parts of the names of metrics that share a plot, a plot each
    interpolates: bool = False  # its class has `between` (generators.base.Interpolates)
    denoises: bool = False  # its class has `denoising` (generators.base.Denoises)
    cost: str | None = None  # (config, training set, channels) -> Cost
    step_operations: str | None = None  # (config, channels) -> operations of one logged step
    matmul_share: float = 1.0  # speed of its steps ÷ that of NumPy's fp32 matrix product

    def generator_class(self) -> "type[Generator]":
        """The class behind it; usually imports torch."""
        found: type[Generator] = load_named(self.implementation)
        return found

    def training_cost(self, config: Config, chosen: TrainingSet, channels: int) -> Cost | None:
        """What a training takes; None where the spec does not say."""
        if self.cost is None:
            return None
        found: Cost = load_named(self.cost)(config, chosen, channels)
        return found

    def option_names(self) -> tuple[str, ...]:
        return tuple(self.sampling.model_fields)


def generator_specs() -> Mapping[str, GeneratorSpec]:
    """{name: spec}: the built-in generators, then those of installed packages."""
    return _found()[0]


def plugin_problems() -> list[str]:
    """One sentence for each installed generator that cannot be used."""
    return list(_found()[1])


def generator_spec(name: str) -> GeneratorSpec:
    """Raises UserError for a name that no generator has."""
    specs = generator_specs()
    if name not in specs:
        raise UserError(f"There is no generator {name!r}; choose one of {', '.join(specs)}.")
    return specs[name]


def known_generator(name: str) -> str:
    """The name itself; raises ValueError for one that no generator has (for pydantic)."""
    if name not in generator_specs():
        known = ", ".join(generator_specs())
        raise ValueError(f"there is no such generator; choose one of {known}")
    return name


@cache
def _found() -> tuple[dict[str, GeneratorSpec], list[str]]:
    from rebalance_core.catalogue import GENERATORS

    specs: dict[str, GeneratorSpec] = {}
    for named in GENERATORS:
        spec: GeneratorSpec = load_named(named)
        specs[spec.name] = spec
    problems = []
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        try:
            spec = _loaded(entry, specs)
        except Exception as error:  # whatever code of others raises
            problems.append(f"The generator plugin {entry.value} cannot be used: {error}")
        else:
            specs[spec.name] = spec
    return specs, problems


def _loaded(entry: EntryPoint, taken: Mapping[str, GeneratorSpec]) -> GeneratorSpec:
    """The spec of an entry point; raises ValueError or UserError if it is not usable."""
    spec = entry.load()
    if not isinstance(spec, GeneratorSpec):
        raise ValueError("it is not a GeneratorSpec.")
    if spec.name in taken:
        raise ValueError(f"there is a generator {spec.name} already.")
    check_spec(spec)
    return spec


def check_spec(spec: GeneratorSpec) -> None:
    """Raises ValueError naming what the spec lacks."""
    check_name(spec.name, "name of a generator")
    if "+" in spec.name or "," in spec.name:
        raise ValueError(f"the name {spec.name!r} contains + or a comma, which separate arms.")
    for each in ("title", "summary", "description", "implementation"):
        if not getattr(spec, each).strip():
            raise ValueError(f"{each} is empty.")
    if not issubclass(spec.config, Config):
        raise ValueError("config is not a Config.")
    missing = {"quick", "small", "paper", "strong"} - spec.config.presets.keys()
    if missing:
        raise ValueError(f"its config lacks the presets {', '.join(sorted(missing))}.")
    for name in ("preset", "size", "seed"):
        if name not in spec.config.model_fields:
            raise ValueError(f"its config lacks the field {name}.")
    named = {*spec.main_fields, *spec.lengths, *spec.lengths.values(), *spec.continuable}
    unknown = named - spec.config.model_fields.keys()
    if unknown:
        raise ValueError(f"its config has no field {', '.join(sorted(unknown))}.")
    for name, option in spec.sampling.model_fields.items():
        if option.is_required() or option.default is not None:
            raise ValueError(f"the sampling option {name} is not None by default.")
    if (spec.cost is None) != (spec.step_operations is None):
        raise ValueError("cost and step_operations belong together.")
