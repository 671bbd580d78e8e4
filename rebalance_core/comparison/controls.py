"""The images of the controls: frozen copies of real images, and real images given back."""

import numpy as np

from rebalance_core.comparison.cells import Cell, CellInputs
from rebalance_core.datasets.dataset import open_dataset
from rebalance_core.training_sets.load import Images
from rebalance_core.workspace import Workspace

_KEY = 21  # of the random numbers of a placebo, with the seed of its training set


def control_images(workspace: Workspace, cell: Cell, inputs: CellInputs, real: Images) -> Images:
    """The planned number of images of a control, at the size of the `real` training images."""
    if cell.arm.returned:
        return returned_images(workspace, cell, inputs, real.images.shape[1])
    return placebo_images(cell, inputs, real)


def placebo_images(cell: Cell, inputs: CellInputs, real: Images) -> Images:
    """Copies of real images of the planned classes, each augmented once, as the arm `augment` does.

    Every real image of a class is copied equally often, up to one. The copies are a function of the
    training set alone, as the images of a synthetic set are.
    """
    from rebalance_core.classifiers.augmentation import augment_scans
    from rebalance_core.training.batches import to_float, to_uint8
    from rebalance_core.training.random import keyed_generator

    training_set = inputs.training_set
    images, labels, ids = [], [], []
    for label, count in cell.plan.items():
        if not count:
            continue
        index = training_set.class_index(label)
        rows = np.flatnonzero(real.labels == index)
        seed = training_set.config.seed
        order = np.random.default_rng([seed, _KEY, index]).permutation(rows)
        copied = np.resize(order, count)
        copies = to_float(real.images[copied])
        images.append(to_uint8(augment_scans(copies, keyed_generator(seed, _KEY, index))))
        labels += [index] * count
        ids += [f"{real.ids[row]} {k}" for k, row in enumerate(copied)]
    return Images(np.concatenate(images), np.array(labels, np.int64), tuple(ids))


def returned_images(workspace: Workspace, cell: Cell, inputs: CellInputs, size: int) -> Images:
    """The first withheld images of each planned class."""
    training_set = inputs.training_set
    dataset = open_dataset(workspace, training_set.config.dataset)
    ids = [image for label, count in cell.plan.items() for image in inputs.withheld[label][:count]]
    labels = [training_set.class_index(label) for label, n in cell.plan.items() for _ in range(n)]
    array = dataset.array(size, fit=training_set.config.fit)
    rows = [dataset.rows[image] for image in ids]
    return Images(array[rows], np.array(labels, np.int64), tuple(ids))
