"""Transformers as functions of their embeddings, with every nonlinear coefficient open to freezing.

Knows nothing of :mod:`jaxlin` and nothing of SVD. Read :mod:`jaxlin_models.decoder` first.
"""

from .bits import stacks_as_bits
from .branch_shares import shares, shares_of_stream, shares_transpose
from .checkpoint import Checkpoint, find, find_config, is_config_alone
from .codec import Codec
from .config import DecoderConfig, RopeConfig
from .config_file import config_of
from .decoder import Decoder, abstract_decoder, record
from .detach import POLICIES, FreezePolicy, Plain, UnknownModuleKind
from .dial import Dial
from .errors import ModelError
from .flops import pass_flops, record_flops
from .generation import Addition, generate
from .gguf.mixture import ASSUMED, assumed_forms
from .gguf.parts import is_gguf
from .packing import Forms, packed_shapes, refuse_unquantised
from .precision import PRECISIONS, algorithm, choose_precision, unit_roundoff, working_dtype
from .recorded import replay, replay_transpose
from .residual import Stream, stream
from .second_path import second_logits, second_logits_of_many
from .stacks import apart, keeps_apart
from .tensors import StateTensors, weights_hash
from .tokenizer_files import has_tokenizer, load_codec
from .weights import decoder_of, load_decoder, packed_forms

__all__ = [
    "ASSUMED",
    "POLICIES",
    "PRECISIONS",
    "Addition",
    "Checkpoint",
    "Codec",
    "Decoder",
    "DecoderConfig",
    "Dial",
    "Forms",
    "FreezePolicy",
    "ModelError",
    "Plain",
    "RopeConfig",
    "StateTensors",
    "Stream",
    "UnknownModuleKind",
    "abstract_decoder",
    "algorithm",
    "apart",
    "assumed_forms",
    "choose_precision",
    "config_of",
    "decoder_of",
    "find",
    "find_config",
    "generate",
    "has_tokenizer",
    "is_config_alone",
    "is_gguf",
    "keeps_apart",
    "load_codec",
    "load_decoder",
    "packed_forms",
    "packed_shapes",
    "pass_flops",
    "record",
    "record_flops",
    "refuse_unquantised",
    "replay",
    "replay_transpose",
    "second_logits",
    "second_logits_of_many",
    "shares",
    "shares_of_stream",
    "shares_transpose",
    "stacks_as_bits",
    "stream",
    "unit_roundoff",
    "weights_hash",
    "working_dtype",
]
