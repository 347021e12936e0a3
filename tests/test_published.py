"""Published tables are well formed, and their numbers follow from each other but for those that are known not to."""

from __future__ import annotations

from typing import Any

import pytest

from redundancy import published
from redundancy.evaluation.cost.flops import QWEN2_7B, DecoderShape, fastvid_flops, holitom_flops
from redundancy.published import TAGS, PublishedTable, contradictions, disagreements, table, tables

TABLES = [table(name) for name in tables()]
PERCENT = "average_percent_of_vanilla"


def near(printed: float, computed: float, half: float, slack: float = 0.0) -> bool:
    """The computed number rounds to the printed one, or rounding of what it is computed from explains it."""
    return abs(printed - computed) <= half + slack + 1e-6


def label(row: Any) -> str:
    keys = ("retention_printed_percent", "retention_requested", "frames", "model", "variant", "d", "merge")
    keys += ("inner_layer", "inner_rate", "paper")
    setting = row["setting"]
    return " ".join([row["method"], *(f"{k}={setting[k]}" for k in keys if setting.get(k) is not None)])


def test_there_are_the_tables_of_the_papers():
    assert len(TABLES) == 49
    assert len(set(tables())) == 49
    assert {len(tables(p)) for p in published.PAPERS} == {19, 11, 15, 4}
    found = contradictions()
    assert {name: len(each) for name, each in found.items()} == {"between_papers": 9, "inside_papers": 13}
    assert all(each["why"] for part in found.values() for each in part)


@pytest.mark.parametrize("each", TABLES, ids=lambda t: t.id)
def test_tables_are_well_formed(each: PublishedTable):
    names = [column["name"] for column in each.columns]
    for row in each.rows:
        assert list(row["values"]) == names
        assert {n for n, v in row["values"].items() if v is None} == set(row.get("missing", {}))
        assert {row["tag"], *row.get("cell_tags", {}).values()} <= set(TAGS)
        assert isinstance(row["approximate"], bool)
    assert each.source
    frame = each.frame()
    assert list(frame.columns) == ["method", "requested", *names]
    assert len(each.cells()) == frame[names].notna().to_numpy().sum()


def parts_of(each: PublishedTable, values: Any) -> list[float | None]:
    names = [
        c["name"]
        for c in each.columns
        if c["benchmark"] and c["split"] in (None, "overall") and c["unit"] == "per cent"
    ]
    return [values[name] for name in names]


def failures(each: PublishedTable) -> set[tuple[str, str, str, float]]:
    """Averages, percentages of the full model and scores of VideoMME that do not follow from their parts."""
    found = set()
    full = next((row["values"] for row in each.rows if row["setting"].get("role") == "vanilla"), None)

    def mean(values: Any) -> float | None:
        parts = parts_of(each, values)
        known = [p for p in parts if p is not None]
        return sum(known) / len(known) if len(known) == len(parts) >= 1 else None

    for row in each.rows:
        values = row["values"]

        def check(kind: str, name: str, holds: bool, row: Any = row, values: Any = values) -> None:
            if not holds:
                found.add((kind, each.id, label(row), values[name]))

        own, whole = mean(values), None if full is None else mean(full)
        average, least = values.get("average"), 0.25 if row["approximate"] else 0.1
        if average is not None and own is not None and len(parts_of(each, values)) > 1:
            check("average", "average", near(average, own, least))
        if values.get(PERCENT) is not None and full is not None:
            tops = [v for v in (average, own) if v is not None]
            bottoms = [v for v in (full.get("average"), whole) if v is not None]
            shares = [(100 * a / b, 100 * 0.05 / b * (1 + a / b)) for a in tops for b in bottoms]
            holds = not shares or any(near(values[PERCENT], share, 0.05, slack) for share, slack in shares)
            check("percentage", PERCENT, holds)
        lengths = [values.get(f"videomme_{part}") for part in ("short", "medium", "long")]
        if values.get("videomme") is not None and None not in lengths:
            check("videomme parts", "videomme", near(values["videomme"], sum(lengths) / 3, 0.1))
    return found


def test_numbers_follow_from_each_other_but_for_the_known_ones():
    known = {
        (d["check"], d["table"], d["row"], d["printed"])
        for d in disagreements()
        if d["check"] in ("average", "percentage", "videomme parts")
    }
    assert known
    assert set().union(*map(failures, TABLES)) == known
    assert all(d["settled"] for d in disagreements())


@pytest.mark.parametrize("name", ["table-5", "table-6", "table-7-ov", "table-8"])
def test_flops_are_those_of_our_formula(name: str):
    rows = [row["setting"] for row in table(f"fastvid/{name}").rows if row["setting"]["flops_tera"]]
    assert len(rows) >= 2
    for setting in rows:
        computed = fastvid_flops(setting["tokens"], QWEN2_7B) / 1e12
        assert near(setting["flops_tera"], computed, 0.005), setting


def test_flops_of_holitom_are_those_of_our_formula():
    for row in table("holitom/flops").rows:
        setting = row["setting"]
        shape = DecoderShape(setting["layers"], setting["hidden"], setting["ffn"], key_value_heads=1, head_width=1)
        inner = setting.get("inner_layer") or setting["layers"]
        tokens = [setting["tokens"]] * inner + [setting["tokens"] / 2] * (setting["layers"] - inner)
        computed = holitom_flops(tokens, shape) / 1e12
        printed = row["values"]["flops_tera"]
        assert near(printed, computed, 0.5 * 10 ** -len(str(printed).partition(".")[2])), row


def test_a_table_that_is_not_there_is_told():
    with pytest.raises(ValueError, match="did you mean 'fastvid/table-7-ov'"):
        table("fastvid/table-7-vo")
    with pytest.raises(ValueError, match=r"settings \['merger'\] given, expected some of \['role'"):
        table("fastvid/table-7-ov").frame("merger")
    with pytest.raises(ValueError, match="paper='FastVID' given, expected one of"):
        tables("FastVID")
