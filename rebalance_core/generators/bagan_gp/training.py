"""Training BAGAN-GP: an autoencoder first, then an adversarial stage with gradient penalty.

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
from rebalance_core.generators.bagan_gp.cost import step_work
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
LOGGED = 400  # lines of training losses a stage
PREVIEW_COLUMNS = 8  # fixed latents, or images, shown of each class
HELD_OUT = 512  # validation images that the adversarial losses are measured on
COLLAPSED = 0.05  # of the real images' spread: below it, twice in a row, a class is one image
DIVERSE = 0.1  # what it must have reached before: a decoder that has learned little makes gray


class BaganTrainer:
    """Both stages; every random number depends on (seed, stage, step), so resuming is exact."""

    def __init__(self, config: BaganConfig, data: TrainingData, run: Run) -> None:
        self.config, self.data, self.run = config, data, run
        self.accelerator = create_accelerator(config.precision)
        self.device = self.accelerator.device
        self.images = torch.as_tensor(np.array(data.train.images)).to(self.device)  # uint8
        self.labels = torch.as_tensor(data.train.labels).to(self.device)
        self.seen = torch.unique(self.labels)
        per_epoch = steps_per_epoch(len(self.labels), config.batch_size)
        self.autoencoder_steps = config.autoencoder_steps or config.autoencoder_epochs * per_epoch
        self.steps = config.steps or config.epochs * per_epoch
        self.model = model = seeded_bagan(
            config.size,
            data.channels,
            list(data.classes),
            derive_seed(config.seed, 0),
            unseen=[c for n, c in enumerate(data.classes) if n not in self.seen],
        )
        model.to(self.device).to(memory_format=torch.channels_last)
        betas = (config.beta1, config.beta2)
        both = [*model.encoder.parameters(), *model.generator_parameters()]
        self.optimizers = {
            "autoencoder": torch.optim.Adam(both, config.autoencoder_lr, betas),
            "generator": torch.optim.Adam(model.generator_parameters(), config.lr, betas),
            "discriminator": torch.optim.Adam(model.discriminator.parameters(), config.lr, betas),
        }
        self.average = AveragedModel(  # the first update copies, so it starts with the stage
            self._pair(), multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True
        )
        self.spread = self._real_spread()
        self.step = 0  # over both stages: first the autoencoder's, then the adversarial ones
        self.diverse = False  # whether any look has found images that differ
        self.flat = ""  # class whose images were all alike at the last look since

    def train(self) -> BaganGP:
        if kept := self.run.restore():
            self._load(kept)
        began, total = self.step, self.autoencoder_steps + self.steps
        self.run.log(self.step, event="start")
        while self.step < total:
            # one step of the stage
            adversarial = self.step >= self.autoencoder_steps
            if self.step == self.autoencoder_steps and self.config.discriminator_start == "encoder":
                self.model.discriminator.trunk.load_state_dict(self.model.encoder[0].state_dict())
            numbers = self.adversarial_step() if adversarial else self.autoencoder_step()
            self.step += 1
            # say what happened
            steps, looks = self._stage(adversarial)
            done = self.step - (self.autoencoder_steps if adversarial else 0)
            if done == steps or done % max(1, steps // LOGGED) == 0:
                self._log(numbers)
            if done == steps or done % max(1, steps // looks) == 0:
                self._look(adversarial)
            self.run.progress(*self._progress())
            # keep it, unless it is broken or has collapsed
            self._keep(numbers)
        if began < total:
            self.run.checkpoint(self._state())  # from here more epochs can be added
        if self.config.ema:
            self._pair().load_state_dict(self.average.module.state_dict())
        return self.model

    def _keep(self, numbers: dict[str, Tensor]) -> None:
        """Checkpoint if one is due, never over a good one: what is broken or flat is not kept."""
        stop = self.run.should_stop()
        if not self.flat and (stop or self.run.is_checkpoint_due()):
            self._check(numbers)
            self.run.checkpoint(self._state())
        if stop:
            raise Cancelled

    def autoencoder_step(self) -> dict[str, Tensor]:
        images, labels = self._batch(AUTOENCODER, self.step)
        with self.accelerator.autocast():
            rebuilt = self.model.reconstruct(images, labels)
        loss = F.l1_loss(rebuilt.float(), images)
        self._update("autoencoder", loss)
        return {"autoencoder_mae": loss.detach()}

    def adversarial_step(self) -> dict[str, Tensor]:
        """Several discriminator updates on one batch, then one of the generator."""
        step = self.step - self.autoencoder_steps
        images, labels = self._batch(ADVERSARIAL, step)
        random = keyed_generator(self.config.seed, ADVERSARIAL, step)
        for _ in range(self.config.discriminator_updates):
            loss, penalty = self.discriminator_losses(images, labels, random)
            whole = loss + self.config.penalty * penalty.value
            self._update("discriminator", whole)
        fooled = self._fooled(labels, random)
        self._update("generator", fooled)
        if self.config.ema:
            self.average.update_parameters(self._pair())
        return {
            "discriminator_loss": whole.detach(),
            "generator_loss": fooled.detach(),
            "gradient_penalty": penalty.value.detach(),
            "gradient_norm": penalty.norm,
        }

    def discriminator_losses(
        self, images: Tensor, labels: Tensor, random: torch.Generator
    ) -> tuple[Tensor, Penalty]:
        """The three cross-entropies and the penalty, with one look at the real images for both
        labels and one at real and fake together."""
        judge = self.model.discriminator
        with self.accelerator.autocast():
            with torch.no_grad():
                fake, fake_labels = self._fakes(labels, random)
                images, fake = self._augment(images, random), self._augment(fake, random)
            real_features, fake_features = judge.trunk(torch.cat([images, fake])).chunk(2)
            loss = discriminator_loss(
                judge.logits(real_features, labels).float(),
                judge.logits(real_features, self._wrong_labels(labels, random)).float(),
                judge.logits(fake_features, fake_labels).float(),
            )
            draw = torch.randn if self.config.interpolation == "normal" else torch.rand
            factor = draw((len(labels), 1, 1, 1), generator=random).to(self.device)
            return loss, gradient_penalty(judge, images, fake, labels, factor)

    def _fooled(self, labels: Tensor, random: torch.Generator) -> Tensor:
        with self.accelerator.autocast():
            fake, fake_labels = self._fakes(labels, random)
            logits = self.model.discriminator(self._augment(fake, random), fake_labels)
            return generator_loss(logits.float())

    def _fakes(self, labels: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """As many as `labels`: float images in [-1, 1] and their labels."""
        n = len(labels)
        latent = torch.randn((n, LATENT_DIM), generator=random).to(self.device)
        if self.config.fake_labels == "uniform":
            labels = self.seen[torch.randint(len(self.seen), (n,), generator=random)]
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
        # Only this optimizer's parameters get gradients: the generator's step leaves D alone.
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.accelerator.backward(loss, inputs=parameters)
        optimizer.step()

    def _log(self, numbers: dict[str, Tensor]) -> None:
        self._check(numbers)
        self.run.log(self.step, **{name: value.item() for name, value in numbers.items()})

    def _check(self, numbers: dict[str, Tensor]) -> None:
        """Losses and weights are finite, or the run ends here with its last good checkpoint."""
        broken = [name for name, value in numbers.items() if not torch.isfinite(value)]
        if not broken and not all(torch.isfinite(p).all() for p in self.model.parameters()):
            broken = ["a weight"]
        if broken:
            raise UserError(
                f"{broken[0].replace('_', ' ')} is no finite number any more at step {self.step}; "
                "the last good checkpoint is kept: continue from it with a smaller lr, or in fp32."
            )

    @torch.no_grad()
    def _look(self, adversarial: bool) -> None:
        """Validation losses and a picture from fixed inputs; the model's mode is restored."""
        self.model.eval()
        self.average.eval()
        numbers = self._adversarial_validation() if adversarial else self._autoencoder_validation()
        if adversarial:
            images, labels = self._fixed_samples()
            numbers["diversity"], flattest = self._diversity(images, labels)
            columns = PREVIEW_COLUMNS
        else:
            images, columns = self._reconstructions()
        self.model.train()
        self.run.log(self.step, **numbers)
        name = "samples" if adversarial else "reconstructions"
        self.run.preview(self.step, make_grid(to_uint8(images), columns), name)
        if adversarial:
            self._judge(numbers["diversity"], flattest)

    def _autoencoder_validation(self) -> dict[str, float]:
        held_out = self.data.validation
        total = 0.0
        for start in range(0, len(held_out.labels), HELD_OUT):
            images, labels = self._held_out(np.arange(len(held_out.labels))[start:][:HELD_OUT])
            with self.accelerator.autocast():
                rebuilt = self.model.reconstruct(images, labels)
            total += F.l1_loss(rebuilt.float(), images).item() * len(labels)
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
            "generator_loss_validation": self._fooled(labels, keyed_generator(0, 1)),
        }
        self._check(numbers)
        return {name: value.item() for name, value in numbers.items()}

    def _held_out(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        held_out = self.data.validation
        images = to_float(held_out.images[rows]).to(self.device)
        return images, torch.as_tensor(held_out.labels[rows]).to(self.device)

    def _fixed_samples(self) -> tuple[Tensor, Tensor]:
        """The same latents for each class seen: a row a class."""
        random = keyed_generator(self.config.seed, PREVIEW)
        latent = torch.randn((PREVIEW_COLUMNS, LATENT_DIM), generator=random).to(self.device)
        labels = self.seen.repeat_interleave(PREVIEW_COLUMNS)
        embedding, decoder = self.average.module.children() if self.config.ema else self._pair()
        return decoder(latent.repeat(len(self.seen), 1) * embedding(labels)), labels

    def _reconstructions(self) -> tuple[Tensor, int]:
        """Two rows a class: held-out originals (training ones where there are none), and below
        each what the autoencoder makes of it."""
        shown: Images = self.data.validation
        if not set(self.seen.tolist()) <= set(shown.labels.tolist()):
            shown = self.data.train
        places = [np.flatnonzero(shown.labels == int(c))[:PREVIEW_COLUMNS] for c in self.seen]
        columns = min(map(len, places))
        rows = np.concatenate([place[:columns] for place in places])
        originals = to_float(shown.images[rows]).to(self.device)
        labels = torch.as_tensor(shown.labels[rows]).to(self.device)
        pairs = [originals, self.model.reconstruct(originals, labels)]
        blocks = [part for c in zip(*(p.split(columns) for p in pairs), strict=True) for part in c]
        return torch.cat(blocks), columns

    def _real_spread(self) -> dict[int, float]:
        """Of each class with several images, from at most `HELD_OUT` of them."""
        found = {}
        for c in self.seen:
            rows = torch.nonzero(self.labels == c).flatten()[:HELD_OUT]
            found.update(spread(to_float(self.images[rows]), self.labels[rows]))
        return found

    def _diversity(self, images: Tensor, labels: Tensor) -> tuple[float, str]:
        """Least spread among generated images of a class, as a share of its real images' spread,
        and that class."""
        made = spread(images, labels)
        shares = {c: made[c] / real for c, real in self.spread.items() if real > 0}
        if not shares:
            return 1.0, ""
        least = min(shares, key=shares.__getitem__)
        return shares[least], self.data.classes[least]

    def _judge(self, diversity: float, flattest: str) -> None:
        """Images that differed and are now all alike twice in a row are a collapse; until then,
        keep what more training could start from."""
        self.diverse = self.diverse or diversity >= DIVERSE
        flat = flattest if self.diverse and diversity < COLLAPSED else ""
        if flat and flat == self.flat:
            raise UserError(
                f"The generator has collapsed at step {self.step}: it makes one and the same image "
                f"of {flat} from different latents. The last checkpoint from before is kept; "
                "continue from it with a smaller lr, or try a larger penalty or the preset strong."
            )
        self.flat = flat
        if not flat:
            self.run.checkpoint(self._state())

    def _pair(self) -> nn.ModuleList:
        """What makes images: the labels' embedding and the decoder."""
        return nn.ModuleList([self.model.embedding, self.model.decoder])

    def _stage(self, adversarial: bool) -> tuple[int, int]:
        """Steps of the stage and looks at it."""
        if adversarial:
            return self.steps, self.config.looks
        return self.autoencoder_steps, self.config.autoencoder_looks

    def _progress(self) -> tuple[float, str]:
        done = min(self.step, self.autoencoder_steps)
        adversarial = self.step - done
        light, heavy = step_work(self.config, self.data.channels)
        total = light * self.autoencoder_steps + heavy * self.steps
        fraction = (light * done + heavy * adversarial) / total
        if self.step < self.autoencoder_steps:
            return fraction, f"autoencoder, step {done} of {self.autoencoder_steps}"
        return fraction, f"adversarial, step {adversarial} of {self.steps}"

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "autoencoder_steps": self.autoencoder_steps,
            "model": self.model.state_dict(),
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
            "average": self.average.state_dict() if self.config.ema else None,
            "diverse": self.diverse,
        }

    def _load(self, kept: dict[str, Any]) -> None:
        if kept.get("autoencoder_steps") != self.autoencoder_steps:
            raise UserError(
                "The checkpoint is of an earlier version or of another length of the autoencoder's "
                "stage; start the training anew."
            )
        self.step, self.diverse = kept["step"], kept["diverse"]
        self.model.load_state_dict(kept["model"])
        for name, optimizer in self.optimizers.items():
            lr = optimizer.param_groups[0]["lr"]
            optimizer.load_state_dict(kept["optimizers"][name])
            optimizer.param_groups[0]["lr"] = lr  # the config's, which a continued run may change
        if self.config.ema:
            self.average.load_state_dict(kept["average"])
