"""What we use of transformers; to be imported from here.

While it is imported, transformers would advise to install torch, which nothing here needs.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_NAME = "TRANSFORMERS_NO_ADVISORY_WARNINGS"
_before = os.environ.get(_NAME)
os.environ[_NAME] = "1"
try:
    from transformers import AutoConfig as AutoConfig
    from transformers import AutoTokenizer as AutoTokenizer
    from transformers import Gemma3Config as Gemma3Config
    from transformers import PreTrainedConfig as PreTrainedConfig
    from transformers import PreTrainedTokenizerBase as PreTrainedTokenizerBase
    from transformers import PreTrainedTokenizerFast as PreTrainedTokenizerFast
finally:
    if _before is None:
        del os.environ[_NAME]
    else:
        os.environ[_NAME] = _before


@contextmanager
def quietly() -> Iterator[None]:
    """Keep back what transformers logs and warns of inside; its errors come through."""
    log = logging.getLogger("transformers")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def convert_gguf_tokenizer(architecture: str, vocabulary: dict[str, Any]) -> tuple[Tokenizer, dict[str, Any]]:
    """transformers' conversion of a GGUF vocabulary; imported late, as it brings many more."""
    from transformers.integrations.gguf.gguf_tokenizer_mapping import convert_gguf_tokenizer as convert

    with quietly():
        return convert(architecture, vocabulary)


def gguf_splits() -> Mapping[str, str]:
    """The rules by which it takes text apart, by GGUF's name of them."""
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    return GGUF_PRE_TOKENIZER_SPLITS
