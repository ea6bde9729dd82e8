# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Every registered system: smoke training, killed in between, export, placement in ILD; hostile configurations."""

from __future__ import annotations

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from ddcalogen.errors import ConfigurationError, DDCaloGenError, InputError, ModelError, OutputError
from toys import photons

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")
pytest.importorskip("onnxscript")

from ddcalogen.card import read_card  # noqa: E402
from ddcalogen.engine import Generator  # noqa: E402
from ddcalogen.training.checkpoint import Checkpoint, build_system, load_checkpoint, save_checkpoint  # noqa: E402
from ddcalogen.training.config import load_config  # noqa: E402
from ddcalogen.training.export import export_model  # noqa: E402
from ddcalogen.training.loop import train  # noqa: E402
from ddcalogen.training.stacks import STACKS  # noqa: E402
from ddcalogen.training.system import find_system, system_names  # noqa: E402


def write_showers(path: Path, number: int = 160) -> Path:
    """A slab file of toy showers: gamma profile in depth, exponential in radius; photons, electrons and pions alike."""
    rng = np.random.default_rng(5)
    energy = rng.uniform(1.0, 20.0, number)
    energy[: number // 2] = rng.uniform(10.0, 60.0, number // 2)
    theta = np.where(rng.random(number) < 0.5, 0.0, rng.uniform(0, np.radians(60), number))
    phi = rng.uniform(-np.pi, np.pi, number)
    direction = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], 1)
    with h5py.File(path, "w") as file:
        file["incident_energy_gev"] = energy.astype(np.float32)
        file["direction"] = direction.astype(np.float32)
        file["pdg"] = np.full(number, 22, np.int32)
        for name, pitch in (("ecal", 1.0176666), ("hcal", 10.0)):
            stack = STACKS[name.upper()]
            depth = np.array(stack.layer_depth_mm)
            counts = np.maximum(8, (12 * energy).astype(int))
            row = np.repeat(np.arange(number), counts)
            layer = np.clip(rng.gamma(4.0, stack.layers / 12, len(row)), 0, stack.layers - 1).astype(np.uint8)
            r, turn = rng.exponential(9.0, len(row)) * pitch, rng.uniform(0, 2 * np.pi, len(row))
            slope = direction[:, :2] / direction[:, 2:3]
            x = r * np.cos(turn) + slope[row, 0] * depth[layer]
            y = r * np.sin(turn) + slope[row, 1] * depth[layer]
            group = file.create_group(name)
            group["ix"], group["iy"] = (np.round(v / pitch).astype(np.int16) for v in (x, y))
            group["layer"] = layer
            group["energy_mev"] = rng.exponential(2.0, len(row)).astype(np.float16)
            group["offsets"] = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
            group.attrs["pitch_mm"], group.attrs["grid_rotation_rad"] = pitch, 0.0
    return path


@pytest.fixture(scope="module")
def showers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_showers(tmp_path_factory.mktemp("data") / "toy.h5")


def smoke_config(system: str, *settings: str) -> Any:
    """The smoke configuration of a system, on the toy showers whatever its own particles are."""
    config = load_config(system, None, settings, smoke=True)
    data = {"pdg": (22,), "energy_gev": (1.0, 60.0)}
    if config.data.theta_deg[1] < 5:
        data["theta_deg"] = config.data.theta_deg
    return config.model_copy(update={"data": config.data.model_copy(update=data)})


def same_state(a: Path, b: Path) -> bool:
    first, second = load_checkpoint(a), load_checkpoint(b)
    return first.state.keys() == second.state.keys() and all(
        torch.equal(v, second.state[k]) for k, v in first.state.items()
    )


HADRONS = ("data.theta_deg=[0, 1]", "system.blocks=[12, 26]")


@pytest.mark.parametrize(
    ("system", "settings"), [*((s, ()) for s in system_names()), pytest.param("point_cloud", HADRONS, id="hadrons")]
)
def test_smoke_through_export_and_placement(
    system: str, settings: tuple[str, ...], showers: Path, tmp_path: Path, ild: Any
) -> None:
    """Training, taken up again from a checkpoint in the middle, ends with the same bits; the export runs in ILD."""
    config = smoke_config(system, *settings)
    best = train(config, [showers], tmp_path / "run", accelerator="cpu")
    rows = list(csv.reader((tmp_path / "run/log.csv").read_text().splitlines()))
    assert rows[0] == ["step", "stage", "name", "value"]
    assert any(r[2] == "fidelity" for r in rows[1:])
    checkpoint = load_checkpoint(best)
    assert checkpoint.config == config
    assert checkpoint.dataset is not None
    assert all(torch.isfinite(v).all() for v in checkpoint.state.values() if v.is_floating_point())
    out = tmp_path / "model.onnx"
    export_model(best, out, version="0.1.0")
    card = read_card(out)
    assert (card.system, card.version) == (system, "0.1.0")
    assert card.provenance.dataset == checkpoint.dataset
    generator = Generator(out, ild, seed=1, batch=16)
    low, high = (max(card.domain.energy_gev[0], 1.0), min(card.domain.energy_gev[1], 20.0))
    particles = photons(8, energy_gev=(low, high))
    particles = dataclasses.replace(particles, pdg=np.full(8, card.domain.pdg[0], np.int32))
    result = generator.simulate(particles)
    assert len(result) == 8
    assert abs(result.account().imbalance_gev) < 1e-6 * max(1.0, result.account().generated_gev)


class _StoppedError(Exception):
    pass


class _StopAfter:
    """Observer that stops the run after so many steps, as a kill would."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def stage(self, name: str, done: int, steps: int) -> None:
        pass

    def step(self, text: str) -> None:
        self.left -= 1
        if not self.left:
            raise _StoppedError

    def say(self, text: str) -> None:
        pass


@pytest.mark.parametrize("steps", [3, 10, 17])
def test_taken_up_again_with_the_same_result(showers: Path, tmp_path: Path, steps: int) -> None:
    """Stopped in the first stage, between two, and in the second, off the rhythm of the checkpoints."""
    config = smoke_config("point_cloud", "training.checkpoint_every=2", "training.log_every=1")
    train(config, [showers], tmp_path / "whole", accelerator="cpu")
    with pytest.raises(_StoppedError):
        train(config, [showers], tmp_path / "cut", accelerator="cpu", observer=_StopAfter(steps))
    train(config, [showers], tmp_path / "cut", accelerator="cpu", resume=True)
    for name in ("best.ckpt", "last.ckpt"):
        assert same_state(tmp_path / "whole" / name, tmp_path / "cut" / name), name
    assert (tmp_path / "whole/log.csv").read_text() == (tmp_path / "cut/log.csv").read_text()
    other = smoke_config("point_cloud", "training.checkpoint_every=2", "training.log_every=1", "training.seed=2")
    train(other, [showers], tmp_path / "other", accelerator="cpu")
    assert not same_state(tmp_path / "whole/best.ckpt", tmp_path / "other/best.ckpt")


def _command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", "from ddcalogen.cli import main; main()", *map(str, arguments)]


def test_kill_9_during_training(showers: Path, tmp_path: Path) -> None:
    """The process is killed as soon as it has written a checkpoint; the run goes on to the same result."""
    settings = ["--set", "training.checkpoint_every=1", "--set", "data.energy_gev=[1, 60]"]
    arguments = ["train", "point_cloud", "--data", showers, "--smoke", "--accelerator", "cpu", *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        _command(*arguments, "-o", tmp_path / "killed"),
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    last = tmp_path / "killed/last.ckpt"
    while not last.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if not last.exists():
        pytest.fail("the run ended before its first checkpoint")
    load_checkpoint(last)  # whole, whatever the moment
    config = load_config("point_cloud", None, settings[1::2], smoke=True)
    train(config, [showers], tmp_path / "killed", accelerator="cpu", resume=True)
    train(config, [showers], tmp_path / "whole", accelerator="cpu")
    for name in ("best.ckpt", "last.ckpt"):
        assert same_state(tmp_path / "killed" / name, tmp_path / "whole" / name), name
    assert not list((tmp_path / "killed").glob(".*.partial"))


def test_kill_9_during_export_leaves_no_file(showers: Path, tmp_path: Path) -> None:
    config = smoke_config("parametrised")
    best = train(config, [showers], tmp_path / "run", accelerator="cpu")
    out = tmp_path / "out" / "model.onnx"
    out.parent.mkdir()
    # killed where it hurts most: the bytes are written, the file has not got its name yet
    code = (
        "import os, signal, ddcalogen.files as f\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from ddcalogen.training.export import export_model\n"
        f"export_model({str(best)!r}, {str(out)!r}, created='2026-01-01T00:00:00Z')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-500:]
    assert not out.exists()
    export_model(best, out, created="2026-01-01T00:00:00Z")
    first = out.read_bytes()
    export_model(best, out, created="2026-01-01T00:00:00Z")
    assert out.read_bytes() == first


def test_smaller_weights_say_what_they_cost(showers: Path, tmp_path: Path) -> None:
    best = train(smoke_config("wgan"), [showers], tmp_path / "run", accelerator="cpu")
    sizes = {}
    for precision in ("fp32", "fp16", "int8"):
        out = tmp_path / f"{precision}.onnx"
        card = export_model(best, out, precision=precision)
        sizes[precision] = out.stat().st_size
        told = [f for f in card.figures if f"weights stored as {precision}" in f.conditions]
        assert bool(told) == (precision != "fp32")
        assert all(np.isfinite(f.value) for f in told)
    assert sizes["fp16"] < 0.7 * sizes["fp32"]
    assert sizes["int8"] < 0.45 * sizes["fp32"]


def test_two_processes(showers: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ddcalogen", "train", "wgan", "--smoke", "--data", str(showers)]
    command += [
        "--accelerator",
        "cpu",
        "--devices",
        "2",
        "-o",
        str(tmp_path / "run"),
        "--set",
        "data.theta_deg=[0, 60]",
    ]
    done = subprocess.run(command, capture_output=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr.decode()[-500:]
    state = load_checkpoint(tmp_path / "run" / "best.ckpt").state
    assert all(torch.isfinite(v).all() for v in state.values() if v.is_floating_point())
    assert [p.name for p in tmp_path.glob("run/*.ckpt")].count("last.ckpt") == 1


# ------------------------------------------------------------------------------------------------------- hostile input


def test_every_system_has_a_configuration_and_a_description() -> None:
    for name in system_names():
        system = find_system(name)
        assert system.title
        assert load_config(name).settings == load_config(name).system_config().model_dump(mode="json")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["system.nonsense=1"], "not valid"),
        (["training.seed=-1"], "not valid"),
        (["training.ema_decay=1.0"], "not valid"),
        (["training.seed=.nan"], "not valid"),
        (["data.energy_gev=[10, 1]"], "not valid"),
        (["data.calorimeter=TPC"], "not valid"),
        (["system.points=many"], "not valid"),
        (["nothing"], "cannot be read"),
        (["seed=1"], "cannot be read"),
        (["other.seed=1"], "unknown sections"),
        (["training.seed=[1"], "not YAML"),
        (["training.seed=!!python/object/apply:os.getcwd []"], "not YAML"),
    ],
)
def test_hostile_settings(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_config("point_cloud", None, settings)


@pytest.mark.parametrize(
    "content", ["- 1\n", "training: 3\n", "a: {b: 1}\n", "training: {seed: [\n", "\x00", "x" * 2_000_000]
)
def test_hostile_configuration_files(content: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(content)
    with pytest.raises(ConfigurationError):
        load_config("point_cloud", path)


@pytest.mark.parametrize("system", system_names())
def test_calorimeters(system: str) -> None:
    """A system is made for every calorimeter it names, and refuses the others before anything is read."""
    for name in STACKS:
        config = load_config(system, None, [f"data.calorimeter={name}"], smoke=True)
        if name in config.calorimeters():
            assert build_system(config).stack.name == name
        else:
            with pytest.raises(ConfigurationError, match="cannot be made for"):
                build_system(config)
    assert load_config(system).data.calorimeter in config.calorimeters()


def test_unknown_system_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such system"):
        load_config("../evil")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_config("point_cloud", tmp_path / "none.yaml")


def test_refused_runs(showers: Path, tmp_path: Path) -> None:
    config = smoke_config("parametrised")
    train(config, [showers], tmp_path / "run", accelerator="cpu")
    with pytest.raises(ConfigurationError, match="already"):
        train(config, [showers], tmp_path / "run", accelerator="cpu")
    changed = config.model_copy(update={"training": config.training.model_copy(update={"seed": 9})})
    with pytest.raises(ConfigurationError, match="another one"):
        train(changed, [showers], tmp_path / "run", accelerator="cpu", resume=True)
    narrow = config.model_copy(update={"data": config.data.model_copy(update={"energy_gev": (200.0, 300.0)})})
    with pytest.raises(InputError, match="no showers"):
        train(narrow, [showers], tmp_path / "none", accelerator="cpu")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        train(config, [showers], tmp_path / "file", accelerator="cpu")


# --------------------------------------------------------------------------------------------------------- checkpoints


class Evil:
    """A pickle that would create a file when loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (self.path,))


def test_hostile_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    content = Checkpoint(load_config("parametrised"), {"a": torch.ones(3)}, None, {"steps": 2})
    save_checkpoint(path, content)
    again = load_checkpoint(path)
    assert (again.config, again.results, again.dataset) == (content.config, content.results, None)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match="damaged"):
            load_checkpoint(path)
    with pytest.raises(ModelError, match="cannot be read"):
        load_checkpoint(tmp_path / "none")
    for bad in ({"format": 99}, [1, 2], {"format": 2, "config": "{}"}, Evil(tmp_path / "ran")):
        torch.save(bad, path)
        with pytest.raises(DDCaloGenError):
            load_checkpoint(path)
    assert not (tmp_path / "ran").exists()
    save_checkpoint(path, content)
    with pytest.raises(ModelError, match="do not fit"):
        export_model(path, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()
    with pytest.raises(OutputError):
        save_checkpoint(tmp_path / "missing" / "model.ckpt", content)
