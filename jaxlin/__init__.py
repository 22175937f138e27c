"""The exact linear map of a transformer's forward pass at one prompt, and its singular vectors.

    model = jaxlin.load("demo-llama")
    operator = model.jacobian("The capital of France is")
    result = jaxlin.svd(operator, k=8)

Read next: :mod:`jaxlin.operator`, then :mod:`jaxlin.svd`.
"""

from jaxlin.attribution import Attribution, attribute
from jaxlin.certificate import Certificate
from jaxlin.errors import JaxlinError
from jaxlin.layers import LayersResult, layers
from jaxlin.linearize import linearize
from jaxlin.load import load
from jaxlin.operator import DetachedJacobian
from jaxlin.svd import SVDResult, svd
from jaxlin.tokens import TokensResult, tokens

__all__ = [
    "Attribution",
    "Certificate",
    "DetachedJacobian",
    "JaxlinError",
    "LayersResult",
    "SVDResult",
    "TokensResult",
    "attribute",
    "layers",
    "linearize",
    "load",
    "svd",
    "tokens",
]
