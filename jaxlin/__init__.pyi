"""The exact linear map of a transformer's forward pass at one prompt, and its singular vectors.

    model = jaxlin.load("demo-llama")
    operator = model.jacobian("The capital of France is")
    result = jaxlin.svd(operator, k=8)

Read next: :mod:`jaxlin.linear.operator`, then :mod:`jaxlin.solvers.svd`.
"""

from .analyses.attribution import attribute
from .analyses.layers import layers
from .errors import JaxlinError
from .linear.certificate import Certificate
from .linear.linearize import linearize
from .linear.operator import DetachedJacobian
from .per_token.tokens import tokens
from .prompts.load import load
from .results.attribute import Attribution
from .results.kinds import read
from .results.layers import LayersResult
from .results.page.report import report
from .results.svd import SVDResult
from .results.tokens import TokensResult
from .solvers.svd import svd

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
    "read",
    "report",
    "svd",
    "tokens",
]
