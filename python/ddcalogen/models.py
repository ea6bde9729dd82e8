# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Finding model files by name."""

from __future__ import annotations

import os
from pathlib import Path

from ddcalogen.errors import ModelError

__all__ = [
    "DEFAULT_MODEL",
    "MODEL_PATH_VARIABLE",
    "find_model",
    "model_folders",
    "packaged_models",
    "shipped_models",
]

DEFAULT_MODEL = "ild_ecal_em_layered"
"""Model that is used when none is named."""

MODEL_PATH_VARIABLE = "DDCALOGEN_MODEL_PATH"
"""Environment variable with further folders of models, separated as in PATH; searched first."""


def _package_folders() -> list[Path]:
    package = Path(__file__).resolve().parent
    # installed beside the package; and the source tree, for an editable installation
    return [f for f in (package / "models", package.parents[1] / "models") if f.is_dir()]


def model_folders() -> list[Path]:
    """Folders that are searched for models, in order; only those that exist."""
    named = [Path(p) for p in os.environ.get(MODEL_PATH_VARIABLE, "").split(os.pathsep) if p]
    return [*(f for f in named if f.is_dir()), *_package_folders()]


def _models_in(folders: list[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.onnx")):
            found.setdefault(path.stem, path)
    return found


def shipped_models() -> dict[str, Path]:
    """All models found by name, without the ending .onnx; the first folder wins."""
    return _models_in(model_folders())


def packaged_models() -> dict[str, Path]:
    """Models that come with the package, by name."""
    return _models_in(_package_folders())


def find_model(name: str | os.PathLike[str]) -> Path:
    """Path of a model given as a file or by the name of a model in one of the folders.

    Raises
    ------
    ModelError
        There is no such file or model.
    """
    path = Path(name)
    if path.is_file():
        return path
    known = shipped_models()
    if os.fspath(name) in known:
        return known[os.fspath(name)]
    raise ModelError(
        f"there is no model '{os.fspath(name)}'",
        found="no such file" if path.suffix == ".onnx" else "no model of that name",
        expected="an ONNX file, or one of: " + (", ".join(known) or "none found"),
        remedy=f"Check the path, or add the model's folder to {MODEL_PATH_VARIABLE}.",
    )
