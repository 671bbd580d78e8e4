"""The one list of what is built in. Names modules of every folder, and imports none of them."""

from rebalance_core.runs.spec import JobSpec

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
    "rebalance_core.classifiers.measures:CALIBRATION_ERROR",
)
JOBS = {
    spec.kind: spec
    for spec in (
        JobSpec(
            kind="import",
            function="rebalance_core.datasets.importing:import_job",
            device=False,
            cleanup="rebalance_core.datasets.importing:cleanup_import",
        ),
        JobSpec(
            kind="poses",
            function="rebalance_core.poses.clustering:poses_job",
            device=False,
            device_for=("vgg16", "resnet18"),
        ),
        JobSpec(kind="weights", function="rebalance_core.poses.weights:weights_job", device=False),
        JobSpec(kind="train", function="rebalance_core.generators.training:train_job", device=True),
        JobSpec(
            kind="sample",
            function="rebalance_core.synthesis.sampling:sample_job",
            device=True,
            cleanup="rebalance_core.synthesis.synthetic_set:forget_sample",
        ),
        JobSpec(kind="bring", function="rebalance_core.synthesis.bringing:bring_job", device=False),
        JobSpec(kind="score", function="rebalance_core.synthesis.scoring:score_job", device=True),
        JobSpec(
            kind="filter",
            function="rebalance_core.synthesis.filtering:filter_job",
            device=False,
            device_with=("confidence", "distance"),
            cleanup="rebalance_core.synthesis.synthetic_set:forget_sample",
        ),
        JobSpec(
            kind="interpolate", function="rebalance_core.synthesis.morphing:morph_job", device=True
        ),
        JobSpec(
            kind="denoise", function="rebalance_core.synthesis.denoising:denoise_job", device=True
        ),
        JobSpec(kind="timing", function="rebalance_core.comparison.timing:timing_job", device=True),
        JobSpec(kind="compare", function="rebalance_core.comparison.job:compare_job", device=True),
        JobSpec(
            kind="classify",
            function="rebalance_core.comparison.classify:classify_job",
            device=True,
            cleanup="rebalance_core.comparison.classify:forget_images",
        ),
        JobSpec(kind="study", function="rebalance_core.study:study_job", device=True),
    )
}
