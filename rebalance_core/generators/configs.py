"""The generators' configs; apart from the trainers, so that pages read them without torch."""

from rebalance_core.config import Config
from rebalance_core.generators.bagan_gp.config import BaganConfig
from rebalance_core.generators.diffusion.config import ConditionalDdpmConfig, DdpmConfig
from rebalance_core.generators.smote.config import SmoteConfig

# Fields that may change when a run is continued: what was trained before keeps its meaning.
CONTINUABLE = {"bagan-gp": ("epochs", "steps", "lr", "penalty", "discriminator_updates", "looks")}
# Why another cannot be continued.
FINISHED = {
    "ddpm": "its learning rate has fallen to zero",
    "conditional-ddpm": "its learning rate has fallen to zero",
    "smote": "it has no more to learn",
}
CONFIGS: dict[str, type[Config]] = {
    "bagan-gp": BaganConfig,
    "ddpm": DdpmConfig,
    "conditional-ddpm": ConditionalDdpmConfig,
    "smote": SmoteConfig,
}
