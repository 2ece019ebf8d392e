"""Optimizers, each made from the parameters and a `TrainSpec` as a dict."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

Settings = dict[str, Any]


def sgd(parameters: list[nn.Parameter], settings: Settings) -> Optimizer:
    """SGD with momentum.

    The momentum stands there from the start: one that begins in a step which is left out
    would be whatever the memory held.
    """
    rate, momentum, decay = settings["lr"], settings["momentum"], settings["weight_decay"]
    made = SGD(parameters, lr=rate, momentum=momentum, weight_decay=decay, fused=True)
    for parameter in parameters if momentum else ():
        made.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return made


def adam(parameters: list[nn.Parameter], settings: Settings) -> Optimizer:
    """Adam (Kingma and Ba 2015); its first beta is the momentum."""
    betas, decay = (settings["momentum"], 0.999), settings["weight_decay"]
    return Adam(parameters, lr=settings["lr"], betas=betas, weight_decay=decay, fused=True)


def adamw(parameters: list[nn.Parameter], settings: Settings) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    A step multiplies each weight by 1 - rate * decay, so removed weights stay zero.
    """
    betas, decay = (settings["momentum"], 0.999), settings["weight_decay"]
    return AdamW(parameters, lr=settings["lr"], betas=betas, weight_decay=decay, fused=True)
