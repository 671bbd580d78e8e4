"""Custom classifiers, named on the command line as `nets:tiny`."""

import itertools

import torch
from torch import nn

_calls = itertools.count(1)


def tiny(classes: int) -> nn.Module:
    """Fast, and learns a little."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 5, stride=4),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, classes),
    )


def fourth_broken(classes: int) -> nn.Module:
    """The same, but the fourth model of a process returns NaN: the first checks the network, the
    second is the first cell's, the third that cell's kept classifier."""
    model = tiny(classes)
    if next(_calls) == 4:
        with torch.no_grad():
            model[-1].bias.fill_(float("nan"))
    return model


def no_network(classes: int) -> str:
    return "a string"


def raises_without_message(classes: int) -> nn.Module:
    raise RuntimeError


def raises_below_an_empty_line(classes: int) -> nn.Module:
    raise RuntimeError("\n  there is no such layer\nTraceback of the library")
