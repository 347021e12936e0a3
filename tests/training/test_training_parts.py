"""What training computes is what answering computes, for every family."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from redundancy import prune, video_tokens
from redundancy.models import VideoLLM, wrap_model
from redundancy.pruning import RandomTokens
from redundancy.training.dropout import FEWEST, SHARES, Dropout, draw_dropout
from redundancy.training.hints import asked_about, relevant_tokens, remaining
from redundancy.training.language import LanguageStage, TokenPool, question_mask
from redundancy.training.pool import ASKED, IGNORED, Pool, Questions, encode_questions, make_pool
from redundancy.training.recipe import recipe_of
from redundancy.training.small_models import (
    FAMILIES,
    SIZES,
    ModelSize,
    build_model,
    build_processor,
    frames_per_step,
)
from redundancy.training.tower import TowerStage, _named
from redundancy.world.clip import WorldVideo
from redundancy.world.clips import script_of
from redundancy.world.labels import CHANNELS, DIGIT, MOTION, THING, cell_labels
from redundancy.world.questions import SKILLS, ask
from redundancy.world.scene import BACKGROUNDS, COLORS, DIRECTIONS, SHAPES, WorldConfig, sample_script

SIZE = ModelSize(64, 8, 48, 3, 64, 2)
QUESTIONS = ("how many scenes ?", "in navy scene shape of red ?", "when digit flash ?")
Stages = tuple[str, VideoLLM, TowerStage, LanguageStage]


@pytest.fixture(scope="module", params=list(FAMILIES))
def stages(request: pytest.FixtureRequest) -> Stages:
    """A family, its model of random weights behind our interface, and the two stages of its training."""
    torch.manual_seed(0)
    model, processor = build_model(request.param, SIZE).eval(), build_processor(request.param, SIZE)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2 or name.endswith("newline"):
                parameter.mul_(3)  # so that every token matters to the answer
    tower = TowerStage(request.param, SIZE, model).eval()
    language = LanguageStage(request.param, SIZE, model, processor)
    return request.param, wrap_model(model, processor), tower, language


def clip_of(seed: int) -> Any:
    return WorldVideo(seed, WorldConfig(SIZE.frames, SIZE.pixels)).clip()


def encoded(stages: Stages, seed: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Tokens [1, tokens, width] of a clip by the training's own way, and DeepStack features."""
    family, _, tower, _ = stages
    frames = torch.from_numpy(clip_of(seed).frames).permute(0, 3, 1, 2)
    with torch.no_grad():
        seen = tower(frames.unflatten(0, (-1, frames_per_step(family))))
    return seen.tokens.flatten(0, 1)[None], [level.flatten(0, 1)[None] for level in seen.deepstack]


def words_of(stages: Stages, questions: tuple[str, ...]) -> tuple[torch.Tensor, list[int]]:
    """Ids of questions, padded, and where each is asked."""
    vocabulary = stages[1].processor.tokenizer.get_vocab()
    rows = [[vocabulary[w] for w in ["q", *q.split(), "a"]] for q in questions]
    longest = max(map(len, rows))
    return torch.tensor([[r + [0] * (longest - len(r)) for r in rows]]), [len(r) - 1 for r in rows]


def test_the_tower_sees_what_the_model_sees(stages: Stages):
    captured = video_tokens(stages[1], clip_of(1))
    tokens, deepstack = encoded(stages, 1)
    given = torch.as_tensor(captured.features).flatten(0, -2)
    torch.testing.assert_close(tokens[0], given, atol=1e-4, rtol=1e-4)
    assert bool(deepstack) == (stages[0] == "qwen3_vl")


@torch.no_grad()
@pytest.mark.parametrize("share", [None, 0.5, 0.2])
def test_every_question_is_answered_as_it_would_be_alone(stages: Stages, share: float | None):
    _, model, _, language = stages
    tokens, deepstack = encoded(stages, 2)
    words, asked_at = words_of(stages, QUESTIONS)
    reductions = []
    expected = []
    for question in QUESTIONS:
        if share is None:
            expected.append(model.prefill(model.prepare(clip_of(2), question)).logits[0, -1])
            continue
        with prune(model, RandomTokens(retention=share, across_frames=True, seed=4)) as pruned:
            expected.append(model.prefill(model.prepare(clip_of(2), question)).logits[0, -1])
        reductions.append(pruned.reductions[0])
    dropout = None
    if share is not None:
        keep = torch.as_tensor(reductions[0].anchor).long()
        assert 0 < len(keep) < tokens.shape[1]
        dropout = Dropout(keep[None], renumbered=False)
    logits = language(tokens, deepstack, words, dropout)[0]
    for i, (at, alone) in enumerate(zip(asked_at, expected, strict=True)):
        torch.testing.assert_close(logits[i, at], alone, atol=2e-3, rtol=1e-3)
    assert (expected[0] - expected[1]).abs().max() > 0.1  # the questions differ in their answers


@torch.no_grad()
def test_renumbered_tokens_stand_where_the_first_ones_would(stages: Stages):
    family, _, _, language = stages
    tokens, deepstack = encoded(stages, 3)
    words, asked_at = words_of(stages, QUESTIONS[:1])
    prompt = language.prompt(words.shape[-1])
    count = 10
    first = Dropout(torch.arange(count)[None], renumbered=True)
    last = Dropout(torch.arange(tokens.shape[1] - count, tokens.shape[1])[None], renumbered=True)
    moved = tokens.clone()
    moved[:, -count:] = tokens[:, :count]
    levels = [level.clone() for level in deepstack]
    for level, given in zip(levels, deepstack, strict=True):
        level[:, -count:] = given[:, :count]
    a, b = (
        language(x, y, words, d)[0, 0, asked_at[0]] for x, y, d in ((tokens, deepstack, first), (moved, levels, last))
    )
    own = language(moved, levels, words, Dropout(last.keep, renumbered=False))[0, 0, asked_at[0]]
    if family == "qwen3_vl":  # timestamps stand between the tokens, so where they are kept matters
        assert prompt.is_video.sum() < len(prompt.ids) - 10
    else:
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert (own - b).abs().max() > 1e-3  # with their own positions they answer differently


def test_questions_see_the_prompt_and_themselves():
    mask = question_mask(3, 2, 2)[0, 0]
    expected = [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0, 1, 0],
        [1, 1, 1, 0, 0, 1, 1],
    ]
    assert torch.equal(mask, torch.tensor(expected, dtype=torch.bool))


def test_questions_are_encoded_with_their_answers():
    tokenizer = build_processor("qwen3_vl", SIZE).tokenizer
    scripts = [script_of(seed, WorldConfig(SIZE.frames, SIZE.pixels)) for seed in range(12)]
    asked = encode_questions(scripts, tokenizer, random.Random(0))
    assert asked.skills.tolist() == [i for i, s in enumerate(SKILLS) for _ in range(ASKED[s])]
    words = [[tokenizer.convert_ids_to_tokens(q.tolist()) for q in row] for row in asked.words]
    for script, row, at, answers in zip(scripts, words, asked.asked_at.tolist(), asked.answers.tolist(), strict=True):
        for skill, question, place, answer in zip(asked.skills.tolist(), row, at, answers, strict=True):
            assert question[0] == "q"
            assert question[place] == "a"
            assert set(question[place + 1 :]) <= {"<pad>"}
            assert "<unk>" not in question
            if SKILLS[skill] == "first" and len(script.scenes) == 1:
                assert answer == IGNORED
            elif SKILLS[skill] == "digit":
                assert tokenizer.convert_ids_to_tokens(answer) == str(script.flash.digit)
            elif SKILLS[skill] == "direction" and answer != IGNORED:
                scene = next(s for s in script.scenes if s.background == question[2])
                assert tokenizer.convert_ids_to_tokens(answer) == scene.direction


def test_the_pool_holds_what_was_drawn():
    tokenizer = build_processor("qwen2_5_vl", SIZE).tokenizer

    def pool(count: int, seed: int) -> Pool:
        *progress, made = make_pool(
            "qwen2_5_vl", SIZE, count, tokenizer=tokenizer, seed=seed, device=torch.device("cpu")
        )
        assert isinstance(made, Pool)
        assert progress[-1] == count
        return made

    one, again, other = pool(70, 1), pool(70, 1), pool(70, 2)
    assert one.frames.shape == (70, 8, 3, 64, 64)
    assert one.labels.shape[:4] == (70, 4, 4, 4)
    assert len(one) == 70
    assert torch.equal(one.frames, again.frames)
    assert torch.equal(one.questions.words, again.questions.words)
    assert not torch.equal(one.frames, other.frames)
    assert torch.equal(one.frames[:5], pool(5, 1).frames)  # a longer pool begins with a shorter one's videos


def test_half_of_the_steps_of_stage_1_show_the_digit(stages: Stages):
    *_, last = make_pool(
        stages[0], SIZE, 24, tokenizer=stages[3].processor.tokenizer, seed=4, device=torch.device("cpu")
    )
    assert isinstance(last, Pool)
    frames, labels = stages[2].draw(last, 60, torch.Generator().manual_seed(0))
    assert labels[:30, ..., DIGIT].flatten(1).any(1).all()
    assert not labels[30:, ..., DIGIT].flatten(1).any(1).all()
    assert frames.shape == (60, frames_per_step(stages[0]), 3, 64, 64)
    shown = last.labels[..., DIGIT].flatten(2).any(2)
    assert len(last.flashes) == shown.sum()
    assert shown[last.flashes[:, 0], last.flashes[:, 1]].all()


def test_only_cells_that_show_one_class_are_named():
    target = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]]])
    read = torch.tensor([[[5.0, 0, 0], [5, 0, 0], [0, 0, 9], [0, 0, 9]]])
    error, share = _named(read, target)
    expected = -read[0, :2].log_softmax(-1)[[0, 1], [0, 1]].mean()
    torch.testing.assert_close(error, expected)
    assert share == 0.5
    error, share = _named(read, torch.zeros_like(target))
    assert error == 0
    assert share.isnan()


NOTHING = torch.zeros(8, 64, dtype=torch.uint8)


def test_dropout_keeps_the_same_number_of_every_video():
    tokens = torch.randn(5, 64, 8)
    generator = torch.Generator().manual_seed(0)
    counts, renumbered, whole = set(), 0, 0
    for _ in range(400):
        drawn = draw_dropout(tokens, 16, generator, shows=NOTHING[:5], probability=0.7, renumber=0.25)
        if drawn is None:
            whole += 1
            continue
        assert (drawn.keep.diff(dim=1) > 0).all()
        assert drawn.keep.min() >= 0
        assert drawn.keep.max() < 64
        counts.add(drawn.keep.shape[1])
        renumbered += drawn.renumbered
    assert counts == {max(FEWEST, int(64 * share)) for share in SHARES}
    assert 80 <= whole <= 160  # .3 of 400
    assert 0.15 <= renumbered / (400 - whole) <= 0.35


def test_dropout_sometimes_favours_whole_steps():
    tokens = torch.zeros(4, 64, 8)
    generator = torch.Generator().manual_seed(0)
    empty = 0
    for _ in range(200):
        drawn = draw_dropout(tokens, 16, generator, shows=NOTHING[:4], probability=1.0, renumber=0.0)
        assert drawn is not None
        if drawn.keep.shape[1] == int(64 * 0.25):
            empty += bool((torch.bincount(drawn.keep[0] // 16, minlength=4) == 0).any())
    assert 2 <= empty <= 30


def test_dropout_often_favours_what_shows_something():
    """In half of the steps a digit in six of 64 tokens stays among 16, or is likelier to; else it stays by chance."""
    shows = NOTHING.clone()
    shows[:, 10:16], shows[:, 30:40] = 2, 1
    generator = torch.Generator().manual_seed(0)
    shares = []
    for _ in range(600):
        drawn = draw_dropout(torch.zeros(8, 64, 4), 16, generator, shows=shows, probability=1.0, renumber=0.0)
        assert drawn is not None
        if drawn.keep.shape[1] == 16:
            shares.append(float((shows.gather(1, drawn.keep) == 2).float().sum(1).mean()) / 6)
    sure = sum(share == 1 for share in shares) / len(shares)
    assert 0.15 <= sure <= 0.4  # a quarter, less where steps are favoured as well
    chance = [share for share in shares if share < 0.45]
    assert 0.3 <= len(chance) / len(shares) <= 0.7
    assert sum(chance) / len(chance) == pytest.approx(0.25, abs=0.05)


def test_few_tokens_at_first_are_at_most_a_quarter():
    language = LanguageStage("qwen3_vl", SIZE, None, None, drop=0.0)
    tokens = torch.zeros(8, 64, 4)
    words = torch.zeros(8, 3, 5, dtype=torch.long)
    skills, shown = torch.zeros(3, dtype=torch.long), torch.zeros(8, 3, CHANNELS, dtype=torch.bool)
    asked = Questions(words, words[..., 0], words[..., 0], skills, shown, words[..., 0])
    labels = torch.zeros(8, 64, CHANNELS, dtype=torch.bool)
    pool, generator = TokenPool(tokens, (), labels, asked), torch.Generator().manual_seed(0)
    few = [language.draw(pool, 2, 3, generator, few=True)[2] for _ in range(60)]
    assert {0 if d is None else d.keep.shape[1] for d in few} == {max(FEWEST, int(64 * s)) for s in SHARES if s <= 0.25}
    assert all(language.draw(pool, 2, 3, generator)[2] is None for _ in range(20))  # afterwards as `drop` says


def test_every_skill_weighs_alike_in_the_loss():
    """Six questions about shapes and one about the digit: the mean of two means."""
    family, size = "qwen2_5_vl", SIZE
    torch.manual_seed(0)
    model, processor = build_model(family, size), build_processor(family, size)
    language = LanguageStage(family, size, model, processor)
    questions = Questions(
        words=torch.randint(11, 20, (1, 7, 5)),
        asked_at=torch.full((1, 7), 4),
        answers=torch.tensor([[20, 21, 22, 23, 24, IGNORED, 25]]),
        skills=torch.tensor([SKILLS.index("shape")] * 6 + [SKILLS.index("digit")]),
        shown=torch.zeros(1, 7, CHANNELS, dtype=torch.bool),
        scenes=torch.full((1, 7), -1),
    )
    tokens = torch.randn(1, size.frames // 2 * size.cells**2, size.width)
    pool = TokenPool(tokens, (), torch.zeros(*tokens.shape[:2], CHANNELS, dtype=torch.bool), questions)
    loss, _ = language.loss(pool, torch.tensor([0]), torch.arange(7)[None], None)
    logits = language(tokens, (), questions.words)[0, :, 4].log_softmax(-1)
    each = -logits.gather(1, questions.answers[0].clamp(min=0)[:, None])[:, 0]
    torch.testing.assert_close(loss, (each[:5].mean() + each[6]) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_hinted_tokens_show_the_answer(seed: int):
    generator, draw = torch.Generator().manual_seed(seed), random.Random(seed)
    script = sample_script(WorldConfig(16, 64), generator)
    labels = cell_labels([script], 4).flatten(1, 3)
    hinted = 0
    for skill in [skill for skill in SKILLS for _ in range(4)]:
        question = ask(script, skill, draw)
        if question is None:
            continue
        shown, scene = asked_about(question)
        (relevant,) = relevant_tokens(labels, shown[None, None], torch.tensor([[scene]]))[0]
        seen = labels[0, relevant]
        hinted += len(seen)
        words = question.text.split()
        if skill in ("digit", "when", "where"):
            assert len(seen) == int(labels[0][:, DIGIT].any(1).sum()) > 0
            assert seen[:, DIGIT.start + script.flash.digit].all()
        elif skill == "direction":
            assert seen[:, MOTION.start + list(DIRECTIONS).index(question.answer)].all()
        elif skill in ("shape", "color"):
            shape, color = (question.answer, words[-2]) if skill == "shape" else (words[-2], question.answer)
            kind = SHAPES.index(shape) * len(COLORS) + list(COLORS).index(color)
            assert seen[:, THING.start + kind].all()
        else:
            assert len(seen) == 0  # about the whole video
        if scene >= 0:
            assert list(BACKGROUNDS)[scene] == words[1]
            assert seen[:, scene].all()
    assert hinted > 20


def test_the_loss_hints_at_what_each_drawn_question_asks():
    """Two videos, questions in another order in each: as `forward` with hints that are worked out one by one."""
    family, size = "qwen2_5_vl", SIZE
    torch.manual_seed(0)
    model, processor = build_model(family, size), build_processor(family, size)
    language = LanguageStage(family, size, model, processor)
    *_, pool = make_pool(family, size, 2, tokenizer=processor.tokenizer, seed=3, device=torch.device("cpu"))
    tokens, labels, asked = torch.randn(2, 64, size.width), pool.labels.flatten(1, 3), pool.questions
    columns = torch.stack([torch.arange(22)[::3], torch.arange(22).flip(0)[::3]])
    hints = torch.zeros(2, columns.shape[1], 64)
    for video, row in enumerate(columns):
        for i, column in enumerate(row):
            for token in range(64):
                seen, scene = labels[video, token], int(asked.scenes[video, column])
                shows = bool((seen & asked.shown[video, column]).any())
                hints[video, i, token] = 3.0 if shows and (scene < 0 or seen[scene]) else 0.0
    assert 0 < hints.mean() < 1
    words = torch.stack([asked.words[video, row] for video, row in enumerate(columns)])
    logits = language(tokens, (), words, None, hints)
    plain = language.loss(TokenPool(tokens, (), labels, asked), torch.arange(2), columns, None)[0]
    loss = language.loss(TokenPool(tokens, (), labels, asked), torch.arange(2), columns, None, hint=3.0)[0]
    each: dict[int, list[torch.Tensor]] = {}
    for video, row in enumerate(columns):
        for i, column in enumerate(row):
            answer, at = int(asked.answers[video, column]), int(asked.asked_at[video, column])
            if answer != IGNORED:
                each.setdefault(int(asked.skills[column]), []).append(-logits[video, i, at].log_softmax(-1)[answer])
    torch.testing.assert_close(loss, torch.stack([torch.stack(e).mean() for e in each.values()]).mean())
    assert (loss - plain).detach().abs() > 1e-4


def test_hints_fade():
    assert [remaining(progress, 0.4) for progress in (0.0, 0.2, 0.4, 1.0)] == pytest.approx([1.0, 0.5, 0.0, 0.0])
    assert remaining(0.4, 0.8) == pytest.approx(0.5)


@pytest.mark.parametrize("family", FAMILIES)
def test_hints_are_added_where_questions_look_at_tokens(family: str):
    """Each question's own rows, in the columns of the tokens that are kept, in all layers but the first."""
    torch.manual_seed(0)
    model, processor = build_model(family, SIZE), build_processor(family, SIZE)
    language = LanguageStage(family, SIZE, model, processor).eval()
    layers, given = model.model.language_model.layers, []
    for layer in layers:  # what its attention is given, whatever was put in front of the layer
        layer.self_attn.register_forward_pre_hook(
            lambda module, args, kwargs: given.append(kwargs["attention_mask"]), with_kwargs=True
        )
    count = SIZE.frames // frames_per_step(family) * SIZE.cells**2
    tokens, words = torch.randn(2, count, SIZE.width), torch.randint(11, 20, (2, 3, 5))
    deepstack = [torch.randn(2, count, SIZE.width)] if family == "qwen3_vl" else []
    keep = torch.stack([torch.randperm(count)[:6].sort().values for _ in range(2)])
    hints = torch.rand(2, 3, count)
    plain = language(tokens, deepstack, words, Dropout(keep, False))
    hinted = language(tokens, deepstack, words, Dropout(keep, False), hints)
    same = language(tokens, deepstack, words, Dropout(keep, False), torch.zeros_like(hints))
    torch.testing.assert_close(plain, same)
    assert (plain - hinted).abs().max() > 1e-4
    torch.testing.assert_close(plain, language(tokens, deepstack, words, Dropout(keep, False)), rtol=0, atol=0)
    assert len(layers) > 1
    masks = [given[i : i + len(layers)] for i in range(0, len(given), len(layers))]
    allowed, scores = masks[0][0], masks[1][1]
    assert allowed.dtype == torch.bool
    assert all(mask.equal(allowed) for mask in (*masks[0], masks[1][0], *masks[3]))
    assert all(mask.equal(scores) for mask in masks[1][1:])
    assert (scores[~allowed] < -1e30).all()
    prompt = allowed.shape[-1] - 15
    assert (scores[:, :, :prompt][allowed[:, :, :prompt]] == 0).all()
    for video in range(2):
        for question in range(3):
            rows = scores[video, 0, prompt + 5 * question : prompt + 5 * question + 5, :prompt]
            for row in rows:
                assert row[row != 0].tolist() == hints[video, question, keep[video]].tolist()


def test_small_models_fit_their_limit():
    for family in FAMILIES:
        count = sum(p.numel() for p in build_model(family, SIZES["small"]).parameters())
        assert 2e6 <= count <= 3.5e6, family  # float16: at most 7 MB


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"family": "llava", "size": "nano"}, "family='llava' given, expected one of llava_onevision, qwen2_5_vl"),
        ({"family": "qwen3_vl", "size": "big"}, "size='big' given, expected one of nano, small"),
        ({"family": "qwen3_vl", "size": "nano", "videos": 0}, "videos=0 given"),
        ({"family": "qwen3_vl", "size": "nano", "tower_steps": -1}, "tower_steps=-1 given"),
    ],
)
def test_impossible_recipes_are_refused(arguments: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=said):
        recipe_of(**arguments)
