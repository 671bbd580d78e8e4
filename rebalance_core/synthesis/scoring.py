"""The job that measures a synthetic set beside the real images that its generator learned from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from pydantic import Field

from rebalance_core.config import Config, Seed, SyntheticRef
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.errors import UserError
from rebalance_core.imaging.grid import resize_images
from rebalance_core.poses.extractors import NETWORKS
from rebalance_core.poses.weights import has_weights, weights_path
from rebalance_core.runs.directory import RunDirectory
from rebalance_core.runs.executor import RunView, list_runs
from rebalance_core.runs.run import Cancelled, Run
from rebalance_core.synthesis.quality import (
    NEIGHBOURS,
    copied,
    doubled,
    frechet_of,
    kernel_distance,
    neighbourhoods,
    principal_components,
)
from rebalance_core.synthesis.records import (
    INCEPTION_TITLE,
    METRICS,
    ClassScores,
    Metric,
    Scores,
    default_titles,
    read_scores,
)
from rebalance_core.synthesis.synthetic_set import SyntheticSet, open_synthetic
from rebalance_core.system.files import atomic_folder, digest, read_json, write_json
from rebalance_core.training_sets.load import Images, load_part
from rebalance_core.training_sets.resolve import TrainingSet
from rebalance_core.workspace import Workspace

COMPONENTS = 32  # in which the Fréchet distance is taken, but for that of Inception's features
READ = (32, 512)  # px, least and most, at which a scorer reads images
SPLITS = 10  # random halves of the real images, averaged over
FEW = 50  # images a side, below which a figure says little
TRAINING = 0.7  # share of the progress bar, where a scorer is trained
Features = Literal["scorer", "resnet18", "vgg16", "inception"]
# Images uint8 (n, H, W, C) → probabilities (n, K), features (n, d)
Judge = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class ScoreConfig(Config):
    synthetic: SyntheticRef
    # of a ResNet-18 trained on the real images of the same training set, or of a network with
    # ImageNet's weights
    features: Features = "scorer"
    epochs: int = Field(default=20, ge=1, le=1000)  # of that ResNet-18
    seed: Seed = 0  # of it, and of the halves


def check_score(workspace: Workspace, config: ScoreConfig) -> SyntheticSet:
    """The set to score; raises UserError before any work for what cannot be scored."""
    found = open_synthetic(workspace, config.synthetic)
    if config.features != "scorer" and not has_weights(workspace, config.features):
        raise UserError(
            f"There are no weights of {config.features} at hand; get them with `poses weights "
            f"{config.features}`, or score with the features of the scorer."
        )
    return found


def score_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = ScoreConfig.build(**run.config)
    found = check_score(workspace, config)
    scores = score(workspace, config, found, run).to_json()
    write_json(run.result / "scores.json", scores)
    return {"synthetic": found.name, "scores": scores}


def score(workspace: Workspace, config: ScoreConfig, found: SyntheticSet, run: Run) -> Scores:
    """Metrics of each class beside those of real images against real ones."""
    chosen = found.training_set
    dataset = open_dataset(workspace, chosen.config.dataset)
    found.check_images(dataset.channels)
    size = found.provenance.size
    parts = {p: load_part(dataset, chosen, p, size) for p in ("train", "validation")}
    scorer = kept_scorer(dataset, chosen, parts["train"], config.epochs, config.seed, run)
    run.progress(TRAINING, "looking for copies among the real images")
    by = Yardstick(
        **parts,
        doubled=doubled(parts["train"].images),
        scorer=scorer,
        features=_features(workspace, config, scorer),
        components=components_of(config),
        seed=config.seed,
    )
    classes: dict[str, ClassScores] = {}
    for number, label in enumerate(found.counts):
        run.progress(TRAINING + (1 - TRAINING) * number / len(found.counts), f"measuring {label}")
        if run.should_stop():
            raise Cancelled
        classes[label] = _of_class(found, label, by)
    run.progress(1.0, "measured")
    return Scores(
        synthetic=found.name,
        provenance=found.provenance.digest,
        training_set=chosen.name,
        network=network_words(config, chosen),
        components=components_of(config),
        titles=titles(config),
        scorer={"epochs": config.epochs, "seed": config.seed},
        classes=classes,
    )


def network_words(config: ScoreConfig, chosen: TrainingSet) -> str:
    """Whose features."""
    if config.features == "scorer":
        return f"a ResNet-18 trained on the real images of {chosen.name}"
    return f"{NETWORKS[config.features].title} with ImageNet's weights"


def components_of(config: ScoreConfig) -> int | None:
    """In how many principal components the Fréchet distance is taken; None: in all dimensions."""
    return None if config.features == "inception" else COMPONENTS


def titles(config: ScoreConfig) -> dict[str, str]:
    """{metric: its title}; none is the FID, which has other weights, resizing and numbers of images
    (arXiv 2104.11222)."""
    return default_titles() | (
        {"frechet": INCEPTION_TITLE} if config.features == "inception" else {}
    )


def kept_scorer(
    dataset: Dataset, chosen: TrainingSet, real: Images, epochs: int, seed: int, run: Run
) -> Judge:
    """The ResNet-18 of a training set's real images, trained once and kept with the dataset."""
    from rebalance_core.classifiers.config import ClassifierConfig
    from rebalance_core.classifiers.features import Scorer, train_scorer
    from rebalance_core.classifiers.loading import load_classifier
    from rebalance_core.training.device import create_accelerator

    # What the scorer reads; images of another size would be too few or too many pixels for it.
    size = int(np.clip(real.images.shape[1], *READ))
    real = replace(real, images=resize_images(real.images, size))
    settings = ClassifierConfig(size=size, epochs=epochs, lr=0.01, cosine=True)
    about = {
        "fingerprint": chosen.fingerprint,
        "train": chosen.train,
        "classes": chosen.classes,
        "fit": chosen.config.fit,
        "settings": settings.model_dump(mode="json"),
        "seed": seed,
    }
    # With the dataset, which takes it along when it is removed.
    folder = dataset.path / "scorers" / digest(about)
    if not folder.exists():

        def after_epoch(loss: float, state: dict[str, Any]) -> None:
            run.log(state["epoch"], **{"loss scorer": loss})
            run.progress(
                TRAINING * state["epoch"] / epochs, f"scorer, epoch {state['epoch']} of {epochs}"
            )
            run.checkpoint_or_stop(state)

        kept = run.restore()
        run.log(kept["epoch"] if kept else 0, event="start")
        trained = train_scorer(
            settings, real, chosen.classes, seed, kept=kept, after_epoch=after_epoch
        )
        try:
            with atomic_folder(folder) as aside:
                trained.model.save_pretrained(aside)
                write_json(aside / "scorer.json", about)
        except UserError:
            if not folder.exists():
                raise  # else another run has trained the same meanwhile
    try:
        model = load_classifier(folder)
        whole = model.classes == list(chosen.classes) and digest(
            read_json(folder / "scorer.json")
        ) == digest(about)
    except UserError as error:
        raise UserError(f"{error} Remove that folder; the scorer is then trained anew.") from error
    if not whole:
        raise UserError(
            f"{folder} holds the scorer of something else; remove that folder, and it is trained "
            "anew."
        )
    scorer = Scorer(model.to(create_accelerator(settings.precision).device))
    return lambda images: scorer(resize_images(images, size))


def _features(
    workspace: Workspace, config: ScoreConfig, scorer: Judge
) -> Callable[[np.ndarray], np.ndarray]:
    """uint8 (n, H, W, C) → (n, d)."""
    if config.features == "scorer":
        return lambda images: scorer(images)[1]
    from rebalance_core.poses.networks import load_extractor, resolved_precision

    extract = load_extractor(
        config.features, weights_path(workspace, config.features), resolved_precision("auto")
    )
    size = NETWORKS[config.features].size
    return lambda images: extract(resize_images(images, size))


@dataclass(frozen=True)
class Yardstick:
    """What the images of every class are measured by."""

    train: Images
    validation: Images
    doubled: np.ndarray  # which training images are near-duplicates of another, bool (n,)
    scorer: Judge
    features: Callable[[np.ndarray], np.ndarray]
    components: int | None  # of the Fréchet distance; None: all dimensions
    seed: int


def _of_class(found: SyntheticSet, label: str, by: Yardstick) -> ClassScores:
    """The metrics of one class, and warnings where few images make them weak."""
    number = found.training_set.class_index(label)
    made = found.images(label)
    real, unseen = (p.images[p.labels == number] for p in (by.train, by.validation))
    half, dimensions = min(len(real) // 2, len(made)), 0
    metrics = {
        "near_copy_rate": Metric(
            generated=_share(copied(made, by.train.images)),
            real=_share(by.doubled[by.train.labels == number]),  # of another training image
        ),
        "label_accuracy": Metric(
            generated=_right(by.scorer, made, number),
            real=_right(by.scorer, unseen, number),  # validation images, which it hasn't seen
        ),
    }
    if half > NEIGHBOURS:
        real_features, made_features = by.features(real), by.features(made)
        dimensions = by.components or real_features.shape[1]
        metrics |= beside(real_features, made_features, half, by.seed, by.components)
    return ClassScores(
        images=len(made),
        real=len(real),
        compared=half,
        metrics={name: metrics[name] for name in METRICS if name in metrics},
        warnings=few_images(label, half, dimensions),
    )


def beside(
    real: np.ndarray, made: np.ndarray, half: int, seed: int, components: int | None = COMPONENTS
) -> dict[str, Metric]:
    """Metrics of `half` generated features beside `half` real ones, and of two halves of the real
    ones beside each other; means over SPLITS random draws, and their standard deviations.

    (n, d) and (m, d) features; the Fréchet distance is taken in the leading `components` of the
    real ones, or in all d dimensions.
    """
    project = principal_components(real, components) if components else np.asarray
    shares: dict[str, list[tuple[float, float]]] = {}
    for split in range(SPLITS):
        random = np.random.default_rng([seed, split])
        order, some = random.permutation(len(real)), random.permutation(len(made))[:half]
        base, others = real[order[:half]], real[order[half : 2 * half]]
        both = [_measure(base, against, project) for against in (made[some], others)]
        for name in both[0]:
            shares.setdefault(name, []).append((both[0][name], both[1][name]))
    sides = ("generated", "real", "generated_spread", "real_spread")
    told = {
        name: (*np.mean(pairs, axis=0), *np.std(pairs, axis=0)) for name, pairs in shares.items()
    }
    return {
        name: Metric(**{side: round(float(v), 4) for side, v in zip(sides, values, strict=True)})
        for name, values in told.items()
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


def _right(scorer: Judge, images: np.ndarray, number: int) -> float | None:
    """The share of images that the scorer takes for class `number`; None for no images."""
    return _share(scorer(images)[0].argmax(axis=1) == number) if len(images) else None


def _share(which: np.ndarray) -> float | None:
    return round(float(which.mean()), 4) if len(which) else None


def few_images(label: str, half: int, dimensions: int) -> list[str]:
    """One sentence where few images make figures weak; `dimensions`: of the Fréchet distance."""
    if half <= NEIGHBOURS:
        return [
            f"{label}: too few images to halve ({half} a side); only copies and the class are told."
        ]
    fewer = f"fewer than the {dimensions} dimensions of the Fréchet distance"
    if half < FEW:
        told = f", {fewer}," if half < dimensions else ""
        return [
            f"{label}: {half} images a side{told} say little; differences to real against real of "
            "the size of that figure itself mean nothing."
        ]
    if half < dimensions:
        return [
            f"{label}: {half} images a side are {fewer}, which is then too large; read it beside "
            "real against real alone, not beside that of other papers."
        ]
    return []


def scores_of(workspace: Workspace, found: SyntheticSet) -> RunView | None:
    """The newest run that scored this synthetic set, whatever became of it; not one that scored
    another of its name, which is gone."""
    for view in list_runs(workspace, "score"):
        if view.config.get("synthetic") == found.name:
            if view.status != "done":
                return view
            try:
                scored = read_scores(view).provenance
            except UserError:  # the page says what is damaged, until the set is scored again
                return view
            if scored == found.provenance.digest:
                return view
    return None


def score_table(scores: Scores) -> list[dict[str, Any]]:
    """One row per class: each metric of the generated images, and beside it that of real ones."""
    rows = []
    for label, found in scores.classes.items():
        row: dict[str, Any] = {
            "class": label,
            "images": found.images,
            "real images": found.real,
            "compared": found.compared,
        }
        for name, title in scores.titles.items():
            metric = found.metrics.get(name, Metric())
            row |= {title: metric.generated, f"{title}, real": metric.real}
        rows.append(row)
    return rows
