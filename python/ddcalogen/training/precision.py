# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Weights stored in less than float32: smaller files, the same float32 arithmetic, so the same promises on bits."""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["Precision", "store_weights"]

Precision = Literal["fp32", "fp16", "int8"]

_SMALLEST = 256
"""Tensors with fewer elements (biases, constants) stay float32."""


def store_weights(model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """Return a copy of a model whose large float32 matrices and kernels are stored as float16 or int8.

    int8: symmetric, one scale for each slice along the last axis of a matrix and the first of a kernel
    (DequantizeLinear); float16: rounded, with a Cast. Constant folding of the runtime undoes the storage when the
    model is loaded. Tensors of which float16 cannot hold the range stay as they are.
    """
    small = onnx.ModelProto()
    small.CopyFrom(model)
    if precision == "fp32":
        return small
    kept, nodes = [], []
    for tensor in small.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.ndim < 2 or values.size < _SMALLEST:
            kept.append(tensor)
            continue
        stored = f"{tensor.name}.{precision}"
        if precision == "fp16":
            if np.abs(values).max() > 65_000:
                kept.append(tensor)
                continue
            kept.append(numpy_helper.from_array(values.astype(np.float16), stored))
            nodes.append(helper.make_node("Cast", [stored], [tensor.name], to=TensorProto.FLOAT))
            continue
        axis = 1 if values.ndim == 2 else 0
        others = tuple(i for i in range(values.ndim) if i != axis)
        scale = (np.abs(values).max(axis=others) / 127.0).astype(np.float32)
        scale[scale == 0] = 1.0
        shape = [1] * values.ndim
        shape[axis] = -1
        levels = np.clip(np.round(values / scale.reshape(shape)), -127, 127).astype(np.int8)
        kept += [
            numpy_helper.from_array(levels, stored),
            numpy_helper.from_array(scale, f"{stored}.scale"),
            numpy_helper.from_array(np.zeros(len(scale), np.int8), f"{stored}.zero"),
        ]
        nodes.append(
            helper.make_node(
                "DequantizeLinear", [stored, f"{stored}.scale", f"{stored}.zero"], [tensor.name], axis=axis
            )
        )
    del small.graph.initializer[:]
    small.graph.initializer.extend(kept)
    body = list(small.graph.node)
    del small.graph.node[:]
    small.graph.node.extend([*nodes, *body])
    return small
