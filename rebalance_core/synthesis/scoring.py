"""The job that measures a synthetic set against the real images its generator was trained on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

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
    frechet_from_features,
    has_near_duplicate,
    is_near_copy,
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

COMPONENTS = 32  # principal components of the Fréchet distance, except for Inception features
MIN_SIZE, MAX_SIZE = 32, 512  # px, of the scorer's input
SPLITS = 10  # random halves of the real images to average over
MIN_RELIABLE = 50  # images per side for metrics without a warning
TRAINING = 0.7  # fraction of the progress bar for training a scorer
Features = Literal["scorer", "resnet18", "vgg16", "inception"]


class Scorer(Protocol):
    """A classifier trained on the real images only."""

    def __call__(self, images: np.ndarray, /) -> tuple[np.ndarray, np.ndarray]:
        """uint8 (n, H, W, C) → class probabilities (n, K), features (n, d)."""


class ScoreConfig(Config):
    synthetic: SyntheticRef
    # scorer: a ResNet-18 trained on the real images of the training set; else a network with
    # ImageNet's weights
    features: Features = "scorer"
    epochs: int = Field(default=20, ge=1, le=1000)  # of that ResNet-18
    seed: Seed = 0  # of that ResNet-18 and of the random halves


def check_score(workspace: Workspace, config: ScoreConfig) -> SyntheticSet:
    """The set to score; raises UserError where the job would fail."""
    synthetic = open_synthetic(workspace, config.synthetic)
    if config.features != "scorer" and not has_weights(workspace, config.features):
        raise UserError(
            f"The weights of {config.features} are not available; download them with `poses "
            f"weights {config.features}`, or use the features of the scorer."
        )
    return synthetic


def score_job(workspace: Workspace, run: RunDirectory) -> Mapping[str, Any]:
    config = ScoreConfig.build(**run.config)
    synthetic = check_score(workspace, config)
    scores = score(workspace, config, synthetic, run).to_json()
    write_json(run.result / "scores.json", scores)
    return {"synthetic": synthetic.name, "scores": scores}


def score(workspace: Workspace, config: ScoreConfig, synthetic: SyntheticSet, run: Run) -> Scores:
    """Metrics of each class, and as their floor those of real images against real ones."""
    training_set = synthetic.training_set
    dataset = open_dataset(workspace, training_set.config.dataset)
    synthetic.check_images(dataset.channels)
    size = synthetic.provenance.size
    parts = {p: load_part(dataset, training_set, p, size) for p in ("train", "validation")}
    scorer = load_or_train_scorer(
        dataset, training_set, parts["train"], config.epochs, config.seed, run
    )
    run.progress(TRAINING, "searching near-copies among the real images")
    reference = Reference(
        **parts,
        has_near_duplicate=has_near_duplicate(parts["train"].images, dataset.symmetries),
        symmetries=dataset.symmetries,
        scorer=scorer,
        features=_load_features(workspace, config, scorer),
        components=n_components(config),
        seed=config.seed,
    )
    classes: dict[str, ClassScores] = {}
    total = len(synthetic.counts)
    for index, label in enumerate(synthetic.counts):
        run.progress(TRAINING + (1 - TRAINING) * index / total, f"measuring {label}")
        if run.should_stop():
            raise Cancelled
        classes[label] = _score_class(synthetic, label, reference)
    run.progress(1.0, "measured")
    return Scores(
        synthetic=synthetic.name,
        provenance=synthetic.provenance.digest,
        training_set=training_set.name,
        network=describe_network(config, training_set),
        components=n_components(config),
        titles=titles(config),
        scorer={"epochs": config.epochs, "seed": config.seed},
        classes=classes,
    )


def describe_network(config: ScoreConfig, training_set: TrainingSet) -> str:
    """The network whose features are compared, as text."""
    if config.features == "scorer":
        return f"a ResNet-18 trained on the real images of {training_set.name}"
    return f"{NETWORKS[config.features].title} with ImageNet's weights"


def n_components(config: ScoreConfig) -> int | None:
    """Number of principal components of the Fréchet distance; None for all dimensions."""
    return None if config.features == "inception" else COMPONENTS


def titles(config: ScoreConfig) -> dict[str, str]:
    """{metric: title}. None is called FID, which is defined with other weights, another resizing
    and more images (arXiv 2104.11222)."""
    if config.features == "inception":
        return default_titles() | {"frechet": INCEPTION_TITLE}
    return default_titles()


def load_or_train_scorer(
    dataset: Dataset, training_set: TrainingSet, real: Images, epochs: int, seed: int, run: Run
) -> Scorer:
    """A ResNet-18 trained on the real images of a training set, stored with the dataset.

    Raises UserError where the stored one is damaged.
    """
    from rebalance_core.classifiers import features
    from rebalance_core.classifiers.config import ClassifierConfig
    from rebalance_core.classifiers.loading import load_classifier
    from rebalance_core.training.device import create_accelerator

    size = int(np.clip(real.images.shape[1], MIN_SIZE, MAX_SIZE))
    real = replace(real, images=resize_images(real.images, size))
    settings = ClassifierConfig(size=size, epochs=epochs, lr=0.01, cosine=True)
    record = {
        "fingerprint": training_set.fingerprint,
        "train": training_set.train,
        "classes": training_set.classes,
        "fit": training_set.config.fit,
        "settings": settings.model_dump(mode="json"),
        "seed": seed,
    }
    # In the dataset's folder, so that it is removed with the dataset.
    folder = dataset.path / "scorers" / digest(record)
    if not folder.exists():

        def after_epoch(loss: float, state: dict[str, Any]) -> None:
            run.log(state["epoch"], **{"loss scorer": loss})
            run.progress(
                TRAINING * state["epoch"] / epochs, f"scorer, epoch {state['epoch']} of {epochs}"
            )
            run.checkpoint_or_stop(state)

        checkpoint = run.restore()
        run.log(checkpoint["epoch"] if checkpoint else 0, event="start")
        trained = features.train_scorer(
            settings, real, training_set.classes, seed, state=checkpoint, after_epoch=after_epoch
        )
        try:
            with atomic_folder(folder) as temp:
                trained.model.save_pretrained(temp)
                write_json(temp / "scorer.json", record)
        except UserError:
            if not folder.exists():
                raise  # else another run has stored the same scorer in the meantime
    try:
        model = load_classifier(folder)
        stored = digest(read_json(folder / "scorer.json"))
    except UserError as error:
        raise UserError(f"{error} Remove {folder}, and the scorer is trained again.") from error
    if model.classes != list(training_set.classes) or stored != digest(record):
        raise UserError(
            f"{folder} contains another scorer; remove that folder, and the scorer is trained "
            "again."
        )
    scorer = features.Scorer(model.to(create_accelerator(settings.precision).device))
    return lambda images: scorer(resize_images(images, size))


def _load_features(
    workspace: Workspace, config: ScoreConfig, scorer: Scorer
) -> Callable[[np.ndarray], np.ndarray]:
    """The feature extractor of a config: uint8 (n, H, W, C) → (n, d)."""
    if config.features == "scorer":
        return lambda images: scorer(images)[1]
    from rebalance_core.poses.networks import load_extractor, resolved_precision

    extract = load_extractor(
        config.features, weights_path(workspace, config.features), resolved_precision("auto")
    )
    size = NETWORKS[config.features].size
    return lambda images: extract(resize_images(images, size))


@dataclass(frozen=True)
class Reference:
    """What the generated images of every class are compared with, and how."""

    train: Images
    validation: Images
    has_near_duplicate: np.ndarray  # of the training images among themselves, bool (n,)
    symmetries: tuple[int, ...]  # of the dataset
    scorer: Scorer
    features: Callable[[np.ndarray], np.ndarray]  # uint8 (n, H, W, C) → (n, d)
    components: int | None  # of the Fréchet distance; None: all dimensions
    seed: int


def _score_class(synthetic: SyntheticSet, label: str, reference: Reference) -> ClassScores:
    """The metrics of one class, and warnings where it has few images."""
    index = synthetic.training_set.class_index(label)
    generated = synthetic.images(label)
    train, validation = reference.train, reference.validation
    real, unseen = (part.images[part.labels == index] for part in (train, validation))
    half, dimensions = min(len(real) // 2, len(generated)), 0
    metrics = {
        "near_copy_rate": Metric(
            generated=_mean(is_near_copy(generated, train.images, reference.symmetries)),
            real=_mean(reference.has_near_duplicate[train.labels == index]),
        ),
        "label_accuracy": Metric(
            generated=_accuracy(reference.scorer, generated, index),
            real=_accuracy(reference.scorer, unseen, index),  # the scorer was not trained on these
        ),
    }
    if half > NEIGHBOURS:
        real_features, features = reference.features(real), reference.features(generated)
        dimensions = reference.components or real_features.shape[1]
        metrics |= compare_to_floor(
            real_features, features, half, reference.seed, reference.components
        )
    return ClassScores(
        images=len(generated),
        real=len(real),
        compared=half,
        metrics={name: metrics[name] for name in METRICS if name in metrics},
        warnings=few_images_warnings(label, half, dimensions),
    )


def compare_to_floor(
    real: np.ndarray,
    generated: np.ndarray,
    half: int,
    seed: int,
    components: int | None = COMPONENTS,
) -> dict[str, Metric]:
    """Metrics of `half` generated against `half` real features, and of two halves of the real ones.

    Means and standard deviations over SPLITS random draws. `real`: (n, d), `generated`: (m, d);
    the Fréchet distance uses the leading `components` of the real ones, or all d dimensions.
    """
    project = principal_components(real, components) if components else np.asarray
    values: dict[str, list[tuple[float, float]]] = {}
    for split in range(SPLITS):
        random = np.random.default_rng([seed, split])
        order = random.permutation(len(real))
        sample = generated[random.permutation(len(generated))[:half]]
        first, second = real[order[:half]], real[order[half : 2 * half]]
        of_generated, of_real = (_measure(first, other, project) for other in (sample, second))
        for name in of_generated:
            values.setdefault(name, []).append((of_generated[name], of_real[name]))
    metrics = {}
    for name, pairs in values.items():
        (mean, floor), (spread, floor_spread) = np.mean(pairs, axis=0), np.std(pairs, axis=0)
        metrics[name] = Metric(
            generated=round(float(mean), 4),
            real=round(float(floor), 4),
            generated_spread=round(float(spread), 4),
            real_spread=round(float(floor_spread), 4),
        )
    return metrics


def _measure(
    real: np.ndarray, other: np.ndarray, project: Callable[[np.ndarray], np.ndarray]
) -> dict[str, float]:
    neighbours = neighbourhoods(real, other)
    return {
        "frechet": frechet_from_features(project(real), project(other)),
        "kernel": 1000 * kernel_distance(real, other),
        "precision": neighbours.precision,
        "recall": neighbours.recall,
        "density": neighbours.density,
        "coverage": neighbours.coverage,
    }


def _accuracy(scorer: Scorer, images: np.ndarray, index: int) -> float | None:
    """Fraction of images that the scorer classifies as class `index`; None without images."""
    return _mean(scorer(images)[0].argmax(axis=1) == index) if len(images) else None


def _mean(mask: np.ndarray) -> float | None:
    return round(float(mask.mean()), 4) if len(mask) else None


def few_images_warnings(label: str, half: int, dimensions: int) -> list[str]:
    """At most one warning, where metrics of `half` images per side are unreliable.

    `dimensions`: of the Fréchet distance.
    """
    if half <= NEIGHBOURS:
        return [
            f"{label}: too few images to split in halves ({half} per side); only near-copies and "
            "the classification are reported."
        ]
    fewer = f"fewer than the {dimensions} dimensions of the Fréchet distance"
    if half < MIN_RELIABLE:
        detail = f", {fewer}," if half < dimensions else ""
        return [
            f"{label}: {half} images per side{detail} are few; a difference from the real images' "
            "value that is no larger than this value is not meaningful."
        ]
    if half < dimensions:
        return [
            f"{label}: {half} images per side are {fewer}, which is then biased upwards; compare "
            "it only with the real images' value, not with those of other papers."
        ]
    return []


def find_scoring(workspace: Workspace, synthetic: SyntheticSet) -> RunView | None:
    """The newest run that scores or scored this synthetic set, and not an earlier one of its
    name."""
    for view in list_runs(workspace, "score"):
        if view.config.get("synthetic") == synthetic.name:
            if view.status != "done":
                return view
            try:
                digest_when_scored = read_scores(view).provenance
            except UserError:  # show what is damaged, until the set is scored again
                return view
            if digest_when_scored == synthetic.provenance.digest:
                return view
    return None


def count_near_copies(dataset: Dataset, synthetic: SyntheticSet) -> dict[str, int]:
    """{class: generated images that are near-duplicates of a training image of any class}."""
    real = load_part(dataset, synthetic.training_set, "train", synthetic.provenance.size).images
    return {
        label: int(is_near_copy(synthetic.images(label), real, dataset.symmetries).sum())
        for label in synthetic.counts
    }


def score_table(scores: Scores) -> list[dict[str, Any]]:
    """One row per class: each metric of the generated images and of the real ones."""
    rows = []
    for label, class_scores in scores.classes.items():
        row: dict[str, Any] = {
            "class": label,
            "images": class_scores.images,
            "real images": class_scores.real,
            "compared": class_scores.compared,
        }
        for name, title in scores.titles.items():
            metric = class_scores.metrics.get(name, Metric())
            row |= {title: metric.generated, f"{title}, real": metric.real}
        rows.append(row)
    return rows
