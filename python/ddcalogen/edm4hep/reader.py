# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Reader of EDM4hep files (podio TTree layout of podio 0.99.99 and newer, EDM4hep schema 2 and newer) with uproot."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ddcalogen.edm4hep.records import (
    NO_HELICITY,
    NO_PARTICLE,
    CalorimeterHits,
    Contributions,
    Event,
    MCParticles,
    ParameterValue,
    Ragged,
    TrackerHits,
)
from ddcalogen.edm4hep.schema import CONTRIBUTIONS_SUFFIX, ENCODING_SUFFIX, EVENT_HEADER, MC_PARTICLES
from ddcalogen.errors import InputError

__all__ = ["Reader", "check_root_file"]

_T = TypeVar("_T")
_DATA_CLASS = re.compile(r"(?:std::)?vector<(\w+::\w+)Data ?>")
_PARAMETER_KINDS = ("Int", "Float", "Double", "String")
_CHUNK_BYTES = 32_000_000
_MAXIMUM_CHUNK_EVENTS = 500


class Reader:
    """Reads an EDM4hep file event by event, with memory for a few events only.

    Parameters
    ----------
    path
        The file.
    collections
        Names of the calorimeter and tracker hit collections to read; default all. Others are left out of the events.
    particles
        Name of the MCParticle collection.

    Raises
    ------
    InputError
        The file is missing, truncated, no EDM4hep file of a layout that can be read, or its content contradicts itself
        (at construction, or when the event concerned is reached).

    Attributes
    ----------
    collections: name -> type ("edm4hep::SimCalorimeterHit", ...) of all collections of the events in the file.
    encodings: collection name -> CellIDEncoding string. run_parameters, metadata: generic parameters of the (first)
    `runs` and of the `metadata` frame. podio_version, edm4hep_version: of the writing program. schema: EDM4hep schema.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        collections: Collection[str] | None = None,
        particles: str = MC_PARTICLES,
    ) -> None:
        self.path = Path(path)
        check_root_file(self.path)
        self._file = self._guarded("open the file", lambda: _open(self.path))
        try:
            self._read_metadata(particles, collections)
        except BaseException:
            self.close()
            raise

    def _read_metadata(self, particles: str, wanted: Collection[str] | None) -> None:
        classes = self._guarded("list the contents", lambda: self._file.classnames(cycle=False))
        if any("RNTuple" in kind for kind in classes.values()):
            raise InputError(
                f"{self.path} holds RNTuples",
                expected="an EDM4hep file in podio's TTree layout",
                remedy="Write it without useRNTuple, or convert it with podio.",
            )
        if classes.get("podio_metadata") != "TTree":
            raise InputError(
                f"{self.path} is not an EDM4hep file",
                found=", ".join(sorted(classes)) or "an empty ROOT file",
                expected="a tree podio_metadata (written by podio 0.99.99 or newer)",
            )
        tree = self._guarded("read podio_metadata", lambda: self._file["podio_metadata"])
        self.podio_version = self._version(tree, "PodioBuildVersion")
        self.edm4hep_version = self._version(tree, "edm4hep___Version")
        self._events = (
            self._guarded("read the events tree", lambda: self._file["events"]) if "events" in classes else None
        )
        self.collections: dict[str, str] = {}
        self._members: dict[str, list[str]] = {}
        ids: dict[str, int] = {}
        self.schema = 0
        if self._events is not None:
            self._guarded("list the collections", partial(self._list_collections, self._events))
            ids, self.schema = self._guarded("read the collection ids", lambda: _collection_table(tree))
        self._ids = ids
        self._names = {identifier: name for name, identifier in ids.items()}
        self._particles = particles if self.collections.get(particles) == "edm4hep::MCParticle" else None
        if self.collections and self._particles is None and particles != MC_PARTICLES:
            raise InputError(
                f"{self.path} has no MCParticle collection {particles}", found=", ".join(sorted(self.collections))
            )
        chosen = set(self.collections if wanted is None else wanted)
        if self._events is not None and (missing := sorted(chosen - set(self.collections))):
            raise InputError(
                f"{self.path} does not have the collections asked for",
                found=", ".join(sorted(self.collections)),
                expected=", ".join(missing),
            )
        self._calorimeters = [name for name in self.calorimeter_collections if name in chosen]
        self._trackers = [name for name in self.tracker_collections if name in chosen]
        self.runs: list[dict[str, ParameterValue]] = self._frames("runs", classes)
        self.run_parameters = self.runs[0] if self.runs else {}
        frames = self._frames("metadata", classes)
        self.metadata = frames[0] if frames else {}
        self.encodings = {
            key.removesuffix(ENCODING_SUFFIX): str(value)
            for key, value in self.metadata.items()
            if key.endswith(ENCODING_SUFFIX)
        }

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __len__(self) -> int:
        return 0 if self._events is None else int(self._events.num_entries)

    def __iter__(self) -> Iterator[Event]:
        return self.events()

    @property
    def calorimeter_collections(self) -> list[str]:
        """Names of the SimCalorimeterHit collections of the file."""
        return [name for name, kind in self.collections.items() if kind == "edm4hep::SimCalorimeterHit"]

    @property
    def tracker_collections(self) -> list[str]:
        """Names of the SimTrackerHit collections of the file."""
        return [name for name, kind in self.collections.items() if kind == "edm4hep::SimTrackerHit"]

    def events(self, start: int = 0, stop: int | None = None) -> Iterator[Event]:
        """The events with index `start` up to `stop` (not included; default all), read a chunk at a time."""
        stop = len(self) if stop is None else min(stop, len(self))
        branches = self._needed_branches()
        while start < stop:
            end = min(start + self._chunk_events(branches), stop)
            columns = self._guarded(f"read events {start} to {end - 1}", partial(self._columns, branches, start, end))
            for index in range(end - start):
                yield self._guarded(f"read event {start + index}", partial(self._event, columns, index))
            start = end

    def _guarded(self, action: str, call: Callable[[], _T]) -> _T:
        """uproot meets damaged files with exceptions of every kind; all of them mean the same here."""
        try:
            return call()
        except InputError as error:
            raise InputError(
                f"{self.path}: cannot {action}: {error.problem}",
                found=error.found,
                expected=error.expected,
                remedy=error.remedy,
            ) from error
        except (Exception, RecursionError) as error:
            raise InputError(
                f"{self.path}: cannot {action}",
                found=f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}",
                expected="an intact EDM4hep file",
                remedy="The file is damaged or was not completed; make it again.",
            ) from error

    def _version(self, tree: Any, name: str) -> tuple[int, ...]:
        if name not in tree:
            return ()
        return self._guarded(
            f"read {name}",
            lambda: tuple(int(tree[name][part].array(library="np")[0]) for part in ("major", "minor", "patch")),
        )

    def _list_collections(self, events: Any) -> None:
        for branch in events.branches:
            kind = _DATA_CLASS.fullmatch(str(branch.member("fClassName", none_if_missing=True) or ""))
            if kind and not branch.name.startswith("_"):
                self.collections[branch.name] = kind.group(1)
                self._members[branch.name] = [child.name for child in branch.branches]

    def _frames(self, category: str, classes: Mapping[str, str]) -> list[dict[str, ParameterValue]]:
        if classes.get(category) != "TTree":
            return []

        def read() -> list[dict[str, ParameterValue]]:
            tree = self._file[category]
            columns = {name: tree[name].array(library="np") for name in _parameter_branches()}
            return [_parameters(columns, index) for index in range(tree.num_entries)]

        return self._guarded(f"read the parameters of {category}", read)

    def _needed_branches(self) -> list[str]:
        names = list(_parameter_branches())
        data = [name for name in (EVENT_HEADER, self._particles) if name in self.collections]
        relations = []
        if EVENT_HEADER in data:
            relations.append(f"_{EVENT_HEADER}_weights")
        if self._particles:
            relations += [f"_{self._particles}_parents", f"_{self._particles}_daughters"]
        for name in self._calorimeters:
            data += [name, name + CONTRIBUTIONS_SUFFIX]
            relations += [f"_{name}_contributions", f"_{name}{CONTRIBUTIONS_SUFFIX}_particle"]
        for name in self._trackers:
            data.append(name)
            relations.append(f"_{name}_particle")
        for name in data:
            names += self._members.get(str(name), [])
        if self._events is None:
            return names
        for relation in relations:
            if relation in self._events:
                branch = self._events[relation]
                names += [child.name for child in branch.branches] or [relation]
        self._guarded("find the branches", partial(self._check_branches, self._events, names))
        return names

    def _check_branches(self, events: Any, names: list[str]) -> None:
        for name in names:
            if int(events[name].num_entries) != len(self):
                raise InputError(
                    f"branch {name} has the wrong number of entries",
                    found=str(events[name].num_entries),
                    expected=f"{len(self)}, one for each event",
                )

    def _chunk_events(self, branches: list[str]) -> int:
        """Events whose branches take about `_CHUNK_BYTES` in memory."""
        assert self._events is not None
        events = self._events
        total = self._guarded(
            "find the size of the events", lambda: sum(int(events[name].uncompressed_bytes) for name in branches)
        )
        per_event = max(1.0, total / max(1, len(self)))
        return int(max(1, min(_CHUNK_BYTES / per_event, _MAXIMUM_CHUNK_EVENTS)))

    def _columns(self, branches: list[str], start: int, stop: int) -> dict[str, Any]:
        assert self._events is not None
        columns: dict[str, Any] = {}
        for name in branches:
            branch = self._events[name]
            if name.startswith("GP"):
                columns[name] = branch.array(entry_start=start, entry_stop=stop, library="np")
                continue
            layout = branch.array(entry_start=start, entry_stop=stop, library="ak").layout
            columns[name] = (np.asarray(layout.offsets.data), np.asarray(layout.content.data))
            if len(columns[name][0]) != stop - start + 1:
                raise InputError(f"branch {name} has too few entries", found=str(len(columns[name][0]) - 1))
        return columns

    def _event(self, columns: Mapping[str, Any], index: int) -> Event:
        view = _EventView(columns, index)
        header = view.optional(f"{EVENT_HEADER}.eventNumber")
        numbers: dict[str, Any] = {"event_number": index}
        if header is not None:
            if len(header) != 1:
                raise InputError("an event needs one EventHeader", found=str(len(header)), expected="1")
            numbers = {
                "event_number": int(header[0]),
                "run_number": int(view[f"{EVENT_HEADER}.runNumber"][0]),
                "weight": float(view[f"{EVENT_HEADER}.weight"][0]),
                "time_stamp": int(view[f"{EVENT_HEADER}.timeStamp"][0]),
            }
            weights = view.optional(f"_{EVENT_HEADER}_weights")
            if weights is not None:
                numbers["weights"] = weights
        event = Event(
            **numbers,
            particles=self._mc_particles(view) if self._particles else MCParticles.empty(),
            calorimeter_hits={name: self._calorimeter_hits(view, name) for name in self._calorimeters},
            tracker_hits={name: self._tracker_hits(view, name) for name in self._trackers},
            parameters=_parameters(columns, index),
        )
        event.check_finite()
        return event

    def _mc_particles(self, view: _EventView) -> MCParticles:
        name = str(self._particles)
        pdg = view[f"{name}.PDG"]
        helicity = view.optional(f"{name}.helicity")
        if helicity is None:  # schema < 4 has a spin; only a spin along z is a helicity
            spin = view.vector(f"{name}.spin")
            along_z = (spin[:, 0] == 0) & (spin[:, 1] == 0) & (np.abs(spin[:, 2]) == 1)
            helicity = np.where(along_z, spin[:, 2], NO_HELICITY).astype(np.int32)
        return MCParticles(
            pdg=pdg,
            generator_status=view[f"{name}.generatorStatus"],
            simulator_status=view[f"{name}.simulatorStatus"],
            charge=view[f"{name}.charge"],
            time_ns=view[f"{name}.time"],
            mass_gev=view[f"{name}.mass"],
            vertex_mm=view.vector(f"{name}.vertex"),
            endpoint_mm=view.vector(f"{name}.endpoint"),
            momentum_gev=view.vector(f"{name}.momentum"),
            momentum_at_endpoint_gev=view.vector(f"{name}.momentumAtEndpoint"),
            helicity=helicity,
            parents=self._lists(view, name, "parents", name),
            daughters=self._lists(view, name, "daughters", name),
        )

    def _calorimeter_hits(self, view: _EventView, name: str) -> CalorimeterHits:
        source = name + CONTRIBUTIONS_SUFFIX
        lists = self._lists(view, name, "contributions", source)
        energy = view[f"{source}.energy"]
        if lists.indices.size and (lists.indices.min() < 0 or lists.indices.max() >= len(energy)):
            raise InputError(
                f"{name} refers to contributions that are not in {source}",
                found=f"indices from {lists.indices.min()} to {lists.indices.max()}",
                expected=f"0 to {len(energy) - 1}",
            )
        order = lists.indices
        length = view.optional(f"{source}.stepLength")
        return CalorimeterHits(
            cell_id=view[f"{name}.cellID"],
            energy_gev=view[f"{name}.energy"],
            position_mm=view.vector(f"{name}.position"),
            contribution_offsets=lists.offsets,
            contributions=Contributions(
                particle=self._links(view, source, "particle", len(energy))[order],
                pdg=view[f"{source}.PDG"][order],
                energy_gev=energy[order],
                time_ns=view[f"{source}.time"][order],
                step_position_mm=view.vector(f"{source}.stepPosition")[order],
                step_length_mm=np.zeros(len(order), np.float32) if length is None else length[order],
            ),
        )

    def _tracker_hits(self, view: _EventView, name: str) -> TrackerHits:
        cells = view[f"{name}.cellID"]
        return TrackerHits(
            cell_id=cells,
            energy_gev=view[f"{name}.eDep"],
            time_ns=view[f"{name}.time"],
            path_length_mm=view[f"{name}.pathLength"],
            quality=view[f"{name}.quality"],
            position_mm=view.vector(f"{name}.position"),
            momentum_gev=view.vector(f"{name}.momentum"),
            particle=self._links(view, name, "particle", len(cells)),
        )

    def _lists(self, view: _EventView, name: str, relation: str, target: str) -> Ragged:
        """A one-to-many relation: `begin` and `end` per object point into the relation's branch."""
        begin = view[f"{name}.{relation}_begin"].astype(np.int64)
        end = view[f"{name}.{relation}_end"].astype(np.int64)
        index = view[f"_{name}_{relation}.index"]
        collection = view[f"_{name}_{relation}.collectionID"]
        if begin.size and (np.any(begin > end) or end.max() > len(index)):
            raise InputError(
                f"the ranges of {name}.{relation} leave its list",
                found=f"begin {begin.max()}, end {end.max()}",
                expected=f"begin <= end <= {len(index)}",
            )
        if target in self._ids and np.any(collection != self._ids[target]):
            other = collection[collection != self._ids[target]][0]
            raise InputError(
                f"{name}.{relation} points outside {target}",
                found=self._names.get(int(other), f"collection id {other}"),
                expected=target,
            )
        sizes = end - begin
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        picked = np.arange(offsets[-1]) + np.repeat(begin - offsets[:-1], sizes)
        return Ragged(offsets, index[picked])

    def _links(self, view: _EventView, name: str, relation: str, count: int) -> npt.NDArray[np.int32]:
        """A one-to-one relation to the particles; links to anything else become `NO_PARTICLE`."""
        index = view.optional(f"_{name}_{relation}.index")
        if index is None:  # schema 1 calls the particle of a tracker hit MCParticle
            raise InputError(f"branch _{name}_{relation} is missing", expected="a file of EDM4hep v00-99 or newer")
        if len(index) != count:
            raise InputError(
                f"{name} and its {relation} links differ in length", found=str(len(index)), expected=str(count)
            )
        collection = view[f"_{name}_{relation}.collectionID"]
        ours = self._ids.get(self._particles) if self._particles else None
        return np.where((index >= 0) & (collection == ours), index, NO_PARTICLE).astype(np.int32)


class _EventView:
    """The values of one event in the columns of a chunk."""

    def __init__(self, columns: Mapping[str, Any], index: int) -> None:
        self._columns = columns
        self._index = index

    def optional(self, name: str) -> npt.NDArray[Any] | None:
        if name not in self._columns:
            return None
        offsets, content = self._columns[name]
        begin, end = int(offsets[self._index]), int(offsets[self._index + 1])
        return np.asarray(content[begin:end])

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        values = self.optional(name)
        if values is None:
            raise InputError(f"branch {name} is missing", expected="a branch of EDM4hep schema 2 or newer")
        return values

    def vector(self, name: str) -> npt.NDArray[Any]:
        return np.stack([self[f"{name}.{axis}"] for axis in "xyz"], axis=1)


def _open(path: Path) -> Any:
    import uproot

    return uproot.open({str(path): None}, handler=uproot.source.file.MultithreadedFileSource, num_workers=1)


def check_root_file(path: Path) -> None:
    """Refuse what is no complete ROOT file, with a message better than a parser's."""
    expected = "a ROOT file written by podio"
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(24)
    except OSError as error:
        raise InputError(f"Cannot read {path}", found=error.strerror or str(error), expected=expected) from error
    if len(head) < 24 or head[:4] != b"root":
        raise InputError(
            f"{path} is not a ROOT file", found=f"{size} bytes starting with {head[:4]!r}", expected=expected
        )
    version, _, end = struct.unpack(">iii", head[4:16])
    if version >= 1_000_000:  # large files: 64-bit fEND
        end = struct.unpack(">q", head[12:20])[0]
    if end > size:
        raise InputError(
            f"{path} is truncated",
            found=f"{size} bytes",
            expected=f"{end} bytes, as its header says",
            remedy="The file was not copied or not written completely; make it again.",
        )


def _collection_table(metadata: Any) -> tuple[dict[str, int], int]:
    """Collection name -> podio id, and the EDM4hep schema of the events."""
    info = metadata["events___CollectionTypeInfo"]
    if "events___idTable" in metadata:  # podio < 1.3
        table = metadata["events___idTable"]
        names = [str(name) for name in table["m_names"].array(library="np")[0]]
        ids = table["m_collectionIDs"].array(library="np")[0]
        schemas = info["events___CollectionTypeInfo._3"].array(library="np")[0]
    else:
        prefix = "events___CollectionTypeInfo."
        names = [str(name) for name in info[prefix + "name"].array(library="np")[0]]
        ids = info[prefix + "collectionID"].array(library="np")[0]
        schemas = info[prefix + "schemaVersion"].array(library="np")[0]
    return dict(zip(names, map(int, ids), strict=True)), int(max(schemas, default=0))


def _parameter_branches() -> Iterator[str]:
    for kind in _PARAMETER_KINDS:
        yield f"GP{kind}Keys"
        yield f"GP{kind}Values"


def _parameters(columns: Mapping[str, Any], index: int) -> dict[str, ParameterValue]:
    """Generic parameters of an entry; lists of one value become that value, as podio makes no difference."""
    found: dict[str, ParameterValue] = {}
    for kind, convert in zip(_PARAMETER_KINDS, (int, float, float, str), strict=True):
        keys, values = columns[f"GP{kind}Keys"][index], columns[f"GP{kind}Values"][index]
        for key, entries in zip(keys, values, strict=True):
            converted: list[Any] = [convert(entry) for entry in entries]
            found[str(key)] = converted[0] if len(converted) == 1 else converted
    return found
