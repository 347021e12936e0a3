"""The three methods written straightforwardly, to be timed beside the package: plain tensors in, kept values out.

Vectorised where the authors' code is: within frames, within sets of density peaks and in merging, by a matrix of
assignments; with loops over segments, windows, anchor frames and frames.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize, one_hot


def peaks(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Distances `[B, M, M]` and density scores `[B, M]` of sets `[B, M, D]`."""
    distance = torch.cdist(x.float(), x.float()) / math.sqrt(x.shape[-1])
    density = torch.exp(-distance.topk(k, largest=False).values.square().mean(-1))
    farthest = distance.flatten(1).amax(1)[:, None, None]
    delta = torch.where(density[:, None] > density[:, :, None], distance, farthest).amin(-1)
    return distance, delta * density


def cluster_means(assigned: Tensor, members: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Sizes `[clusters, 1]` and means of clusters, from the cluster of each member."""
    matrix = one_hot(assigned, clusters).to(members.dtype)
    size = matrix.sum(0)[:, None]
    return size, matrix.T @ members / size.clamp_min(1)


def fastvid_loops(
    x: Tensor, salience: Tensor, features: Tensor, *, variant: str, r: float, tau: float, c: int = 8, d: float = 0.4,
    p: int = 4, beta: float = 0.6, ignore: float = 0.95,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """FastVID: kept indices and values."""
    T, N, _ = x.shape
    unit = normalize(features, dim=-1)
    s = (unit[:-1] * unit[1:]).sum(-1)
    cuts = torch.cat([s.topk(c - 1, largest=False).indices, (s < tau).nonzero().flatten()]).unique().tolist()
    K, first, kept, values = int(N * r), 0, [], []
    for last in [*cuts, T - 1]:
        L, segment = last + 1 - first, x[first : last + 1]
        if variant == "qwen":
            context = max(int(K * L * d), 1)
            salient = K * L - context
            valid = [t for t in range(first, last + 1) if t == last or s[t] < ignore]
        else:
            context, salient, valid = int(K * d) * L, (K - int(K * d)) * L, list(range(first, last + 1))
        anchors = valid[::-1][::p]
        share = min(context // len(anchors), N // 2)
        count = min(salient // len(valid), N - share)
        top = salience[valid].topk(count).indices
        free = torch.ones(L, N, dtype=torch.bool, device=x.device)
        local = torch.tensor(valid, device=x.device) - first
        free[local[:, None], top] = False
        kept.append((top + (local[:, None] + first) * N).flatten())
        values.append(segment[local[:, None], top].flatten(0, 1))
        candidates = torch.stack([free[t - first].nonzero().flatten() for t in anchors])
        _, score = peaks(torch.stack([x[t, i] for t, i in zip(anchors, candidates, strict=True)]), 4)
        centres = candidates.gather(1, score.topk(share).indices).sort().values
        for t, centre in zip(anchors, centres, strict=True):
            others = free.clone()
            others[t - first, centre] = False
            pool, y = segment[others], x[t, centre]
            nearest = (normalize(pool, dim=-1) @ normalize(y, dim=-1).T).argmax(1)
            size, mean = cluster_means(nearest, pool, share)
            w = torch.where(size > 0, (1 / (size + 1)).clamp_min(beta), 1.0)
            kept.append(centre + t * N)
            values.append(w * y + (1 - w) * mean)
        first = last + 1
    return torch.cat(kept), torch.cat(values)


def holitom_loops(x: Tensor, salience: Tensor, *, r: float, tau: float, beta: float = 0.6, k: int = 7) -> Tensor:
    """HoliTom before the model: values in its one-token order."""
    T, N, _ = x.shape
    unit = normalize(x, dim=-1)
    same = (unit[:-1] * unit[1:]).sum(-1) > tau
    best, start = [0], []
    for e in range(T):
        static = [same[s:e].all(0).sum() * (e - s) for s in range(e - 1, -1, -1)]
        gain = torch.stack(static).tolist() if static else []
        value, at = best[e], e
        for s, g in zip(range(e - 1, -1, -1), gain, strict=True):
            if best[s] + g > value:
                value, at = best[s] + g, s
        best.append(value)
        start.append(at)
    windows, e = [], T - 1
    while e >= 0:
        windows.append((start[e], e))
        e = start[e] - 1
    rate = min(r / ((T * N - best[T]) / (T * N)), 1)
    values: list[Tensor] = []
    for s, e in reversed(windows):
        static = same[s:e].all(0) if e > s else torch.zeros(N, dtype=torch.bool, device=x.device)
        means = x[s : e + 1, static].mean(0)
        count = round(len(means) * rate)
        if count:
            distance, score = peaks(means[None], min(k, count))
            centre = score[0].topk(count).indices.sort().values
            member = torch.ones(len(means), dtype=torch.bool, device=x.device)
            member[centre] = False
            nearest = distance[0][member][:, centre].argmin(1)
            size, mean = cluster_means(nearest, means[member], count)
            w = torch.where(size > 0, beta, 1.0)
            values.append(w * means[centre] + (1 - w) * mean)
        dynamic = (~static).nonzero().flatten()
        top = salience[s : e + 1, dynamic].topk(math.ceil(len(dynamic) * rate)).indices.sort().values
        frame = torch.arange(s, e + 1, device=x.device)[:, None]
        values.append(x[frame, dynamic[top]].flatten(0, 1))
    return torch.cat(values)


def vcast_loops(x: Tensor, *, r: float, temperature: float = 0.7) -> tuple[Tensor, Tensor]:
    """V-CAST: kept indices and values."""
    T, N, _ = x.shape
    z = normalize(torch.bmm(x.new_full((T, 1, N), 1 / N), x).squeeze(1), dim=-1)  # the mean; faster than .mean(1)
    step = z[1:] - z[:-1]
    kappa = torch.ones(T, device=x.device)
    kappa[1:-1] = 1 - cosine_similarity(step[:-1], step[1:], dim=-1)
    total = round(T * N * r)
    raw = (torch.softmax(kappa / temperature, 0) * (total - T)).tolist()
    budget = [1 + min(int(v), N - 1) for v in raw]
    while sum(budget) < total:
        budget[max((t for t in range(T) if budget[t] < N), key=lambda t: raw[t] - budget[t])] += 1
    norm = torch.linalg.vector_norm(x, dim=-1)
    cosine = torch.bmm(x, z[:, :, None]).squeeze(-1) / norm
    low, high = norm.amin(1, keepdim=True), norm.amax(1, keepdim=True)
    score = 1 - cosine + (norm - low) / (high - low + 1e-6)
    kept = torch.cat([score[t].topk(budget[t]).indices.sort().values + t * N for t in range(T)])
    return kept, x.flatten(0, 1).index_select(0, kept)
