# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Typed errors.

Every error says what is wrong, what was found, what was expected and what to do, so that a message read in a
batch log is enough to act on.
"""

from __future__ import annotations

__all__ = [
    "CardError",
    "ConfigurationError",
    "DDCaloGenError",
    "GeometryError",
    "InferenceError",
    "InputError",
    "ModelError",
    "OutputError",
]


class DDCaloGenError(Exception):
    """Base of all errors raised by DDCaloGen.

    Parameters
    ----------
    problem
        What is wrong, one sentence without a final stop.
    found, expected, remedy
        What was found, what was expected, what to do about it; each may be left out.
    """

    def __init__(
        self, problem: str, *, found: str | None = None, expected: str | None = None, remedy: str | None = None
    ) -> None:
        self.problem = problem
        self.found = found
        self.expected = expected
        self.remedy = remedy
        parts = [problem]
        if found:
            parts.append(f"found {found}")
        if expected:
            parts.append(f"expected {expected}")
        message = "; ".join(parts)
        super().__init__(f"{message}. {remedy}" if remedy else message)


class GeometryError(DDCaloGenError):
    """A detector description, snapshot, readout or cellID is unknown or inconsistent."""


class ModelError(DDCaloGenError):
    """An ONNX model cannot be used."""


class CardError(ModelError):
    """The model card is missing, malformed, too new, or does not match the graph."""


class InferenceError(DDCaloGenError):
    """The inference session cannot run, or the network returned tensors that break the contract."""


class InputError(DDCaloGenError):
    """An input file, particle or option value is malformed or out of range."""


class OutputError(DDCaloGenError):
    """An output file cannot be written."""


class ConfigurationError(DDCaloGenError):
    """Options contradict each other, or an optional package that they need is missing."""
