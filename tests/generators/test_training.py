"""Training runs: going on with one, taking a trained generator from a folder, what is refused."""

import json
import pickle
import shutil
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from models.bagan_gp import BaganGP
from models.unet import seeded_conditional_unet, seeded_unet
from rebalance_core.config import Config
from rebalance_core.datasets.dataset import Dataset
from rebalance_core.datasets.importing import import_dataset
from rebalance_core.datasets.source import ImportConfig
from rebalance_core.errors import UserError
from rebalance_core.generators.bagan_gp.config import BaganConfig
from rebalance_core.generators.bagan_gp.cost import bagan_parameters, step_flops
from rebalance_core.generators.bagan_gp.training import BaganTrainer
from rebalance_core.generators.base import load_training_data
from rebalance_core.generators.diffusion.cost import count_unet, update_flops
from rebalance_core.generators.estimate import estimate
from rebalance_core.generators.spec import generator_spec
from rebalance_core.generators.training import (
    RECORD_FILE,
    TrainConfig,
    continuation,
    from_folder,
    load_generator,
    run_set,
)
from rebalance_core.imaging.grid import make_grid
from rebalance_core.runs.directory import RunDirectory, create_run
from rebalance_core.runs.executor import RunView, list_runs, view_run
from rebalance_core.runs.metrics import read_metrics
from rebalance_core.runs.run import Cancelled, MemoryRun
from rebalance_core.runs.worker import execute
from rebalance_core.synthesis.interpolation import InterpolateConfig, check_interpolate, list_frames
from rebalance_core.synthesis.records import Provenance
from rebalance_core.synthesis.sampling import SampleConfig, check_sample
from rebalance_core.synthesis.synthetic_set import SyntheticSet, open_synthetic
from rebalance_core.system.files import read_json
from rebalance_core.training_sets.config import SetConfig
from rebalance_core.training_sets.resolve import make_set
from rebalance_core.workspace import Workspace

TINY: dict[str, Any] = {
    "autoencoder_steps": 2,
    "steps": 2,
    "batch_size": 8,
    "precision": "fp32",
    "looks": 1,
    "autoencoder_looks": 1,
}


def do(workspace: Workspace, kind: str, config: Config) -> RunView:
    path = create_run(workspace, kind, config.model_dump(mode="json"), name=kind)
    execute(workspace, RunDirectory(path))
    return view_run(path)


def bagan(set_name: str = "phantom", **changes: Any) -> TrainConfig:
    return TrainConfig.make("bagan-gp", set_name, "quick", **{**TINY, **changes})


def weights(view: RunView) -> dict[str, torch.Tensor]:
    return load_file(view.path / "result" / "generator" / "model.safetensors")


def losses(view: RunView) -> list[tuple[int, float]]:
    lines = read_metrics(view.path)
    return [(m["step"], m["discriminator_loss"]) for m in lines if "discriminator_loss" in m]


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which a BAGAN-GP was trained on the phantom."""
    workspace = Workspace(tmp_path_factory.mktemp("once") / "home")
    config = ImportConfig(name="phantom", source="phantom", count=120, size=32)
    import_dataset(workspace, config, MemoryRun())
    do(workspace, "train", bagan())
    return workspace.root


@pytest.fixture
def trained(once: Path, workspace: Workspace) -> RunView:
    """That training, in a copy of its workspace that a test may change."""
    shutil.copytree(once, workspace.root)
    return next(v for v in list_runs(workspace, "train"))


def test_a_continued_run_is_as_if_it_had_been_longer_from_the_start(
    workspace: Workspace, trained: RunView
) -> None:
    longer = do(workspace, "train", continuation(workspace, trained.id, steps=4))
    whole = do(workspace, "train", bagan(steps=4))
    mine, theirs = weights(longer), weights(whole)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[k], theirs[k]) for k in mine)
    assert losses(longer) == losses(whole)
    assert [step for step, _ in losses(longer)] == [3, 4, 5, 6]
    starts = [m["step"] for m in read_metrics(longer.path) if m.get("event") == "start"]
    assert starts == [0, 4]
    assert longer.config["continues"] == trained.id
    assert weights(view_run(trained.path)).keys() == mine.keys(), "the first run is left alone"
    # what it learned from stays what it was, whatever became of the dataset's own set
    assert run_set(longer) == run_set(trained)
    slower = do(workspace, "train", continuation(workspace, longer.id, steps=5, lr=1e-6))
    assert losses(slower)[:4] == losses(longer)
    assert not torch.equal(
        weights(slower)["decoder.project.0.weight"], mine["decoder.project.0.weight"]
    )


def test_what_cannot_be_continued_is_refused_with_the_reason(
    workspace: Workspace, trained: RunView
) -> None:
    def refused(run: str, **changes: Any) -> str:
        with pytest.raises(UserError) as excinfo:
            continuation(workspace, run, **changes)
        return str(excinfo.value)

    more = f"Run {trained.id} was set to 2 steps; pass more than that."
    assert refused(trained.id) == more
    assert refused(trained.id, steps=2) == more
    assert refused(trained.id, steps=1) == more
    assert refused(trained.id, epochs=500) == (
        f"The length of run {trained.id} is set in steps; pass steps=…"
    )
    assert refused(trained.id, size=64, steps=9) == (
        "size cannot change when a run is continued; only epochs, steps, lr, penalty, "
        "discriminator_updates, looks can."
    )
    assert "steps='many' does not fit BaganConfig" in refused(trained.id, steps="many")
    ddpm = create_run(
        workspace,
        "train",
        TrainConfig.make("ddpm", "phantom", "quick", steps=1).model_dump(mode="json"),
        name="d",
    )
    state = read_json(ddpm / "state.json") | {"status": "done"}
    (ddpm / "state.json").write_text(json.dumps(state))
    assert refused(ddpm.name) == "A ddpm cannot be continued: its learning rate schedule has ended."
    shutil.rmtree(trained.path / "checkpoints")
    assert refused(trained.id, steps=9) == f"Run {trained.id} has no checkpoint to continue from."
    sampled = do(workspace, "sample", SampleConfig(run=trained.id, name="s", count=1))
    assert refused(sampled.id, steps=9).endswith("is not a finished training run.")


def test_a_generator_is_taken_from_a_folder_with_what_it_was_trained_on(
    workspace: Workspace, trained: RunView, tmp_path: Path
) -> None:
    make_set(workspace, "few", SetConfig(dataset="phantom", skew="glioma=5"))
    first = do(workspace, "train", bagan("few"))
    folder = tmp_path / "somebody's model"
    shutil.copytree(first.path / "result" / "generator", folder)
    (workspace.sets / "few.json").unlink()
    taken = do(workspace, "train", from_folder(workspace, str(folder), "phantom"))
    assert taken.config["set"] == "few"
    assert run_set(taken) == run_set(first)
    assert run_set(taken).counts["glioma"] == 5
    assert taken.config["training"] == first.config["training"]
    shutil.rmtree(folder)
    images = [
        np.concatenate(list(load_generator(v).sample("glioma", 2, 0))) for v in (first, taken)
    ]
    assert np.array_equal(*images)


def test_a_folder_without_a_record_is_believed_for_the_set_that_is_named(
    workspace: Workspace, trained: RunView, tmp_path: Path
) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(trained.path / "result" / "generator", folder)
    (folder / RECORD_FILE).unlink()
    with pytest.raises(UserError, match="nosuch"):
        from_folder(workspace, str(folder), "nosuch")
    taken = do(workspace, "train", from_folder(workspace, str(folder), "phantom"))
    assert run_set(taken) == run_set(trained)
    record = read_json(taken.path / "result" / "generator" / RECORD_FILE)
    assert (record["believed"], record["training"], record["code"]) == (True, None, None)
    # what is believed stays so, however often it is handed on
    again = from_folder(workspace, str(taken.path / "result" / "generator"), "phantom")
    assert again.believed
    do(workspace, "sample", SampleConfig(run=taken.id, name="s", count=1))
    made = open_synthetic(workspace, "s")
    assert (made.provenance.training, made.provenance.unverified) == (None, True)
    assert made.unverified
    assert made.origin == f"bagan-gp trained on phantom (run {taken.id}), which is unverified"
    # sets of before say it by their missing config alone; those of a trained generator do not
    old = {k: v for k, v in made.provenance.to_json().items() if k != "believed"}
    assert SyntheticSet(made.path, Provenance.model_validate(old)).unverified
    do(workspace, "sample", SampleConfig(run=trained.id, name="own", count=1))
    assert not open_synthetic(workspace, "own").unverified


def _spoil(folder: Path, how: str) -> None:
    """Damage a folder in one of the ways that an import must refuse."""
    config, weights, record = (
        folder / "config.json",
        folder / "model.safetensors",
        folder / RECORD_FILE,
    )
    about, seen = read_json(config), read_json(record)
    if how == "pickle":
        weights.unlink()
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    elif how == "pickle as safetensors":
        weights.write_bytes(pickle.dumps({"a": 1}))
    elif how == "torn":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif how == "not a number":
        tensors = load_file(weights)
        tensors["decoder.project.0.bias"][0] = float("nan")
        save_file(tensors, weights)
    elif how == "other size":
        config.write_text(json.dumps(about | {"size": 64}))
    elif how == "huge":
        config.write_text(json.dumps(about | {"channels": 10**9}))
    elif how == "many classes":
        config.write_text(json.dumps(about | {"classes": [str(i) for i in range(10**5)]}))
    elif how == "no config":
        config.write_text("{")
    elif how == "other classes":
        config.write_text(json.dumps(about | {"classes": ["cat", "dog", "cow", "pig"]}))
    elif how == "numbers as classes":
        config.write_text(json.dumps(about | {"classes": [1, 2, 3, 4]}))
    elif how == "other names":
        save_file({f"x{name}": tensor for name, tensor in load_file(weights).items()}, weights)
    elif how == "negative variance":
        tensors = load_file(weights)
        tensors["decoder.grow.1.running_var"] -= 9
        save_file(tensors, weights)
    elif how in SPOILT_RECORDS:
        SPOILT_RECORDS[how](seen)
        record.write_text(json.dumps(seen))
    elif how == "torn record":
        record.write_text('{"set": {"name": "x"}}')
    elif how == "list as record":
        record.write_text("[1]")


SPOILT_RECORDS: dict[str, Any] = {
    "path as class": lambda seen: seen["set"]["classes"].__setitem__(0, "../../outside"),
    "empty class": lambda seen: seen["set"]["classes"].__setitem__(0, ""),
    "path as set": lambda seen: seen["set"].update(name="../outside"),
    "list as generator": lambda seen: seen.update(generator=["a"]),
    "unknown generator": lambda seen: seen.update(generator="gpt"),
    "text as training": lambda seen: seen.update(training="x"),
    "number as counts": lambda seen: seen["set"].update(counts=5),
    "numbers as images": lambda seen: seen["set"].update(train=[1, 2]),
}


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("pickle", "it needs config.json and model.safetensors"),
        ("pickle as safetensors", "does not contain a readable BAGAN-GP"),
        ("torn", "does not contain a readable BAGAN-GP"),
        ("not a number", "invalid weights"),
        ("other size", "does not contain a readable BAGAN-GP"),
        ("huge", "does not contain a readable BAGAN-GP"),
        ("many classes", "does not contain a readable BAGAN-GP"),
        ("no config", "does not contain a readable BAGAN-GP"),
        ("other classes", "which training set phantom does not have"),
        ("path as class", "class '../../outside' is not a valid folder name"),
        ("path as set", "'../outside' cannot be used as a name"),
        ("numbers as classes", "does not contain a readable BAGAN-GP"),
        ("other names", "does not contain a readable BAGAN-GP"),
        ("negative variance", "invalid weights"),
        ("empty class", "class '' is not a valid folder name"),
        ("list as generator", "is not readable"),
        ("unknown generator", "is not readable"),
        ("text as training", "is not readable"),
        ("number as counts", "is not readable"),
        ("numbers as images", "is not readable"),
        ("torn record", "is not readable"),
        ("list as record", "is not readable"),
    ],
)
def test_a_bad_folder_is_refused_in_one_sentence(
    how: str, sentence: str, workspace: Workspace, trained: RunView, tmp_path: Path
) -> None:
    folder = tmp_path / "bad"
    shutil.copytree(trained.path / "result" / "generator", folder)
    _spoil(folder, how)
    outside = sorted(p for p in tmp_path.rglob("*") if workspace.runs not in p.parents)
    with pytest.raises(UserError) as excinfo:
        do(workspace, "train", from_folder(workspace, str(folder), "phantom"))
    assert sentence in str(excinfo.value)
    assert "\n" not in str(excinfo.value)
    assert str(folder) in str(excinfo.value) or how == "path as set"
    assert sorted(p for p in tmp_path.rglob("*") if workspace.runs not in p.parents) == outside


@pytest.mark.parametrize("folder", ["nowhere", "~nobody-of-that-name/x", "x" * 5000, "a\0b"])
def test_no_folder_is_refused(folder: str, workspace: Workspace) -> None:
    with pytest.raises(UserError, match=r"is not a (readable )?folder"):
        from_folder(workspace, folder, "phantom")


def test_what_cannot_be_sampled_is_refused_before_any_work(
    workspace: Workspace, trained: RunView
) -> None:
    def refused(**changes: Any) -> str:
        with pytest.raises(UserError) as excinfo:
            check_sample(workspace, SampleConfig(run=trained.id, name="s", **changes))
        return str(excinfo.value)

    assert refused(classes=("cat",)) == (
        "This generator cannot generate class 'cat'; it generates glioma, meningioma, notumor, "
        "pituitary."
    )
    assert (
        refused(steps=5) == "bagan-gp does not have the option steps; its options are truncation."
    )


def test_a_run_cancelled_before_its_first_picture_can_be_continued(
    workspace: Workspace, phantom: Dataset
) -> None:
    path = create_run(
        workspace, "train", bagan(autoencoder_steps=9).model_dump(mode="json"), name="t"
    )
    (path / "cancel").touch()
    with pytest.raises(Cancelled):
        execute(workspace, RunDirectory(path))
    assert not (path / "previews").exists()
    longer = do(workspace, "train", continuation(workspace, path.name, steps=3))
    assert losses(longer) == losses(do(workspace, "train", bagan(autoencoder_steps=9, steps=3)))


def test_truncation_and_classes_reach_the_synthetic_set(
    workspace: Workspace, trained: RunView
) -> None:
    config = SampleConfig(run=trained.id, name="near", count=2, classes=("glioma",), truncation=0.3)
    do(workspace, "sample", config)
    made = open_synthetic(workspace, "near")
    assert made.counts == {"glioma": 2}
    assert made.provenance.sampler == {"truncation": 0.3}
    expected = load_generator(trained).sample("glioma", 2, 0, truncation=0.3)
    assert np.array_equal(made.images("glioma"), np.concatenate(list(expected)))


def test_frames_lead_from_one_class_to_the_other(workspace: Workspace, trained: RunView) -> None:
    config = InterpolateConfig(
        run=trained.id, start="glioma", end="notumor", count=3, frames=5, seed=2
    )
    pictures = list_frames(do(workspace, "interpolate", config))
    assert [p.name for p in pictures] == [f"{n:03d}.png" for n in range(5)]
    from PIL import Image

    first = np.asarray(Image.open(pictures[0]))
    made = np.concatenate(list(load_generator(trained).sample("glioma", 3, 2)))
    assert np.array_equal(first, make_grid(made, 3)[..., 0])
    with pytest.raises(UserError, match="Choose two different classes; both are glioma"):
        check_interpolate(workspace, config.model_copy(update={"end": "glioma"}))
    with pytest.raises(UserError, match="cannot generate class 'cat'"):
        do(workspace, "interpolate", config.model_copy(update={"end": "cat"}))


@pytest.mark.parametrize(("size", "channels"), [(32, 1), (64, 1), (64, 3), (128, 3), (256, 1)])
def test_estimate_knows_the_parameters(size: int, channels: int) -> None:
    model = BaganGP(size=size, channels=channels, classes=["a", "b", "c"])
    counts = {
        part: sum(p.numel() for p in getattr(model, part).parameters())
        for part in ("encoder", "decoder", "embedding", "discriminator")
    }
    assert bagan_parameters(size, channels, 3) == counts


class Counting(TorchDispatchMode):
    """Floating-point operations by torch's own formulas (its counter cannot follow a gradient
    that is itself differentiated)."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def test_estimate_counts_the_operations_of_a_step(workspace: Workspace, phantom: Dataset) -> None:
    from rebalance_core.training_sets.resolve import open_set

    data = load_training_data(phantom, open_set(workspace, "phantom"), 64)
    config = BaganConfig.from_preset(
        "small", autoencoder_steps=1, steps=1, batch_size=16, precision="fp32"
    )
    trainer = BaganTrainer(config, data, MemoryRun())
    with Counting() as counter:
        trainer.autoencoder_step()
        trainer.step = 1
        trainer.adversarial_step()
    assert sum(step_flops(config, 1)) == pytest.approx(counter.total, rel=0.03)


@pytest.mark.parametrize("kind", ["ddpm", "conditional-ddpm"])
@pytest.mark.parametrize("preset", ["quick", "small", "paper", "strong"])
def test_estimate_knows_the_unets(kind: str, preset: str) -> None:
    config = generator_spec(kind).config.from_preset(preset)
    shape = config.unet_shape(3)
    with torch.device("meta"):
        if kind == "ddpm":
            model = seeded_unet(shape, 0)
            asked: tuple[torch.Tensor, ...] = ()
        else:
            options = {"unshuffle": config.unshuffle, "classes": 4, "poses": 0}
            whole = seeded_conditional_unet(shape, 0, **options)
            model, asked = whole.unet, (torch.zeros(1, whole.conditions.label.embedding_dim),)
        pixels = torch.zeros(1, model.config.in_channels, *[model.config.sample_size] * 2)
        with torch.no_grad(), Counting() as counter:
            model(pixels, torch.tensor([5]), *asked)
    count = count_unet(config, 3)
    assert count.parameters == sum(p.numel() for p in model.parameters())
    assert 2 * count.macs == pytest.approx(counter.total, rel=0.03)
    images = config.batch_size * config.accumulation
    assert update_flops(config, 3) == 6 * images * count.macs


def test_estimate_of_disk_is_what_a_run_leaves(workspace: Workspace, trained: RunView) -> None:
    config, chosen = BaganConfig.build(**trained.config["training"]), run_set(trained)
    spec = generator_spec("bagan-gp")
    found = estimate(spec, config, chosen, 1, [])
    assert found is not None
    kept = [*trained.path.rglob("*.pt"), *trained.path.rglob("model.safetensors")]
    assert found.disk == pytest.approx(sum(p.stat().st_size for p in kept), rel=0.03)
    assert found.seconds is not None
    twice = estimate(spec, config.model_copy(update={"steps": 4}), chosen, 1, [])
    assert twice is not None and twice.seconds is not None
    assert found.seconds < twice.seconds < 2 * found.seconds


@pytest.mark.parametrize(("kind", "models"), [("ddpm", 2), ("conditional-ddpm", 1)])
def test_estimate_goes_by_the_last_training_of_its_kind(
    workspace: Workspace, phantom: Dataset, kind: str, models: int
) -> None:
    tiny: dict[str, Any] = {"size": 16, "widths": (32,), "attention": (), "batch_size": 4}
    classes = {"classes": ("glioma", "pituitary")} if kind == "ddpm" else {}
    config = TrainConfig.make(kind, "phantom", "quick", steps=8, **tiny, **classes)
    view = do(workspace, "train", config)
    chosen = run_set(view)
    lines = [m for m in read_metrics(view.path) if any(k.startswith("loss") for k in m)]
    paces = [b["time"] - a["time"] for a, b in pairwise(lines)]
    spec = generator_spec(kind)
    found = estimate(spec, config.training, chosen, 1, list_runs(workspace, "train"))
    # a step as long as those were, and the evaluations, which take longer than a few small steps
    assert found is not None and found.seconds is not None
    assert found.seconds > models * 8 * statistics.median(paces)
    more = config.training.model_copy(update={"steps": 1008})
    longer = estimate(spec, more, chosen, 1, list_runs(workspace, "train"))
    fewer = config.training.model_copy(update={"steps": 1000})
    shorter = estimate(spec, fewer, chosen, 1, list_runs(workspace, "train"))
    assert longer is not None and longer.seconds is not None
    assert shorter is not None and shorter.seconds is not None
    taken = models * 8 * statistics.median(paces)
    assert longer.seconds - shorter.seconds == pytest.approx(taken, rel=1e-6)
    # a checkpoint holds the finished models too; the best may be one of the last
    kept = [*view.path.rglob("*.pt"), *view.path.rglob("diffusion_pytorch_model.safetensors")]
    assert 0.6 * found.disk < sum(p.stat().st_size for p in kept) < 1.05 * found.disk
    # another kind's speed says nothing
    other = BaganConfig.from_preset("quick")
    bagan = generator_spec("bagan-gp")
    assert estimate(bagan, other, chosen, 1, [view]) == estimate(bagan, other, chosen, 1, [])


@pytest.mark.parametrize("kind", ["ddpm", "conditional-ddpm"])
def test_a_diffusion_model_with_a_pickle_inside_is_refused_before_any_work(
    kind: str, workspace: Workspace, phantom: Dataset, tmp_path: Path
) -> None:
    tiny = {"size": 16, "widths": (32,), "attention": (), "batch_size": 4, "steps": 1}
    view = do(workspace, "train", TrainConfig.make(kind, "phantom", "quick", **tiny))
    folder = tmp_path / "model"
    shutil.copytree(view.path / "result" / "generator", folder)
    assert from_folder(workspace, str(folder), "phantom").generator == kind
    hidden = next(folder.rglob("unet")) / "diffusion_pytorch_model.bin"
    hidden.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match=r"model\.bin is a pickle, which could run code"):
        from_folder(workspace, str(folder), "phantom")


def test_somebody_elses_pipeline_is_refused_before_any_work(
    workspace: Workspace, phantom: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(UserError, match="does not record which class it generates"):
        from_folder(workspace, str(tmp_path), "phantom")
    (tmp_path / "weights.bin").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match=r"weights\.bin is a pickle"):
        from_folder(workspace, str(tmp_path), "phantom")
