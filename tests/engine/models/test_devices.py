"""How models are computed: in full float32, and by a processor that results name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from pruning_core.common.machine import processor_name
from pruning_core.engine.models import devices


@pytest.fixture
def tf32_allowed() -> Iterator[None]:
    """The switches of cuBLAS and cuDNN, which exist without a GPU, as a user may have set them."""
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    yield
    devices.prepare(torch.get_num_threads())


@pytest.mark.usefixtures("tf32_allowed")
def test_no_stage_computes_in_tf32() -> None:
    devices.prepare(torch.get_num_threads())
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    for name in ("conv", "rnn"):
        operation = getattr(torch.backends.cudnn, name, None)
        assert getattr(operation, "fp32_precision", "ieee") == "ieee"


def test_a_processor_is_named_with_its_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    capability = torch.backends.cpu.get_cpu_capability()
    assert devices.processor("cpu") == f"{processor_name()} ({capability})"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "avx2")
    assert devices.processor("cpu") == f"{processor_name()} ({capability}, oneDNN up to AVX2)"


def test_a_gpu_is_named_with_its_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    assert devices.processor("cuda") == "NVIDIA H100 (sm_90)"
