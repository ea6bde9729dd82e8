# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""
Compiled core of DDCaloGen: geometry, shower placement, noise and inference. Lengths in mm, energies in GeV, times in ns.
"""
from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing
__all__: list[str] = ['CartesianGridXY', 'CellIDEncoding', 'DetectorInfo', 'DetectorTable', 'GridMethod', 'GridOutput', 'HitCollection', 'LayerStacks', 'MegatileLayerGridXY', 'Model', 'NoiseDistribution', 'NoiseInput', 'Plane', 'PolarGridRPhi', 'PythonSession', 'Segmentation', 'SensitiveSurfaces', 'SensitiveVolume', 'Session', 'Simulation', 'Solid', 'SpotOutput', 'StackGroup', 'TiledLayerGridXY', 'fill_noise', 'guard_decisions', 'has_ddg4_plugin', 'has_onnxruntime_session', 'onnxruntime_session', 'philox4x32', 'share_run', 'shower_statuses', 'withdraw_run']
class CellIDEncoding:
    """
    Bit fields of a cellID: 'name:width' or 'name:offset:width' joined by commas, a negative width being a signed field. Raises GeometryError for a malformed text, an unknown field or a value that does not fit.
    """
    def __init__(self, description: str) -> None:
        ...
    def __str__(self) -> str:
        ...
    def decode(self, cell_id: typing.SupportsInt | typing.SupportsIndex) -> dict[str, typing.Any]:
        """
        All fields, in order, as a dict.
        """
    def encode(self, values: collections.abc.Mapping[str, typing.SupportsInt | typing.SupportsIndex]) -> int:
        """
        The cellID with these fields; the others are 0.
        """
    def get(self, cell_id: typing.SupportsInt | typing.SupportsIndex, field: str) -> int:
        ...
    def get_array(self, cell_id: typing.Annotated[numpy.typing.ArrayLike, numpy.uint64], field: str) -> numpy.typing.NDArray[numpy.int64]:
        """
        Field of many cellIDs: uint64 [N] -> int64 [N].
        """
    def set(self, cell_id: typing.SupportsInt | typing.SupportsIndex, field: str, value: typing.SupportsInt | typing.SupportsIndex) -> int:
        """
        The cellID with one field replaced.
        """
    @property
    def canonical(self) -> str:
        ...
    @property
    def fields(self) -> list[tuple[str, int, int, bool]]:
        """
        List of (name, offset, width, is_signed).
        """
    @property
    def text(self) -> str:
        ...
class Solid:
    """
    Shape of a sensitive volume in its own frame; lengths in mm.
    """
    @staticmethod
    def box(half_mm: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(3)"], centre_mm: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(3)"] = [0.0, 0.0, 0.0]) -> Solid:
        ...
    @staticmethod
    def half_spaces(normals: collections.abc.Sequence[typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(3)"]], distances_mm: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]) -> Solid:
        ...
    @staticmethod
    def intersect(left: Solid, right: Solid) -> Solid:
        ...
    @staticmethod
    def placed(solid: Solid, rotation: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(9)"], translation_mm: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(3)"]) -> Solid:
        ...
    @staticmethod
    def prism(x_mm: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], y_mm: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], z_low_mm: typing.SupportsFloat | typing.SupportsIndex, z_high_mm: typing.SupportsFloat | typing.SupportsIndex) -> Solid:
        ...
    @staticmethod
    def subtract(left: Solid, right: Solid) -> Solid:
        ...
    @staticmethod
    def tube(r_min_mm: typing.SupportsFloat | typing.SupportsIndex, r_max_mm: typing.SupportsFloat | typing.SupportsIndex, half_z_mm: typing.SupportsFloat | typing.SupportsIndex) -> Solid:
        ...
    @staticmethod
    def unite(left: Solid, right: Solid) -> Solid:
        ...
    def contains(self, point_mm: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(3)"]) -> bool:
        ...
    @property
    def bounds_mm(self) -> tuple[typing.Annotated[list[float], "FixedSize(3)"], typing.Annotated[list[float], "FixedSize(3)"]]:
        ...
class CartesianGridXY:
    def __init__(self, *, field_x: str, field_y: str, size_x_mm: typing.SupportsFloat | typing.SupportsIndex, size_y_mm: typing.SupportsFloat | typing.SupportsIndex, offset_x_mm: typing.SupportsFloat | typing.SupportsIndex, offset_y_mm: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
class MegatileLayerGridXY:
    def __init__(self, *, field_x: str, field_y: str, layer_field: str, wafer_field: str, common: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(4)"], special: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex]]) -> None:
        """
        Tiles are (size_x_mm, size_y_mm, offset_x_mm, offset_y_mm) of their cells and corner; special ones have layer and wafer (-1: all) in front.
        """
class TiledLayerGridXY:
    def __init__(self, *, field_x: str, field_y: str, layer_field: str, size_x_mm: typing.SupportsFloat | typing.SupportsIndex, size_y_mm: typing.SupportsFloat | typing.SupportsIndex, offset_x_mm: typing.SupportsFloat | typing.SupportsIndex, offset_y_mm: typing.SupportsFloat | typing.SupportsIndex, layer_offset_x: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], boundary_x_mm: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], edge_size_x_mm: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]) -> None:
        ...
class PolarGridRPhi:
    def __init__(self, *, field_r: str, field_phi: str, size_r_mm: typing.SupportsFloat | typing.SupportsIndex, size_phi_rad: typing.SupportsFloat | typing.SupportsIndex, offset_r_mm: typing.SupportsFloat | typing.SupportsIndex, offset_phi_rad: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
class Segmentation:
    """
    Grids of a readout: entries (key_low, key_high, grid), chosen by the key field.
    """
    def __init__(self, key_field: str, entries: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, CartesianGridXY | MegatileLayerGridXY | TiledLayerGridXY | PolarGridRPhi]]) -> None:
        ...
class HitCollection:
    def __init__(self, name: str, key_field: str = '', key_low: typing.SupportsInt | typing.SupportsIndex = 0, key_high: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
        ...
    @property
    def key_field(self) -> str:
        ...
    @property
    def key_high(self) -> int:
        ...
    @property
    def key_low(self) -> int:
        ...
    @property
    def name(self) -> str:
        ...
    @property
    def technology(self) -> int:
        """
        Value of the key field, -1 if there is none.
        """
class DetectorTable:
    """
    Plain description of one detector, from which surfaces are built.
    """
    def __init__(self, *, name: str, readout: str, encoding: str, segmentation: Segmentation, hit_collections: collections.abc.Sequence[HitCollection], rotations: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], solids: collections.abc.Sequence[Solid], volume_id: typing.Annotated[numpy.typing.ArrayLike, numpy.uint64], rotation: typing.Annotated[numpy.typing.ArrayLike, numpy.uint32], solid: typing.Annotated[numpy.typing.ArrayLike, numpy.uint32], translation_mm: typing.Annotated[numpy.typing.ArrayLike, numpy.float64]) -> None:
        ...
class DetectorInfo:
    @property
    def encoding(self) -> CellIDEncoding:
        ...
    @property
    def hit_collections(self) -> list[HitCollection]:
        ...
    @property
    def name(self) -> str:
        ...
    @property
    def readout(self) -> str:
        ...
    @property
    def technology_field(self) -> str:
        ...
class Plane:
    """
    Coplanar sensitive volumes of one detector, layer and technology; lengths in mm.
    """
    @property
    def detector(self) -> int:
        ...
    @property
    def first_volume(self) -> int:
        ...
    @property
    def half_thickness_mm(self) -> float:
        ...
    @property
    def layer(self) -> int:
        ...
    @property
    def normal(self) -> typing.Annotated[list[float], "FixedSize(3)"]:
        ...
    @property
    def offset_mm(self) -> float:
        ...
    @property
    def technology(self) -> int:
        ...
    @property
    def u_axis(self) -> typing.Annotated[list[float], "FixedSize(3)"]:
        ...
    @property
    def u_max_mm(self) -> float:
        ...
    @property
    def u_min_mm(self) -> float:
        ...
    @property
    def v_axis(self) -> typing.Annotated[list[float], "FixedSize(3)"]:
        ...
    @property
    def v_max_mm(self) -> float:
        ...
    @property
    def v_min_mm(self) -> float:
        ...
    @property
    def volume_count(self) -> int:
        ...
class SensitiveVolume:
    @property
    def is_box(self) -> bool:
        ...
    @property
    def plane(self) -> int:
        ...
    @property
    def u_high_mm(self) -> float:
        ...
    @property
    def u_low_mm(self) -> float:
        ...
    @property
    def v_high_mm(self) -> float:
        ...
    @property
    def v_low_mm(self) -> float:
        ...
    @property
    def volume_id(self) -> int:
        ...
class SensitiveSurfaces:
    """
    Immutable table of every sensitive plane; positions to cells and back exactly as DD4hep does. Thread-safe.
    """
    def __init__(self, tables: collections.abc.Sequence[DetectorTable]) -> None:
        ...
    def cell_centres(self, cell_id: typing.Annotated[numpy.typing.ArrayLike, numpy.uint64]) -> numpy.typing.NDArray[numpy.float64]:
        """
        Nominal centres: uint64 [N] -> float64 [N,3] mm, NaN for an unknown volume.
        """
    def cell_rectangle(self, cell_id: typing.SupportsInt | typing.SupportsIndex) -> typing.Any:
        """
        (plane, u_low, u_high, v_low, v_high) in mm, or None if there is no such cell.
        """
    def collection_of(self, cell_id: typing.Annotated[numpy.typing.ArrayLike, numpy.uint64]) -> numpy.typing.NDArray[numpy.int32]:
        """
        Index of the hit collection within its detector, -1 if none: uint64 [N] -> int32 [N].
        """
    def detector_index(self, name: str) -> int:
        ...
    def detector_of(self, cell_id: typing.Annotated[numpy.typing.ArrayLike, numpy.uint64]) -> numpy.typing.NDArray[numpy.int32]:
        """
        Index of the detector, -1 if none: uint64 [N] -> int32 [N].
        """
    def exists(self, cell_id: typing.Annotated[numpy.typing.ArrayLike, numpy.uint64]) -> numpy.typing.NDArray[numpy.bool]:
        """
        Whether the detector has these cells: uint64 [N] -> bool [N].
        """
    def locate(self, position_mm: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], detector: str | None = None) -> numpy.typing.NDArray[numpy.uint64]:
        """
        Cells that contain the points: float64 [N,3] mm -> uint64 [N], 0 where there is no sensitive volume.
        """
    def locate_in_plane(self, plane: typing.Annotated[numpy.typing.ArrayLike, numpy.uint32], uv_mm: typing.Annotated[numpy.typing.ArrayLike, numpy.float64]) -> numpy.typing.NDArray[numpy.uint64]:
        """
        Cells of mid-plane points: plane index (one or [N]), float64 [N,2] mm -> uint64 [N].
        """
    def neighbours(self, cell_id: typing.SupportsInt | typing.SupportsIndex) -> list[int]:
        """
        Cells that share an edge within the same sensitive volume.
        """
    def plane(self, index: typing.SupportsInt | typing.SupportsIndex) -> Plane:
        ...
    def plane_of(self, cell_id: typing.Annotated[numpy.typing.ArrayLike, numpy.uint64]) -> numpy.typing.NDArray[numpy.int64]:
        """
        Index of the plane, -1 if none: uint64 [N] -> int64 [N].
        """
    def rectangles_in_plane(self, plane: typing.SupportsInt | typing.SupportsIndex, uv_mm: typing.Annotated[numpy.typing.ArrayLike, numpy.float64]) -> tuple[typing.Any, ...]:
        """
        As locate_in_plane, with the cell's rectangle: (uint64 [N], float64 [N,4] = u_low, u_high, v_low, v_high).
        """
    def time_locate_in_plane(self, plane: typing.Annotated[numpy.typing.ArrayLike, numpy.uint32], uv_mm: typing.Annotated[numpy.typing.ArrayLike, numpy.float64]) -> tuple[typing.Any, ...]:
        """
        (seconds of processor time, checksum) of one pass over mid-plane points: uint32 [N], float64 [N,2] mm.
        """
    def volume(self, index: typing.SupportsInt | typing.SupportsIndex) -> SensitiveVolume:
        ...
    def volumes_in(self, plane: typing.SupportsInt | typing.SupportsIndex, u_low_mm: typing.SupportsFloat | typing.SupportsIndex, u_high_mm: typing.SupportsFloat | typing.SupportsIndex, v_low_mm: typing.SupportsFloat | typing.SupportsIndex, v_high_mm: typing.SupportsFloat | typing.SupportsIndex) -> list[int]:
        ...
    @property
    def detectors(self) -> list[DetectorInfo]:
        ...
    @property
    def memory_bytes(self) -> int:
        ...
    @property
    def plane_count(self) -> int:
        ...
    @property
    def planes(self) -> list[Plane]:
        ...
    @property
    def volume_count(self) -> int:
        ...
class NoiseDistribution:
    """
    Members:
    
      normal
    
      uniform
    """
    __members__: typing.ClassVar[dict[str, NoiseDistribution]]
    normal: typing.ClassVar[NoiseDistribution]
    uniform: typing.ClassVar[NoiseDistribution]
    @typing.overload
    def __eq__(self, other: NoiseDistribution) -> bool:
        ...
    @typing.overload
    def __eq__(self, other: typing.Any) -> bool:
        ...
    def __getstate__(self) -> int:
        ...
    def __hash__(self) -> int:
        ...
    def __index__(self) -> int:
        ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def __int__(self) -> int:
        ...
    @typing.overload
    def __ne__(self, other: NoiseDistribution) -> bool:
        ...
    @typing.overload
    def __ne__(self, other: typing.Any) -> bool:
        ...
    def __repr__(self) -> str:
        ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def __str__(self) -> str:
        ...
    @property
    def name(self) -> str:
        ...
    @property
    def value(self) -> int:
        ...
class Session:
    @property
    def provider(self) -> str:
        ...
class PythonSession(Session):
    def __init__(self, run: collections.abc.Callable[..., typing.Any], provider: str) -> None:
        """
        run(output_names: list[str], feeds: dict[str, ndarray]) -> list[ndarray]
        """
class NoiseInput:
    def __init__(self, name: str, distribution: NoiseDistribution, per_spot: bool, shape: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> None:
        ...
class SpotOutput:
    def __init__(self, columns: typing.SupportsInt | typing.SupportsIndex, base: typing.SupportsFloat | typing.SupportsIndex, per_gev: typing.SupportsFloat | typing.SupportsIndex, maximum: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def capacity(self, energy_gev: typing.SupportsFloat | typing.SupportsIndex) -> int:
        ...
class GridOutput:
    def __init__(self, layers: typing.SupportsInt | typing.SupportsIndex, nx: typing.SupportsInt | typing.SupportsIndex, ny: typing.SupportsInt | typing.SupportsIndex, cell_mm: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(2)"], lower_edge_mm: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(2)"], follows_axis: bool) -> None:
        ...
class Model:
    def __init__(self, *, name: str, version: str, hash: str, key: typing.SupportsInt | typing.SupportsIndex, pdg: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], energy_gev: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(2)"], theta_deg: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(2)"], layer_depth_mm: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], takes_pdg: bool, noise: collections.abc.Sequence[NoiseInput], spots: SpotOutput | None = None, grid: GridOutput | None = None) -> None:
        ...
    @property
    def hash(self) -> str:
        ...
    @property
    def name(self) -> str:
        ...
class GridMethod:
    """
    Members:
    
      overlap
    
      random
    
      nearest
    """
    __members__: typing.ClassVar[dict[str, GridMethod]]
    nearest: typing.ClassVar[GridMethod]
    overlap: typing.ClassVar[GridMethod]
    random: typing.ClassVar[GridMethod]
    @typing.overload
    def __eq__(self, other: GridMethod) -> bool:
        ...
    @typing.overload
    def __eq__(self, other: typing.Any) -> bool:
        ...
    def __getstate__(self) -> int:
        ...
    def __hash__(self) -> int:
        ...
    def __index__(self) -> int:
        ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def __int__(self) -> int:
        ...
    @typing.overload
    def __ne__(self, other: GridMethod) -> bool:
        ...
    @typing.overload
    def __ne__(self, other: typing.Any) -> bool:
        ...
    def __repr__(self) -> str:
        ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def __str__(self) -> str:
        ...
    @property
    def name(self) -> str:
        ...
    @property
    def value(self) -> int:
        ...
class StackGroup:
    def __init__(self, members: collections.abc.Sequence[tuple[str, collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]]], face_mm: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
class LayerStacks:
    def __init__(self, surfaces: SensitiveSurfaces, groups: collections.abc.Sequence[StackGroup]) -> None:
        ...
    def __len__(self) -> int:
        ...
    def find_entry(self, position_mm: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(3)"], direction: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(3)"]) -> dict[str, typing.Any]:
        ...
    def frame(self, stack: typing.SupportsInt | typing.SupportsIndex) -> dict[str, typing.Any]:
        """
        Axes (global), face distance and plane depths (mm) of one stack.
        """
class Simulation:
    def __init__(self, stacks: LayerStacks, model: Model, session: Session, *, seed: typing.SupportsInt | typing.SupportsIndex, batch: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex, grid_method: GridMethod, max_entry_depth_mm: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    def generate(self, energy_gev: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], direction: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], pdg: typing.Annotated[numpy.typing.ArrayLike, numpy.int32], event: typing.Annotated[numpy.typing.ArrayLike, numpy.uint64], particle: typing.Annotated[numpy.typing.ArrayLike, numpy.uint32]) -> dict[str, typing.Any]:
        """
        Showers in the shower frame, before placement: status [N], counts [N] and values [P, columns], in order; values are spots, or the cells of grids (GeV, layer slowest).
        """
    def place(self, pdg: typing.Annotated[numpy.typing.ArrayLike, numpy.int32], energy_gev: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], position_mm: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], direction: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], time_ns: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], event: typing.Annotated[numpy.typing.ArrayLike, numpy.uint64], particle: typing.Annotated[numpy.typing.ArrayLike, numpy.uint32], spots: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], counts: typing.Annotated[numpy.typing.ArrayLike, numpy.int64]) -> dict[str, typing.Any]:
        ...
    def simulate(self, pdg: typing.Annotated[numpy.typing.ArrayLike, numpy.int32], energy_gev: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], position_mm: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], direction: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], time_ns: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], event: typing.Annotated[numpy.typing.ArrayLike, numpy.uint64], particle: typing.Annotated[numpy.typing.ArrayLike, numpy.uint32]) -> dict[str, typing.Any]:
        ...
def fill_noise(seed: typing.SupportsInt | typing.SupportsIndex, event: typing.SupportsInt | typing.SupportsIndex, particle: typing.SupportsInt | typing.SupportsIndex, model: typing.SupportsInt | typing.SupportsIndex, name: str, distribution: NoiseDistribution, count: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
    """
    float32 [count]: the noise of one input of one shower, as the runtime feeds it.
    """
def onnxruntime_session(model_path: str, provider: str = 'cpu', library: str = '') -> Session:
    """
    A session run by the C++ interface of onnxruntime. Raises ConfigurationError when this build, the library or the provider lacks it, ModelError when the file cannot be loaded.
    """
def philox4x32(counter: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(4)"], key: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"]) -> typing.Annotated[list[int], "FixedSize(4)"]:
    """
    One block of Philox4x32-10 (Salmon et al. 2011).
    """
def share_run(name: str, *, program_version: str, geometry_name: str, cells: collections.abc.Sequence[str], models: collections.abc.Sequence[tuple[Simulation, typing.SupportsInt | typing.SupportsIndex]]) -> None:
    """
    Leaves models, as (Simulation, card schema), under a name for the plugin of the same build.
    """
def withdraw_run(name: str) -> None:
    ...
guard_decisions: list[str] = ['accepted', 'particle type not covered', 'energy below range', 'energy above range', 'angle outside', 'not at this calorimeter', 'entry too deep', 'bad kinematics']
has_ddg4_plugin: bool = False
has_onnxruntime_session: bool = True
shower_statuses: list[str] = ['good', 'not finite', 'negative energy', 'layer out of range', 'more spots than declared', 'no energy']
