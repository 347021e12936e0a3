"""Answers scored by likelihood: the option of a question that the model finds likeliest."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from redundancy.evaluation.prompts import Prompts, Running, prompts_of
from redundancy.models.video_llm import VideoLLM
from redundancy.pruning.base import require_choice
from redundancy.questions import Question
from redundancy.recording.encode import encode
from redundancy.video import VideoClip

NORMALISE = ("sum", "token", "character")
INSTRUCTION = "Answer with the option's letter from the given choices directly."


@dataclass(frozen=True, eq=False)
class Scored:
    """What the model makes of one question.

    Parameters
    ----------
    question
        With its options and the right one.
    loglikelihood
        `[options]` natural logarithm of the probability of each option after the prompt, summed over its tokens.
    lengths
        Tokens of each option.
    logits
        `[vocabulary]` of the first token of the answer.
    video_tokens
        Of the whole video, newlines left out.
    shared
        Whether one run of the video served all questions.
    generated
        The greedy answer; None if it was not asked for.
    """

    question: Question
    loglikelihood: Float64[np.ndarray, "options"]
    lengths: tuple[int, ...]
    logits: Float[Tensor, "vocabulary"]
    video_tokens: int
    shared: bool
    generated: str | None = None

    def scores(self, normalise: str = "sum") -> Float64[np.ndarray, "options"]:
        """Log-likelihood of each option: whole, per token, or per character.

        Raises
        ------
        ValueError
            If `normalise` is none of these.
        """
        require_choice("normalise", normalise, NORMALISE)
        characters = [len(option) for option in self.question.options]
        size = {"sum": [1] * len(characters), "token": self.lengths, "character": characters}[normalise]
        return self.loglikelihood / np.asarray(size, dtype=np.float64)

    def predicted(self, normalise: str = "sum") -> str:
        """The likeliest option; equal ones by order."""
        return self.question.options[int(self.scores(normalise).argmax())]

    def probability(self, normalise: str = "sum") -> float:
        """Probability of the right option among the options: softmax of their scores."""
        scores = self.scores(normalise)
        share = np.exp(scores - scores.max())
        return float(share[self.question.options.index(self.question.answer)] / share.sum())


def lettered(question: Question) -> Question:
    """A multiple-choice question: the options in the text behind letters, and the letters as options.

    Raises
    ------
    ValueError
        If there are more than 26 options, or the answer is none of them.

    Source: LLaVA-1.5 (arXiv:2310.03744), the prompt of its multiple-choice evaluations.
    """
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(question.options)]
    if len(letters) < len(question.options) or question.answer not in question.options:
        raise ValueError(
            f"{len(question.options)} options and the answer {question.answer!r} given, expected at most 26 options "
            "with the answer among them"
        )
    lines = [f"{letter}. {option}" for letter, option in zip(letters, question.options, strict=True)]
    text = "\n".join([question.text, *lines, INSTRUCTION])
    answer = letters[question.options.index(question.answer)]
    return replace(question, text=text, answer=answer, options=tuple(letters))


def option_tokens(model: VideoLLM, question: Question) -> list[Int[Tensor, "tokens"]]:
    """Token ids of each option, as the tokenizer gives them for the option by itself.

    Raises
    ------
    ValueError
        If an option is empty, unknown to the tokenizer, or the same tokens as another; if the answer is no option.
    """
    tokenizer = model.processor.tokenizer
    if question.answer not in question.options:
        raise ValueError(f"answer={question.answer!r} given, expected one of the options {question.options}")
    ids = [tuple(tokenizer(option, add_special_tokens=False)["input_ids"]) for option in question.options]
    for option, tokens in zip(question.options, ids, strict=True):
        if not tokens or tokenizer.unk_token_id in tokens:
            raise ValueError(f"option {option!r} given, expected one that the tokenizer of {model.name!r} knows")
    if len(set(ids)) < len(ids):
        raise ValueError(f"options {question.options} given, expected ones that differ in their tokens")
    return [torch.tensor(tokens, device=model.device) for tokens in ids]


def score_questions(
    model: VideoLLM,
    video: VideoClip | Prompts,
    questions: Sequence[Question],
    *,
    shared: bool = False,
    max_new_tokens: int = 0,
) -> list[Scored]:
    """Score the options of questions about one video, each teacher-forced after the question's prompt.

    1. Run the vision tower once.
    2. Run the prompt: with `shared` once up to where the questions begin to differ, and then each question's rest on a
       cache that is cut back afterwards; else each prompt by itself.
    3. The first token of every option is scored by the logits behind the prompt; an option of several tokens is run on
       the cache but for its last, and cut off again.

    Parameters
    ----------
    model
        A loaded model; inside `prune` it is scored as reduced.
    video
        The clip, or the prompts of these questions that `prompts_of` made.
    questions
        With their options.
    shared
        Run the video once. Not right inside `prune` with methods inside the model that read the question's attention.
        Ignored where the prompts do not begin with the whole video.
    max_new_tokens
        Also generate a greedy answer of at most so many tokens; 0: none.

    Returns
    -------
    One entry per question.

    Raises
    ------
    ValueError
        If options cannot be told apart, see `option_tokens`; or there is no question.
    FloatingPointError
        If the model's logits are NaN or infinite, with the name of the video, or give no option any probability.
    """
    options = [option_tokens(model, question) for question in questions]
    prompts = video if isinstance(video, Prompts) else prompts_of(model, video, [q.text for q in questions])
    if len(prompts.ids) != len(questions):
        raise ValueError(f"prompts of {len(prompts.ids)} questions given, expected those of {len(questions)}")
    start = prompts.common if shared and _can_share(model, prompts) else None
    if start is None and len(questions) > 1 and not model.model.training and prompts.inputs.encoded is None:
        prompts = replace(prompts, inputs=encode(model, prompts.inputs))  # prompts differ behind the tower only
    scored = []
    with ExitStack() as stack:
        stack.enter_context(model.family.state_kept())
        running = None if start is None else _run(model, prompts, prompts.ids[0][:start])
        for question, ids, tokens in zip(questions, prompts.ids, options, strict=True):
            if running is None or start is None:
                here = _run(model, prompts, ids)
                logits, more = here.logits, 0
            else:
                here, more = running, len(ids) - start
                logits = here.add(ids[start:])[-1]
            values = [_loglikelihood(here, option, logits) for option in tokens]
            if not np.isfinite(max(values)):
                raise FloatingPointError(
                    f"no option of {question.text!r} about {here.clips[0][0].source!r} has any probability, given "
                    f"log-likelihoods {values}"
                )
            lengths = tuple(len(option) for option in tokens)
            answer = _greedy(here, logits, max_new_tokens) if max_new_tokens else None
            about = (here.video_tokens, running is not None)
            scored.append(Scored(question, np.array(values), lengths, logits.cpu(), *about, answer))
            here.take_away(more)
    return scored


def _can_share(model: VideoLLM, prompts: Prompts) -> bool:
    """Whether the common part holds the whole video and something that no reduction takes away behind it."""
    behind = prompts.common > prompts.video_end or model.family.layout.newline == "end"
    return prompts.common >= prompts.video_end and behind


def _run(model: VideoLLM, prompts: Prompts, ids: Int[Tensor, "_"]) -> Running:
    return Running(model, replace(prompts.inputs, tensors=prompts.tensors(ids)))


def _loglikelihood(running: Running, option: Int[Tensor, "tokens"], first: Float[Tensor, "vocabulary"]) -> float:
    """Sum of the log-probabilities of an option's tokens, in float64; the cache is left as it was."""
    logits = first[None]
    if len(option) > 1:
        logits = torch.cat([logits, running.add(option[:-1], keep=len(option) - 1)])
        running.take_away(len(option) - 1)
    every = logits.double().log_softmax(-1).gather(1, option[:, None])
    return float(every.sum())


def _greedy(running: Running, logits: Float[Tensor, "vocabulary"], most: int) -> str:
    """The greedy answer of at most `most` tokens; the cache is left as it was."""
    ends = getattr(running.model.family.model.generation_config, "eos_token_id", None)
    stop = set() if ends is None else set(ends) if isinstance(ends, list | tuple) else {int(ends)}
    ids: list[int] = []
    while True:
        ids.append(int(logits.argmax()))
        if len(ids) == most or ids[-1] in stop:
            break
        logits = running.add(torch.tensor(ids[-1:], device=logits.device))[-1]
    running.take_away(len(ids) - 1)
    answer: str = running.model.processor.batch_decode([ids], skip_special_tokens=True)[0]
    return answer.strip()
