"""Training of BAGAN-GP: an autoencoder, then an adversarial stage with gradient penalty.

Paper section 5.1; Huang and Jafari 2021, arXiv 2011.00189.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models.bagan_gp import LATENT_DIM, BaganGP, seeded_bagan
from rebalance_core.errors import UserError
from rebalance_core.generators.bagan_gp.augmentation import diff_augment
from rebalance_core.generators.bagan_gp.config import BaganConfig
from rebalance_core.generators.bagan_gp.cost import step_flops
from rebalance_core.generators.bagan_gp.losses import (
    Penalty,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    spread,
)
from rebalance_core.generators.base import TrainingData
from rebalance_core.imaging.grid import make_grid
from rebalance_core.runs.run import Cancelled, Run
from rebalance_core.training.batches import (
    balanced_indices,
    batch_indices,
    steps_per_epoch,
    to_float,
    to_uint8,
)
from rebalance_core.training.device import create_accelerator
from rebalance_core.training.random import derive_seed, keyed_generator
from rebalance_core.training_sets.load import Images

AUTOENCODER, ADVERSARIAL, PREVIEW = 1, 2, 99  # keys of random numbers
LOG_LINES = 400  # of training losses per stage
PREVIEW_COLUMNS = 8  # latents, or images, per class
HELD_OUT = 512  # validation images for the adversarial losses
COLLAPSED = 0.05  # diversity below which, twice in a row, a class has collapsed
DIVERSE = 0.1  # diversity reached before that: an untrained decoder generates uniform gray


class BaganTrainer:
    """Trains both stages; random numbers depend on (seed, stage, step), so resuming is exact."""

    def __init__(self, config: BaganConfig, data: TrainingData, run: Run) -> None:
        self.config, self.data, self.run = config, data, run
        self.accelerator = create_accelerator(config.precision)
        self.device = self.accelerator.device
        self.images = torch.as_tensor(np.array(data.train.images)).to(self.device)  # uint8
        self.labels = torch.as_tensor(data.train.labels).to(self.device)
        self.class_ids = torch.unique(self.labels)  # with training images
        per_epoch = steps_per_epoch(len(self.labels), config.batch_size)
        self.autoencoder_steps = config.autoencoder_steps or config.autoencoder_epochs * per_epoch
        self.steps = config.steps or config.epochs * per_epoch
        self.model = model = seeded_bagan(
            config.size,
            data.channels,
            list(data.classes),
            derive_seed(config.seed, 0),
            unseen=[c for n, c in enumerate(data.classes) if n not in self.class_ids],
            batch_norm=config.batch_norm,
        )
        model.to(self.device).to(memory_format=torch.channels_last)
        betas = (config.beta1, config.beta2)
        autoencoder = [*model.encoder.parameters(), *model.generator_parameters()]
        self.optimizers = {
            name: torch.optim.Adam(parameters, lr, betas, config.adam_eps)
            for name, parameters, lr in (
                ("autoencoder", autoencoder, config.autoencoder_lr),
                ("generator", model.generator_parameters(), config.lr),
                ("discriminator", [*model.discriminator.parameters()], config.lr),
            )
        }
        self.ema_model = AveragedModel(  # the first update copies the weights
            self._generator_modules(),
            multi_avg_fn=get_ema_multi_avg_fn(config.ema),
            use_buffers=True,
        )
        self.real_spreads = self._real_spreads()
        self.step = 0  # over both stages
        self.was_diverse = False  # whether an evaluation has found diverse images
        self.collapsed_class = ""  # class without diversity at the last evaluation

    def train(self) -> BaganGP:
        """Train both stages, from the run's checkpoint if there is one."""
        if state := self.run.restore():
            self._load(state)
        first_step, total = self.step, self.autoencoder_steps + self.steps
        self.run.log(self.step, event="start")
        while self.step < total:
            # one step of the stage
            adversarial = self.step >= self.autoencoder_steps
            if self.step == self.autoencoder_steps and self.config.discriminator_start == "encoder":
                self.model.discriminator.trunk.load_state_dict(self.model.encoder[0].state_dict())
            numbers = self.adversarial_step() if adversarial else self.autoencoder_step()
            self.step += 1
            # log, evaluate
            steps, evaluations = self._stage_length(adversarial)
            done = self.step - (self.autoencoder_steps if adversarial else 0)
            if done == steps or done % max(1, steps // LOG_LINES) == 0:
                self._log(numbers)
            if done == steps or done % max(1, steps // evaluations) == 0:
                self._evaluate(adversarial)
            self.run.progress(*self._progress())
            # checkpoint, unless it is not finite or has collapsed
            self._maybe_checkpoint(numbers)
        if first_step < total:
            self.run.checkpoint(self._state())  # from which more epochs can be added
        if self.config.ema:
            self._generator_modules().load_state_dict(self.ema_model.module.state_dict())
        return self.model

    def _maybe_checkpoint(self, numbers: dict[str, Tensor]) -> None:
        """Save a checkpoint if one is due or the run is to stop.

        A model that has collapsed or is not finite is never saved. Raises Cancelled on a stop.
        """
        stop = self.run.should_stop()
        if not self.collapsed_class and (stop or self.run.is_checkpoint_due()):
            self._check_finite(numbers)
            self.run.checkpoint(self._state())
        if stop:
            raise Cancelled

    def autoencoder_step(self) -> dict[str, Tensor]:
        """One update of encoder, embedding and decoder on the mean absolute error."""
        images, labels = self._batch(AUTOENCODER, self.step)
        with self.accelerator.autocast():
            reconstructed = self.model.reconstruct(images, labels)
        loss = F.l1_loss(reconstructed.float(), images)
        self._update("autoencoder", loss)
        return {"autoencoder_mae": loss.detach()}

    def adversarial_step(self) -> dict[str, Tensor]:
        """Several discriminator updates on one batch, then one of the generator."""
        step = self.step - self.autoencoder_steps
        images, labels = self._batch(ADVERSARIAL, step)
        random = keyed_generator(self.config.seed, ADVERSARIAL, step)
        for _ in range(self.config.discriminator_updates):
            loss, penalty = self.discriminator_losses(images, labels, random)
            total = loss + self.config.penalty * penalty.value
            self._update("discriminator", total)
        loss = self._generator_loss(labels, random)
        self._update("generator", loss)
        if self.config.ema:
            self.ema_model.update_parameters(self._generator_modules())
        return {
            "discriminator_loss": total.detach(),
            "generator_loss": loss.detach(),
            "gradient_penalty": penalty.value.detach(),
            "gradient_norm": penalty.norm,
        }

    def discriminator_losses(
        self, images: Tensor, labels: Tensor, random: torch.Generator
    ) -> tuple[Tensor, Penalty]:
        """The three cross-entropies and the penalty; the trunk runs once on all images."""
        discriminator = self.model.discriminator
        with self.accelerator.autocast():
            with torch.no_grad():
                fake, fake_labels = self._sample_fakes(labels, random)
                images, fake = self._augment(images, random), self._augment(fake, random)
            real_features, fake_features = discriminator.trunk(torch.cat([images, fake])).chunk(2)
            loss = discriminator_loss(
                discriminator.logits(real_features, labels).float(),
                discriminator.logits(real_features, self._wrong_labels(labels, random)).float(),
                discriminator.logits(fake_features, fake_labels).float(),
            )
            draw = torch.randn if self.config.interpolation == "normal" else torch.rand
            factor = draw((len(labels), 1, 1, 1), generator=random).to(self.device)
            return loss, gradient_penalty(discriminator, images, fake, labels, factor)

    def _generator_loss(self, labels: Tensor, random: torch.Generator) -> Tensor:
        with self.accelerator.autocast():
            fake, fake_labels = self._sample_fakes(labels, random)
            logits = self.model.discriminator(self._augment(fake, random), fake_labels)
            return generator_loss(logits.float())

    def _sample_fakes(self, labels: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """(images, labels) of len(labels) fakes: float (n, C, H, W) in [-1, 1], int64 (n,)."""
        n = len(labels)
        latent = torch.randn((n, LATENT_DIM), generator=random).to(self.device)
        if self.config.fake_labels == "uniform":
            labels = self.class_ids[torch.randint(len(self.class_ids), (n,), generator=random)]
        return self.model.generate(latent, labels).float(), labels

    def _augment(self, images: Tensor, random: torch.Generator) -> Tensor:
        return diff_augment(images, random) if self.config.augment == "diffaugment" else images

    def _wrong_labels(self, labels: Tensor, random: torch.Generator) -> Tensor:
        classes = len(self.data.classes)
        if self.config.wrong_labels == "any" or classes == 1:
            return torch.randint(classes, labels.shape, generator=random).to(self.device)
        shift = torch.randint(1, classes, labels.shape, generator=random).to(self.device)
        return (labels + shift) % classes

    def _batch(self, stage: int, step: int) -> tuple[Tensor, Tensor]:
        key, size = (self.config.seed, stage), self.config.batch_size
        rows = (
            balanced_indices(self.data.train.labels, size, step, *key)
            if self.config.balanced and stage == ADVERSARIAL
            else batch_indices(len(self.labels), size, step, *key)
        )
        return to_float(self.images[rows]), self.labels[rows]

    def _update(self, name: str, loss: Tensor) -> None:
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        # Only this optimizer's parameters get gradients: the generator's update does not change D.
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.accelerator.backward(loss, inputs=parameters)
        optimizer.step()

    def _log(self, numbers: dict[str, Tensor]) -> None:
        self._check_finite(numbers)
        self.run.log(self.step, **{name: value.item() for name, value in numbers.items()})

    def _check_finite(self, numbers: dict[str, Tensor]) -> None:
        """Raises UserError, without a checkpoint, if a loss or a weight is not finite."""
        invalid = [name for name, value in numbers.items() if not torch.isfinite(value)]
        if not invalid and not all(torch.isfinite(p).all() for p in self.model.parameters()):
            invalid = ["a weight"]
        if invalid:
            raise UserError(
                f"{invalid[0].replace('_', ' ')} became NaN or infinite at step {self.step}; the "
                "last good checkpoint is kept: continue from it with a smaller lr, or in fp32."
            )

    @torch.no_grad()
    def _evaluate(self, adversarial: bool) -> None:
        """Log validation losses and write a preview from fixed inputs, in eval mode."""
        self.model.eval()
        self.ema_model.eval()
        numbers = self._adversarial_validation() if adversarial else self._autoencoder_validation()
        if adversarial:
            images, labels = self._fixed_samples()
            numbers["diversity"], least_diverse = self._diversity(images, labels)
            columns = PREVIEW_COLUMNS
        else:
            images, columns = self._reconstructions()
        self.model.train()
        self.run.log(self.step, **numbers)
        name = "samples" if adversarial else "reconstructions"
        self.run.preview(self.step, make_grid(to_uint8(images), columns), name)
        if adversarial:
            self._check_collapse(numbers["diversity"], least_diverse)

    def _autoencoder_validation(self) -> dict[str, float]:
        held_out = self.data.validation
        total = 0.0
        for start in range(0, len(held_out.labels), HELD_OUT):
            images, labels = self._held_out(np.arange(len(held_out.labels))[start:][:HELD_OUT])
            with self.accelerator.autocast():
                reconstructed = self.model.reconstruct(images, labels)
            total += F.l1_loss(reconstructed.float(), images).item() * len(labels)
        return {"autoencoder_mae_validation": total / len(held_out.labels)} if total else {}

    def _adversarial_validation(self) -> dict[str, float]:
        n = len(self.data.validation.labels)
        if not n:
            return {}
        images, labels = self._held_out(np.random.default_rng(0).permutation(n)[:HELD_OUT])
        with torch.enable_grad():
            loss, penalty = self.discriminator_losses(images, labels, keyed_generator(0, 0))
        numbers = {
            "discriminator_loss_validation": loss + self.config.penalty * penalty.value,
            "generator_loss_validation": self._generator_loss(labels, keyed_generator(0, 1)),
        }
        self._check_finite(numbers)
        return {name: value.item() for name, value in numbers.items()}

    def _held_out(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        held_out = self.data.validation
        images = to_float(held_out.images[rows]).to(self.device)
        return images, torch.as_tensor(held_out.labels[rows]).to(self.device)

    def _fixed_samples(self) -> tuple[Tensor, Tensor]:
        """(images, labels): one row per class with training images, from the same latents."""
        random = keyed_generator(self.config.seed, PREVIEW)
        latent = torch.randn((PREVIEW_COLUMNS, LATENT_DIM), generator=random).to(self.device)
        labels = self.class_ids.repeat_interleave(PREVIEW_COLUMNS)
        embedding, decoder = (
            self.ema_model.module.children() if self.config.ema else self._generator_modules()
        )
        return decoder(latent.repeat(len(self.class_ids), 1) * embedding(labels)), labels

    def _reconstructions(self) -> tuple[Tensor, int]:
        """(images, columns): two rows per class, originals and their reconstructions.

        The originals are held-out images, or training images if a class has none.
        """
        originals_of: Images = self.data.validation
        if not set(self.class_ids.tolist()) <= set(originals_of.labels.tolist()):
            originals_of = self.data.train
        by_class = [
            np.flatnonzero(originals_of.labels == int(c))[:PREVIEW_COLUMNS] for c in self.class_ids
        ]
        columns = min(map(len, by_class))
        rows = np.concatenate([class_rows[:columns] for class_rows in by_class])
        originals = to_float(originals_of.images[rows]).to(self.device)
        labels = torch.as_tensor(originals_of.labels[rows]).to(self.device)
        pairs = [originals, self.model.reconstruct(originals, labels)]
        blocks = [part for c in zip(*(p.split(columns) for p in pairs), strict=True) for part in c]
        return torch.cat(blocks), columns

    def _real_spreads(self) -> dict[int, float]:
        """{class: spread} of at most HELD_OUT images of each class with several."""
        spreads = {}
        for c in self.class_ids:
            rows = torch.nonzero(self.labels == c).flatten()[:HELD_OUT]
            spreads.update(spread(to_float(self.images[rows]), self.labels[rows]))
        return spreads

    def _diversity(self, images: Tensor, labels: Tensor) -> tuple[float, str]:
        """(diversity, class): the least ratio of a class's spread to that of its real images."""
        spreads = spread(images, labels)
        ratios = {c: spreads[c] / real for c, real in self.real_spreads.items() if real > 0}
        if not ratios:
            return 1.0, ""
        least = min(ratios, key=ratios.__getitem__)
        return ratios[least], self.data.classes[least]

    def _check_collapse(self, diversity: float, least_diverse: str) -> None:
        """Raises UserError if a class has lost its diversity at two evaluations in a row.

        A model that has not is checkpointed, so that training can continue from it.
        """
        self.was_diverse = self.was_diverse or diversity >= DIVERSE
        collapsed = least_diverse if self.was_diverse and diversity < COLLAPSED else ""
        if collapsed and collapsed == self.collapsed_class:
            raise UserError(
                f"The generator has collapsed at step {self.step}: it generates the same image of "
                f"{collapsed} from different latents. The last checkpoint before that is kept; "
                "continue from it with a smaller lr, or try a larger penalty or the preset strong."
            )
        self.collapsed_class = collapsed
        if not collapsed:
            self.run.checkpoint(self._state())

    def _generator_modules(self) -> nn.ModuleList:
        """The label embedding and the decoder."""
        return nn.ModuleList([self.model.embedding, self.model.decoder])

    def _stage_length(self, adversarial: bool) -> tuple[int, int]:
        """(steps, evaluations) of a stage."""
        if adversarial:
            return self.steps, self.config.looks
        return self.autoencoder_steps, self.config.autoencoder_looks

    def _progress(self) -> tuple[float, str]:
        done = min(self.step, self.autoencoder_steps)
        adversarial = self.step - done
        autoencoder_flops, adversarial_flops = step_flops(self.config, self.data.channels)
        total = autoencoder_flops * self.autoencoder_steps + adversarial_flops * self.steps
        fraction = (autoencoder_flops * done + adversarial_flops * adversarial) / total
        if self.step < self.autoencoder_steps:
            return fraction, f"autoencoder, step {done} of {self.autoencoder_steps}"
        return fraction, f"adversarial, step {adversarial} of {self.steps}"

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "autoencoder_steps": self.autoencoder_steps,
            "model": self.model.state_dict(),
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
            "average": self.ema_model.state_dict() if self.config.ema else None,
            "diverse": self.was_diverse,
        }

    def _load(self, state: dict[str, Any]) -> None:
        if state.get("autoencoder_steps") != self.autoencoder_steps:
            raise UserError(
                "The checkpoint is of an earlier version or of another length of the autoencoder's "
                "stage; start a new training."
            )
        self.step, self.was_diverse = state["step"], state["diverse"]
        self.model.load_state_dict(state["model"])
        for name, optimizer in self.optimizers.items():
            lr = optimizer.param_groups[0]["lr"]
            optimizer.load_state_dict(state["optimizers"][name])
            optimizer.param_groups[0]["lr"] = lr  # of the config, which a continued run may change
        if self.config.ema:
            self.ema_model.load_state_dict(state["average"])
