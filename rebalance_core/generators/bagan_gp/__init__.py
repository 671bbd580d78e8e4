"""BAGAN-GP: a conditional GAN with a gradient penalty that starts from an autoencoder."""

from pydantic import Field

from rebalance_core.generators.bagan_gp.config import BaganConfig
from rebalance_core.generators.spec import GeneratorSpec, SamplingOptions


class BaganSampling(SamplingOptions):
    truncation: float | None = Field(
        default=None,
        gt=0,
        le=10,
        title="Truncation",
        description="Latents are drawn within ± this: fewer outliers, less variety.",
    )


SPEC = GeneratorSpec(
    name="bagan-gp",
    title="BAGAN-GP",
    summary="images of BAGAN-GP",
    description="Trains one network on all classes: an autoencoder first, then generator against "
    "discriminator.",
    config=BaganConfig,
    implementation="rebalance_core.generators.bagan_gp.model:BaganGenerator",
    main_fields=("size", "autoencoder_steps", "steps", "batch_size"),
    sampling=BaganSampling,
    step_fields={"autoencoder_steps": "autoencoder_epochs", "steps": "epochs"},
    continuable=("epochs", "steps", "lr", "penalty", "discriminator_updates", "looks"),
    marker_file="model.safetensors",
    file_names="config.json and model.safetensors",
    preview_captions={
        "samples": "one row per class ({classes}), each column the same latent",
        "": "two rows per class ({classes}): originals, and below their reconstructions",
    },
    plot_groups=("autoencoder", "_loss", "gradient", "diversity"),
    interpolates=True,
    fixed_pose=True,  # (study, 3.1 and 5.1)
    cost="rebalance_core.generators.bagan_gp.cost:training_cost",
    step_flops="rebalance_core.generators.bagan_gp.cost:adversarial_flops",
    relative_speed=1.1,  # on two cores, at `quick` and `small`
)
