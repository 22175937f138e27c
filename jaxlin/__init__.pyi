"""The exact linear map of a transformer's forward pass at one prompt, and its singular vectors.

    model = jaxlin.load("demo-llama")
    operator = model.jacobian("The capital of France is")
    result = jaxlin.svd(operator, k=8)

Read next: :mod:`jaxlin.linear.operator`, then :mod:`jaxlin.solvers.svd`.
"""

from .analyses.attribution import Attribution, attribute
from .analyses.layers import LayersResult, layers
from .errors import JaxlinError
from .linear.certificate import Certificate
from .linear.linearize import linearize
from .linear.operator import DetachedJacobian
from .per_token.tokens import TokensResult, tokens
from .prompts.load import load
from .solvers.svd import SVDResult, svd
from .version import __version__

__all__ = [
    "Attribution",
    "Certificate",
    "DetachedJacobian",
    "JaxlinError",
    "LayersResult",
    "SVDResult",
    "TokensResult",
    "__version__",
    "attribute",
    "layers",
    "linearize",
    "load",
    "svd",
    "tokens",
]
