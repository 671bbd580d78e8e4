"""The one list of what is built in. Names modules of every folder, and imports none of them."""

from typing import Any

from rebalance_core.runs.spec import JobSpec, TargetSpec

GENERATORS = (
    "rebalance_core.generators.bagan_gp:SPEC",
    "rebalance_core.generators.diffusion:DDPM",
    "rebalance_core.generators.diffusion:CONDITIONAL",
    "rebalance_core.generators.smote:SPEC",
)
MEASURES = (
    "rebalance_core.classifiers.measures:MACRO_F1",
    "rebalance_core.classifiers.measures:ACCURACY",
    "rebalance_core.classifiers.measures:BALANCED_ACCURACY",
    "rebalance_core.classifiers.measures:AUROC",
    "rebalance_core.classifiers.measures:AUPRC",
    "rebalance_core.classifiers.measures:RARE_RECALL",
    "rebalance_core.classifiers.measures:CALIBRATION_ERROR",
    "rebalance_core.classifiers.measures:BRIER",
    "rebalance_core.classifiers.measures:NLL",
)
JOBS = {
    spec.kind: spec
    for spec in (
        JobSpec(
            kind="import",
            title="import {name}",
            config="rebalance_core.datasets.source:ImportConfig",
            function="rebalance_core.datasets.importing:import_job",
            check="rebalance_core.datasets.importing:check_import",
            device=False,
            listed={"source": str},
            cleanup="rebalance_core.datasets.importing:cleanup_import",
        ),
        JobSpec(
            kind="poses",
            title="poses of {dataset}",
            config="rebalance_core.poses.config:PosesConfig",
            function="rebalance_core.training_sets.poses:poses_job",
            check="rebalance_core.training_sets.poses:check_poses",
            prepare="rebalance_core.poses.clustering:prepare_poses",
            device=False,
            device_for=("vgg16", "resnet18"),
        ),
        JobSpec(
            kind="weights",
            title="weights of {network}",
            config="rebalance_core.poses.weights:WeightsConfig",
            function="rebalance_core.poses.weights:weights_job",
            device=False,
            listed={"network": str},
        ),
        JobSpec(
            kind="train",
            title="{generator} on {set}",
            config="rebalance_core.generators.training:TrainConfig",
            function="rebalance_core.generators.training:train_job",
            check="rebalance_core.generators.training:check_training",
            device=True,
            listed={"generator": str, "training": dict[str, Any], "folder": str | None},
        ),
        JobSpec(
            kind="sample",
            title="sample {name}",
            config="rebalance_core.synthesis.sampling:SampleConfig",
            function="rebalance_core.synthesis.sampling:sample_job",
            check="rebalance_core.synthesis.sampling:check_sample",
            device=True,
        ),
        JobSpec(
            kind="bring",
            title="bring {name}",
            config="rebalance_core.synthesis.external:ExternalConfig",
            function="rebalance_core.synthesis.external:external_job",
            prepare="rebalance_core.synthesis.external:prepare_external",
            device=False,
        ),
        JobSpec(
            kind="score",
            title="score {synthetic}",
            config="rebalance_core.synthesis.scoring:ScoreConfig",
            function="rebalance_core.synthesis.scoring:score_job",
            check="rebalance_core.synthesis.scoring:check_score",
            device=True,
        ),
        JobSpec(
            kind="filter",
            title="filter {synthetic} to {name}",
            config="rebalance_core.synthesis.filtering:FilterConfig",
            function="rebalance_core.synthesis.filtering:filter_job",
            check="rebalance_core.synthesis.filtering:check_filter",
            device=False,
            device_with=("confidence", "distance"),
        ),
        JobSpec(
            kind="interpolate",
            title="{start} to {end}",
            config="rebalance_core.synthesis.interpolation:InterpolateConfig",
            function="rebalance_core.synthesis.interpolation:interpolate_job",
            check="rebalance_core.synthesis.interpolation:check_interpolate",
            device=True,
        ),
        JobSpec(
            kind="denoise",
            title="denoise {label}",
            config="rebalance_core.synthesis.denoising:DenoiseConfig",
            function="rebalance_core.synthesis.denoising:denoise_job",
            check="rebalance_core.synthesis.denoising:check_denoise",
            device=True,
        ),
        JobSpec(
            kind="timing",
            title="time a few steps",
            config="rebalance_core.comparison.timing:TimingConfig",
            function="rebalance_core.comparison.timing:timing_job",
            device=True,
        ),
        JobSpec(
            kind="compare",
            title="compare on {set}",
            config="rebalance_core.comparison.config:CompareConfig",
            function="rebalance_core.comparison.job:compare_job",
            check="rebalance_core.comparison.cells:check_compare",
            device=True,
            listed={"preset": str},
            references="rebalance_core.comparison.records:synthetic_references",
        ),
        JobSpec(
            kind="classify",
            title="classify with {run}",
            config="rebalance_core.comparison.classify:ClassifyConfig",
            function="rebalance_core.comparison.classify:classify_job",
            check="rebalance_core.comparison.classify:check_classify",
            device=True,
            listed={"images": list[str]},
            cleanup="rebalance_core.comparison.classify:remove_uploaded_images",
        ),
        JobSpec(
            kind="study",
            title="study of {dataset}",
            config="rebalance_core.study:StudyConfig",
            function="rebalance_core.study:study_job",
            check="rebalance_core.study:check_study",
            device=True,
        ),
    )
}
TARGETS = {
    "dataset": TargetSpec(open="rebalance_core.datasets.dataset:open_dataset"),
    "set": TargetSpec(
        open="rebalance_core.training_sets.resolve:open_set",
        references="rebalance_core.training_sets.resolve:set_references",
    ),
    "run": TargetSpec(open="rebalance_core.runs.directory:find_run"),
    "synthetic": TargetSpec(open="rebalance_core.synthesis.synthetic_set:open_synthetic"),
}
