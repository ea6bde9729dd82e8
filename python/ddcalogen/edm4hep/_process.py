# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The process that owns ROOT while an EDM4hep file is written.

ROOT lives in a process of its own because its signal handlers, its output, its LLVM and its one global set of class
declarations (schema 2 and schema 4 cannot both be declared) then stay out of the user's program, and because
compression runs beside the simulation. `Writer` speaks to it through pipes:

standard input: a configuration (JSON), then records, each `RECORD_HEADER` (kind, size) and payload: b"E" an event,
b"P" a parameter frame (u64 length, category, parameters), b"F" finish (empty). End of input without b"F" means that the
file is not wanted. standard output: JSON lines, `ready`, `done` or `error`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ddcalogen.edm4hep.schema import (
    CONTRIBUTIONS_SUFFIX,
    EVENT_HEADER,
    LAYOUTS,
    MC_PARTICLES,
    Layout,
    LayoutName,
    collection_id,
    cpp_declarations,
    edm_definition,
)

RECORD_HEADER = struct.Struct("<cQ")
EVENT, PARAMETERS, FINISH = b"E", b"P", b"F"
_JIT_DIRECTORY = Path(__file__).parent / "jit"


class _RefusalError(Exception):
    """Carries the fields of the error that the parent shall raise."""

    def __init__(self, kind: str, problem: str, **details: str | None) -> None:
        super().__init__(problem)
        self.report = {"status": "error", "kind": kind, "problem": problem, **details}


def _import_root() -> Any:
    try:
        import ROOT
    except Exception as error:  # a broken installation raises all kinds of exceptions
        raise _RefusalError(
            "configuration",
            "ROOT cannot be imported, and without it no EDM4hep file can be written",
            found=f"{type(error).__name__}: {error}",
            expected="the ROOT wheel, or a Key4hep environment",
            remedy="Install the extra: pip install 'ddcalogen[edm4hep]'.",
        ) from error
    ROOT.PyConfig.IgnoreCommandLineOptions = True
    ROOT.gROOT.SetBatch(True)
    ROOT.gErrorIgnoreLevel = ROOT.kError
    return ROOT


def _declare(root: Any, code: str) -> None:
    if not root.gInterpreter.Declare("#pragma cling optimize(2)\n" + code):
        raise _RefusalError(
            "configuration",
            "ROOT's interpreter refused the EDM4hep declarations",
            found=f"ROOT {root.gROOT.GetVersion()}",
            expected="ROOT 6.28 or newer",
        )


def _declarations(calorimeters: list[str], trackers: list[str]) -> bytes:
    """All collections of an event for jit/event_record.h, in the order in which podio makes their branches."""
    kinds = [(b"H", EVENT_HEADER, ""), (b"P", MC_PARTICLES, "")]
    kinds += [(b"C", name, "") for name in calorimeters]
    kinds += [(b"c", name + CONTRIBUTIONS_SUFFIX, name) for name in calorimeters]
    kinds += [(b"T", name, "") for name in trackers]
    packed = struct.pack("<Q", len(kinds))
    for kind, name, hits in sorted(kinds, key=lambda entry: entry[1].lower()):
        packed += struct.pack("<cI", kind, collection_id(name))
        for text in (name, hits):
            packed += struct.pack("<Q", len(text)) + text.encode()
    return packed


class _Backend:
    """A C++ `EventFileWriter`, of root_writer.h or podio_writer.h. `description` says what writes the file."""

    def __init__(self, root: Any, configuration: dict[str, Any], description: dict[str, Any]) -> None:
        self._writer = root.ddcalogen.EventFileWriter()
        declarations = np.frombuffer(_declarations(configuration["calorimeters"], configuration["trackers"]), np.uint8)
        _check(self._writer.open(configuration["path"], int(declarations.ctypes.data), len(declarations)))
        self.description = {"root": str(root.gROOT.GetVersion()), **description}

    def event(self, address: int, size: int) -> None:
        _check(self._writer.event(address, size))

    def parameters(self, category: str, address: int, size: int) -> None:
        _check(self._writer.parameters(category, address, size))

    def finish(self) -> None:
        _check(self._writer.finish())


class _RootBackend(_Backend):
    """Writes podio's layout with ROOT alone."""

    def __init__(self, configuration: dict[str, Any], layout: Layout) -> None:
        root = _import_root()
        root.gInterpreter.SetClassAutoloading(False)  # another EDM4hep on the library path must not interfere
        _declare(
            root,
            f"#define DDCALOGEN_SCHEMA {layout.schema}\n"
            + ("#define DDCALOGEN_PODIO_1_2\n" if layout.name == "1.2" else "")
            + "#include <cstdint>\n#include <Rtypes.h>\n"
            + cpp_declarations(layout.schema)
            + f'#include "{_JIT_DIRECTORY / "root_writer.h"}"\n',
        )
        super().__init__(root, configuration, {"backend": "root", "layout": layout.name, "schema": layout.schema})
        self._layout = layout

    def finish(self) -> None:
        layout = self._layout
        _check(self._writer.finish(*layout.podio_version, *layout.edm4hep_version, edm_definition(layout.schema)))


class _PodioBackend(_Backend):
    """Writes with the installed podio and EDM4hep."""

    def __init__(self, configuration: dict[str, Any], version: tuple[int, ...]) -> None:
        root = _import_root()
        if root.gSystem.Load("libpodioRootIO") < 0 or root.gSystem.Load("libedm4hepDict") < 0:
            raise _RefusalError(
                "configuration",
                "The installed podio cannot be used",
                found="libpodioRootIO or libedm4hepDict does not load",
                expected="the libraries of podio and EDM4hep on the library path",
                remedy="Set up the Key4hep environment completely, or choose the backend 'root'.",
            )
        _declare(root, f'#include "{_JIT_DIRECTORY / "podio_writer.h"}"\n')
        super().__init__(
            root,
            configuration,
            {
                "backend": "podio",
                "layout": _podio_layout(version),
                "podio": ".".join(map(str, version)),
                "schema": int(root.ddcalogen.EventFileWriter.schema()),
            },
        )


def _installed_podio() -> tuple[int, ...] | None:
    """Version of the importable podio (with EDM4hep), found without loading its dictionaries."""
    try:
        podio, edm4hep = importlib.util.find_spec("podio"), importlib.util.find_spec("edm4hep")
        if podio is None or edm4hep is None or edm4hep.origin is None or not podio.submodule_search_locations:
            return None
        text = (Path(podio.submodule_search_locations[0]) / "__version__.py").read_text(encoding="utf-8")
    except (ImportError, ValueError, OSError):
        return None
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else None


def _podio_layout(version: tuple[int, ...]) -> LayoutName:
    return "1.2" if version < (1, 2, 999) else "current"


def _check(message: Any) -> None:
    if str(message):
        raise _RefusalError(
            "output",
            "The EDM4hep file cannot be written",
            found=str(message),
            remedy="Make sure that the disk has space left, or choose another output.",
        )


def _open_backend(configuration: dict[str, Any]) -> _Backend:
    layout: LayoutName | None = configuration["layout"]
    podio = None if configuration["backend"] == "root" else _installed_podio()
    if podio is not None and layout in (None, _podio_layout(podio)):
        return _PodioBackend(configuration, podio)
    if configuration["backend"] == "podio":
        raise _RefusalError(
            "configuration",
            "The backend podio cannot write this file",
            found=f"podio {'.'.join(map(str, podio))}" if podio else "no podio with EDM4hep",
            expected=f"a podio that writes the layout {layout or 'current or 1.2'}",
            remedy="Choose the backend 'root', or another layout.",
        )
    return _RootBackend(configuration, LAYOUTS[layout or "current"])


def _serve(configuration: dict[str, Any], source: BinaryIO, answer: Callable[[dict[str, Any]], None]) -> bool:
    """Whether the file was completed."""
    backend = _open_backend(configuration)
    answer({"status": "ready", **backend.description})
    events = 0
    while len(header := source.read(RECORD_HEADER.size)) == RECORD_HEADER.size:
        kind, size = RECORD_HEADER.unpack(header)
        payload = source.read(size)
        if len(payload) != size:
            return False
        if kind == FINISH:
            backend.finish()
            answer({"status": "done", "events": events})
            return True
        buffer = np.frombuffer(payload, np.uint8)
        address = int(buffer.ctypes.data)
        if kind == EVENT:
            backend.event(address, size)
            events += 1
        else:
            length = int.from_bytes(payload[:8], "little")
            category = payload[8 : 8 + length].decode()
            backend.parameters(category, address + 8 + length, size - 8 - length)
    return False


def main() -> None:
    """Serve one `Writer`; never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever ROOT prints is not an answer

    def answer(report: dict[str, Any]) -> None:
        answers.write(json.dumps(report) + "\n")
        answers.flush()

    code = 0
    configuration = json.loads(sys.stdin.buffer.readline())
    complete = False
    try:
        complete = _serve(configuration, sys.stdin.buffer, answer)
    except _RefusalError as error:
        code = 1
        answer(error.report)
    except BaseException as error:
        code = 1
        answer(
            {
                "status": "error",
                "kind": "output",
                "problem": "The EDM4hep writer process failed",
                "found": f"{type(error).__name__}: {error}",
            }
        )
    if not complete:
        with contextlib.suppress(OSError):  # the parent may be gone, or may have removed it
            os.unlink(configuration["path"])
    sys.stderr.flush()
    os._exit(code)  # skips ROOT's tear-down, which would touch a half-written file


if __name__ == "__main__":
    main()
