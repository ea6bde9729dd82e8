# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The type stub of the compiled module names what the module has."""

from __future__ import annotations

import ast
from pathlib import Path

import ddcalogen
from ddcalogen import _core


def test_stub_is_current() -> None:
    stub = ast.parse((Path(ddcalogen.__file__).parent / "_core.pyi").read_text(encoding="utf-8"))
    classes = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    names = set(classes) | {node.name for node in stub.body if isinstance(node, ast.FunctionDef)}
    names |= {
        node.target.id for node in stub.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    real = {name for name in dir(_core) if not name.startswith("_")}
    assert names - {"__all__"} == real, "run pybind11-stubgen ddcalogen._core"
    for name, node in classes.items():
        own = {n for n in vars(getattr(_core, name)) if not n.startswith("_")}
        own -= set(getattr(getattr(_core, name), "__members__", {}))
        assert {i.name for i in node.body if isinstance(i, ast.FunctionDef) and not i.name.startswith("_")} == own, name
