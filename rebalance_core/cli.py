"""`python -m rebalance_core …`: everything a page can do, without a browser."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from typer.core import TyperGroup

from rebalance_core.comparison.cells import save_set_of_seed
from rebalance_core.comparison.config import CompareConfig
from rebalance_core.config import Config, parse_changes
from rebalance_core.datasets.dataset import Dataset, export_dataset, list_datasets, open_dataset
from rebalance_core.datasets.duplicates import DEFAULT_DIFFERENCE, MAX_DIFFERENCE
from rebalance_core.datasets.health import brightness, duplicate_facts, forms
from rebalance_core.datasets.importing import check_free
from rebalance_core.datasets.source import BUILT_IN, KAGGLE, ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.generators.spec import generator_specs
from rebalance_core.imaging.grid import png_bytes
from rebalance_core.poses.clustering import (
    PosesConfig,
    move_cluster,
    move_images,
    open_clustering,
    prepare_poses,
    rename_pose,
    summary,
)
from rebalance_core.poses.versions import step_back
from rebalance_core.poses.weights import WeightsConfig
from rebalance_core.removal import (
    dependents,
    remove_run_with_dependents,
    remove_with_warning,
    run_dependents,
)
from rebalance_core.runs.executor import (
    RunView,
    cancel,
    describe,
    list_runs,
    open_run,
    remove_run,
    resume,
    submit,
    view_run,
)
from rebalance_core.runs.lineage import parents
from rebalance_core.runs.run import read_metrics, unreadable_metrics
from rebalance_core.runs.trust import check_named, named_network, own_network
from rebalance_core.runs.upkeep import clean, difference, read_log, run_size, spare_checkpoints
from rebalance_core.synthesis.bringing import prepare_bring
from rebalance_core.synthesis.exporting import export_synthetic
from rebalance_core.synthesis.quiz import WORDS as QUIZ_WORDS
from rebalance_core.synthesis.quiz import (
    hand_in,
    parse_answers,
    quiz_of,
    read_tally,
    tally_words,
    write_quiz,
)
from rebalance_core.synthesis.synthetic_set import (
    list_synthetic,
    open_all_synthetic,
    open_synthetic,
    remove_synthetic,
    synthetic_path,
)
from rebalance_core.system.exposure import LOCAL, exposure
from rebalance_core.system.files import room, write_bytes
from rebalance_core.training_sets.config import AS_IT_IS, SetConfig
from rebalance_core.training_sets.load import absence_notes
from rebalance_core.training_sets.resolve import make_set, open_set, open_sets
from rebalance_core.training_sets.skew import skewed_counts
from rebalance_core.workspace import Workspace, home

FOLLOW_POLL = 0.3  # seconds

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
datasets = typer.Typer(no_args_is_help=True, help="Import, list, show, export, remove datasets.")
sets = typer.Typer(no_args_is_help=True, help="Make and show training sets.")
synthetic = typer.Typer(
    no_args_is_help=True, help="Bring images made elsewhere; list, show, remove synthetic sets."
)
runs = typer.Typer(no_args_is_help=True, help="See and steer runs.")
app.add_typer(datasets, name="datasets")
app.add_typer(sets, name="sets")
app.add_typer(synthetic, name="synthetic")
app.add_typer(runs, name="runs")
quiz = typer.Typer(no_args_is_help=True, help="Real or generated? Twenty images, and a tally.")
app.add_typer(quiz, name="quiz")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Detach = Annotated[bool, typer.Option(help="Hand it to a process of its own and return at once.")]
Preset = Annotated[str, typer.Option(help="quick, small, paper or strong.")]
Seed = Annotated[int, typer.Option(help="Of everything random.")]

console = Console(stderr=True)


def main() -> None:
    """Run the command line; what a person can mend is one sentence and exit code 2."""
    try:
        with room(home()):
            app()
    except UserError as error:
        _refuse(str(error))


def _refuse(sentence: str) -> NoReturn:
    console.print(sentence, style="red", markup=False, emoji=False, highlight=False, soft_wrap=True)
    sys.exit(2)


def confirm(question: str) -> None:
    """Ask on stderr, so that stdout holds the result and nothing else."""
    typer.echo(f"{question} [y/N]: ", nl=False, err=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise typer.Abort


def say(value: Mapping[str, Any], as_json: bool) -> None:
    """The result on stdout: one JSON object, or lines for a person."""
    if as_json:
        print(json.dumps(value, ensure_ascii=False))
        return
    for name, item in value.items():
        text = json.dumps(item, ensure_ascii=False) if isinstance(item, dict | list) else item
        print(f"{name}: {text}")


def warn_of_damaged(workspace: Workspace) -> None:
    """Name on stderr the synthetic sets that were passed over because they cannot be read."""
    for sentence in open_all_synthetic(workspace)[1].values():
        console.print(
            f"Skipped: {sentence}",
            style="yellow",
            markup=False,
            highlight=False,
            emoji=False,
            soft_wrap=True,
        )


def start(
    kind: str, config: Config, name: str, detach: bool, as_json: bool, seed: int = 0,
    result: Callable[[RunView], Mapping[str, Any]] = lambda view: view.result,
    parents: list[str] | None = None, network: str | None = None,
) -> None:  # fmt: skip
    """Submit a run; follow it to its end, or leave it."""
    workspace = Workspace.here()
    values = config.model_dump(mode="json")
    view = submit(workspace, kind, values, name=name, seed=seed, parents=parents, network=network)
    if detach:
        say({"run": view.id, "status": view.status}, as_json)
        return
    view = to_its_end(view)
    say({"run": view.id, **result(view)}, as_json)


def to_its_end(view: RunView) -> RunView:
    """`follow`; raises UserError if the run did not get done."""
    view = follow(view)
    if view.status != "done":
        raise UserError(f"Run {view.id} {view.status}: {view.state.get('reason')}")
    return view


def follow(view: RunView) -> RunView:
    """Show progress on stderr until the run ends; Ctrl-C asks it to stop."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(view.name, total=1.0)
        while view.live:
            try:
                time.sleep(FOLLOW_POLL)
            except KeyboardInterrupt:
                cancel(Workspace(view.path.parent.parent), view.id)
                console.print("Asked it to stop; it keeps a checkpoint.")
            view = view_run(view.path)
            stage = view.progress["stage"] or view.status
            bar.update(task, completed=view.progress["fraction"], description=stage)
    return view


def show_dataset(dataset: Dataset, difference: float = DEFAULT_DIFFERENCE) -> dict[str, Any]:
    counts = dataset.counts()
    train = counts.get("train", {})
    return {
        "dataset": dataset.name,
        "classes": dataset.classes,
        "channels": dataset.channels,
        "fingerprint": dataset.fingerprint,
        "counts": counts,
        "imbalance_ratio": round(max(train.values()) / max(1, min(train.values())), 3),
        "unreadable": dataset.manifest["unreadable"],
        "duplicates": duplicate_facts(dataset, difference),
        "brightness": brightness(dataset).round(3).to_dict("index"),
        "forms": forms(dataset).round(3).to_dict("index"),
        "path": str(dataset.path),
    }


@datasets.command("add")
def datasets_add(
    name: str,
    source: Annotated[
        str,
        typer.Argument(
            help="phantom, digits, path of a zip, folder or CSV, kaggle, or kaggle:owner/dataset"
        ),
    ],
    count: Annotated[int, typer.Option(help="Images of the phantom.")] = 1000,
    size: Annotated[int, typer.Option(help="Pixels of the phantom's images.")] = 128,
    seed: Seed = 0,
    max_files: Annotated[int, typer.Option(help="Refuse a zip of more files.")] = 500_000,
    max_gib: Annotated[float, typer.Option(help="Refuse a zip of more GiB unpacked.")] = 64.0,
    max_ratio: Annotated[float, typer.Option(help="Refuse a zip packed more tightly.")] = 200.0,
    as_json: Json = False,
) -> None:
    """Import a dataset under NAME and look for its faults."""
    workspace = Workspace.here()
    check_free(workspace, name)
    here = source in BUILT_IN or source.partition(":")[0] == KAGGLE
    config = ImportConfig.build(
        name=name, source=source if here else str(Path(source).expanduser().resolve()),
        count=count, size=size, seed=seed,
        max_files=max_files, max_gib=max_gib, max_ratio=max_ratio,
    )  # fmt: skip
    start("import", config, f"import {name}", False, as_json, seed,
          lambda view: show_dataset(open_dataset(workspace, name)))  # fmt: skip


@datasets.command("list")
def datasets_list(as_json: Json = False) -> None:
    """All datasets with their counts, or with what is wrong with them."""
    workspace = Workspace.here()
    told: dict[str, Any] = {}
    for name in list_datasets(workspace):
        try:
            told[name] = open_dataset(workspace, name).counts()
        except UserError as error:
            told[name] = str(error)
    say({"datasets": told} if as_json else told or {"datasets": "none yet"}, as_json)


@datasets.command("show")
def datasets_show(
    name: str,
    difference: Annotated[
        float, typer.Option(min=0, max=MAX_DIFFERENCE, help="Of near-duplicates at most.")
    ] = DEFAULT_DIFFERENCE,
    as_json: Json = False,
) -> None:
    """Classes, counts and faults: unreadable files, duplicates, brightness, forms."""
    say(show_dataset(open_dataset(Workspace.here(), name), difference), as_json)


@datasets.command("export")
def datasets_export(name: str, folder: Path, as_json: Json = False) -> None:
    """Copy the originals into a new FOLDER, as they were imported."""
    dataset = open_dataset(Workspace.here(), name)
    export_dataset(dataset, folder.resolve())
    say({"dataset": name, "folder": str(folder.resolve())}, as_json)


@datasets.command("remove")
def datasets_remove(
    name: str, yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Remove a dataset; what was made of it stays but cannot be continued."""
    workspace = Workspace.here()
    if name not in list_datasets(workspace):
        open_dataset(workspace, name)  # says which there are
    if not yes:
        left = dependents(workspace, name).words
        told = f" What depends on it stays but cannot be continued: {left}." if left else ""
        confirm(f"Remove dataset {name} with all its images?{told}")
    say({"removed": name, "left": remove_with_warning(workspace, name).words}, as_json)


@sets.command("make")
def sets_make(
    name: str,
    dataset: str,
    split: Annotated[str, typer.Option(help="official or clean")] = "official",
    difference: Annotated[
        float, typer.Option(help="Of near-duplicates at most, for clean.")
    ] = DEFAULT_DIFFERENCE,
    skew: Annotated[str, typer.Option(help="step:20, long:50 or class=n,class=n")] = AS_IT_IS,
    poses: Annotated[list[str] | None, typer.Option(help="Keep only this pose (repeat).")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many training images.")] = None,
    validation: Annotated[float, typer.Option(help="Share of training, if none came.")] = 0.15,
    fit: Annotated[str, typer.Option(help="To squares: pad, stretch or crop.")] = "pad",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Cut a training set from DATASET and save it."""
    workspace = Workspace.here()
    config = SetConfig.build(
        dataset=dataset, split=split, difference=difference, skew=skew, poses=tuple(poses or ()),
        limit=limit, validation=validation, fit=fit, seed=seed,
    )  # fmt: skip
    made = make_set(workspace, name, config)
    notes = absence_notes(open_dataset(workspace, dataset), made)
    parts = {p: len(getattr(made, p)) for p in ("train", "validation", "test")}
    about = {"set": name, "split": split, "counts": made.counts, "ratio": made.ratio, **parts}
    say({**about, "dropped": made.dropped, "notes": notes}, as_json)


@sets.command("redraw")
def sets_redraw(
    name: str,
    seed: Annotated[int, typer.Option(help="Of the new set: NAME-seed<n>.")] = 1,
    as_json: Json = False,
) -> None:
    """Save the training set that differs from NAME in its seed alone, for `compare --redraw`."""
    workspace = Workspace.here()
    made = save_set_of_seed(workspace, name, seed)
    notes = absence_notes(open_dataset(workspace, made.config.dataset), made)
    say({"set": made.name, "counts": made.counts, "notes": notes}, as_json)


@sets.command("list")
def sets_list(as_json: Json = False) -> None:
    """All saved training sets with their counts, or what is wrong with them."""
    workspace = Workspace.here()
    found, damaged = open_sets(workspace)
    told: dict[str, Any] = {chosen.name: chosen.counts for chosen in found} | damaged
    told = {name: told[name] for name in sorted(told)}
    say({"sets": told} if as_json else told or {"sets": "none yet"}, as_json)


@sets.command("show")
def sets_show(name: str, as_json: Json = False) -> None:
    """A training set with its image ids."""
    say(open_set(Workspace.here(), name).to_json(), as_json)


class PosesGroup(TyperGroup):
    """`poses DATASET …` beside `poses rename …`: what names no command is a dataset."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] != "--help" and args[0] not in self.commands:
            args = ["cluster", *args]
        return super().parse_args(ctx, args)


poses = typer.Typer(
    cls=PosesGroup, no_args_is_help=True,
    help="Cluster each class by pose: `poses DATASET` (`poses cluster DATASET`); correct by hand.",
)  # fmt: skip
app.add_typer(poses, name="poses")


@poses.command("cluster")
def poses_cluster(
    dataset: str,
    extractor: Annotated[
        str, typer.Option(help="auto (vgg16 where its weights are here, else hog), or a name")
    ] = "auto",
    k: Annotated[str, typer.Option(help="auto, per-class or a number")] = "auto",
    components: Annotated[int, typer.Option(help="Of the PCA, at most.")] = 50,
    variance: Annotated[
        float | None, typer.Option(help="Share of it to keep, instead of a number of components.")
    ] = None,
    precision: Annotated[str, typer.Option(help="Of the network: auto, fp32 or bf16.")] = "auto",
    discard_corrections: Annotated[
        bool, typer.Option("--discard-corrections", help="Those by hand may go.")
    ] = False,
    seed: Seed = 0,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Cluster each class of DATASET by pose; `poses DATASET` is short for it."""
    workspace = Workspace.here()
    found = open_dataset(workspace, dataset)
    config = prepare_poses(
        workspace,
        PosesConfig.build(
            dataset=dataset, extractor=extractor, k=int(k) if k.isdecimal() else k,
            components=components, variance=variance, precision=precision,
            discard_corrections=discard_corrections, seed=seed,
        ),
    )  # fmt: skip
    start("poses", config, f"poses of {dataset}", detach, as_json, seed,
          lambda view: {"dataset": dataset, **summary(open_clustering(found))})  # fmt: skip


@poses.command("show")
def poses_show(dataset: str, as_json: Json = False) -> None:
    """The poses as they are now, with all corrections."""
    found = open_dataset(Workspace.here(), dataset)
    say({"dataset": dataset, **summary(open_clustering(found))}, as_json)


@poses.command("rename")
def poses_rename(dataset: str, pose: str, new: str, as_json: Json = False) -> None:
    """Give POSE the name NEW in all classes of DATASET."""
    clustering = rename_pose(open_dataset(Workspace.here(), dataset), pose, new)
    say({"dataset": dataset, **summary(clustering)}, as_json)


@poses.command("move")
def poses_move(
    dataset: str,
    pose: str,
    cluster: Annotated[str | None, typer.Option(help="A whole one, as glioma/2.")] = None,
    image: Annotated[list[str] | None, typer.Option(help="A single one (repeat).")] = None,
    as_json: Json = False,
) -> None:
    """Put a cluster, or single images, into POSE (a new one if there is none of that name)."""
    found = open_dataset(Workspace.here(), dataset)
    if (cluster is None) == (not image):
        raise UserError("Name either one --cluster CLASS/NUMBER or --image ID (repeat).")
    if cluster is not None:
        label, _, number = cluster.rpartition("/")
        if not number.isdecimal():
            raise UserError(f"--cluster takes CLASS/NUMBER such as glioma/2, not {cluster!r}.")
        clustering = move_cluster(found, label, int(number), pose)
    else:
        clustering = move_images(found, image or [], pose)
    say({"dataset": dataset, **summary(clustering)}, as_json)


@poses.command("undo")
def poses_undo(dataset: str, as_json: Json = False) -> None:
    """Take back the last change: a clustering, a new name or a move."""
    found = open_dataset(Workspace.here(), dataset)
    step_back(found.path)
    say({"dataset": dataset, **summary(open_clustering(found))}, as_json)


@poses.command("weights")
def poses_weights(
    network: Annotated[str, typer.Argument(help="vgg16, resnet18 or inception")] = "vgg16",
    file: Annotated[
        Path | None, typer.Option(help="A local .pth or .safetensors, instead of a download.")
    ] = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Fetch torchvision's pretrained weights of NETWORK, or take them from a local file."""
    local = None if file is None else str(file.expanduser().resolve())
    config = WeightsConfig.build(network=network, file=local)
    start("weights", config, f"weights of {network}", detach, as_json)


@app.command()
def train(
    generator: Annotated[str, typer.Argument(help=", ".join(generator_specs()))],
    set_name: Annotated[str, typer.Argument(metavar="SET")],
    preset: Preset = "quick",
    label: Annotated[
        list[str] | None, typer.Option("--class", help="Only this class (ddpm; repeat).")
    ] = None,
    change: Annotated[list[str] | None, typer.Option("--set", help="field=value (repeat)")] = None,
    seed: Seed = 0,
    go_on: Annotated[
        str | None,
        typer.Option(
            "--continue", metavar="RUN_ID", help="Go on from its last checkpoint; --set epochs=…"
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--from", help="Take the trained generator in this folder.")
    ] = None,
    only_estimate: Annotated[
        bool, typer.Option("--estimate", help="Say how long and how large; train nothing.")
    ] = False,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Train a generator on a training set, go on with one, or take a trained one."""
    from rebalance_core.generators.estimate import estimate_here
    from rebalance_core.generators.training import TrainConfig, continued, from_folder

    workspace = Workspace.here()
    changes: dict[str, Any] = dict(parse_changes(change or []))
    if go_on is not None and folder is not None:
        raise UserError("--continue and --from exclude each other: choose one.")
    if (go_on is not None and label) or (folder is not None and (label or changes)):
        raise UserError("--class and --set don't change what was trained; leave them out.")
    if go_on is not None:
        config = continued(workspace, go_on, **changes)
    elif folder is not None:
        config = from_folder(workspace, str(folder), set_name)
    else:
        chosen = open_set(workspace, set_name)
        if label:
            if unknown := [c for c in label if c not in chosen.classes]:
                known = ", ".join(chosen.classes)
                raise UserError(f"There is no class {unknown[0]!r} in {set_name}; it has {known}.")
            changes["classes"] = tuple(label)
        config = TrainConfig.make(generator, set_name, preset, **{"seed": seed, **changes})
    if (config.generator, config.set) != (generator, set_name):
        raise UserError(f"That is a {config.generator} on {config.set}; name these two.")
    if only_estimate:
        if go_on is not None or folder is not None:
            raise UserError("--estimate works only for new trainings.")
        found = estimate_here(workspace, config.generator, config.training, chosen)
        if found is None:
            raise UserError(f"--estimate does not know what a {config.generator} costs.")
        say(asdict(found), as_json)
        return
    name = f"{generator} on {set_name}"
    seed = config.training.model_dump()["seed"]
    parents = [config.continues] if config.continues else None
    start("train", config, name, detach, as_json, seed, parents=parents)


@app.command()
def sample(
    run_id: str,
    name: str,
    label: Annotated[list[str] | None, typer.Option("--class", help="Repeat for several.")] = None,
    count: Annotated[int, typer.Option(help="Images a class.")] = 1000,
    sampler: Annotated[str | None, typer.Option(help="ddpm, ddim, dpm-solver++ or unipc")] = None,
    steps: Annotated[int | None, typer.Option(help="Of the sampler.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Of conditional-ddpm: 1 none, above 1 nearer its class")
    ] = None,
    truncation: Annotated[float | None, typer.Option(help="Of bagan-gp's latents: ±t")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="name=value of the generator's sampler (repeat).")
    ] = None,
    seed: Seed = 0,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Sample a trained generator into synthetic set NAME."""
    from rebalance_core.synthesis.sampling import SampleConfig, check_sample

    workspace = Workspace.here()
    config = SampleConfig.build(
        run=run_id, name=name, count=count, classes=tuple(label or ()), seed=seed,
        sampler=sampler, steps=steps, guidance=guidance, truncation=truncation,
        options=parse_changes(option or []),
    )  # fmt: skip
    check_sample(workspace, config)
    start("sample", config, f"sample {name}", detach, as_json, seed)


@synthetic.command("add")
def synthetic_add(
    name: str,
    folder: str,
    set_name: Annotated[str, typer.Argument(metavar="SET", help="All that their maker saw.")],
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Bring images made elsewhere, <class>/*.png in FOLDER, as synthetic set NAME.

    That their generator was trained on training set SET alone is your word; it is unverified.
    """
    workspace = Workspace.here()
    config = prepare_bring(workspace, name, folder, set_name)
    start("bring", config, f"bring {name}", detach, as_json,
          result=lambda view: open_synthetic(workspace, name).about)  # fmt: skip


@synthetic.command("list")
def synthetic_list(as_json: Json = False) -> None:
    """All synthetic sets, oldest first, or what is wrong with them."""
    workspace = Workspace.here()
    found, damaged = open_all_synthetic(workspace)
    told: dict[str, Any] = dict(damaged)
    for each in found:
        told[each.name] = {k: each.about[k] for k in ("generator", "set", "size", "counts")}
    told = {name: told[name] for name in list_synthetic(workspace) if name in told}
    say({"synthetic": told} if as_json else told or {"synthetic": "none yet"}, as_json)


@synthetic.command("show")
def synthetic_show(name: str, as_json: Json = False) -> None:
    """What a synthetic set holds, and where it came from."""
    say(open_synthetic(Workspace.here(), name).about, as_json)


@synthetic.command("grid")
def synthetic_grid(
    name: str,
    file: Annotated[Path, typer.Argument(help="A PNG that isn't there yet.")],
    count: Annotated[int, typer.Option(min=1, max=100, help="Images a class.")] = 16,
    as_json: Json = False,
) -> None:
    """A picture: the first images of each class by seed, each above its nearest training image."""
    from rebalance_core.synthesis.pictures import sample_picture

    workspace = Workspace.here()
    found = open_synthetic(workspace, name)
    if file.suffix.lower() != ".png" or file.exists() or not file.parent.is_dir():
        raise UserError(f"{file} is no new PNG in an existing folder; name one.")
    dataset = open_dataset(workspace, found.training_set.config.dataset)
    write_bytes(file, png_bytes(sample_picture(dataset, found, count)))
    say({"picture": str(file), "classes": list(found.counts)}, as_json)


@synthetic.command("export")
def synthetic_export(
    name: str,
    target: Annotated[Path, typer.Argument(help="A new folder, or a new file that ends in .zip.")],
    as_json: Json = False,
) -> None:
    """Copy a synthetic set with its provenance into a folder or a zip."""
    say({"exported": str(export_synthetic(Workspace.here(), name, target))}, as_json)


@synthetic.command("remove")
def synthetic_remove(
    name: str, yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Remove a synthetic set; what was compared with it stays."""
    workspace = Workspace.here()
    synthetic_path(workspace, name)  # says which there are
    if not yes:
        confirm(f"Remove synthetic set {name} with all its images?")
    remove_synthetic(workspace, name)
    say({"removed": name}, as_json)


@app.command("score")
def score_synthetic(
    synthetic_name: Annotated[str, typer.Argument(metavar="SYNTHETIC")],
    features: Annotated[
        str,
        typer.Option(
            help="Of: scorer (trained on the same set); resnet18, vgg16 or inception (ImageNet)"
        ),
    ] = "scorer",
    epochs: Annotated[int, typer.Option(help="Of the scorer.")] = 20,
    seed: Seed = 0,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Measure a synthetic set beside the real images that its generator learned from."""
    from rebalance_core.synthesis.scoring import ScoreConfig, check_score

    workspace = Workspace.here()
    config = ScoreConfig.build(
        synthetic=synthetic_name, features=features, epochs=epochs, seed=seed
    )
    check_score(workspace, config)
    start("score", config, f"score {synthetic_name}", detach, as_json, seed)


@app.command("filter")
def filter_synthetic(
    synthetic_name: Annotated[str, typer.Argument(metavar="SYNTHETIC")],
    name: Annotated[str, typer.Argument(help="Of the set that is made.")],
    confidence: Annotated[
        float | None, typer.Option(help="Least probability of its class, by the scorer.")
    ] = None,
    distance: Annotated[
        float | None,
        typer.Option(help="Quantile of real images' distances to their nearest: none is farther."),
    ] = None,
    copies: Annotated[
        bool,
        typer.Option("--copies", help="Drop near-copies of real images."),
    ] = False,
    twin: Annotated[bool, typer.Option("--twins", help="Drop near-copies of each other.")] = False,
    without: Annotated[
        list[str] | None, typer.Option(help="class/000000.png,class/000003.png … by hand.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Of the scorer.")] = 20,
    seed: Seed = 0,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Make synthetic set NAME of the images of SYNTHETIC that pass the filters named.

    Mirrored, flipped and turned copies are not found.
    """
    from rebalance_core.synthesis.filtering import FilterConfig, check_filter, named_images

    workspace = Workspace.here()
    config = FilterConfig.build(
        synthetic=synthetic_name, name=name, confidence=confidence, distance=distance,
        copies=copies, twins=twin, without=named_images(without or ()), epochs=epochs, seed=seed,
    )  # fmt: skip
    check_filter(workspace, config)
    start("filter", config, f"filter {synthetic_name} to {name}", detach, as_json, seed)


@app.command()
def denoise(
    run_id: str,
    label: Annotated[str, typer.Argument(metavar="CLASS")],
    count: Annotated[int, typer.Option(help="Images, side by side.")] = 8,
    first: Annotated[int, typer.Option(help="Number of the first, by the seed.")] = 0,
    frames: Annotated[int, typer.Option(help="Pictures on the way, at most.")] = 21,
    sampler: Annotated[str | None, typer.Option(help="ddpm, ddim, dpm-solver++ or unipc")] = None,
    steps: Annotated[int | None, typer.Option(help="Of the sampler.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Of conditional-ddpm.")] = None,
    seed: Seed = 0,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Show how a diffusion model takes images out of noise; pictures in result/frames."""
    from rebalance_core.synthesis.denoising import DenoiseConfig, check_denoise

    workspace = Workspace.here()
    config = DenoiseConfig.build(
        run=run_id, label=label, count=count, first=first, frames=frames, sampler=sampler,
        steps=steps, guidance=guidance, seed=seed,
    )  # fmt: skip
    check_denoise(workspace, config)
    start("denoise", config, f"{label} out of noise", detach, as_json, seed)


@quiz.command("make")
def quiz_make(
    name: Annotated[str, typer.Argument(metavar="SYNTHETIC")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Write twenty images, half real and half generated, as 01.png to 20.png."""
    write_quiz(quiz_of(Workspace.here(), name, seed), folder)
    say({"folder": str(folder.resolve()), "seed": seed}, as_json)


@quiz.command("answer")
def quiz_answer(
    name: Annotated[str, typer.Argument(metavar="SYNTHETIC")],
    answers: Annotated[str, typer.Argument(help="r for real, g for generated: r,g,g,…")],
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Count the right answers to the quiz of this seed, and keep them for the tally."""
    workspace = Workspace.here()
    asked, told = quiz_of(workspace, name, seed), parse_answers(answers)
    right = hand_in(workspace, asked, told)
    wrong = [f"{n:02d}.png is {QUIZ_WORDS[t]}" for n, (a, t)
             in enumerate(zip(told, asked.truth, strict=True), 1) if a != t]  # fmt: skip
    say({"right": right, "of": len(asked.truth), "wrong": wrong}, as_json)


@quiz.command("tally")
def quiz_tally(
    name: Annotated[str, typer.Argument(metavar="SYNTHETIC")], as_json: Json = False
) -> None:
    """How often generated images were taken for real, over all who tried."""
    workspace = Workspace.here()
    open_synthetic(workspace, name)
    found = read_tally(workspace, name)
    if found is None:
        raise UserError(f"Nobody has tried the quiz of {name} yet; `quiz make` writes one.")
    told = {"attempts": found.attempts, "text": tally_words(name, found)}
    for field in ("taken_for_real", "taken_for_generated"):
        share = getattr(found, field)
        told[field] = {"count": share.count, "total": share.total, "interval": share.interval}
    say(told if as_json else {"tally": told["text"]}, as_json)


@app.command()
def interpolate(
    run_id: str,
    start_class: Annotated[str, typer.Argument(metavar="START")],
    end_class: Annotated[str, typer.Argument(metavar="END")],
    count: Annotated[int, typer.Option(help="Latents, side by side.")] = 8,
    frames: Annotated[int, typer.Option(help="Steps of the way.")] = 21,
    truncation: Annotated[float | None, typer.Option(help="Of the latents: ±t")] = None,
    seed: Seed = 0,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Show what a trained BAGAN-GP makes between two classes, from the same latents."""
    from rebalance_core.synthesis.morphing import MorphConfig, check_morph

    config = MorphConfig.build(
        run=run_id, start=start_class, end=end_class, count=count, frames=frames,
        truncation=truncation, seed=seed,
    )  # fmt: skip
    check_morph(Workspace.here(), config)
    start("interpolate", config, f"{start_class} to {end_class}", detach, as_json, seed)


@app.command()
def compare(
    set_name: Annotated[str | None, typer.Argument(metavar="SET")] = None,
    arms: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated; joined by + as in augment+focal+ddpm. Short names: none, "
            "augment, oversample, undersample, class-weights, focal, logit-adjusted, a generator, "
            "or a synthetic set."
        ),
    ] = None,
    schedules: Annotated[
        str | None, typer.Option(help="always,until:10,until:half,real-every:4,pretrain:half")
    ] = None,
    amount: Annotated[
        str | None, typer.Option(help="0.5,1.0 of full balance; 1000 = so many (comma-separated)")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Comma-separated.")] = "0",
    preset: Preset = "quick",
    redraw: Annotated[
        bool,
        typer.Option(
            "--redraw", help="Each seed draws its own skew, and takes generators that saw only it."
        ),
    ] = False,
    synthetic: Annotated[
        list[str] | None,
        typer.Option(help="arm=NAME: the synthetic set that an arm's images come from (repeat)."),
    ] = None,
    change: Annotated[list[str] | None, typer.Option("--set", help="field=value (repeat)")] = None,
    again: Annotated[
        Path | None, typer.Option("--from", help="Run the comparison of this report again.")
    ] = None,
    only_estimate: Annotated[
        bool, typer.Option("--estimate", help="Say how many classifiers and how long; train none.")
    ] = False,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Train the arms under the schedules over the seeds, and report."""
    from rebalance_core.comparison.cells import check_compare
    from rebalance_core.comparison.report import from_report

    workspace = Workspace.here()
    if again is not None:
        config = from_report(workspace, again)
        typed = named_network(change)
        check_named(config.model_dump(), typed, f"Report {again.name}", "run this command again")
    elif set_name is None:
        raise UserError("Name the training set to compare on, or a report with --from.")
    else:
        changes = {"arms": arms, "schedules": schedules, "amounts": amount}
        values: dict[str, Any] = {k: tuple(v.split(",")) for k, v in changes.items() if v}
        if change:
            base = CompareConfig.presets.get(preset, {}).get("classifier", {})
            values["classifier"] = {**base, **parse_changes(change)}
        config = CompareConfig.from_preset(
            preset, set=set_name, seeds=tuple(seeds.split(",")), redraw=redraw,
            synthetic=_named_sets(synthetic or []), **values,
        )  # fmt: skip
    network = own_network(config.model_dump())  # the person has typed it
    cells = check_compare(workspace, config)
    warn_of_damaged(workspace)
    if only_estimate:
        say(_estimated(workspace, config, cells, network), as_json)
        return
    start("compare", config, f"compare on {config.set}", detach, as_json, network=network)


def _named_sets(pairs: list[str]) -> dict[str, str]:
    named = {}
    for pair in pairs:
        arm, equals, name = pair.partition("=")
        if not equals:
            raise UserError(f"--synthetic takes arm=NAME, not {pair!r}.")
        named[arm.strip()] = name.strip()
    return named


def _estimated(
    workspace: Workspace, config: CompareConfig, cells: list[Any], network: str | None
) -> dict[str, Any]:
    """Number of classifiers and seconds, from a few steps timed now unless they were before."""
    from rebalance_core.comparison.cells import plan_notes
    from rebalance_core.comparison.timing import estimate, timing_of

    seconds = estimate(workspace, config, cells)
    if seconds is None:
        timing = timing_of(workspace, config).model_dump(mode="json")
        to_its_end(submit(workspace, "timing", timing, name="time a few steps", network=network))
        seconds = estimate(workspace, config, cells)
    notes = plan_notes(workspace, config)
    return {"classifiers": len(cells), "seconds": round(seconds or 0.0, 1), "notes": notes}


@app.command()
def classify(
    run_id: Annotated[str, typer.Argument(help="Of the comparison.")],
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Show images to the classifier that a comparison kept (the best on validation)."""
    from rebalance_core.comparison.classify import ClassifyConfig, winner_of

    view, _, _ = winner_of(Workspace.here(), run_id)
    for image in images:
        if not image.is_file():
            raise UserError(f"There is no file {image}; name an image.")
    config = ClassifyConfig(run=view.id, images=tuple(str(i.resolve()) for i in images))
    start("classify", config, f"classify by {view.name}", detach, as_json, parents=[view.id])


@app.command("save-classifier")
def save_classifier(run_id: str, folder: Path, as_json: Json = False) -> None:
    """Copy the classifier that a comparison kept into a new FOLDER (safetensors and config)."""
    from rebalance_core.comparison.classify import export_classifier

    say(export_classifier(Workspace.here(), run_id, folder), as_json)


@app.command()
def study(
    dataset: str,
    preset: Preset = "quick",
    split: Annotated[str, typer.Option(help="official or clean")] = "official",
    skew: Annotated[str, typer.Option(help="auto: step:10 unless skewed already")] = "auto",
    seeds: Annotated[
        str, typer.Option(help="Comma-separated; each draws its own skew and trains generators.")
    ] = "0",
    fixed: Annotated[
        bool, typer.Option("--fixed", help="One skew and one generator for all seeds.")
    ] = False,
    arms: Annotated[str, typer.Option(help="Comma-separated.")] = "none,bagan-gp,ddpm",
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """The whole path: set, poses, generators, samples, comparison, report."""
    from rebalance_core.comparison.cells import check_arms
    from rebalance_core.study import StudyConfig

    CompareConfig.from_preset(preset, set=dataset)
    workspace = Workspace.here()
    if dataset not in BUILT_IN or dataset in list_datasets(workspace):
        counts = open_dataset(workspace, dataset).counts()
        if skew != "auto":
            skewed_counts(skew, counts["train"])  # refuses what is no skew
    config = StudyConfig.build(
        dataset=dataset, preset=preset, split=split, skew=skew, seeds=tuple(seeds.split(",")),
        fixed=fixed, arms=tuple(arms.split(",")),
    )  # fmt: skip
    check_arms(workspace, config.arms)
    start("study", config, f"study of {dataset}", detach, as_json)


@app.command()
def rebalance(
    set_name: Annotated[str, typer.Argument(metavar="SET")],
    arm: Annotated[str, typer.Argument(help="none, a generator, or a synthetic set")],
    folder: Path,
    amount: Annotated[str, typer.Option(help="1.0 = full balance; 1000 = so many")] = "1.0",
    synthetic: Annotated[str | None, typer.Option(help="Default: the newest that fits.")] = None,
    as_json: Json = False,
) -> None:
    """Write the rebalanced training set into a new FOLDER, with a manifest."""
    from rebalance_core.comparison.rebalanced import write_rebalanced

    workspace = Workspace.here()
    written = write_rebalanced(workspace, set_name, arm, folder, amount=amount, synthetic=synthetic)
    warn_of_damaged(workspace)
    say({k: written[k] for k in ("folder", "counts", "real", "added", "synthetic")}, as_json)


def _told(view: RunView) -> dict[str, Any]:
    return {
        "run": view.id,
        "kind": view.kind,
        "name": view.name,
        "note": view.note,
        "status": view.status,
        "reason": view.state.get("reason"),
        "progress": view.progress,
        "bytes": run_size(view),
        "path": str(view.path),
    }


@runs.command("list")
def runs_list(as_json: Json = False) -> None:
    """All runs, newest first; what waits takes its device from the oldest on."""
    workspace = Workspace.here()
    views = list_runs(workspace)
    if as_json:
        came = parents(workspace, views)
        say({"runs": [{**_told(v), "parents": came[v.id]} for v in views]}, True)
        return
    for view in views:
        print(f"{view.id}  {view.status:<11} {view.name}  {view.progress['stage']}")


@runs.command("show")
def runs_show(run_id: str, as_json: Json = False) -> None:
    """Status, config, last numbers and result of a run."""
    from rebalance_core.comparison.results import shown_result

    workspace = Workspace.here()
    view = open_run(workspace, run_id)
    last, unreadable = read_metrics(view.path)[-1:], unreadable_metrics(view.path)
    result = shown_result(workspace, view)
    told = {**_told(view), "config": view.config, "last": last, "result": result}
    say({**told, "unreadable_lines": unreadable} if unreadable else told, as_json)


@runs.command("log")
def runs_log(
    run_id: str,
    lines: Annotated[int, typer.Option(min=1)] = 50,
    following: Annotated[
        bool, typer.Option("--follow", help="Go on until the run has ended; not with --json.")
    ] = False,
    as_json: Json = False,
) -> None:
    """The end of a run's log."""
    view = open_run(Workspace.here(), run_id)
    text, at = read_log(view.path)
    tail = text.splitlines()[-lines:]
    if as_json:
        say({"run": view.id, "log": tail}, True)
        return
    print("\n".join(tail))
    while following and view.live:
        time.sleep(FOLLOW_POLL)
        view = view_run(view.path)
        text, at = read_log(view.path, at)
        print(text, end="", flush=True)


@runs.command("cancel")
def runs_cancel(run_id: str, as_json: Json = False) -> None:
    """Ask a run to stop; it keeps a checkpoint. One that won't is ended after 30 s."""
    workspace = Workspace.here()
    view = cancel(workspace, run_id)
    say(_told(follow(view)), as_json)


@runs.command("resume")
def runs_resume(
    run_id: str,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="network=module:function, for a run with code of your own"),
    ] = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Continue a run from its last checkpoint."""
    view = resume(Workspace.here(), run_id, named_network(change))
    say(_told(view if detach else follow(view)), as_json)


@runs.command("rename")
def runs_rename(run_id: str, name: str, as_json: Json = False) -> None:
    """Call a run NAME from now on."""
    say(_told(describe(Workspace.here(), run_id, name=name)), as_json)


@runs.command("note")
def runs_note(run_id: str, text: str, as_json: Json = False) -> None:
    """Keep a note with a run; '' takes it away."""
    say(_told(describe(Workspace.here(), run_id, note=text)), as_json)


@runs.command("diff")
def runs_diff(run_id: str, other_id: str, as_json: Json = False) -> None:
    """In what the configs of two runs differ."""
    workspace = Workspace.here()
    one, other = open_run(workspace, run_id), open_run(workspace, other_id)
    found = difference(one, other)
    if as_json:
        say({"runs": [one.id, other.id], "differs": found}, True)
        return
    for field, (left, right) in found.items():
        print(f"{field}: {left} | {right}")
    if not found:
        print("Nothing differs.")


@runs.command("remove")
def runs_remove(
    run_id: str,
    dependents_too: Annotated[
        bool, typer.Option("--with-dependents", help="And the runs and images that came of it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes")] = False,
    as_json: Json = False,
) -> None:
    """Remove a run that has ended, with all that it made in its directory."""
    workspace = Workspace.here()
    view = open_run(workspace, run_id)
    words = run_dependents(workspace, view.id).words
    if not yes:
        fate = "goes with it" if dependents_too else "stays but cannot be continued"
        confirm(
            f"Remove run {view.id} ({view.name})?"
            + (f" What came of it {fate}: {words}." if words else "")
        )
    if dependents_too:
        remove_run_with_dependents(workspace, view.id)
    else:
        remove_run(workspace, view.id)
    told = {"removed": view.id}
    say({**told, ("with" if dependents_too else "left"): words} if words else told, as_json)


@runs.command("clean")
def runs_clean(yes: Annotated[bool, typer.Option("--yes")] = False, as_json: Json = False) -> None:
    """Remove checkpoints that nothing needs any more, and what kills left behind."""
    workspace = Workspace.here()
    spare = spare_checkpoints(workspace)
    if spare and not yes:
        size = sum(each.bytes for each in spare) / 2**20
        confirm(
            f"Remove old checkpoints of {len(spare)} run(s), {size:,.1f} MB? Runs that are done "
            "need none; of others that ended, the last stays."
        )
    say({"freed_bytes": clean(workspace)}, as_json)


@app.command("app")
def open_app(
    port: int = 8501,
    address: Annotated[str, typer.Option(help="What it listens on.")] = LOCAL,
) -> None:
    """Open the app in the browser."""
    root = Path(__file__).resolve().parents[1]
    warning = exposure(address)
    if warning:
        console.print(warning, style="yellow", markup=False, highlight=False, soft_wrap=True)
    command = [
        sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}",
        f"--server.address={address}",
    ]  # fmt: skip
    sys.exit(subprocess.run(command, cwd=root).returncode)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check what the studio runs on."""
    from rebalance_core.doctor import examine

    found = examine(Workspace.here())
    say(found, as_json)
    if not found["ok"]:
        sys.exit(1)
