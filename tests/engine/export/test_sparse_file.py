"""The sparse file: lossless, small, and never half loaded."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as load_blob
from safetensors.torch import save as save_blob
from torch import Tensor

from pruning_core.engine.criteria.inputs import CriterionInputs
from pruning_core.engine.criteria.magnitude import magnitude
from pruning_core.engine.export import sparse_file
from pruning_core.engine.export.sparse_file import (
    DTYPES,
    SparseFileError,
    decode,
    encode,
    load,
    save,
    sorted_metadata,
    versions_of,
    with_versions,
)
from pruning_core.engine.masks import masks
from pruning_core.engine.masks.masks import compute_masks
from pruning_core.engine.models.build import make
from pruning_core.engine.models.layers import weights
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict

State = dict[str, Tensor]
FRAMING = 52


def same(a: Tensor, b: Tensor) -> bool:
    def bits(value: Tensor) -> Tensor:
        return value.contiguous().reshape(-1).view(torch.uint8)

    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(bits(a), bits(b))


def assert_lossless(state: State, data: bytes) -> None:
    decoded = decode(data)
    assert list(decoded) == list(state)
    assert all(same(decoded[name], state[name]) for name in state)
    assert all(value.is_contiguous() for value in decoded.values())


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Arbitrary bits in any dtype and shape, from all zero to dense; booleans are 0 or 1."""
    dtype = draw(st.sampled_from(list(DTYPES.values())))
    shape = draw(st.lists(st.integers(0, 6), max_size=4))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = int(np.prod(shape, dtype=int))
    high = 2 if dtype == torch.bool else 256
    raw = generator.integers(0, high, (count, dtype.itemsize), dtype=np.uint8)
    raw[generator.random(count) < draw(st.sampled_from([0.0, 0.5, 0.95, 1.0]))] = 0
    return torch.from_numpy(raw.reshape(-1)).view(dtype).reshape(shape)


@given(st.dictionaries(st.text(max_size=8), tensors(), max_size=5))
@settings(deadline=None, max_examples=150)
def test_the_file_is_lossless(state: State) -> None:
    assert_lossless(state, encode(state))


def test_negative_zero_and_nan_survive() -> None:
    values = torch.zeros(1000)
    values[3], values[500], values[501] = -0.0, float("nan"), float("-inf")
    assert_lossless({"w": values}, encode({"w": values}))
    assert torch.signbit(decode(encode({"w": values}))["w"][3])


def test_memory_formats_and_views() -> None:
    last = torch.randn(8, 4, 3, 3).to(memory_format=torch.channels_last)
    state = {"last": last, "turned": torch.randn(6, 5).T, "some": torch.arange(9)[::2]}
    assert_lossless(state, encode(state))
    assert encode({"w": last}) == encode({"w": last.contiguous()})


def test_several_blocks() -> None:
    state = {"a": torch.randn(100_000), "b": torch.randint(0, 9, (70_000,), dtype=torch.uint8)}
    assert_lossless(state, encode(state))


@pytest.fixture(scope="module")
def pruned() -> State:
    """A MobileNetV2 with 10 classes at 90 % of every convolution and linear layer."""
    torch.manual_seed(0)
    model = make("mobilenet_v2", 10)
    prunable = weights(model, "all")
    kept = compute_masks(magnitude(CriterionInputs(prunable)), 0.9, to_dict(PruningSpec()))
    masks.Masks(prunable, kept).multiply()
    return {name: value.detach() for name, value in model.state_dict().items()}


def test_a_pruned_model_is_small(pruned: State, tmp_path: Path) -> None:
    size = save(pruned, tmp_path / "model")
    assert size == (tmp_path / "model").stat().st_size
    assert size < 1.1e6
    loaded = load(tmp_path / "model")
    assert all(same(loaded[name], pruned[name]) for name in pruned)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_dense_tensor_costs_no_more_than_its_bytes() -> None:
    values = torch.randint(-(2**31), 2**31 - 1, (200_000,), dtype=torch.int32)
    assert len(encode({"w": values})) < values.numel() * 4 * 1.005 + 1000


def test_a_mask_takes_one_bit_per_weight() -> None:
    mask = torch.rand(80_000, generator=torch.Generator().manual_seed(0)) < 0.5
    assert len(encode({"mask": mask})) < 10_000 * 1.01 + 500


@pytest.fixture(scope="module")
def small() -> bytes:
    torch.manual_seed(0)
    values = torch.randn(300) * (torch.rand(300) < 0.2)
    return encode({"w": values, "n": torch.tensor(7), "d": torch.randn(5, 5)})


def test_any_flipped_bit_is_refused(small: bytes) -> None:
    chance = random.Random(0)
    for position in [*range(60), *chance.sample(range(len(small)), 300)]:
        damaged = bytearray(small)
        damaged[position] ^= 1 << chance.randrange(8)
        with pytest.raises(SparseFileError):
            decode(bytes(damaged))


def test_any_truncation_is_refused(small: bytes) -> None:
    for length in [*range(70), *range(70, len(small), 17), len(small) - 1]:
        with pytest.raises(SparseFileError):
            decode(small[:length])
    with pytest.raises(SparseFileError):
        decode(small + b"\0")


def sealed(body: bytes) -> bytes:
    return sparse_file.START.pack(b"PRUNELAB", 1, hashlib.sha256(body).digest()) + body


def test_wrong_content_with_a_correct_digest_is_refused(small: bytes) -> None:
    """The digest is no signature: a file with any content can have a correct one."""
    chance = random.Random(1)
    body = small[44:]
    for _ in range(200):
        other = bytearray(body)
        for _ in range(chance.choice([1, 3])):
            other[chance.randrange(len(other))] = chance.randrange(256)
        # The first bytes of a stream name the level of compression, which changes no content.
        if bytes(other) == body or content_of(bytes(other)) == content_of(body):
            continue
        with pytest.raises(SparseFileError):
            decode(sealed(bytes(other)))


def content_of(body: bytes) -> bytes | None:
    """The one block of a body; None where it is damaged."""
    try:
        return body[:12] + zlib.decompress(body[12:])
    except zlib.error:
        return None


def repacked(blob: bytes, extra: int = 0) -> bytes:
    stream = zlib.compress(blob)
    return sealed(struct.pack("<QI", len(blob) + extra, len(stream)) + stream)


def blob_of(small: bytes) -> bytes:
    return zlib.decompress(small[FRAMING + 4 :])


def test_bytes_of_a_file_are_escaped_in_the_reason(small: bytes) -> None:
    """safetensors quotes what it cannot read, such as the name of a type."""
    blob = blob_of(small)
    (length,) = struct.unpack_from("<Q", blob)
    header = blob[8 : 8 + length].replace(b'"U8"', b'"\\u001b"', 1)
    with pytest.raises(SparseFileError) as refused:
        decode(repacked(struct.pack("<Q", len(header)) + header + blob[8 + length :]))
    assert "`\\x1b`" in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"float32", b"complex"),
        (b"[300]", b"[999]"),
        (b"[300]", b"[-10]"),
        (b"[300]", b"[1e9]"),
        (b"[5,5]", b"[5,4]"),
        (b"[5,5]", b"[null"),
        (b"sparse", b"dense "),
        (b"__metadata__", b"__mettdata__"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(small: bytes, old: bytes, new: bytes) -> None:
    blob = blob_of(small)
    assert decode(repacked(blob)).keys() == {"w", "n", "d"}
    assert old in blob
    with pytest.raises(SparseFileError):
        decode(repacked(blob.replace(old, new, 1)))


@pytest.mark.parametrize("versions", ["[22222]", '{"m":"2"}', '{"m":2.5}', "123456789"])
def test_versions_that_are_no_whole_numbers_by_name_are_refused(versions: str) -> None:
    blob = blob_of(encode(with_versions({"m.x": torch.zeros(3)}, {"m": 2222})))
    old, new = (json.dumps(text.ljust(10))[1:-1].encode() for text in ('{"m":2222}', versions))
    assert versions_of(decode(repacked(blob))) == {"m": 2222}
    assert old in blob
    with pytest.raises(SparseFileError, match="inconsistent header"):
        decode(repacked(_with_header(blob, old, new)))


def _with_header(blob: bytes, old: bytes, new: bytes) -> bytes:
    """A safetensors file with another text in its header, which is padded anew."""
    size = int.from_bytes(blob[:8], "little")
    header = blob[8 : 8 + size].replace(old, new, 1).rstrip()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + blob[8 + size :]


def test_a_block_that_expands_too_far_is_refused() -> None:
    stream = zlib.compress(bytes(10 * sparse_file.BLOCK))
    with pytest.raises(SparseFileError, match="a block is too large"):
        decode(sealed(struct.pack("<QI", sparse_file.BLOCK, len(stream)) + stream))


def test_a_wrong_size_is_refused(small: bytes) -> None:
    blob = blob_of(small)
    for size in (len(blob) - 1, len(blob) + 1, len(blob) + sparse_file.BLOCK):
        with pytest.raises(SparseFileError, match=r"blocks do not make up|sections do not have"):
            decode(repacked(blob, extra=size - len(blob)))


def framed(blob: bytes, zeros: int) -> bytes:
    """A file whose blob continues with so many blocks of zeros, which take 80 bytes each."""
    stream, empty = zlib.compress(blob), zlib.compress(bytes(sparse_file.BLOCK), 9)
    frames = [stream] + [empty] * zeros
    body = b"".join(struct.pack("<I", len(frame)) + frame for frame in frames)
    return sealed(struct.pack("<Q", len(blob) + zeros * sparse_file.BLOCK) + body)


def claiming(sections: dict[str, int], *rows: Any) -> bytes:
    """The beginning of a blob whose header lists these sections and tensors."""
    ends = list(itertools.accumulate(sections.values(), initial=0))
    header: dict[str, Any] = {"__metadata__": {"tensors": json.dumps(rows)}}
    for (name, size), start in zip(sections.items(), ends, strict=False):
        header[name] = {"dtype": "U8", "shape": [size], "data_offsets": [start, start + size]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


BLOCKS = 40_000  # 2.6 GB in a file of 3.4 MB
CLAIMED = BLOCKS * sparse_file.BLOCK
CRAFTED = {
    "zeros": b"",
    "a header of that size": struct.pack("<Q", CLAIMED - 8),
    "sections beside the tensors": claiming({"mask": CLAIMED}, ["w", "float32", [8], "sparse"]),
    "tensors beside the sections": claiming({}, ["w", "float32", [10**12], "sparse"]),
    "large tensors": claiming({"mask": CLAIMED}, ["w", "float32", [8 * CLAIMED], "sparse"]),
    "a shape of many sizes": claiming({}, ["w", "int8", [10**9] * 1000, "dense"]),
}


@pytest.mark.parametrize("kind", CRAFTED)
def test_a_small_file_that_claims_much_is_refused_before_memory_is_taken(kind: str) -> None:
    start = CRAFTED[kind].ljust(sparse_file.BLOCK, b"\0")
    data = framed(start, BLOCKS - 1)
    assert len(data) < 4e6
    tracemalloc.start()
    with pytest.raises(SparseFileError, match="inconsistent header"):
        decode(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3e7


def test_other_files_are_refused_with_their_name(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "foreign")
    with pytest.raises(SparseFileError, match="foreign is not a sparse file"):
        load(tmp_path / "foreign")


def test_a_newer_version_is_named(small: bytes) -> None:
    newer = small[:8] + struct.pack("<I", 2) + small[12:]
    with pytest.raises(SparseFileError, match="version 2"):
        decode(newer)


def test_a_dtype_that_cannot_be_stored_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(SparseFileError, match="complex64"):
        save({"w": torch.zeros(3, dtype=torch.complex64)}, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_the_layout_is_the_documented_one() -> None:
    """Read a file by the description in the docstring alone."""
    data = encode({"w": torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -2.0])})
    assert data[:8] == b"PRUNELAB"
    assert data[8:12] == b"\x01\0\0\0"
    assert data[12:44] == hashlib.sha256(data[44:]).digest()
    (length,) = struct.unpack("<I", data[FRAMING : FRAMING + 4])
    assert len(data) == FRAMING + 4 + length
    blob = zlib.decompress(data[FRAMING + 4 :])
    assert struct.unpack("<Q", data[44:FRAMING]) == (len(blob),)
    from safetensors.numpy import load as load_blob

    sections = {name: value.tolist() for name, value in load_blob(blob).items()}
    # 1.0 is 3F800000, rotated left 7F000000; -2.0 is C0000000, rotated left 80000001.
    expected = {"4.0": [0, 1], "4.1": [0, 0], "4.2": [0, 0], "4.3": [0x7F, 0x80]}
    assert sections == {**expected, "mask": [0b01000000, 0b10000000]}


def test_metadata_have_one_order_in_every_process() -> None:
    """safetensors writes several entries in an order that changes."""
    tensors = save_blob({"x": torch.arange(3)}, {"a": "1", "b": "é"})
    size = int.from_bytes(tensors[:8], "little")
    header = json.loads(tensors[8 : 8 + size])
    for names in ("ab", "ba"):
        header["__metadata__"] = {name: {"a": "1", "b": "é"}[name] for name in names}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        blob = len(text).to_bytes(8, "little") + text + tensors[8 + size :]
        sorted_blob = sorted_metadata(blob)
        assert b'{"a":"1","b":' in sorted_blob
        assert torch.equal(load_blob(sorted_blob)["x"], torch.arange(3))
