"""The exact linear map of a transformer's forward pass at one prompt, and its singular vectors.

    model = jaxlin.load("demo-llama")
    result = model.svd("The capital of France is", k=8)

Read next: :mod:`jaxlin.linear.operator`, then :mod:`jaxlin.solvers.svd`.
"""

from .analyses.attribution import attribute as attribute
from .analyses.contributions import contributions as contributions
from .analyses.layers import layers as layers
from .errors import JaxlinError as JaxlinError
from .linear.certificate import Certificate as Certificate
from .linear.linearize import linearize as linearize
from .linear.operator import DetachedJacobian as DetachedJacobian
from .networks.freeze import freeze as freeze
from .per_token.tokens import tokens as tokens
from .results.attribute import Attribution as Attribution
from .results.compare import Comparison as Comparison
from .results.compare_models import ModelComparison as ModelComparison
from .results.kinds import read as read
from .results.layers import LayersResult as LayersResult
from .results.page.report import report as report
from .results.plan import PlanResult as PlanResult
from .results.points import PointContributions as PointContributions
from .results.steer import SteeringResult as SteeringResult
from .results.svd import SVDResult as SVDResult
from .results.tokens import TokensResult as TokensResult
from .solvers.svd import svd as svd
from .verbs.api import compare as compare
from .verbs.api import convert as convert
from .verbs.api import load as load
from .verbs.api import plan as plan
from .verbs.model import Model as Model
from .version import __version__ as __version__
