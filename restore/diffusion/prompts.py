"""What text encoders see of a prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from restore.diffusion.load import LoadedPipeline

__all__ = ["Cut", "cut_words"]

_MOST_TOKENS: Final = 512  # what T5 encoders are given, who name no limit of their own


@dataclass(frozen=True)
class Cut:
    """The end of a prompt that an encoder does not see.

    Attributes:
        encoder: the tokenizer's name in the pipeline.
        limit: tokens that it takes, its marks for beginning and end included.
        tokens: tokens of the whole prompt, likewise.
        words: the text that was cut off.
    """

    encoder: str
    limit: int
    tokens: int
    words: str

    def __str__(self) -> str:
        return (
            f"{self.encoder} takes {self.limit} tokens of the prompt's {self.tokens}; "
            f"cut off: {self.words!r}"
        )


def cut_words(loaded: LoadedPipeline, prompt: str) -> tuple[Cut, ...]:
    """What of a prompt each of a pipeline's text encoders does not see; empty where all is seen."""
    cuts = []
    for name, tokenizer in loaded.pipeline.components.items():
        if not name.startswith("tokenizer") or tokenizer is None:
            continue
        limit = min(int(tokenizer.model_max_length), _MOST_TOKENS)
        ids: Any = tokenizer(prompt, truncation=False, verbose=False).input_ids
        if len(ids) <= limit:
            continue
        kept: Any = tokenizer(prompt, truncation=True, max_length=limit).input_ids
        marks = set(tokenizer.all_special_ids)
        plain = [token for token in ids if token not in marks]
        seen = len([token for token in kept if token not in marks])
        words = tokenizer.decode(plain[seen:]).strip()
        cuts.append(Cut(name, limit, len(ids), words))
    return tuple(cuts)
