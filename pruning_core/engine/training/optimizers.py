"""Optimizers, each built from the parameters and a `TrainSpec` as a dict."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from pruning_core.methods.optimizers import OPTIMIZERS

Settings = dict[str, Any]


def make_optimizer(model: nn.Module, settings: Settings) -> Optimizer:
    """The optimizer of a model that a `TrainSpec` (as a dict) describes."""
    parameters = list(model.parameters())
    optimizer: Optimizer = OPTIMIZERS.load(settings["optimizer"])(parameters, settings)
    return optimizer


def sgd(parameters: list[nn.Parameter], settings: Settings) -> Optimizer:
    """SGD with momentum.

    Sutskever et al. 2013, https://proceedings.mlr.press/v28/sutskever13.html
    """
    lr, momentum, weight_decay = settings["lr"], settings["momentum"], settings["weight_decay"]
    optimizer = SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=True)
    # The fused optimizer allocates momentum buffers without filling them in a first step that
    # is skipped, so the buffers are set to zero here.
    for parameter in parameters if momentum else ():
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def adam(parameters: list[nn.Parameter], settings: Settings) -> Optimizer:
    """Adam; the momentum is its first beta. Kingma and Ba 2015, https://arxiv.org/abs/1412.6980"""
    betas, decay = (settings["momentum"], 0.999), settings["weight_decay"]
    return Adam(parameters, lr=settings["lr"], betas=betas, weight_decay=decay, fused=True)


def adamw(parameters: list[nn.Parameter], settings: Settings) -> Optimizer:
    """Adam with decoupled weight decay.

    A step multiplies each weight by 1 - lr * weight_decay, so pruned weights stay zero.
    Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101
    """
    betas, decay = (settings["momentum"], 0.999), settings["weight_decay"]
    return AdamW(parameters, lr=settings["lr"], betas=betas, weight_decay=decay, fused=True)
