"""Reductions inside the language model against a cache-free, hook-free recomputation, for every family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from redundancy.apply import Pruned, prune
from redundancy.models import VideoLLM
from redundancy.models.cache_name import cache_of
from redundancy.pruning import FastV, FastVID, HoliTomInner, PruneVid, PruneVidStage2, RandomInner
from redundancy.pruning.base import InnerMethod
from redundancy.reduction import Reduction, compose
from redundancy.tokens import TokenGrid
from tests.apply.reference import greedy_inside, shortened, whole_prompt
from tests.apply.test_outer import OTHER, QUESTION, STEPS, every_third, generate, merged, placed
from tests.family_fixtures import hooks_of
from tests.tiny_models import CACHE, make_clip

MERGE = HoliTomInner(layer=1, merge_rate=0.5, merger="cluster_mean")
PLANS: dict[str, list[InnerMethod]] = {
    "drop at 1": [FastV(layer=1, drop_rate=0.5)],
    "drop at 2": [FastV(layer=2, drop_rate=0.75)],
    "drop at the last": [FastV(layer=3, drop_rate=0.9)],
    "merge at 1": [MERGE],
    "merge at the last": [HoliTomInner(layer=3, merge_rate=0.6)],
    "random at 2": [RandomInner(layer=2, drop_rate=0.5)],
    "drop at 1, merge at 3": [FastV(layer=1, drop_rate=0.3), HoliTomInner(layer=3, merge_rate=0.5)],
    "merge at 1, drop at 2": [MERGE, FastV(layer=2, drop_rate=0.5)],
}


def keep_all(model: VideoLLM, entry: Any) -> list[Reduction]:
    newline = "all" if model.family.layout.newline == "row" else "none"
    return [Reduction.keep_all(span.grid, newline=newline) for span in entry.spans]


def compare(model: VideoLLM, inputs: Any, inner: Sequence[Any], method: Any = None, per_row: int = 1) -> Pruned:
    """Hooked generation and the reference agree; the reference repeats the decisions."""
    entry = whole_prompt(model, inputs)
    with prune(model, method, inner=inner) as pruned:
        out = generate(model, inputs)
    outer = pruned.reductions or keep_all(model, entry)
    mask = inputs.tensors["attention_mask"]
    videos = len(mask) * per_row
    assert len(pruned.inner) == len(inner) * videos
    for row in range(len(mask)):
        here = slice(row * per_row, (row + 1) * per_row)
        plan = {
            m.layer: pruned.inner[i * videos : (i + 1) * videos][here]
            for i, m in enumerate(sorted(inner, key=lambda m: m.layer))
        }
        prompt = shortened(entry, model, row, outer[here], mask[row])
        ids, logits = greedy_inside(model, prompt, plan, steps=STEPS)
        assert out.sequences[row, -STEPS:].tolist() == ids
        # float32 sums in another order over at most a few hundred keys and five layers
        torch.testing.assert_close(torch.stack(out.logits)[:, row], logits, atol=1e-4, rtol=0)
    return pruned


@pytest.mark.parametrize("plan", list(PLANS))
@pytest.mark.parametrize("outer", [None, every_third, placed(merged, "renumbered")], ids=["whole", "kept", "merged"])
def test_decoding_equals_the_reference(family_model: VideoLLM, plan: str, outer: Any):
    compare(family_model, family_model.prepare(make_clip(), QUESTION), PLANS[plan], outer)


@pytest.mark.parametrize("plan", ["drop at 2", "drop at 1, merge at 3"])
def test_padded_batch_with_rows_of_different_length(family_model: VideoLLM, plan: str):
    inputs = family_model.prepare([make_clip(seed=1), make_clip(seed=2)], [QUESTION, OTHER])
    counter = iter(range(100))
    compare(family_model, inputs, PLANS[plan], lambda t: (every_third, merged)[next(counter) % 2](t))
    compare(family_model, inputs, PLANS[plan])


def test_a_padded_batch_decides_as_its_rows_do(family_model: VideoLLM):
    clips, questions = [make_clip(seed=1), make_clip(seed=2)], [QUESTION, OTHER]
    inner = [FastV(layer=2, drop_rate=0.5)]
    with prune(family_model, None, inner=inner) as together:
        batch = generate(family_model, family_model.prepare(clips, questions))
    for row, (clip, question) in enumerate(zip(clips, questions, strict=True)):
        with prune(family_model, None, inner=inner) as alone:
            single = generate(family_model, family_model.prepare(clip, question))
        assert torch.equal(alone.inner[0].anchor, together.inner[row].anchor)
        got = torch.stack(batch.logits)[:, row]
        torch.testing.assert_close(got, torch.stack(single.logits)[:, 0], atol=1e-4, rtol=0)


def test_two_videos_in_one_prompt(family_model: VideoLLM):
    inputs = family_model.prepare([[make_clip(seed=1), make_clip(seed=2)]], [QUESTION])
    compare(family_model, inputs, PLANS["drop at 1, merge at 3"], every_third, per_row=2)


def test_prunevid_in_both_stages(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    pruned = compare(family_model, inputs, [PruneVidStage2(layer=2, alpha=0.5)], PruneVid())
    assert pruned.inner[0].kept < pruned.reductions[0].kept


def test_eager_attention_repeats_the_decisions(family_model: VideoLLM, eager_model: VideoLLM):
    """Near-ties may be decided otherwise by another back end, so decisions are replayed."""
    inputs = family_model.prepare([make_clip(seed=1), make_clip(seed=2)], [QUESTION, OTHER])
    inner = PLANS["merge at 1, drop at 2"]
    with prune(family_model, every_third, inner=inner) as pruned:
        expected = generate(family_model, inputs)
    replay = [pruned.inner[:2], pruned.inner[2:]]
    with prune(eager_model, pruned.reductions, inner=replay):
        got = generate(eager_model, inputs)
    torch.testing.assert_close(torch.stack(got.logits), torch.stack(expected.logits), atol=1e-4, rtol=0)


def columns_of(model: VideoLLM, inputs: Any) -> Tensor:
    return whole_prompt(model, inputs).spans[0].columns.flatten()


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_fastv_reads_the_attention_of_the_layer_before(family_model: VideoLLM, eager_model: VideoLLM, layer: int):
    inputs = family_model.prepare(make_clip(), QUESTION)
    with torch.no_grad():
        whole = eager_model.model(
            **inputs.tensors, **eager_model.family.prefill_arguments(inputs.tensors), output_attentions=True
        )
    columns = columns_of(family_model, inputs)
    attended = whole.attentions[layer - 1][0, :, -1].mean(0)[columns]
    keep = len(columns) - int(0.5 * len(columns))
    with prune(family_model, None, inner=[FastV(layer=layer, drop_rate=0.5)]) as pruned:
        family_model.prefill(inputs)
    assert pruned.inner[0].anchor_token.tolist() == sorted(attended.topk(keep).indices.tolist())
    assert pruned.inner[0].layer == layer
    assert pruned.inner[0].achieved == keep / len(columns)


def test_stage_two_reads_the_questions_attention(family_model: VideoLLM, eager_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    seen = []

    class Listening(PruneVidStage2):
        def __call__(self, hidden: Tensor, attention: Tensor, **rest: Any) -> Reduction:
            seen.append(attention)
            return super().__call__(hidden, attention, **rest)

    with prune(family_model, PruneVid(), inner=[Listening(layer=2, alpha=0.5)]) as pruned:
        family_model.prefill(inputs)
    with prune(eager_model, pruned.reductions), torch.no_grad():
        out = eager_model.model(
            **inputs.tensors, **eager_model.family.prefill_arguments(inputs.tensors), output_attentions=True
        )
    caught = out.attentions[1][0]
    entry = whole_prompt(family_model, inputs)
    prompt = shortened(entry, family_model, 0, pruned.reductions, inputs.tensors["attention_mask"][0])
    span = ((prompt["video"] == 0) & (prompt["slot"] >= 0)).nonzero().flatten()
    question = int((prompt["video"] >= 0).nonzero().max()) + 1
    expected = caught[:, question:][:, :, span].amax((0, 1))
    torch.testing.assert_close(seen[0], expected, atol=1e-5, rtol=0)  # float32 sums in another order


def test_composition_is_one_reduction_on_the_videos_own_tokens(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    inner = PLANS["merge at 1, drop at 2"]
    with prune(family_model, merged, inner=inner) as pruned:
        family_model.prefill(inputs)
    outer, first, second = pruned.reductions[0], *pruned.inner
    both = compose(compose(outer, first), second)
    assert torch.equal(both.slots, outer.slots)
    x = torch.randn(len(outer.slots), 3, dtype=torch.float64)
    after = torch.zeros(len(first.slots), 3, dtype=torch.float64)  # newlines carry nothing
    after[first.slots >= 0] = outer.apply(x)
    after = first.apply(after)[first.anchor_token >= 0]
    expected = second.apply(after)
    torch.testing.assert_close(both.apply(x), expected)
    assert both.achieved == second.achieved


def test_caches_have_lengths_of_their_own(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    S = inputs.tensors["input_ids"].shape[1]
    with prune(family_model, None, inner=[FastV(layer=1, drop_rate=0.5), FastV(layer=3, drop_rate=0.5)]) as pruned:
        out = generate(family_model, inputs)
    lengths = [layer.get_seq_length() for layer in cache_of(out).layers]
    N = len(pruned.inner[0].slots)
    first, second = (r.kept for r in pruned.inner)
    assert lengths[:4] == [n + STEPS - 1 for n in (S, S - N + first, S - N + first, S - N + second)]


def test_without_cache_every_step_is_reduced(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    quiet = {"suppress_tokens": [family_model.family.video_token_id]}  # a random model may say it
    with prune(family_model, every_third, inner=[FastV(layer=2, drop_rate=0.5)]) as pruned:
        expected = generate(family_model, inputs, **quiet)
    with prune(family_model, every_third, inner=[pruned.inner]) as uncached:
        got = generate(family_model, inputs, use_cache=False, **quiet)
    assert len(uncached.inner) == STEPS
    torch.testing.assert_close(torch.stack(got.logits), torch.stack(expected.logits), atol=1e-4, rtol=0)


def test_two_caches_may_be_alive(family_model: VideoLLM):
    inputs = [family_model.prepare(make_clip(seed=s), QUESTION) for s in (1, 2)]
    inner = [RandomInner(layer=1, drop_rate=0.5)]

    def begin(x: Any) -> Any:
        return family_model.model(**x.tensors, **family_model.family.prefill_arguments(x.tensors), use_cache=True)

    def go_on(out: Any) -> Tensor:
        ids = out.logits[:, -1].argmax(-1)[:, None]
        mask = {}
        if family_model.family.layout.family.startswith("qwen"):
            past = cache_of(out).get_seq_length()
            mask = {"position_ids": torch.full((4, 1, 1), past)}
        return family_model.model(input_ids=ids, **{CACHE: cache_of(out)}, use_cache=True, **mask).logits

    with torch.no_grad(), prune(family_model, None, inner=inner):
        alone = [go_on(begin(x)) for x in inputs]
        first, second = (begin(x) for x in inputs)
        assert torch.equal(go_on(first), alone[0])
        assert torch.equal(go_on(second), alone[1])


def test_keep_all_inside_changes_nothing(family_model: VideoLLM):
    inputs = family_model.prepare([make_clip(seed=1), make_clip(seed=2)], [QUESTION, OTHER])
    before = generate(family_model, inputs)
    with prune(family_model, None, inner=[FastV(layer=1, drop_rate=0.0)]):
        inside = generate(family_model, inputs)
    assert torch.equal(before.sequences, inside.sequences)
    torch.testing.assert_close(torch.stack(inside.logits), torch.stack(before.logits), atol=1e-5, rtol=0)
    after = generate(family_model, inputs)
    assert torch.equal(torch.stack(before.logits), torch.stack(after.logits))


def test_beams_and_several_sequences(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    for arguments in ({"num_beams": 3}, {"num_return_sequences": 2, "num_beams": 2}):
        with prune(family_model, every_third, inner=[FastV(layer=2, drop_rate=0.5)]) as pruned:
            out = family_model.model.generate(**inputs.tensors, max_new_tokens=4, do_sample=False, **arguments)
        assert len(out) == arguments.get("num_return_sequences", 1)
        assert len({tuple(r.anchor.tolist()) for r in pruned.inner}) == 1


def test_text_only_prompt_passes_untouched(family_model: VideoLLM):
    ids = family_model.processor.tokenizer("what happens in the video ?", return_tensors="pt")
    before = family_model.model.generate(**ids, max_new_tokens=4, do_sample=False)
    with prune(family_model, None, inner=[FastV(layer=2)]) as pruned:
        inside = family_model.model.generate(**ids, max_new_tokens=4, do_sample=False)
    assert torch.equal(before, inside)
    assert pruned.inner == []


def test_nothing_is_left_behind(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    before, hooks = generate(family_model, inputs), hooks_of(family_model)

    class Broken(FastV):
        def __call__(self, hidden: Tensor, attention: Tensor, **rest: Any) -> Reduction:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"), prune(family_model, every_third, inner=[Broken(layer=2)]):
        generate(family_model, inputs)
    assert hooks_of(family_model) == hooks
    after = generate(family_model, inputs)
    assert torch.equal(torch.stack(before.logits), torch.stack(after.logits))


def ready(layer: int | None) -> Reduction:
    return Reduction.keep_all(TokenGrid(1, 1, 2), layer=layer)


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (lambda: [FastV(layer=0)], r"layer=0 given, expected a value in \[1"),
        (lambda: [HoliTomInner(layer=0)], r"layer=0 given, expected a value in \[1"),
        (lambda: [[ready(0)]], r"layer=0 given, expected a layer in 1\.\.3"),
        (lambda: [[ready(1), ready(2)]], r"reductions of one layer inside the model are expected, given layers"),
        (lambda: [[ready(None)]], r"reductions of one layer inside the model are expected, given layers"),
        (lambda: [FastV(layer=4)], r"layer=4 given, expected a layer in 1\.\.3: the language model has 4 layers"),
        (lambda: [HoliTomInner()], r"layer=18 given, expected a layer in 1\.\.3"),
        (lambda: [FastV(layer=1), RandomInner(layer=1)], r"layers \[1, 1\] given, expected at most one"),
        (lambda: [FastV(layer=1, drop_rate=1.0)], r"drop_rate=1.0 given, expected a value in \[0, 1\)"),
        (lambda: [HoliTomInner(layer=1, merge_rate=1.0)], r"merge_rate=1.0 given, expected a value in \[0, 1\)"),
        (lambda: [RandomInner(layer=1, drop_rate=1.5)], r"drop_rate=1.5 given, expected a value in \[0, 1\)"),
        (lambda: [PruneVidStage2(layer=1, alpha=0.0)], r"alpha=0.0 given, expected a value in \(0, 1\]"),
    ],
)
def test_wrong_layers_and_rates(family_model: VideoLLM, inner: Any, message: str):
    with pytest.raises(ValueError, match=message), prune(family_model, None, inner=inner()):
        pass


def test_decisions_on_other_spans_are_refused(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    for decisions, message in (([ready(1)], "other 2 places"), ([ready(1)] * 2, "given 2 for 1 videos")):
        with pytest.raises(ValueError, match=message), prune(family_model, None, inner=[decisions]):
            family_model.prefill(inputs)


def test_stage_two_needs_stage_one(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    for outer in (None, every_third):
        with (
            pytest.raises(ValueError, match=r"works on the .* outputs of PruneVid, given .* before it"),
            prune(family_model, outer, inner=[PruneVidStage2(layer=1)]),
        ):
            family_model.prefill(inputs)


def test_a_rate_that_keeps_nothing(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    with (
        pytest.raises(ValueError, match=r"keeps none of the .* places of the span, expected at least one"),
        prune(family_model, PruneVid(), inner=[PruneVidStage2(layer=1, alpha=0.01)]),
    ):
        family_model.prefill(inputs)


def test_fastvid_and_an_inner_merge(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    method = FastVID(retention=0.5, c=2, salience="norm", features="mean")
    compare(family_model, inputs, [MERGE], method)
