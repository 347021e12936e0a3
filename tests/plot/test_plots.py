"""What is drawn is what was given: values in lines, images, points and arrows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from redundancy import plot
from redundancy.plot.looks import looks
from redundancy.plot.reductions import DROPPED, KEPT, MERGED
from redundancy.pruning import METHODS, SEGMENTERS

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (3, 12, 16, 3), dtype=np.uint8)
TIME = np.array([0.0, 0.5, 1.5])


def axes_of(rows: int = 1, columns: int = 1) -> Any:
    return plot.new_figure(rows, columns, height=2.0)[1]


def drawn(ax: Axes) -> list[Any]:
    return [image.get_array() for image in ax.get_images()]


def test_over_time() -> None:
    ax = axes_of()[0, 0]
    values = np.array([1.0, np.nan, 3.0])
    plot.over_time(ax, TIME, values, label="speed", marked=np.array([False, False, True]))
    line, marks = ax.get_lines()
    np.testing.assert_array_equal(line.get_xydata(), np.stack([TIME, values], 1))
    np.testing.assert_array_equal(marks.get_xydata(), [[1.5, 3.0]])
    assert ax.get_ylabel() == "speed"


def test_nothing_is_marked_where_nothing_is_to_mark() -> None:
    ax = axes_of()[0, 0]
    plot.over_time(ax, TIME, TIME, label="x", marked=np.zeros(3, dtype=bool))
    assert len(ax.get_lines()) == 1


def test_trajectory() -> None:
    ax = axes_of()[0, 0]
    points = RNG.standard_normal((3, 2))
    turns = np.array([False, True, False])
    plot.trajectory(ax, points, TIME, turns=turns, explained=np.array([0.75, 0.2]))
    np.testing.assert_array_equal(ax.get_lines()[0].get_xydata(), points)
    dots, rings, first, last = ax.collections
    np.testing.assert_array_equal(dots.get_offsets(), points)
    np.testing.assert_array_equal(dots.get_array(), TIME)
    np.testing.assert_array_equal(rings.get_offsets(), points[1:2])
    np.testing.assert_array_equal(np.concatenate([first.get_offsets(), last.get_offsets()]), points[[0, 2]])
    assert ax.get_xlabel() == "component 1 (75% of variance)"
    assert ax.get_aspect() == 1


def test_a_path_without_variance_claims_no_shares() -> None:
    ax = axes_of()[0, 0]
    plot.trajectory(ax, np.zeros((3, 2)), TIME, explained=np.full(2, np.nan))
    assert ax.get_xlabel() == "component 1"


def test_token_maps() -> None:
    row = axes_of(1, 3)[0]
    values = RNG.standard_normal((3, 2, 4))
    values[1, 0, 0] = np.nan
    plot.token_maps(row, FRAMES, values, label="x")
    for ax, frame, value in zip(row, FRAMES, values, strict=True):
        ground, overlay = ax.get_images()
        np.testing.assert_array_equal(ground.get_array(), plot.grey_frame(frame))
        np.testing.assert_array_equal(overlay.get_array().filled(np.nan), value)
        assert tuple(overlay.get_extent()) == (0, 16, 12, 0)  # row 0 of the map on top, as in the frame
        assert overlay.get_clim() == (np.nanmin(values), np.nanmax(values))


def test_token_maps_without_frames() -> None:
    row = axes_of(1, 3)[0]
    values = np.full((3, 2, 4), np.nan)
    plot.token_maps(row, None, values, label="nothing is known")
    assert [len(ax.get_images()) for ax in row] == [1, 1, 1]
    assert tuple(row[0].get_images()[0].get_extent()) == (0, 4, 2, 0)


def test_grey_frames_are_grey_light_and_in_order() -> None:
    colours = np.array([[[0, 0, 0], [255, 0, 0], [0, 255, 0], [255, 255, 255]]], dtype=np.uint8)
    grey = plot.grey_frame(colours)[0]
    assert (grey == grey[:, :1]).all()
    black, red, green, white = grey[:, 0].astype(int)
    assert 128 < black < red < green < white == 255


def test_attention_over_frames() -> None:
    ax = axes_of()[0, 0]
    mass = RNG.random((2, 3))
    image = plot.attention_over_frames(ax, mass, TIME, layers=[0, 7])
    np.testing.assert_array_equal(image.get_array(), mass)
    assert image.get_clim() == (0, mass.max())
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0", "7"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0.0", "0.5", "1.5"]


def test_many_layers_and_frames_are_labelled_at_intervals() -> None:
    ax = axes_of()[0, 0]
    plot.attention_over_frames(ax, RNG.random((28, 64)), np.arange(64) / 2, layers=list(range(28)))
    assert len(ax.get_xticks()) <= 8
    assert len(ax.get_yticks()) <= 12
    assert ax.get_yticklabels()[1].get_text() == str(int(ax.get_yticks()[1]))


def test_role_maps() -> None:
    grid = axes_of(2, 3)
    roles = {name: RNG.integers(0, 3, (3, 2, 4)) for name in ("one", "other")}
    plot.role_maps(grid, FRAMES, roles, time=TIME)
    for row, (name, maps) in zip(grid, roles.items(), strict=True):
        assert row[0].get_ylabel() == name
        for ax, role in zip(row, maps, strict=True):
            ground, overlay = ax.get_images()
            assert ground.get_array().shape == (12, 16, 3)
            np.testing.assert_array_equal(overlay.get_array(), role)
    dropped, merged, kept = overlay.to_rgba(np.array([[DROPPED, MERGED, KEPT]]))[0, :, 3]
    assert 0 == dropped < merged < kept  # what is dropped shows the grey frame alone
    assert [ax.get_title(loc="center") for ax in grid[0]] == ["0.0 s", "0.5 s", "1.5 s"]
    assert [patch.get_label() for patch in plot.role_legend()] == ["kept", "merged into another", "dropped"]


def test_drift_maps() -> None:
    row = axes_of(1, 2)[0]
    place = np.array([[0, 0, 0], [2, 1, 3], [2, 0, 1], [1, 1, 1]])  # the last stands in a frame that is not shown
    moved = np.array([[0.0, 0.0, 0.0], [-2.0, -1.0, 0.5], [1.0, 0.0, 0.0], [3.0, 1.0, 1.0]])
    plot.drift_maps(row, FRAMES[[0, 2]], place, displacement=moved, shape=(2, 4), shown=[0, 2])
    first, second = (list(ax.collections) for ax in row)
    np.testing.assert_array_equal(first[0].get_offsets(), [[2, 3]])  # cells are 4 wide and 6 high, x before y
    np.testing.assert_array_equal(second[0].get_offsets(), [[14, 9], [6, 3]])
    np.testing.assert_array_equal(second[0].get_array(), [-2, 1])
    assert second[0].get_clim() == (-3, 3)
    assert len(first[1].U) == 0
    arrows = second[1]
    np.testing.assert_array_equal([arrows.X, arrows.Y], [[14], [9]])
    np.testing.assert_array_equal([arrows.U, arrows.V], [[2], [-6]])
    assert row[0].get_ylim() == (12, 0)


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (5, (1, 5)), (8, (1, 8)), (11, (2, 8))])
def test_frame_grid(count: int, shape: tuple[int, int]) -> None:
    figure, axes = plot.frame_grid(count)
    assert len(axes) == count
    assert len(figure.axes) == shape[0] * shape[1]
    assert not any(ax.axison for ax in figure.axes[count:])
    assert figure.get_figwidth() <= plot.TWO_COLUMNS


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        figure, axes = plot.frame_grid(3)
        plot.token_maps(axes, FRAMES, np.arange(24.0).reshape(3, 2, 4), label="x")
        plot.save(figure, tmp_path / name)
    for suffix in (".png", ".svg"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("x", ["x.png", "x.svg"]),
        ("x.pdf", ["x.pdf"]),
        ("new/folder/x.svg", ["new/folder/x.svg"]),
        ("~/x.PNG", ["x.PNG"]),
    ],
)
def test_a_figure_is_written_as_its_suffix_says(
    name: str, written: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    figure = plot.new_figure(1, 1, height=1.0)[0]
    given = plot.save(figure, name)
    assert [p.resolve() for p in given] == [tmp_path / w for w in written]
    signs = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}
    for path in given:
        content = path.read_bytes()
        assert content.startswith(signs[path.suffix.lower()])
        plot.save(figure, path)
        assert path.read_bytes() == content  # the same figure is the same file


def kinds_of(names: list[str]) -> dict[str, str]:
    return {n: METHODS[n].kind if n in METHODS else "method" for n in names}


def test_a_method_looks_the_same_whatever_else_is_drawn() -> None:
    whole = looks(kinds_of([*METHODS, "mine", "another"]))
    drawn = {(str(look["color"]), look["marker"]) for look in whole.values()}
    assert len(drawn) == len(whole)
    for chosen in (["vcast"], ["first_of_2x2", "holitom"], ["random_tokens", "prunevid", "fastvid"]):
        assert looks(kinds_of(chosen)) == {n: whole[n] for n in chosen}
    spelled = looks({"FastVID": "method", "vcast(0.25)": "method", "RandomTokens": "control"})
    assert list(spelled.values()) == [whole["fastvid"], whole["vcast"], whole["random_tokens"]]
    assert looks({"mine": "method", "another": "method"}) == {n: whole[n] for n in ("mine", "another")}
    palette = plot.colours(["one", "FastVID", "two"])
    assert palette["FastVID"] == whole["fastvid"]["color"]
    assert len(set(map(str, palette.values()))) == 3


def test_controls_are_told_apart_in_print() -> None:
    controls = looks({n: "control" for n, e in METHODS.items() if e.kind == "control"}).values()
    assert len({look["marker"] for look in controls}) == len(controls)
    assert all(0 <= float(look["color"]) < 0.7 for look in controls)  # grey, and dark enough on white


def test_a_segmenter_has_one_colour() -> None:
    whole = plot.segmenter_colours([*SEGMENTERS, "dyseg, over tau"])
    assert len(set(map(str, whole.values()))) == len(whole)
    chosen = ["static_windows", "dyseg, over tau"]
    assert plot.segmenter_colours(chosen) == {n: whole[n] for n in chosen}
