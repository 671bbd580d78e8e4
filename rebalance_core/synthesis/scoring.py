"""The job that measures a synthetic set beside the real images that its generator learned from."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from rebalance_core.config import Config, Seed
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.datasets.training_set import Images, TrainingSet, load_part
from rebalance_core.errors import UserError
from rebalance_core.files import digest, folder_aside, read_json, write_json
from rebalance_core.images import resize_stack
from rebalance_core.poses.extractors import EXTRACTORS
from rebalance_core.poses.weights import has_weights, weights_path
from rebalance_core.runs.executor import RunView, list_runs
from rebalance_core.runs.run import Cancelled, Run, RunDirectory
from rebalance_core.synthesis.quality import (
    NEIGHBOURS,
    copied,
    frechet_of,
    kernel_distance,
    neighbourhoods,
    principal_components,
)
from rebalance_core.synthesis.synthetic_set import SyntheticSet, open_synthetic
from rebalance_core.workspace import Workspace

if TYPE_CHECKING:
    from rebalance_core.synthesis.scorer import Scorer

COMPONENTS = 32  # in which the Fréchet distance is taken
SPLITS = 10  # random halves of the real images, averaged over
FEW = 50  # images a side, below which a figure says little
TRAINING = 0.7  # share of the progress bar, where a scorer is trained
FIGURES = {  # in words, and whether more is better
    "frechet": ("Fréchet distance", False),
    "kernel": ("kernel distance × 1000", False),
    "precision": ("precision", True),
    "recall": ("recall", True),
    "density": ("density", True),
    "coverage": ("coverage", True),
    "memorised": ("near-copies of a training image", False),
    "as_asked": ("classified as its class", True),
}


class ScoreConfig(Config):
    synthetic: str
    features: Literal["scorer", "resnet18", "vgg16"] = "scorer"  # of a ResNet-18 trained on the
    # real images of the same training set, or of a network with ImageNet's weights
    epochs: int = Field(default=20, ge=1, le=1000)  # of that ResNet-18
    seed: Seed = 0  # of it, and of the halves


def check_score(workspace: Workspace, config: ScoreConfig) -> SyntheticSet:
    """The set to score; raises UserError before any work for what cannot be scored."""
    found = open_synthetic(workspace, config.synthetic)
    if config.features != "scorer" and not has_weights(workspace, config.features):
        raise UserError(
            f"There are no weights of {config.features} at hand; get them with `poses weights`, or "
            "score with the features of the scorer."
        )
    return found


def score_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = ScoreConfig.build(**run.config)
    found = check_score(workspace, config)
    told = score(workspace, config, found, run)
    write_json(run.result / "scores.json", told)
    return {"synthetic": found.name, "scores": told}


def score(
    workspace: Workspace, config: ScoreConfig, found: SyntheticSet, run: Run
) -> dict[str, Any]:
    """Figures of each class beside those of real images against real ones."""
    chosen = found.training_set
    dataset = open_dataset(workspace, chosen.config.dataset)
    size = int(found.provenance["size"])
    parts = {p: load_part(dataset, chosen, p, size) for p in ("train", "validation")}
    scorer = kept_scorer(dataset, chosen, parts["train"], config.epochs, config.seed, run)
    features = _features(workspace, config, scorer)
    classes: dict[str, Any] = {}
    for number, label in enumerate(found.counts):
        run.progress(TRAINING + (1 - TRAINING) * number / len(found.counts), f"measuring {label}")
        if run.should_stop():
            raise Cancelled
        classes[label] = _of_class(found, label, parts, features, scorer, config.seed)
    run.progress(1.0, "measured")
    return {
        "synthetic": found.name,
        "training_set": chosen.name,
        "network": network_words(config, chosen),
        "components": COMPONENTS,
        "scorer": {"epochs": config.epochs, "seed": config.seed},
        "classes": classes,
    }


def network_words(config: ScoreConfig, chosen: TrainingSet) -> str:
    """Whose features; none of them Inception's, so that no distance is a FID."""
    if config.features == "scorer":
        return f"a ResNet-18 trained on the real images of {chosen.name}"
    return f"{EXTRACTORS[config.features].title} with ImageNet's weights"


def kept_scorer(
    dataset: Dataset, chosen: TrainingSet, real: Images, epochs: int, seed: int, run: Run
) -> "Scorer":
    """The ResNet-18 of a training set's real images, trained once and kept with the dataset."""
    from rebalance_core.comparison.classify import load_classifier
    from rebalance_core.comparison.configs import ClassifierConfig
    from rebalance_core.device import open_device
    from rebalance_core.synthesis.scorer import Scorer, train_scorer

    size = real.images.shape[1]
    settings = ClassifierConfig(size=size, epochs=epochs, lr=0.01, cosine=True)
    about = {
        "fingerprint": chosen.fingerprint, "train": chosen.train, "classes": chosen.classes,
        "fit": chosen.config.fit, "settings": settings.model_dump(mode="json"), "seed": seed,
    }  # fmt: skip
    # With the dataset, which takes it along when it is removed.
    folder = dataset.path / "scorers" / digest(about)
    if not folder.exists():

        def after_epoch(loss: float, state: dict[str, Any]) -> None:
            run.log(state["epoch"], **{"loss scorer": loss})
            run.progress(
                TRAINING * state["epoch"] / epochs, f"scorer, epoch {state['epoch']} of {epochs}"
            )
            run.stop_here(state)

        kept = run.restore()
        run.log(kept["epoch"] if kept else 0, event="start")
        trained = train_scorer(
            settings, real, chosen.classes, seed, kept=kept, after_epoch=after_epoch
        )
        with folder_aside(folder) as aside:
            trained.model.save_pretrained(aside)
            write_json(aside / "scorer.json", about)
    model = load_classifier(folder).to(open_device(settings.precision).device)
    return Scorer(model)


def _features(
    workspace: Workspace, config: ScoreConfig, scorer: "Scorer"
) -> Callable[[np.ndarray], np.ndarray]:
    """uint8 (n, H, W, C) → (n, d)."""
    if config.features == "scorer":
        return lambda images: scorer(images)[1]
    from rebalance_core.poses.networks import load_extractor, resolved_precision

    extract = load_extractor(
        config.features, weights_path(workspace, config.features), resolved_precision("auto")
    )
    size = EXTRACTORS[config.features].size
    return lambda images: extract(resize_stack(images, size))


def _of_class(
    found: SyntheticSet,
    label: str,
    parts: Mapping[str, Images],
    features: Callable[[np.ndarray], np.ndarray],
    scorer: "Scorer",
    seed: int,
) -> dict[str, Any]:
    """{figure: {"generated": …, "real": …}} and what to beware of."""
    number = found.training_set.classes.index(label)
    made = found.images(label)
    real, unseen = (p.images[p.labels == number] for p in (parts["train"], parts["validation"]))
    half = min(len(real) // 2, len(made))
    known = _share(scorer(unseen)[0].argmax(1) == number) if len(unseen) else None
    figures: dict[str, dict[str, float | None]] = {
        "memorised": {
            "generated": _share(copied(made, parts["train"].images)),
            "real": _share(copied(real[::2], real[1::2])),
        },
        "as_asked": {
            "generated": _share(scorer(made)[0].argmax(1) == number),
            "real": known,  # of validation images, which it hasn't seen
        },
    }
    if half > NEIGHBOURS:
        figures |= beside(features(real), features(made), half, seed)
    return {
        "images": len(made), "real": len(real), "compared": half,
        "figures": {name: figures[name] for name in FIGURES if name in figures},
        "warnings": _warnings(label, half),
    }  # fmt: skip


def beside(
    real: np.ndarray, made: np.ndarray, half: int, seed: int
) -> dict[str, dict[str, float | None]]:
    """Figures of `half` generated features beside `half` real ones, and of two halves of the real
    ones beside each other; means over SPLITS random draws. (n, d) and (m, d) features."""
    project = principal_components(real, COMPONENTS)
    shares: dict[str, list[tuple[float, float]]] = {}
    for split in range(SPLITS):
        random = np.random.default_rng([seed, split])
        order, some = random.permutation(len(real)), random.permutation(len(made))[:half]
        base, others = real[order[:half]], real[order[half : 2 * half]]
        both = [_measure(base, against, project) for against in (made[some], others)]
        for name in both[0]:
            shares.setdefault(name, []).append((both[0][name], both[1][name]))
    means = {name: np.mean(pairs, axis=0) for name, pairs in shares.items()}
    return {
        name: {"generated": round(float(m[0]), 4), "real": round(float(m[1]), 4)}
        for name, m in means.items()
    }


def _measure(
    real: np.ndarray, other: np.ndarray, project: Callable[[np.ndarray], np.ndarray]
) -> dict[str, float]:
    near = neighbourhoods(real, other)
    return {
        "frechet": frechet_of(project(real), project(other)),
        "kernel": 1000 * kernel_distance(real, other),
        "precision": near.precision,
        "recall": near.recall,
        "density": near.density,
        "coverage": near.coverage,
    }


def _share(which: np.ndarray) -> float:
    return round(float(which.mean()), 4)


def _warnings(label: str, half: int) -> list[str]:
    if half <= NEIGHBOURS:
        return [
            f"{label}: too few images to halve ({half} a side); only copies and the class are told."
        ]
    if half < FEW:
        return [
            f"{label}: {half} images a side say little; differences to real against real of the "
            "size of that figure itself mean nothing."
        ]
    return []


def scores_of(workspace: Workspace, name: str) -> RunView | None:
    """The newest run that scored a synthetic set and was not given up."""
    fits = partial(_scores, name)
    return next((v for v in list_runs(workspace, "score") if fits(v)), None)


def _scores(name: str, view: RunView) -> bool:
    return bool(view.config.get("synthetic") == name)


def read_scores(view: RunView) -> dict[str, Any]:
    """What a finished scoring found."""
    found: dict[str, Any] = read_json(view.path / "result" / "scores.json")
    return found
