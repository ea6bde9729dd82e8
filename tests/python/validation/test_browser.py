# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Event display and report in a real browser: headless Chromium, WebGL in software, started once."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ddcalogen.display import write_display
from ddcalogen.edm4hep import CalorimeterHits, Contributions, Event, MCParticles
from ddcalogen.geometry import Geometry

_OPTIONS = (
    "--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
_PATIENCE_S = 120  # software WebGL on a busy machine
_GROUND = (16, 19, 26)


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium (extra 'test') is not installed")
    program = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
    tool = shutil.which("chromedriver")
    if program is None or tool is None:
        pytest.skip("no Chromium with its chromedriver here (Debian: chromium and chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for option in _OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(tool))
    browser.set_page_load_timeout(_PATIENCE_S)
    browser.set_script_timeout(_PATIENCE_S)
    yield browser
    browser.quit()


@dataclasses.dataclass
class Page:
    """A page in the browser."""

    driver: Any

    def open(self, path: Path, view: str = "", size: tuple[int, int] = (1000, 700)) -> None:
        width, height = size
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        self.driver.get("about:blank")
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)  # forget what was before
        self.driver.get(path.as_uri() + (f"#{view}" if view else ""))

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """What the console says, and what the page asked the network for."""
        said = [entry["message"] for entry in self.driver.get_log("browser")]
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                if not url.startswith(("file:", "data:", "about:")):
                    said.append(f"request: {url}")
        return said

    def picture(self) -> np.ndarray:
        """Pixels of the canvas, uint8 [height, width, 3], once it is drawn."""
        width, height, pixels = self.driver.execute_async_script(
            """const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => {
            const from = document.querySelector("canvas"), copy = document.createElement("canvas");
            copy.width = from.width; copy.height = from.height; const brush = copy.getContext("2d");
            brush.drawImage(from, 0, 0); const data = brush.getImageData(0, 0, copy.width, copy.height).data;
            let text = ""; for (let i = 0; i < data.length; i += 4)
              text += String.fromCharCode(data[i], data[i + 1], data[i + 2]);
            done([copy.width, copy.height, btoa(text)]); }));"""
        )
        import base64

        return np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(height, width, 3)

    def drawn(self) -> np.ndarray:
        """Rows and columns of the pixels that are not background, int [K, 2]."""
        return np.argwhere((np.abs(self.picture().astype(int) - _GROUND) > 12).any(axis=2))

    def click(self, identifier: str) -> None:
        self.js("document.getElementById(arguments[0]).click()", identifier)


@pytest.fixture
def page(driver: Any) -> Page:
    return Page(driver)


PLACE = (300.0, 1000.0)  # x, z of the cells, in the upper stave of the barrel


@pytest.fixture(scope="module")
def event(ild: Geometry) -> Event:
    """A column of cells of 1 to 3 MeV in the upper barrel stave, and a photon towards it."""
    planes = [p for p in ild.surfaces.planes if abs(p.normal[1] - 1) < 1e-9 and p.technology in (4, 10)]
    depth = sorted({round(float(p.offset_mm), 3) for p in planes if 1800 < p.offset_mm < 2020})
    cell = np.unique(np.asarray(ild.surfaces.locate(np.array([[PLACE[0], y, PLACE[1]] for y in depth]))))
    cell = cell[cell != 0]
    assert len(cell) > 20
    n = len(cell)
    hits = CalorimeterHits(
        cell_id=cell,
        energy_gev=np.linspace(1e-3, 3e-3, n).astype(np.float32),
        position_mm=np.asarray(ild.surfaces.cell_centres(cell)).astype(np.float32),
        contribution_offsets=np.zeros(n + 1, np.int64),
        contributions=Contributions.empty(),
    )
    photon = MCParticles.create(pdg=[22], momentum_gev=[[1.5, 9.0, 5.0]], endpoint_mm=[[300.0, 1805.0, 1000.0]])
    return Event(event_number=3, particles=photon, calorimeter_hits={"ECalBarrelSiHitsEven": hits})


@pytest.fixture(scope="module")
def display(event: Event, ild: Geometry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("display") / "event.html"
    write_display(event, ild, path, "toy.edm4hep.root")
    return path


def only_cells(page: Page) -> None:
    for switch in ("tracks", "frame"):
        page.click(switch)


def test_display_opens_from_a_file_without_network(page: Page, display: Path) -> None:
    page.open(display)
    assert len(page.drawn()) > 500  # outline, track and cells
    assert page.complaints() == []
    summary = page.js("return document.getElementById('sum').textContent")
    assert re.match(r"ILD_l5_o1_v02: (\d+) of \1 cells, [\d.]+ MeV visible", summary)
    assert "photon" in page.js("return document.getElementById('kinds').textContent")


def test_views_put_the_cells_where_they_are(page: Page, display: Path) -> None:
    """Along the beam x to the right and y up; from the side z to the right; the shower in the middle."""
    found = {}
    for view in ("beam", "side", "shower"):
        page.open(display, view)
        only_cells(page)
        rows, columns = page.drawn().T
        found[view] = (columns.mean() - 500 - 124, 350 - rows.mean(), np.ptp(rows))  # the panel covers 248 pixels
    right, above, _ = found["beam"]
    assert 0 < right / above == pytest.approx(PLACE[0] / 1910, rel=0.2)
    right, above, _ = found["side"]
    assert right / above == pytest.approx(PLACE[1] / 1910, rel=0.2)
    right, above, height = found["shower"]
    assert abs(right) < 60
    assert abs(above) < 120
    assert height > 150  # near enough to see every layer
    assert page.complaints() == []


def test_keys_and_address_change_the_view(page: Page, display: Path) -> None:
    page.open(display)
    only_cells(page)
    page.picture()
    body = page.driver.find_element("tag name", "body")
    body.send_keys("4")
    near = np.ptp(page.drawn()[:, 0])
    assert near > 150
    body.send_keys("-")
    assert np.ptp(page.drawn()[:, 0]) < 0.9 * near
    page.js("location.hash = 'side'")
    assert np.ptp(page.drawn()[:, 0]) < 80


def test_cut_hides_cells(page: Page, display: Path, event: Event) -> None:
    page.open(display, "shower")
    only_cells(page)
    before = len(page.drawn())
    page.js("const c = document.getElementById('cut'); c.value = arguments[0]; c.dispatchEvent(new Event('input'))", 50)
    energy = 1e3 * event.calorimeter_hits["ECalBarrelSiHitsEven"].energy_gev
    cut = float(energy.min()) * (energy.max() / energy.min()) ** 0.5
    summary = page.js("return document.getElementById('sum').textContent")
    assert summary.startswith(f"ILD_l5_o1_v02: {int((energy >= cut).sum())} of {len(energy)} cells")
    assert float(page.js("return document.getElementById('cutv').textContent")) == pytest.approx(cut, rel=0.05)
    assert 0.1 * before < len(page.drawn()) < 0.9 * before


def test_pointing_at_a_cell_tells_what_it_is(page: Page, display: Path, event: Event) -> None:
    from selenium.webdriver import ActionChains

    page.open(display, "shower")
    only_cells(page)
    row, column = (int(x) for x in np.median(page.drawn(), axis=0))
    ActionChains(page.driver).move_by_offset(column, row).perform()
    tip = page.js("const t = document.getElementById('tip'); return t.style.display === 'block' ? t.textContent : ''")
    hits = event.calorimeter_hits["ECalBarrelSiHitsEven"]
    cell = int(re.search(r"cellID 0x([0-9a-f]+)", tip)[1], 16)  # type: ignore[index]
    (at,) = np.flatnonzero(hits.cell_id == cell)
    assert tip.startswith(f"{1e3 * hits.energy_gev[at]:.3g}"[:4])
    assert "ECalBarrelSiHitsEven, layer" in tip
    assert f"({hits.position_mm[at][0]:.1f}, {hits.position_mm[at][1]:.1f}, {hits.position_mm[at][2]:.1f}) mm" in tip
    ActionChains(page.driver).move_by_offset(-column, -row).perform()


def test_on_a_narrow_screen_the_panel_gives_way(page: Page, display: Path) -> None:
    page.open(display, size=(390, 700))
    box = page.js("const b = document.getElementById('panel').getBoundingClientRect(); return [b.width, b.height]")
    assert box[0] < 390
    assert box[1] < 80
    assert len(page.drawn()) > 300
    page.js("document.querySelector('summary').click()")
    assert page.js("return document.getElementById('panel').getBoundingClientRect().height") > 200


@pytest.fixture(scope="module")
def report_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mplhep")
    from ddcalogen.validation import plots, report
    from ddcalogen.validation.metrics import Value
    from ddcalogen.validation.study import Figure

    folder = tmp_path_factory.mktemp("report")
    plots.check_plotting()
    edges = np.linspace(0, 10, 21)
    heights = (np.exp(-edges[:-1]), 0.1 * np.exp(-edges[:-1]))
    figure = plots.histogram_panels(edges, heights, heights, x_label="depth (mm)", y_label="energy (MeV)")
    picture = plots.save(plots.Picture("toy", "A plot.", "Plots", figure), folder)
    values = {name: Value(0.123456, 0.0012) for name in ("geant4", "energy_5_percent", "width_10_percent")}
    figures = [
        Figure("a group with a long name", f"figure {i}", "mm", "distance", {**values, "model": Value(x, 0.0012)})
        for i, x in enumerate((0.123, 0.128, 0.2, float("nan")))
    ]
    columns = [("model", "model"), ("geant4", "Geant4 again"), ("energy_5_percent", "Geant4, energy + 5 %"),
               ("width_10_percent", "Geant4, width + 10 %")]  # fmt: skip
    sections = [
        report.Section("Tables", "Some text.", [report.figures_table(figures, columns)]),
        report.Section("Plots", "", [], [(picture, "A plot."), (picture, "The same.")]),
    ]
    report.write_html("Validation of a_model_with_a_very_long_name_that_does_not_break", "Lead.", sections,
                      folder / "report.html")  # fmt: skip
    return folder / "report.html"


@pytest.mark.parametrize("width", [390, 1280])
def test_report_opens_offline_and_fits(page: Page, report_page: Path, width: int) -> None:
    page.open(report_page, size=(width, 800))
    assert page.complaints() == []
    assert page.js("return [...document.images].every(i => i.complete && i.naturalWidth > 400)")
    assert page.js("return document.documentElement.scrollWidth") <= width  # only tables scroll sideways
    figures = page.js("return [...document.querySelectorAll('figure')].map(f => f.getBoundingClientRect().left)")
    assert (figures[0] == figures[1]) == (width == 390)  # below each other, or side by side


def test_report_marks_do_not_rest_on_colour(page: Page, report_page: Path) -> None:
    page.open(report_page)
    marks = page.js(
        "return [...document.querySelectorAll('tbody tr')].map(r => getComputedStyle(r.cells[1], '::before').content)"
    )
    assert [m.strip('"')[:1] for m in marks[:3]] == ["✓", "≈", "✗"]
    assert "nan" not in page.js("return document.body.innerText").lower()


def test_report_on_paper(page: Page, report_page: Path) -> None:
    page.open(report_page)
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert page.js("return getComputedStyle(document.querySelector('nav')).display") == "none"
        assert page.js("return getComputedStyle(document.querySelector('figure')).breakInside") == "avoid"
    finally:
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
