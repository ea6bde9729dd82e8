# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Writer: a file appears complete or not at all, and errors say what to do."""

from __future__ import annotations

import importlib.util
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ddcalogen.edm4hep import CalorimeterHits, Event, Reader, Writer
from ddcalogen.errors import ConfigurationError, InputError, OutputError
from edm4hep_samples import CALORIMETERS, TRACKERS, random_event, write


@pytest.fixture
def place(tmp_path: Path, root: None) -> Iterator[Path]:
    """A directory that must not keep unfinished files."""
    yield tmp_path
    assert not list(tmp_path.glob("*.partial"))


def noise(count: int) -> Event:
    """An event that does not compress."""
    rng = np.random.default_rng(7)
    return random_event(rng, 0, hits=count)


def test_nothing_under_the_final_name_before_the_end(place: Path) -> None:
    path = place / "a.edm4hep.root"
    with Writer(path, CALORIMETERS, backend="root") as writer:
        writer.write(Event(event_number=0))
        assert not path.exists()
        assert len(list(place.glob("a.edm4hep.root.*.partial"))) == 1
    assert path.exists()
    assert os.stat(path).st_mode & 0o077 == 0o077 & 0o666 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_old_file_stays_until_the_new_one_is_complete(place: Path) -> None:
    path = place / "a.edm4hep.root"
    path.write_bytes(b"precious")

    def fail() -> None:
        with Writer(path, CALORIMETERS, backend="root") as writer:
            writer.write(Event(event_number=0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"precious"
    assert list(place.iterdir()) == [path]
    write(path, [Event(event_number=4)])
    with Reader(path) as reader:
        assert [event.event_number for event in reader] == [4]


def test_forgotten_writers_leave_nothing(place: Path) -> None:
    writer = Writer(place / "a.edm4hep.root", CALORIMETERS, backend="root")
    writer.write(Event(event_number=0))
    del writer
    assert list(place.iterdir()) == []


def test_closed_writers_refuse_events(place: Path) -> None:
    writer = Writer(place / "a.edm4hep.root", CALORIMETERS, backend="root")
    writer.close()
    with pytest.raises(OutputError, match="already closed"):
        writer.write(Event(event_number=0))
    with pytest.raises(OutputError, match="already closed"):
        writer.close()


def test_places_that_cannot_be_written(place: Path) -> None:
    (place / "file").write_text("")
    for path, message in (
        (place / "none" / "a.root", "No such file or directory"),
        (place, "directory"),
        (place / "file" / "a.root", "Not a directory"),
        (place / ("x" * 300), "too long"),
        (Path("/dev/null/a.root"), "Not a directory"),
    ):
        with pytest.raises(OutputError, match=message):
            Writer(path, CALORIMETERS)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_directories(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        Writer(closed / "a.root", CALORIMETERS)


def test_a_full_disk_is_an_error_and_leaves_nothing(place: Path) -> None:
    """A limit on the size of files stands in for the full disk: ROOT meets the same failing write."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    event = noise(40_000)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
        with pytest.raises(OutputError, match=r"File too large.*space"):
            write(place / "a.edm4hep.root", [event] * 8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(place.iterdir()) == []


def test_a_full_disk_at_the_very_end(place: Path) -> None:
    """The events still fit into ROOT's buffers; only closing writes them."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = Writer(place / "a.edm4hep.root", CALORIMETERS, backend="root")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        writer.write(Event(event_number=0))
        assert writer._process is not None
        resource.prlimit(writer._process.pid, resource.RLIMIT_FSIZE, (2_000, limits[1]))
        with pytest.raises(OutputError, match="File too large"):
            writer.close()
    finally:
        writer.abort()
    assert list(place.iterdir()) == []


def test_death_of_the_writing_process_is_told(place: Path) -> None:
    writer = Writer(place / "a.edm4hep.root", CALORIMETERS, tracker_collections=TRACKERS, backend="root")
    writer.write(Event(event_number=0))
    assert writer._process is not None
    os.kill(writer._process.pid, signal.SIGKILL)
    writer._process.wait()
    with pytest.raises(OutputError, match=r"ended unexpectedly.*-9"):
        writer.write(noise(10_000))
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_program_leaves_nothing(place: Path, number: signal.Signals) -> None:
    code = f"""
import signal, time
from ddcalogen.edm4hep import Event, Writer
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit it ignored
with Writer({str(place / "a.edm4hep.root")!r}, {{"A": "x"}}, backend="root") as writer:
    writer.write(Event(event_number=0))
    print("ready", flush=True)
    time.sleep(600)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        assert len(list(place.iterdir())) == 1
        program.send_signal(number)
        program.wait(timeout=120)
    for _ in range(300):  # the writing process notices on its own
        if not list(place.iterdir()):
            break
        time.sleep(0.1)
    assert list(place.iterdir()) == []


def test_standard_output_stays_clean(place: Path) -> None:
    code = f"""
from ddcalogen.edm4hep import Event, Writer
with Writer({str(place / "a.edm4hep.root")!r}, {{"A": "x"}}, backend="root") as writer:
    writer.write(Event(event_number=0))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True, timeout=300)
    assert result.stdout == b""
    assert result.stderr == b""


REFUSED: list[tuple[Event, str]] = [
    (Event(event_number=0, weight=float("nan")), "weight is not finite"),
    (Event(event_number=-1), "event_number"),
    (Event(event_number=2**64), "event_number"),
    (Event(event_number=0, run_number=2**31), "run_number"),
    (Event(event_number=0, calorimeter_hits={"Other": CalorimeterHits.empty()}), "Other"),
    (Event(event_number=0, parameters={"x": [1, "a"]}), "'x' cannot be stored"),  # type: ignore[dict-item]
    (Event(event_number=0, parameters={"x": 1j}), "'x' cannot be stored"),  # type: ignore[dict-item]
    (Event(event_number=0, parameters={"": 1}), "parameter name"),
    (Event(event_number=0, parameters={"a\0b": 1}), "NUL"),
    (Event(event_number=0, parameters={"x": "\ud800"}), "cannot be stored"),
]


def test_refused_events_do_not_end_the_file(place: Path) -> None:
    path = place / "a.edm4hep.root"
    with Writer(path, CALORIMETERS, backend="root") as writer:
        for number, (event, message) in enumerate(REFUSED):
            writer.write(Event(event_number=number))
            with pytest.raises(InputError, match=message):
                writer.write(event)
    with Reader(path) as reader:
        assert [event.event_number for event in reader] == list(range(len(REFUSED)))


def test_event_numbers_of_the_old_layout_have_32_bits(place: Path) -> None:
    with (
        Writer(place / "a.edm4hep.root", CALORIMETERS, layout="1.2", backend="root") as writer,
        pytest.raises(InputError, match="32 bits"),
    ):
        writer.write(Event(event_number=2**31))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"MCParticles": "x"}, "collide"),
        ({"A": "x", "a": "x"}, "collide"),
        ({"A": "x", "AContributions": "x"}, "collide"),
        ({"a b": "x"}, "Not a name"),
        ({"": "x"}, "Not a name"),
    ],
)
def test_collection_names(tmp_path: Path, names: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Writer(tmp_path / "a.root", names)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("option", "value"), [("layout", "2"), ("backend", "lcio")])
def test_unknown_options(tmp_path: Path, option: str, value: str) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(ConfigurationError, match=value):
        Writer(tmp_path / "a.root", {}, **options)


def test_missing_root_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ROOT" else real(name, *rest))
    with pytest.raises(ConfigurationError, match=r"pip install 'ddcalogen\[edm4hep\]'"):
        Writer(tmp_path / "a.root", CALORIMETERS)
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_cannot_be_imported_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "modules"
    broken.mkdir()
    (broken / "ROOT.py").write_text("raise ImportError('libCore.so: cannot open shared object file')")
    monkeypatch.syspath_prepend(broken)
    target = tmp_path / "a.root"
    with (
        pytest.raises(ConfigurationError, match=r"libCore.so.*pip install 'ddcalogen\[edm4hep\]'"),
        Writer(target, CALORIMETERS, backend="root") as writer,
    ):
        writer.write(Event(event_number=0))
    assert list(tmp_path.iterdir()) == [broken]


@pytest.mark.skipif(importlib.util.find_spec("podio") is not None, reason="podio is installed")
def test_the_podio_backend_needs_podio(place: Path) -> None:
    with (
        pytest.raises(ConfigurationError, match="no podio"),
        Writer(place / "a.root", CALORIMETERS, backend="podio") as writer,
    ):
        writer.write(Event(event_number=0))
