"""Transformers as functions of their embeddings, with every nonlinear coefficient open to freezing.

Knows nothing of :mod:`jaxlin` and nothing of SVD. Read :mod:`models.decoder` first.
"""

from models.checkpoint import Checkpoint, find, find_config, has_tokenizer, load_tokenizer
from models.config import DecoderConfig, RopeConfig
from models.decoder import Decoder, record, replay, replay_transpose
from models.detach import POLICIES, FreezePolicy, UnknownModuleKind
from models.errors import ModelError
from models.weights import load_decoder, weights_hash

__all__ = [
    "POLICIES",
    "Checkpoint",
    "Decoder",
    "DecoderConfig",
    "FreezePolicy",
    "ModelError",
    "RopeConfig",
    "UnknownModuleKind",
    "find",
    "find_config",
    "has_tokenizer",
    "load_decoder",
    "load_tokenizer",
    "record",
    "replay",
    "replay_transpose",
    "weights_hash",
]
