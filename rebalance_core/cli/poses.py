"""`poses …`: cluster a dataset by pose and correct the clusters by hand."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rebalance_core.cli.common import Detach, Json, Seed, emit, start
from rebalance_core.datasets.dataset import Dataset, open_dataset
from rebalance_core.errors import UserError
from rebalance_core.poses.clustering import (
    PoseClustering,
    move_cluster,
    move_images,
    open_clustering,
    rename_pose,
    summary,
)
from rebalance_core.poses.config import PosesConfig
from rebalance_core.poses.versions import undo_change
from rebalance_core.poses.weights import WeightsConfig
from rebalance_core.workspace import Workspace


class PosesGroup(TyperGroup):
    """Accepts the earlier spelling `poses DATASET` where DATASET is not a command's name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert `cluster` before arguments that start with neither a command nor `--help`."""
        if args and args[0] != "--help" and args[0] not in self.commands:
            args = ["cluster", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=PosesGroup,
    no_args_is_help=True,
    help="Cluster each class of a dataset by pose, and correct the clusters by hand.",
)

Extractor = Annotated[
    str,
    typer.Option(
        help="hog, vgg16, resnet18, or auto: vgg16 if its weights are available, else hog."
    ),
]
Variance = Annotated[
    float | None,
    typer.Option(help="Fraction of variance to keep, instead of a number of components."),
]


@app.command("cluster")
def cluster(
    dataset: str,
    set_name: Annotated[
        str | None,
        typer.Option(
            "--fit-on", help="Fit on this training set's images, instead of all training ones."
        ),
    ] = None,
    extractor: Extractor = "auto",
    k: Annotated[
        str, typer.Option(help="Clusters per class: auto, per-class or a number.")
    ] = "auto",
    components: Annotated[int, typer.Option(help="Maximum number of PCA components.")] = 50,
    variance: Variance = None,
    precision: Annotated[
        str, typer.Option(help="Precision of the network: auto, fp32 or bf16.")
    ] = "auto",
    discard_corrections: Annotated[
        bool, typer.Option("--discard-corrections", help="Discard manual corrections.")
    ] = False,
    seed: Seed = 0,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Cluster each class of DATASET by pose."""
    workspace = Workspace.from_environment()
    opened = open_dataset(workspace, dataset)
    config = PosesConfig.build(
        dataset=dataset,
        set=set_name,
        extractor=extractor,
        k=int(k) if k.isdecimal() else k,
        components=components,
        variance=variance,
        precision=precision,
        discard_corrections=discard_corrections,
        seed=seed,
    )

    def result(_: object) -> dict[str, Any]:
        return _poses(opened, open_clustering(opened))

    start(config, detach, as_json, result)


def _poses(dataset: Dataset, clustering: PoseClustering) -> dict[str, Any]:
    return {"dataset": dataset.name, **summary(clustering)}


@app.command("show")
def show(dataset: str, as_json: Json = False) -> None:
    """Show the current poses of DATASET, with all corrections."""
    opened = open_dataset(Workspace.from_environment(), dataset)
    emit(_poses(opened, open_clustering(opened)), as_json)


@app.command("rename")
def rename(dataset: str, pose: str, new: str, as_json: Json = False) -> None:
    """Rename POSE to NEW in all classes of DATASET."""
    opened = open_dataset(Workspace.from_environment(), dataset)
    emit(_poses(opened, rename_pose(opened, pose, new)), as_json)


@app.command("move")
def move(
    dataset: str,
    pose: str,
    cluster: Annotated[
        str | None, typer.Option(help="A whole cluster, CLASS/NUMBER, such as glioma/2.")
    ] = None,
    image: Annotated[list[str] | None, typer.Option(help="A single image (repeat).")] = None,
    as_json: Json = False,
) -> None:
    """Move a cluster or single images into POSE, which is created if it does not exist."""
    opened = open_dataset(Workspace.from_environment(), dataset)
    if (cluster is None) == (not image):
        raise UserError("Name either one --cluster CLASS/NUMBER or --image ID (repeat).")
    if cluster is not None:
        label, _, number = cluster.rpartition("/")
        if not number.isdecimal():
            raise UserError(f"--cluster takes CLASS/NUMBER such as glioma/2, not {cluster!r}.")
        clustering = move_cluster(opened, label, int(number), pose)
    else:
        clustering = move_images(opened, image or [], pose)
    emit(_poses(opened, clustering), as_json)


@app.command("undo")
def undo(dataset: str, as_json: Json = False) -> None:
    """Undo the last change: a clustering, a new name or a move."""
    opened = open_dataset(Workspace.from_environment(), dataset)
    undo_change(opened.path)
    emit(_poses(opened, open_clustering(opened)), as_json)


@app.command("weights")
def weights(
    network: Annotated[str, typer.Argument(help="vgg16, resnet18 or inception.")] = "vgg16",
    file: Annotated[
        Path | None, typer.Option(help="A local .pth or .safetensors file instead of a download.")
    ] = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Download torchvision's pretrained weights of NETWORK, or import them from a local file."""
    local = None if file is None else str(file.expanduser().resolve())
    config = WeightsConfig.build(network=network, file=local)
    start(config, detach, as_json)
