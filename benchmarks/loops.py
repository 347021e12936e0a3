"""The three methods written straightforwardly, frame by frame and token by token, to be timed beside the package."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def peaks_loops(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Distances and density scores of one set, row by row."""
    distance = torch.cdist(x, x) / math.sqrt(x.shape[1])
    density = torch.stack(
        [torch.exp(-row.topk(min(k, len(x)), largest=False).values.square().mean()) for row in distance]
    )
    parent = [distance[i][density > density[i]] for i in range(len(x))]
    delta = torch.stack([p.min() if len(p) else distance.max() for p in parent])
    return distance, delta * density


def fastvid_loops(
    x: Tensor, salience: Tensor, features: Tensor, *, variant: str, r: float, tau: float, c: int = 8, d: float = 0.4,
    p: int = 4, beta: float = 0.6, ignore: float = 0.95,
) -> tuple[list[int], Tensor]:  # fmt: skip
    """FastVID: kept indices and values."""
    T, N, _ = x.shape
    unit = [f / f.norm() for f in features]
    s = torch.stack([unit[t] @ unit[t + 1] for t in range(T - 1)])
    cuts = sorted({*s.topk(c - 1, largest=False).indices.tolist(), *[t for t in range(T - 1) if s[t] < tau]})
    K, first, kept, values = int(N * r), 0, [], []
    for last in [*cuts, T - 1]:
        frames = list(range(first, last + 1))
        first = last + 1
        L = len(frames)
        if variant == "qwen":
            context = max(int(K * L * d), 1)
            salient = K * L - context
            valid = [t for t in frames if t == last or s[t] < ignore]
        else:
            context, salient, valid = int(K * d) * L, (K - int(K * d)) * L, frames
        anchors = valid[::-1][::p]
        chosen = {t: salience[t].topk(min(salient // len(valid), N)).indices.tolist() for t in valid}
        pool = [(t, i) for t in frames for i in range(N) if i not in set(chosen.get(t, []))]
        for t in valid:
            kept += [t * N + i for i in chosen[t]]
            values += [x[t, i] for i in chosen[t]]
        for t in anchors:
            candidates = [i for i in range(N) if i not in set(chosen[t])]
            share = min(context // len(anchors), len(candidates))
            _, score = peaks_loops(x[t, candidates], 4)
            centres = sorted(candidates[j] for j in score.topk(share).indices.tolist())
            targets = torch.stack([x[t, i] / x[t, i].norm() for i in centres])
            members: list[list[Tensor]] = [[] for _ in centres]
            for frame, i in pool:
                if frame != t or i not in centres:
                    members[int((targets @ x[frame, i]).argmax())].append(x[frame, i])
            for i, group in zip(centres, members, strict=True):
                w = max(1 / (len(group) + 1), beta)
                kept.append(t * N + i)
                values.append(w * x[t, i] + (1 - w) * torch.stack(group).mean(0) if group else x[t, i])
    return kept, torch.stack(values)


def holitom_loops(x: Tensor, salience: Tensor, *, r: float, tau: float, beta: float = 0.6, k: int = 7) -> Tensor:
    """HoliTom before the model: values in its one-token order."""
    T, N, _ = x.shape
    f = torch.stack([torch.cosine_similarity(x[t], x[t + 1], dim=-1) for t in range(T - 1)])
    best, start = [0.0], []
    for e in range(T):
        value, at = best[e], e
        for s in range(e - 1, -1, -1):
            gain = int((f[s:e] > tau).all(0).sum()) * (e - s)
            if best[s] + gain > value:
                value, at = best[s] + gain, s
        best.append(value)
        start.append(at)
    windows, e = [], T - 1
    while e >= 0:
        windows.append((start[e], e))
        e = start[e] - 1
    rate = min(r / ((T * N - best[T]) / (T * N)), 1)
    values: list[Tensor] = []
    for s, e in reversed(windows):
        static = (f[s:e] > tau).all(0) if e > s else torch.zeros(N, dtype=torch.bool)
        places = [i for i in range(N) if static[i]]
        count = round(len(places) * rate)
        if count:
            means = torch.stack([x[s : e + 1, i].mean(0) for i in places])
            distance, score = peaks_loops(means, k)
            centres = sorted(score.topk(count).indices.tolist())
            members: list[list[Tensor]] = [[] for _ in centres]
            for i in range(len(places)):
                if i not in centres:
                    members[int(distance[i, centres].argmin())].append(means[i])
            for i, group in zip(centres, members, strict=True):
                values.append(beta * means[i] + (1 - beta) * torch.stack(group).mean(0) if group else means[i])
        dynamic = [i for i in range(N) if not static[i]]
        for t in range(s, e + 1):
            top = salience[t, dynamic].topk(math.ceil(len(dynamic) * rate)).indices.tolist()
            values += [x[t, dynamic[j]] for j in sorted(top)]
    return torch.stack(values)


def vcast_loops(x: Tensor, *, r: float, temperature: float = 0.7) -> list[int]:
    """V-CAST: kept indices."""
    T, N, _ = x.shape
    z = [m / m.norm() for m in (frame.mean(0) for frame in x)]
    kappa = torch.ones(T)
    for t in range(1, T - 1):
        kappa[t] = 1 - torch.cosine_similarity(z[t] - z[t - 1], z[t + 1] - z[t], dim=0)
    total = round(T * N * r)
    raw = torch.softmax(kappa / temperature, 0) * (total - T)
    budget = [1 + min(int(v), N - 1) for v in raw]
    while sum(budget) < total:
        budget[max((t for t in range(T) if budget[t] < N), key=lambda t: float(raw[t]) - budget[t])] += 1
    kept = []
    for t in range(T):
        norms = torch.stack([token.norm() for token in x[t]])
        cosine = torch.stack([token @ z[t] / token.norm() for token in x[t]])
        score = 1 - cosine + (norms - norms.min()) / (norms.max() - norms.min() + 1e-6)
        kept += [t * N + i for i in sorted(score.topk(budget[t]).indices.tolist())]
    return kept
