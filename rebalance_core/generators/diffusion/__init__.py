"""The diffusion models: one DDPM per minority class, and one conditional model over all classes."""

from pydantic import Field

from rebalance_core.generators.diffusion.config import ConditionalDdpmConfig, DdpmConfig, Sampler
from rebalance_core.generators.spec import GeneratorSpec, SamplingOptions

# On two cores, at `quick` and `small`; the paper's wide U-Net comes to 1.5.
RELATIVE_SPEED = 0.45
NOT_CONTINUABLE_REASON = "its learning rate schedule has ended"


class DiffusionSampling(SamplingOptions):
    sampler: Sampler | None = Field(
        default=None,
        title="Sampler",
        description="ddpm adds noise in each of many steps; the others need about twenty.",
    )
    steps: int | None = Field(
        default=None, ge=1, le=1000, title="Steps", description="Steps of the sampler."
    )


class GuidedSampling(DiffusionSampling):
    guidance: float | None = Field(
        default=None,
        ge=0,
        le=20,
        title="Guidance",
        description="1: none. Above 1: more typical of the class, with less variety.",
    )


DDPM = GeneratorSpec(
    name="ddpm",
    title="DDPM, one per minority class",
    summary="images of one DDPM per minority class",
    description="Trains one model each for {minority}.",
    config=DdpmConfig,
    implementation="rebalance_core.generators.diffusion.ddpm:DdpmGenerator",
    main_fields=("size", "steps", "batch_size", "lr"),
    sampling=DiffusionSampling,
    step_fields={"steps": "epochs"},
    not_continuable_reason=NOT_CONTINUABLE_REASON,
    safetensors_only=True,
    marker_file="ddpm.json",
    file_names="ddpm.json",
    denoises=True,
    cost="rebalance_core.generators.diffusion.cost:ddpm_cost",
    step_flops="rebalance_core.generators.diffusion.cost:update_flops",
    relative_speed=RELATIVE_SPEED,
)
CONDITIONAL = GeneratorSpec(
    name="conditional-ddpm",
    title="Conditional DDPM, one over all classes, guided",
    summary="images of one guided diffusion model over all classes",
    description="Trains one model on all classes, so that {minority} can share what the others "
    "teach about such images; batches are class-balanced. With *poses*, it is conditioned on "
    "the pose of each image too, if the dataset was clustered.",
    config=ConditionalDdpmConfig,
    implementation="rebalance_core.generators.diffusion.conditional:ConditionalDdpmGenerator",
    main_fields=("size", "steps", "guidance", "poses"),
    sampling=GuidedSampling,
    step_fields={"steps": "epochs"},
    not_continuable_reason=NOT_CONTINUABLE_REASON,
    safetensors_only=True,
    marker_file="conditional-ddpm.json",
    file_names="conditional-ddpm.json",
    preview_captions={"samples": "one row per class ({classes}), each column the same noise"},
    denoises=True,
    cost="rebalance_core.generators.diffusion.cost:conditional_cost",
    step_flops="rebalance_core.generators.diffusion.cost:update_flops",
    relative_speed=RELATIVE_SPEED,
)
