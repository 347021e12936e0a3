"""What ablations share: one change of a method at a time, what it is held against, tables and figures.

An ablation is a list of `Change`s and the metrics that should explain the answers; `ablation` makes a study of them.
For each clip and change there are rows of the changed method (`own`), of the method without the change (`base`), of its
outputs with nothing merged into them (`anchors alone`), and of as many random tokens (`random tokens`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from redundancy.evaluation.ablation import ANSWERS, BASE, DROP, EXPLAINING, OWN, RANDOM, SHARED, ablated, held_against
from redundancy.evaluation.conditions import Condition
from redundancy.evaluation.session import VideoSession
from redundancy.evaluation.statistics.multiple import paired_tests
from redundancy.evaluation.statistics.told import differing, extremes
from redundancy.evaluation.tables import Column, Table
from redundancy.plot import compose
from redundancy.plot.methods import names_of
from redundancy.pruning.base import Method
from redundancy.questions import Question
from redundancy.reduction import Reduction
from redundancy.sources import VideoSource

from .panels import by_setting, panel
from .study import Facts, Row, Study, StudyOptions, required_questions
from .summary import Contrast, Values

Then = Callable[[VideoSession, Reduction], Reduction | None]
UNITS = {"accuracy": "share", "agreement": "share", "same_answers": "share", "kl": "nat"}


@dataclass(frozen=True, kw_only=True)
class AnswerOptions(StudyOptions):
    """What studies of answers at some retentions take.

    Parameters
    ----------
    retentions
        Shares of the tokens that methods are asked to keep.
    seeds
        Seeds of random tokens, and of methods that draw, for each video.
    skills
        Of each clip's own questions those of these skills are asked; none: all.
    """

    retentions: tuple[float, ...] = (0.25, 0.1)
    seeds: int = 1
    skills: tuple[str, ...] = ("digit", "when", "where", "count")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "seeds")
        if not self.retentions or not all(0 < r <= 1 for r in self.retentions):
            raise ValueError(f"retentions={list(self.retentions)} given, expected shares of the tokens in (0, 1]")
        self.conditions()

    def conditions(self) -> list[Condition]:
        """Those that the options name."""
        return []


@dataclass(frozen=True, kw_only=True)
class AblationOptions(AnswerOptions):
    """What ablations take.

    Parameters
    ----------
    only
        Settings that are changed, by their names in the tables; none: all.
    """

    only: tuple[str, ...] = ()

    def changes(self) -> list[Change]:
        """All changes, of which `only` names some."""
        return []

    def conditions(self) -> list[Condition]:
        """Every change at every retention."""
        return conditions_of(self.changes(), self)

    def chosen(self, settings: Iterable[str]) -> set[str]:
        """Those of the settings that `only` names, or all.

        Raises
        ------
        ValueError
            If it names others.
        """
        known = list(dict.fromkeys(settings))
        if unknown := sorted(set(self.only) - set(known)):
            raise ValueError(f"only={unknown} given, expected some of {known}")
        return set(self.only or known)


@dataclass(frozen=True)
class Change:
    """One change: a value of a setting, by which a method differs from another one.

    Parameters
    ----------
    setting, value
        What is changed, and to what, as tables name it.
    method, base
        With the change, and without it; asked for each retention in turn where they have one.
    then
        What is done to the method's decisions; None on a model where that is nothing, and the change is left out.
    strict
        Leave the change out, and say so, on a model that does not give a source that the method reads.
    """

    setting: str
    value: str
    method: Method
    base: Method
    then: Then | None = None
    strict: bool = False


def with_settings(setting: str, base: Method, values: Mapping[str, Mapping[str, Any]]) -> list[Change]:
    """Changes of a method's settings: the name of each value, and the settings that it stands for."""
    return [Change(setting, name, replace(base, **changed), base) for name, changed in values.items()]


def conditions_of(changes: Sequence[Change], options: AblationOptions) -> list[Condition]:
    """Every change at every retention; one of a fixed rate stands once, against its base at the nearest retention."""
    chosen, made = options.chosen(change.setting for change in changes), []
    for change in (c for c in changes if c.setting in chosen):
        rated = _has_retention(change.method)
        for r in options.retentions if rated else [min(options.retentions, key=lambda r: abs(r - 0.25))]:
            method, base = (_at(one, r) for one in (change.method, change.base))
            kind = getattr(method, "kind", "method")
            same = method == base and change.then is None
            made.append(
                Condition(
                    label=f"{change.setting}: {change.value}" + (f" at {r:g}" if rated else ""),
                    method=method,
                    parts={"base": base, "then": change.then, "strict": change.strict},
                    kind=kind,
                    factors={"setting": change.setting, "level": change.value, "default": int(same), "asked": r},
                )
            )
    return made


def _has_retention(method: Method) -> bool:
    return any(f.name == "retention" for f in fields(method))


def _at(method: Any, retention: float) -> Method:
    made: Method = replace(method, retention=retention) if _has_retention(method) else method
    return made


def asked(source: VideoSource, options: AblationOptions) -> list[Question]:
    """The questions of a video that are of the skills asked for."""
    return [q for q in source.questions if not options.skills or q.skill in options.skills]


def asked_at_least_one(source: VideoSource, options: AblationOptions) -> list[Question]:
    """The same; a ValueError if there is none."""
    if chosen := asked(source, options):
        return chosen
    known = sorted({q.skill for q in required_questions(source, options)})
    raise ValueError(f"skills={list(options.skills)} given, but {source.name} asks about {known}")


def measure(
    video: VideoSession, condition: Condition, options: AblationOptions, *, names: Sequence[str]
) -> Iterator[Row]:
    """Rows of a change and of what it is held against."""
    base, then, strict = (condition.parts[name] for name in ("base", "then", "strict"))
    if strict and video.suited(condition.outer)[1]:
        return
    yield from ablated(video, list(held_against(video, condition.outer, base, seeds=options.seeds, then=then)), names)


def tested(
    summary: xr.Dataset,
    rows: pd.DataFrame,
    *,
    facts: Facts,
    options: Any,
    measures: Mapping[str, str],
) -> xr.Dataset:
    """Adds `difference_test`, p and q of each change against its base, and which changes could not be made."""
    labels = names_of(summary["condition"]).tolist()
    known = rows[rows["error"].isna()].reindex(columns=[*rows.columns, *(m for m in measures if m not in rows)])
    made = paired_tests(known, plus=OWN, minus=BASE, measures=measures, conditions=labels)
    wanted = [c.label for c in options.conditions()]
    return summary.assign(difference_test=made).assign_attrs(left_out=[c for c in wanted if c not in labels])


def tables_of(summary: xr.Dataset, *, names: Sequence[str]) -> Iterator[Table | str]:
    """Answers of every change, beside its base and controls; then what should explain them."""
    minus, beside, alone = (
        partial(Column, form="+.3f", of="difference"),
        partial(Column, form="+.3f", of="against_random"),
        partial(Column, form="+.3f", of="merging"),
    )
    if (summary["value"].sel(measure="accuracy", statistic="n") > 0).any():
        told = {"accuracy": Column("accuracy"), "- default": minus("accuracy")}
        told |= {"q": Column("accuracy", ".2f", of="difference_test", at={"test": "q"})}
        told |= {"- random": beside("accuracy"), "- anchors alone": alone("accuracy")}
        told |= {"as the default": Column("same_answers", alone=True)}
        told |= {"as the full model": Column("agreement"), "KL": Column("kl"), "KL - default": minus("kl")}
        told |= {"q of KL": Column("kl", ".2f", of="difference_test", at={"test": "q"})}
        yield Table(told, f"Answers about {', '.join(summary.attrs['skills']) or 'everything'}:", name="answers")
    else:
        yield f"No answers: no video brings a question about {', '.join(summary.attrs['skills']) or 'anything'}."
    for i in range(0, len(names), 3):
        some = {n: Column(n) for n in names[i : i + 3]}
        some |= {f"{n} - default": minus(n) for n in names[i : i + 3]}
        yield Table(some, "What changes beside them:" if not i else "", name=f"metrics_{i // 3 + 1}")
    if left_out := summary.attrs["left_out"]:
        yield f"Left out, for this model does not have what they change: {', '.join(left_out)}."
    yield (
        "- default: minus the method without the change; - random: minus as many random tokens; - anchors alone: minus "
        "the same outputs with nothing merged\ninto them. q: share of false discoveries if this and all smaller p of "
        "the column count (Benjamini-Hochberg; random signs of paired differences)."
    )


def figure_of(summary: xr.Dataset, *, shown: Sequence[tuple[str, str, str]]) -> Figure:
    """Every change in a row of its own, measures side by side, retentions in colours.

    Parameters
    ----------
    shown
        Measure, title and variable of each panel; a measure without values gets none.
    """
    rows = list(dict.fromkeys(zip(names_of(summary["setting"]), names_of(summary["level"]), strict=True)))
    present = [one for one in shown if (summary[one[2]].sel(measure=one[0], statistic="n") > 0).any()]
    panels = {
        title: panel(by_setting, name, variable=variable, label=UNITS.get(name, ""), zero=variable != "value")
        for name, title, variable in present
    }
    height = 1.4 + 0.14 * (len(rows) + len({setting for setting, _ in rows}))
    return compose(summary, panels, height=height, columns=len(panels), sharey=True)


def found(summary: xr.Dataset) -> list[str]:
    """What changes do to answers, and merging and chance beside them."""
    told = []
    for r in sorted(set(summary["asked"].values.tolist()), reverse=True):
        where, at = {"asked": r}, f"at {r:g} of the tokens"
        told.append(extremes(summary, "accuracy", where=where, says=f"accuracy {at}"))
        told.append(differing(summary, "kl", of="difference", where=where, says=f"KL from the full model {at}"))
    told.append(differing(summary, "accuracy", of="difference", says="accuracy against the default"))
    told.append(differing(summary, "kl", of="merging", says="KL against the same outputs with nothing merged"))
    told.append(differing(summary, "accuracy", of="against_random", says="accuracy against as many random tokens"))
    return told


SHOWN = (("accuracy", "accuracy", "value"), ("accuracy", "its change", "difference"), ("kl", "KL", "value"))


def ablation(
    name: str,
    options: type[Any],
    *,
    explaining: Sequence[str],
    shown: Sequence[tuple[str, str, str]] = (),
    version: int = 1,
    **more: Any,
) -> Study:
    """A study of changes.

    Parameters
    ----------
    name, version
        As in `Study`.
    options
        Class of the options, whose `conditions` are made by `conditions_of`.
    explaining
        Outputs of metrics, of `EXPLAINING`, that stand beside the answers.
    shown
        Panels of the figure beside those of the answers.
    more
        Other fields of `Study`.
    """
    metrics = {n: EXPLAINING[n] for n in explaining}
    measures = {**ANSWERS, "share": "share of tokens kept", **SHARED, **metrics}
    figures = {"": partial(figure_of, shown=[*SHOWN, *shown]), **more.pop("figures", {})}
    derive = partial(more.pop("derive", tested), measures=measures)
    return Study(
        name=name,
        version=version,
        options=options,
        conditions=lambda given: given.conditions(),
        measure=partial(measure, names=list(metrics)),
        depends=("seeds", "skills"),
        questions=asked,
        measures=measures,
        values={"value": Values(where={"variant": OWN})},
        contrasts={
            "difference": Contrast(plus=OWN, minus=BASE),
            "merging": Contrast(plus=OWN, minus=DROP),
            "against_random": Contrast(plus=OWN, minus=RANDOM),
        },
        derive=derive,
        tables=(partial(tables_of, names=list(metrics)),),
        figures=figures,
        finding=found,
        **more,
    )
