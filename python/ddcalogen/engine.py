# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Model + geometry -> cell deposits: the chain that every host of this package runs.

All shower logic is compiled code (`ddcalogen._core`); this module reads the card, opens the network and hands over
plain numbers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ddcalogen import _core
from ddcalogen.calorimeters import layer_stacks
from ddcalogen.card import ModelCard, SpotsOutput, model_hash, read_card
from ddcalogen.errors import ConfigurationError, InputError, ModelError
from ddcalogen.geometry import Geometry

__all__ = [
    "GUARD_DECISIONS",
    "SHOWER_STATUSES",
    "Account",
    "GeneratedShowers",
    "Generator",
    "GridMethod",
    "IncidentParticles",
    "Provider",
    "Runtime",
    "Showers",
    "open_session",
]

GridMethod = Literal["random", "overlap", "nearest"]
Provider = Literal["cpu", "cuda"]
Runtime = Literal["python", "c++", "none"]

GUARD_DECISIONS: tuple[str, ...] = tuple(_core.guard_decisions)
"""What the guard can decide about a particle; index 0 is "accepted"."""
SHOWER_STATUSES: tuple[str, ...] = tuple(_core.shower_statuses)
"""What can be wrong with a generated shower; index 0 is "good"."""

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class IncidentParticles:
    """N particles at a calorimeter, global coordinates.

    pdg int32 [N]; energy_gev (kinetic) float64 [N]; position_mm, direction (unit) float64 [N,3]; time_ns float64 [N];
    event uint64 [N], particle uint32 [N]: identity, on which the noise is keyed.
    """

    pdg: npt.NDArray[np.int32]
    energy_gev: npt.NDArray[np.float64]
    position_mm: npt.NDArray[np.float64]
    direction: npt.NDArray[np.float64]
    time_ns: npt.NDArray[np.float64]
    event: npt.NDArray[np.uint64]
    particle: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.pdg)

    def take(self, selection: npt.NDArray[Any]) -> IncidentParticles:
        """Return the particles of an index or boolean array."""
        return IncidentParticles(**{name: values[selection] for name, values in self.columns().items()})

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the columns by name, as the compiled core takes them."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def concatenate(cls, parts: list[IncidentParticles]) -> IncidentParticles:
        """Join several sets of particles, in order (at least one)."""
        return cls(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in cls.__dataclass_fields__})


@dataclass
class Account:
    """Energy accounting over many showers: generated = placed + dead + outside. Energies in GeV (visible).

    A cell of a grid that is split among cells counts as one spot for each piece.
    """

    generated_gev: float = 0.0
    placed_gev: float = 0.0
    dead_gev: float = 0.0
    outside_gev: float = 0.0
    spots: int = 0
    spots_dead: int = 0
    spots_outside: int = 0

    def __iadd__(self, other: Account) -> Account:
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    @property
    def imbalance_gev(self) -> float:
        """Generated minus everything booked; zero up to the rounding of sums, GeV."""
        return self.generated_gev - self.placed_gev - self.dead_gev - self.outside_gev


@dataclass(frozen=True)
class Showers:
    """Cell deposits of N particles (CSR: those of particle i are offsets[i]:offsets[i+1]) and what became of each.

    guard, status uint8 [N] (indices into `GUARD_DECISIONS`, `SHOWER_STATUSES`); generated_gev, placed_gev, dead_gev,
    outside_gev float64 [N]; spots, spots_dead, spots_outside uint64 [N]; offsets uint64 [N+1]; cell_id uint64 [M];
    detector uint32 [M] (index into the geometry's detectors); energy_gev, time_ns float32 [M]; spot_position_mm
    float32 [M,3] (energy-weighted mean of the spots in the cell; time likewise). Seconds are summed over threads.
    """

    guard: npt.NDArray[np.uint8]
    status: npt.NDArray[np.uint8]
    generated_gev: npt.NDArray[np.float64]
    placed_gev: npt.NDArray[np.float64]
    dead_gev: npt.NDArray[np.float64]
    outside_gev: npt.NDArray[np.float64]
    spots: npt.NDArray[np.uint64]
    spots_dead: npt.NDArray[np.uint64]
    spots_outside: npt.NDArray[np.uint64]
    offsets: npt.NDArray[np.uint64]
    cell_id: npt.NDArray[np.uint64]
    detector: npt.NDArray[np.uint32]
    energy_gev: npt.NDArray[np.float32]
    time_ns: npt.NDArray[np.float32]
    spot_position_mm: npt.NDArray[np.float32]
    noise_seconds: float = field(default=0.0, compare=False)
    network_seconds: float = field(default=0.0, compare=False)
    placement_seconds: float = field(default=0.0, compare=False)

    def __len__(self) -> int:
        return len(self.guard)

    @property
    def simulated(self) -> npt.NDArray[np.bool_]:
        """Which particles have a good shower, bool [N]."""
        result: npt.NDArray[np.bool_] = (self.guard == 0) & (self.status == 0)
        return result

    @property
    def cells_per_shower(self) -> npt.NDArray[np.int64]:
        """Number of cell deposits of each particle, int64 [N]."""
        offsets = self.offsets.astype(np.int64)
        return offsets[1:] - offsets[:-1]

    def account(self) -> Account:
        """Sum the energy accounting over all showers."""
        names = Account.__dataclass_fields__
        return Account(**{n: getattr(self, n).sum().item() for n in names})


@dataclass(frozen=True)
class GeneratedShowers:
    """Showers of N particles as the model made them, in the shower frame.

    status uint8 [N] (index into `SHOWER_STATUSES`); counts int64 [N], 0 for a shower that is not good; values float32
    [sum of counts, columns], showers in a row: spots as in the card, or grid cells (GeV, layer slowest, 1 column).
    """

    status: npt.NDArray[np.uint8]
    counts: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    noise_seconds: float = field(default=0.0, compare=False)
    network_seconds: float = field(default=0.0, compare=False)


def open_session(
    model: str | os.PathLike[str], *, provider: Provider = "cpu", runtime: Runtime = "python", library: str = ""
) -> Any:
    """Open an ONNX file for inference.

    Parameters
    ----------
    model
        Path of the ONNX file.
    provider
        "cpu" or "cuda". A provider that is not there is an error, never a silent change to another one.
    runtime
        "python": the onnxruntime package; "c++": the compiled session, if this build has it; "none": no network, for
        those who only ask what a model would take.
    library
        For "c++": path of the onnxruntime shared library; empty for the rules of `_core.onnxruntime_session`.

    Raises
    ------
    ConfigurationError
        The provider or runtime is not available.
    ModelError
        onnxruntime cannot load the file.
    """
    if runtime == "none":
        return _core.PythonSession(_no_network, "none")
    if runtime == "c++":
        return _core.onnxruntime_session(os.fspath(model), provider, library)
    import onnxruntime as ort

    wanted = _PROVIDERS.get(provider)
    if wanted is None or wanted not in ort.get_available_providers():
        raise ConfigurationError(
            f"the execution provider '{provider}' is not available",
            found=", ".join(ort.get_available_providers()),
            expected=wanted or "cpu or cuda",
            remedy="Install onnxruntime-gpu for CUDA, or choose the provider 'cpu'.",
        )
    options = ort.SessionOptions()
    # One thread per call: parallelism comes from batches, and a result must not depend on the number of cores.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings = {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"}
    try:
        session = ort.InferenceSession(
            os.fspath(model), options, providers=[(wanted, settings) if provider == "cuda" else wanted]
        )
    except Exception as error:  # onnxruntime raises several unrelated types
        raise ModelError(
            f"onnxruntime cannot load '{os.fspath(model)}'",
            found=str(error).splitlines()[0],
            expected="a valid ONNX file",
            remedy="Check the file with 'ddcalogen inspect'.",
        ) from error
    if wanted not in session.get_providers():
        raise ConfigurationError(
            f"onnxruntime did not take the execution provider '{provider}'",
            found=", ".join(session.get_providers()),
            expected=wanted,
            remedy="Check the CUDA installation, or choose the provider 'cpu'.",
        )
    return _core.PythonSession(session.run, wanted)


def _no_network(outputs: Any, feeds: Any) -> Any:
    raise ConfigurationError(
        "the model was opened without its network", expected='runtime "python" or "c++" to generate showers'
    )


def _core_model(card: ModelCard) -> Any:
    """Plain numbers of a card for the compiled core."""
    spots = grid = None
    if isinstance(card.output, SpotsOutput):
        capacity = card.output.capacity
        spots = _core.SpotOutput(len(card.output.columns), capacity.base, capacity.per_gev, capacity.maximum)
    else:
        o = card.output
        grid = _core.GridOutput(*o.shape, o.cell_mm, o.lower_edge_mm, o.follows_axis)
    noise = []
    for n in card.noise:
        per_spot = n.shape[0] == "spots"
        shape = [int(d) for d in (n.shape[1:] if per_spot else n.shape)]
        noise.append(_core.NoiseInput(n.name, getattr(_core.NoiseDistribution, n.distribution), per_spot, shape))
    digest = model_hash(card)
    return _core.Model(
        name=card.name,
        version=card.version,
        hash=digest,
        key=int(digest[:16], 16),
        pdg=list(card.domain.pdg),
        energy_gev=card.domain.energy_gev,
        theta_deg=card.domain.theta_deg,
        layer_depth_mm=list(card.calorimeter.layer_depth_mm),
        takes_pdg="pdg" in card.inputs,
        noise=noise,
        spots=spots,
        grid=grid,
    )


class Generator:
    """One model placed into one detector.

    The cells of a particle depend on the particle, the seed and the model alone: not on other particles, the batch
    size or the number of threads (CPU provider; other providers may differ in the last digits).

    Parameters
    ----------
    model
        ONNX file with a card.
    geometry
        Detector, from `ddcalogen.geometry.load_snapshot`.
    seed
        Run seed, 0 .. 2**64-1.
    batch
        Showers per network call.
    threads
        Network calls in flight at once.
    provider, runtime, library
        See `open_session`.
    grid_method
        How grid cells reach real cells: "random" (one random point), "overlap" (shared by area),
        "nearest" (centre).
    max_entry_depth_mm
        Particles that enter deeper than this behind the calorimeter's face are left out.

    Raises
    ------
    CardError, ModelError, ConfigurationError, GeometryError
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        geometry: Geometry,
        *,
        seed: int = 0,
        batch: int = 64,
        threads: int = 1,
        provider: Provider = "cpu",
        runtime: Runtime = "python",
        library: str = "",
        grid_method: GridMethod = "random",
        max_entry_depth_mm: float = 40.0,
    ) -> None:
        if not 0 <= seed < 2**64:
            raise InputError("the seed is out of range", found=str(seed), expected="0 .. 2**64-1")
        if batch < 1 or threads < 1:
            raise InputError(
                "batch size and threads must be positive", found=f"batch {batch}, threads {threads}", expected=">= 1"
            )
        if grid_method not in _core.GridMethod.__members__:
            raise ConfigurationError(
                "unknown grid method", found=grid_method, expected=", ".join(_core.GridMethod.__members__)
            )
        self.path = Path(model)
        self.card = read_card(model)
        self.hash = model_hash(self.card)
        self.geometry = geometry
        self.seed = seed
        self.provider: Provider = provider
        self.stacks = layer_stacks(geometry, self.card.calorimeter.name)
        self._simulation = _core.Simulation(
            self.stacks,
            _core_model(self.card),
            open_session(model, provider=provider, runtime=runtime, library=library),
            seed=seed,
            batch=batch,
            threads=threads,
            grid_method=_core.GridMethod.__members__[grid_method],
            max_entry_depth_mm=max_entry_depth_mm,
        )

    def simulate(self, particles: IncidentParticles) -> Showers:
        """Generate and place the showers of all particles that the model covers.

        Raises
        ------
        InferenceError
            The network fails, or its tensors break the contract as a whole. A single bad shower is only marked.
        """
        return Showers(**self._simulation.simulate(**particles.columns()))

    def generate(
        self,
        energy_gev: npt.NDArray[Any],
        direction: npt.NDArray[Any],
        pdg: npt.NDArray[Any],
        event: npt.NDArray[Any] | None = None,
    ) -> GeneratedShowers:
        """Generate showers in the shower frame, without placing them; the noise is that of `simulate`.

        Parameters
        ----------
        energy_gev, direction, pdg
            [N], [N,3] (unit vectors in the shower frame, z > 0), [N]; not checked against the model's domain.
        event
            [N] event numbers, part of the key of the noise; 0 .. N-1 by default.

        Raises
        ------
        InputError
            The arrays have the wrong shape.
        InferenceError
            The network fails, or its tensors break the contract as a whole. A single bad shower is only marked.
        """
        n = len(energy_gev)
        return GeneratedShowers(
            **self._simulation.generate(
                energy_gev=energy_gev,
                direction=direction,
                pdg=pdg,
                event=np.arange(n, dtype=np.uint64) if event is None else event,
                particle=np.zeros(n, np.uint32),
            )
        )

    def place(
        self, particles: IncidentParticles, spots: npt.NDArray[np.float32], counts: npt.NDArray[np.int64]
    ) -> Showers:
        """Place given showers instead of generated ones.

        Parameters
        ----------
        particles
            N particles.
        spots
            float32 [P,4] or [P,5]: x mm, y mm, layer, GeV (, ns after the entry), shower frame, N showers in a row.
        counts
            int64 [N] spots of each shower.
        """
        return Showers(**self._simulation.place(**particles.columns(), spots=spots, counts=counts))

    @property
    def compiled(self) -> Any:
        """The compiled chain, `_core.Simulation`."""
        return self._simulation

    def describe(self) -> Mapping[str, str | int]:
        """What identifies the model in run metadata."""
        return {
            "name": self.card.name,
            "version": self.card.version,
            "hash": self.hash,
            "schema_version": self.card.schema_version,
        }
