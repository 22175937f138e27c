"""Transformers as functions of their embeddings, with every nonlinear coefficient open to freezing.

Knows nothing of :mod:`jaxlin` and nothing of SVD. Read :mod:`models.decoder` first.
"""

from models.bits import stacks_as_bits
from models.checkpoint import Checkpoint, find, find_config, has_tokenizer, load_tokenizer
from models.config import DecoderConfig, RopeConfig
from models.decoder import Decoder, record
from models.detach import POLICIES, FreezePolicy, Plain, UnknownModuleKind
from models.dial import Dial
from models.errors import ModelError
from models.flops import pass_flops, record_flops
from models.generate import Addition, generate
from models.precision import PRECISIONS, algorithm, choose_precision, unit_roundoff, working_dtype
from models.replay import replay, replay_transpose
from models.stream import Stream, stream
from models.weights import load_decoder, weights_hash

__all__ = [
    "POLICIES",
    "PRECISIONS",
    "Addition",
    "Checkpoint",
    "Decoder",
    "DecoderConfig",
    "Dial",
    "FreezePolicy",
    "ModelError",
    "Plain",
    "RopeConfig",
    "Stream",
    "UnknownModuleKind",
    "algorithm",
    "choose_precision",
    "find",
    "find_config",
    "generate",
    "has_tokenizer",
    "load_decoder",
    "load_tokenizer",
    "pass_flops",
    "record",
    "record_flops",
    "replay",
    "replay_transpose",
    "stacks_as_bits",
    "stream",
    "unit_roundoff",
    "weights_hash",
    "working_dtype",
]
