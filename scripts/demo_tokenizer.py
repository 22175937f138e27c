"""Byte-level BPE tokenizers for the demo checkpoints, trained on the demo world's own text."""

from __future__ import annotations

from collections.abc import Iterable

from demo_families import DemoFamily
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 1600


def train_tokenizer(family: DemoFamily, texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Merges learnt from ``texts``; the tokenizer puts the family's beginning token, if any, first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = [AddedToken(token, special=True) for token in family.specials]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if family.bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{family.bos} $A",
            pair=f"{family.bos} $A {family.bos}:1 $B:1",
            special_tokens=[(family.bos, tokenizer.token_to_id(family.bos))],
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=family.bos,
        eos_token=family.eos,
        pad_token=family.pad,
        clean_up_tokenization_spaces=False,
    )
