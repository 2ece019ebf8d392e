"""Which stage runs on which node of a cluster: a pure function, which the simulation also uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class WaitingStage:
    """A stage that could start now. `inputs` are the keys of the stages that it reads.

    `processor` is what computed its parent, empty where that is unknown.
    """

    key: str
    threads: int = 1
    gpu: bool = False
    inputs: tuple[str, ...] = ()
    processor: str = ""


@dataclass
class Node:
    """A node with its free cores and GPUs, its processor, and the keys of the stages it has."""

    name: str
    cores: int
    gpus: int = 0
    processor: str = ""
    free_cores: int = 0
    free_gpus: int = 0
    keys: set[str] = field(default_factory=set)

    def takes(self, stage: WaitingStage) -> bool:
        """Whether a stage fits. One with more threads than the node has cores needs all of them."""
        if stage.gpu and self.free_gpus < 1:
            return False
        return self.free_cores >= min(stage.threads, self.cores)

    def start(self, stage: WaitingStage) -> None:
        """Take the cores and the GPU of a stage."""
        self.free_cores -= min(stage.threads, self.cores)
        self.free_gpus -= stage.gpu
        self.keys.add(stage.key)

    def end(self, stage: WaitingStage) -> None:
        """Give them back."""
        self.free_cores += min(stage.threads, self.cores)
        self.free_gpus += stage.gpu


def place(stages: Iterable[WaitingStage], nodes: Sequence[Node]) -> list[tuple[str, str]]:
    """Keys of stages, each with the name of a node for it; the nodes' free cores fall.

    `stages` are in the order in which they should start. The first that has to wait for a node ends
    the round, so that smaller stages do not overtake it for ever. One that needs a GPU is left out
    where no node has one.
    """
    placed = list[tuple[str, str]]()
    for stage in stages:
        fitting = [node for node in nodes if node.takes(stage)]
        if not fitting and stage.gpu and not any(node.gpus for node in nodes):
            continue
        if not fitting:
            break
        node = max(fitting, key=lambda node: _preference(stage, node))
        node.start(stage)
        placed.append((stage.key, node.name))
    return placed


def _preference(stage: WaitingStage, node: Node) -> tuple[bool, int, bool, int]:
    """The best node has the largest of these.

    The processor of the parent comes first, because another one changes the bits of results. Then
    the number of inputs that need not be sent; a GPU is left to the stages that use it.
    """
    same = not stage.processor or stage.processor == node.processor
    present = sum(key in node.keys for key in stage.inputs)
    return same, present, bool(node.gpus) == stage.gpu, node.free_cores
