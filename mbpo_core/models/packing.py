"""Rows that begin alike, packed into one sequence, so that what they share is computed once.

Rows over the same image that begin with the same tokens form a tree: rollouts of one prompt, the
pair of a group, several questions about one image, all questions about the blank image of a size.
The tree is laid out in depth-first order. Token i may see token j exactly if j lies on its path:
if `j <= i < end[j]` with `end[j]` the end of j's subtree. Each token keeps the rotary positions
that it has in its own row. A row then has the log-probabilities that it has alone.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

TREE_TOKENS = 4096
"""A tree that would grow beyond this is split: attention over a sequence costs its square."""


@dataclass(frozen=True)
class PackedRows:
    """N rows as P sequences of at most L tokens, padded on the right."""

    ids: Tensor
    """int64 `[P, L]`."""
    positions: Tensor
    """Rotary positions, int64 `[3, P, L]`."""
    visible: Tensor | None
    """bool `[P, 1, L, L]`: whether token i (third axis) sees token j; None: all that come before,
    because no row shares a sequence with another."""
    keep: Tensor
    """bool `[P, L]`: tokens whose successor is a response token; only these need logits."""
    index: Tensor
    """int64 `[sum T_i]`: for each response token, row after row, its place among the kept ones."""
    image_rows: list[int]
    """For each run of image tokens, in order of `ids`: a row whose image it shows."""


def pack_rows(
    prompts: Sequence[list[int]],
    responses: Sequence[list[int]],
    positions: Sequence[Tensor],
    images: Sequence[Hashable],
    *,
    image_token_id: int,
    pad_id: int,
    hidden_size: int,
) -> PackedRows:
    """Pack N rows; rows share tokens where their `images` are equal and they begin alike.

    Args:
        prompts: N lists of ids, each with one run of image tokens.
        responses: N lists of T_i >= 1 ids. The last one is predicted, never read.
        positions: N rotary positions `[3, len(prompt) + len(response)]`.
        images: names of the N images; rows with different names share nothing.
        image_token_id: id of an image token.
        pad_id: id of padding.
        hidden_size: of the language model; decides how long sequences should be.
    """
    read = [[*p, *r[:-1]] for p, r in zip(prompts, responses, strict=True)]
    sequences = _arranged(list(_trees(read, images)), hidden_size)
    paths = {row: (s, path) for s, seq in enumerate(sequences) for row, path in seq.paths.items()}
    keep = torch.zeros(len(sequences), max(len(s.ids) for s in sequences), dtype=torch.bool)
    wanted = []
    for row, prompt in enumerate(prompts):
        number, path = paths[row]
        # The hidden state at a token predicts its successor: one to the left of the response.
        wanted += [(number, place) for place in path[len(prompt) - 1 :]]
    sequence, place = torch.tensor(wanted).T
    keep[sequence, place] = True
    order = keep.flatten().cumsum(0).reshape(keep.shape) - 1
    return PackedRows(
        ids=_padded([torch.tensor(s.ids) for s in sequences], pad_id),
        positions=_padded([s.positions(positions) for s in sequences], 0).permute(2, 0, 1),
        visible=_visible(sequences, keep.shape[1]) if any(s.shared for s in sequences) else None,
        keep=keep,
        index=order[sequence, place],
        image_rows=[row for s in sequences for row in s.image_rows(image_token_id)],
    )


@dataclass
class _Sequence:
    """Tokens in depth-first order; one tree, or several after each other."""

    ids: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    sources: list[tuple[int, int]] = field(default_factory=list)
    """For each token, a row and the column of that row which it is."""
    paths: dict[int, list[int]] = field(default_factory=dict)
    """For each row, where its tokens lie."""

    @property
    def shared(self) -> bool:
        """Whether two rows lie in it."""
        return len(self.paths) > 1

    def add(self, row: int, tokens: list[int], common: int, before: list[int]) -> None:
        """Append what row `row` does not share; its first `common` tokens are those of `before`."""
        start = len(self.ids)
        for place in before[common:]:
            self.ends[place] = start
        self.paths[row] = [*before[:common], *range(start, start + len(tokens) - common)]
        self.ids += tokens[common:]
        self.sources += [(row, column) for column in range(common, len(tokens))]
        self.ends += [-1] * (len(tokens) - common)

    def close(self) -> None:
        """End every subtree that is still open."""
        self.ends = [len(self.ids) if end < 0 else end for end in self.ends]

    def extend(self, other: "_Sequence") -> None:
        """Append another tree; neither sees the other."""
        start = len(self.ids)
        self.ids += other.ids
        self.ends += [end + start for end in other.ends]
        self.sources += other.sources
        self.paths |= {row: [p + start for p in path] for row, path in other.paths.items()}

    def positions(self, of_rows: Sequence[Tensor]) -> Tensor:
        """Rotary positions `[L, 3]` of its tokens."""
        parts = []
        for row, tokens in groupby(self.sources, key=lambda source: source[0]):
            columns = [column for _, column in tokens]
            parts.append(of_rows[row][:, columns[0] : columns[-1] + 1])
        return torch.cat(parts, dim=1).T

    def image_rows(self, image_token_id: int) -> Iterator[int]:
        """Yield the row of each run of image tokens."""
        for place, token in enumerate(self.ids):
            if token == image_token_id and (place == 0 or self.ids[place - 1] != image_token_id):
                yield self.sources[place][0]


def _trees(rows: Sequence[list[int]], images: Sequence[Hashable]) -> Iterator[_Sequence]:
    """Yield one tree an image (more where it grows too long), images in order of appearance."""
    by_image: dict[Hashable, list[int]] = {}
    for row, image in enumerate(images):
        by_image.setdefault(image, []).append(row)
    for members in by_image.values():
        tree, before = _Sequence(), None
        # In lexicographic order a row shares the most with the row before it.
        for row in sorted(members, key=lambda member: rows[member]):
            common = 0 if before is None else _common(rows[before], rows[row])
            if before is not None and len(tree.ids) + len(rows[row]) - common > TREE_TOKENS:
                tree.close()
                yield tree
                tree, before, common = _Sequence(), None, 0
            tree.add(row, rows[row], common, [] if before is None else tree.paths[before])
            before = row
        tree.close()
        yield tree


def _common(one: list[int], other: list[int]) -> int:
    for count, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return count
    return min(len(one), len(other))


def _arranged(trees: list[_Sequence], hidden_size: int) -> list[_Sequence]:
    """Put trees behind each other, where that costs less than padding; lone rows stay alone."""
    if not any(tree.shared for tree in trees):
        return trees
    longest, total = max(len(tree.ids) for tree in trees), sum(len(tree.ids) for tree in trees)
    limits = [longest, *range(2 * longest, min(total, TREE_TOKENS) + longest, longest)]
    return min((_joined(trees, limit) for limit in limits), key=lambda s: _cost(s, hidden_size))


def _cost(sequences: Sequence[_Sequence], hidden_size: int) -> int:
    """Work of a layer, up to a factor: matrices on every place, attention on every pair of places.

    A layer has about 12 hidden_size^2 weights; a pair of places costs 2 hidden_size products.
    """
    length = max(len(sequence.ids) for sequence in sequences)
    return len(sequences) * length * (6 * hidden_size + length)


def _joined(trees: Sequence[_Sequence], limit: int) -> list[_Sequence]:
    """Copies of the trees, those together that fit into `limit` tokens."""
    sequences: list[_Sequence] = []
    for tree in sorted(trees, key=lambda tree: -len(tree.ids)):
        fitting = (s for s in sequences if len(s.ids) + len(tree.ids) <= limit)
        room = next(fitting, None)
        if room is None:
            sequences.append(room := _Sequence())
        room.extend(tree)
    return sequences


def _visible(sequences: Sequence[_Sequence], length: int) -> Tensor:
    place = torch.arange(length)
    # Padding sees itself: a token that sees nothing would have no defined attention.
    ends = (place + 1).repeat(len(sequences), 1)
    for row, sequence in enumerate(sequences):
        ends[row, : len(sequence.ends)] = torch.tensor(sequence.ends)
    return ((place <= place[:, None]) & (place[:, None] < ends[:, None, :]))[:, None]


def _padded(rows: Sequence[Tensor], value: int) -> Tensor:
    return pad_sequence(list(rows), batch_first=True, padding_value=value)
