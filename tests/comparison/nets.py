"""Classifiers of one's own, as somebody names them on the command line: `nets:tiny`."""

import itertools

import torch
from torch import nn

_made = itertools.count(1)


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
    """The same, but the fourth that a process makes gives no numbers: one is made to see whether
    it works, one is the first cell's, one is that cell's kept classifier."""
    made = tiny(classes)
    if next(_made) == 4:
        with torch.no_grad():
            made[-1].bias.fill_(float("nan"))
    return made


def no_network(classes: int) -> str:
    return "a string"


def raises_without_message(classes: int) -> nn.Module:
    raise RuntimeError


def raises_below_an_empty_line(classes: int) -> nn.Module:
    raise RuntimeError("\n  there is no such layer\nTraceback of the library")
