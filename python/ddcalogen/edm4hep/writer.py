# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Writer of EDM4hep files (podio TTree layout)."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import secrets
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from ddcalogen.edm4hep._process import EVENT, FINISH, PARAMETERS, RECORD_HEADER
from ddcalogen.edm4hep.reader import check_root_file
from ddcalogen.edm4hep.records import (
    CalorimeterHits,
    Contributions,
    Event,
    MCParticles,
    ParameterValue,
    Ragged,
    TrackerHits,
)
from ddcalogen.edm4hep.schema import (
    CONTRIBUTIONS_SUFFIX,
    ENCODING_SUFFIX,
    EVENT_HEADER,
    LAYOUTS,
    MC_PARTICLES,
    LayoutName,
)
from ddcalogen.errors import ConfigurationError, DDCaloGenError, InputError, OutputError

__all__ = ["Backend", "Writer"]

Backend = Literal["auto", "podio", "root"]

_COLLECTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ERRORS: dict[str, type[DDCaloGenError]] = {
    "configuration": ConfigurationError,
    "input": InputError,
    "output": OutputError,
}
_INT32 = np.iinfo(np.int32)
_COUNT = struct.Struct("<Q")


class Writer:
    """Writes events to an EDM4hep file that appears under its name only when it is complete.

    Parameters
    ----------
    path
        The file to write; an existing file is replaced when the new one is complete.
    collections
        Calorimeter hit collections: name -> CellIDEncoding string. Contributions go to `<name>Contributions`.
        Every event of the file has every collection, empty where `Event` lists none.
    tracker_collections
        The same for `SimTrackerHit` collections.
    layout
        "current" (podio >= 1.3, EDM4hep schema 4) or "1.2" (podio 1.0 to 1.2, schema 2; without step lengths). Without
        a choice: what the installed podio writes, or "current" where there is none.
    backend
        "podio" (the real library), "root" (ROOT alone), or "auto": podio where it is importable and writes `layout`.
    run_parameters
        Parameters of the `runs` frame. `Writer.run_parameters` is a plain dict that may be changed until the file is
        closed, so counters known at the end of the run can go there.
    metadata
        Further parameters of the `metadata` frame, beside `<collection>__CellIDEncoding`.

    Raises
    ------
    ConfigurationError
        ROOT is missing, or names or options cannot be used. OutputError: the file cannot be written.
        InputError: an event or parameter cannot be represented.

    Parameter values are integers, floats, texts, or lists of one of these. podio knows 32-bit integers only: lists with
    larger ones are stored as decimal texts. Use it as a context manager: leaving it by an exception removes the
    unfinished file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        collections: Mapping[str, str],
        *,
        tracker_collections: Mapping[str, str] | None = None,
        layout: LayoutName | None = None,
        backend: Backend = "auto",
        run_parameters: Mapping[str, ParameterValue] | None = None,
        metadata: Mapping[str, ParameterValue] | None = None,
    ) -> None:
        self.path = Path(path)
        self.run_parameters: dict[str, ParameterValue] = dict(run_parameters or {})
        self.metadata: dict[str, ParameterValue] = dict(metadata or {})
        self.events_written = 0
        self._encodings = {**collections, **(tracker_collections or {})}
        # podio's order of branches, in which the writing process expects them
        self._calorimeters = sorted(collections, key=str.lower)
        self._trackers = sorted(tracker_collections or {}, key=str.lower)
        self._process: subprocess.Popen[bytes] | None = None
        self._description: dict[str, Any] | None = None
        _check_names(self._calorimeters, self._trackers)
        if layout is not None and layout not in LAYOUTS:
            raise ConfigurationError("Unknown EDM4hep layout", found=repr(layout), expected=" or ".join(LAYOUTS))
        if backend not in ("auto", "podio", "root"):
            raise ConfigurationError("Unknown EDM4hep backend", found=repr(backend), expected="auto, podio or root")
        if importlib.util.find_spec("ROOT") is None:
            raise ConfigurationError(
                "EDM4hep files cannot be written without ROOT",
                found="no Python module ROOT",
                expected="the ROOT wheel, or a Key4hep environment",
                remedy="Install the extra: pip install 'ddcalogen[edm4hep]'.",
            )
        self._partial = self._reserve()
        try:
            self._start(
                {
                    "path": str(self._partial),
                    "layout": layout,
                    "backend": backend,
                    "calorimeters": self._calorimeters,
                    "trackers": self._trackers,
                }
            )
        except BaseException:
            self.abort()
            raise

    def _reserve(self) -> Path:
        """Create the temporary file, so that an unwritable place is reported before any work is done."""
        if os.path.isdir(self.path):
            raise OutputError("The output is a directory", found=str(self.path), expected="the name of a file")
        partial = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}.partial")
        try:
            os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except (OSError, ValueError) as error:
            raise OutputError(
                f"Cannot write {self.path}",
                found=getattr(error, "strerror", None) or str(error),
                expected="an existing, writable directory",
                remedy="Choose another output file or make its directory.",
            ) from error
        return partial.absolute()

    def _start(self, configuration: dict[str, Any]) -> None:
        if not sys.executable:
            raise ConfigurationError("The Python interpreter does not know its own path", found="sys.executable empty")
        code = (
            "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
            "from ddcalogen.edm4hep._process import main; main()"
        )
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._send([json.dumps(configuration).encode() + b"\n"])

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        if getattr(self, "_process", None) is not None:
            self.abort()

    @property
    def description(self) -> Mapping[str, Any]:
        """Which backend ("podio" or "root"), layout, schema and versions write the file."""
        if self._description is None:
            self._description = self._answer("ready")
        return self._description

    def write(self, event: Event) -> None:
        """Append an event.

        Raises `InputError` for NaN, numbers out of range of the format and unknown collections (the event is then not
        written, and writing may go on), `OutputError` when the file cannot be written (nothing is then kept).
        """
        payload = pack_event(event, self._calorimeters, self._trackers)
        self._require_open()
        if self._description is None:
            self._description = self._answer("ready")
        if self._description["schema"] < 3:
            _check_range("Event.event_number (32 bits in this layout)", event.event_number, 0, _INT32.max)
        self._record(EVENT, payload)
        self.events_written += 1

    def close(self) -> None:
        """Write run parameters and metadata, finish the file and give it its name."""
        self._require_open()
        try:
            if self._description is None:
                self._description = self._answer("ready")
            encodings = {name + ENCODING_SUFFIX: encoding for name, encoding in self._encodings.items()}
            for category, parameters in (
                ("runs", self.run_parameters),
                ("meta", {}),
                ("metadata", {**self.metadata, **encodings}),
            ):
                self._record(PARAMETERS, [_packed_text(category), *_packed_parameters(parameters)])
            self._record(FINISH, [])
            self._answer("done")
            self._stop()
            check_root_file(self._partial)
            try:
                with self._partial.open("rb+") as complete:
                    os.fsync(complete.fileno())
                os.replace(self._partial, self.path)
            except OSError as error:
                raise OutputError(f"Cannot write {self.path}", found=error.strerror or str(error)) from error
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Give up: end the writing process and remove the unfinished file. Harmless when already closed."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            _dispose(process)
            self._log.close()
        with contextlib.suppress(OSError):
            self._partial.unlink()

    def _require_open(self) -> None:
        if self._process is None:
            raise OutputError(f"{self.path} is already closed", remedy="Make a new Writer.")

    def _record(self, kind: bytes, payload: Sequence[bytes]) -> None:
        self._send([RECORD_HEADER.pack(kind, sum(map(len, payload))), *payload])

    def _send(self, parts: Iterable[bytes]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"".join(parts))
            self._process.stdin.flush()
        except BrokenPipeError:
            self._answer("an end of the process")
            raise

    def _answer(self, expected: str) -> dict[str, Any]:
        """The next answer of the process; anything but `expected` ends in an exception and removes the file."""
        self._require_open()
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        report: dict[str, Any] = json.loads(line) if line else {}
        if report.get("status") == expected:
            return report
        if report.get("status") == "ready":  # it failed later: the next line says why
            return self._answer(expected)
        if report.get("status") == "error":
            error = _ERRORS[report["kind"]](
                f"{report['problem']}: {self.path}",
                **{key: report.get(key) for key in ("found", "expected", "remedy")},
            )
            self.abort()
            raise error
        code = self._process.wait()
        self._log.seek(0)
        tail = self._log.read().decode(errors="replace").strip()[-500:]
        self.abort()
        raise OutputError(
            f"The process that writes {self.path} ended unexpectedly",
            found=f"exit code {code}" + (f", last output: {tail}" if tail else ""),
            remedy="Exit code -9 mostly means that the machine ran out of memory.",
        )

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            _dispose(process)
            self._log.close()


def _dispose(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()


def _check_names(calorimeters: Sequence[str], trackers: Sequence[str]) -> None:
    contributions = [name + CONTRIBUTIONS_SUFFIX for name in calorimeters]
    names = [EVENT_HEADER, MC_PARTICLES, *calorimeters, *trackers, *contributions]
    for name in names:
        if not _COLLECTION_NAME.fullmatch(name):
            raise ConfigurationError(
                "Not a name for an EDM4hep collection", found=repr(name), expected="letters, digits and underscores"
            )
    # podio sorts without regard to case
    lower = [name.lower() for name in names]
    if twice := sorted({name for name in names if lower.count(name.lower()) > 1}):
        raise ConfigurationError("EDM4hep collection names collide", found=", ".join(twice), expected="unique names")


def _check_range(what: str, value: int, minimum: int, maximum: int) -> None:
    if not minimum <= value <= maximum:
        raise InputError(f"{what} is out of range", found=str(value), expected=f"{minimum} to {maximum}")


def _packed_text(text: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise InputError("A text cannot be stored", found=ascii(text)[:200], expected="text in Unicode") from error
    if b"\0" in data:
        raise InputError("A text holds a NUL character", found=ascii(text)[:200], expected="text that C++ can hold")
    return _COUNT.pack(len(data)) + data


def _packed_parameters(parameters: Mapping[str, ParameterValue]) -> list[bytes]:
    """Generic parameters sorted into integers, doubles and texts (jit/event_record.h, struct Parameters)."""
    integers: dict[str, npt.NDArray[np.int32]] = {}
    doubles: dict[str, npt.NDArray[np.float64]] = {}
    texts: dict[str, list[str]] = {}
    for key, value in parameters.items():
        entries: list[Any] = [value] if isinstance(value, str | bytes) or np.ndim(value) == 0 else list(value)  # type: ignore[arg-type]
        if not isinstance(key, str) or not key:
            raise InputError("A parameter name must be a text", found=repr(key), expected="a non-empty str")
        if all(isinstance(entry, str) for entry in entries):
            texts[key] = entries
        elif all(isinstance(entry, bool | int | np.bool_ | np.integer) for entry in entries):
            whole = [int(entry) for entry in entries]
            if all(_INT32.min <= entry <= _INT32.max for entry in whole):
                integers[key] = np.array(whole, np.int32)
            else:
                texts[key] = [str(entry) for entry in whole]
        elif all(isinstance(entry, bool | int | float | np.bool_ | np.integer | np.floating) for entry in entries):
            doubles[key] = np.array([float(entry) for entry in entries], np.float64)
        else:
            raise InputError(
                f"Parameter {key!r} cannot be stored",
                found=repr(value)[:200],
                expected="int, float, str or a list of one of them",
            )
    packed = []
    for numbers in (integers, doubles):
        packed.append(_COUNT.pack(len(numbers)))
        for key, array in numbers.items():
            packed += [_packed_text(key), _COUNT.pack(len(array)), array.tobytes()]
    packed.append(_COUNT.pack(len(texts)))
    for key, entries in texts.items():
        packed += [_packed_text(key), _COUNT.pack(len(entries)), *(_packed_text(entry) for entry in entries)]
    return packed


def pack_event(event: Event, calorimeters: Sequence[str], trackers: Sequence[str]) -> list[bytes]:
    """The event as the flat record that jit/event_record.h reads, collections in the given orders."""
    event.check_finite()
    _check_range("Event.event_number", event.event_number, 0, np.iinfo(np.uint64).max)
    _check_range("Event.run_number", event.run_number, 0, _INT32.max)
    _check_range("Event.time_stamp", event.time_stamp, 0, np.iinfo(np.uint64).max)
    for given, known in ((event.calorimeter_hits, calorimeters), (event.tracker_hits, trackers)):
        if unknown := sorted(set(given) - set(known)):
            raise InputError(
                "The event has collections that the file was not opened with",
                found=", ".join(unknown),
                expected=", ".join(known) or "none",
                remedy="podio files have the same collections in every event: name them all when making the Writer.",
            )
    header = struct.pack("<QqQd", event.event_number, event.run_number, event.time_stamp, event.weight)
    parts = [header, _COUNT.pack(len(event.weights)), event.weights.tobytes()]
    parts += _packed_parameters(event.parameters)
    parts += _packed_particles(event.particles)
    for name in calorimeters:
        parts += _packed_hits(event.calorimeter_hits.get(name) or _NO_HITS)
    for name in trackers:
        parts += _packed_columns(event.tracker_hits.get(name) or _NO_TRACKER_HITS)
    return parts


_NO_HITS = CalorimeterHits.empty()
_NO_TRACKER_HITS = TrackerHits.empty()


def _packed_particles(particles: MCParticles) -> list[bytes]:
    return [*_packed_columns(particles), *_packed_lists(particles.parents), *_packed_lists(particles.daughters)]


def _packed_lists(lists: Ragged) -> list[bytes]:
    return [lists.offsets.tobytes(), _COUNT.pack(len(lists.indices)), lists.indices.tobytes()]


def _packed_hits(hits: CalorimeterHits) -> list[bytes]:
    return [*_packed_columns(hits), hits.contribution_offsets.tobytes(), *_packed_columns(hits.contributions)]


def _packed_columns(record: MCParticles | CalorimeterHits | Contributions | TrackerHits) -> list[bytes]:
    """The number of rows, then the columns in the order in which the record declares them."""
    return [_COUNT.pack(len(record)), *(column.tobytes() for column in record.columns())]
