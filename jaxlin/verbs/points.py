"""The options of ``contributions``: networks of any kind, and the points they are asked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from jaxlin.verbs.declare import RESULT, Option
from jaxlin.verbs.shared import Kept, Work


@dataclass(frozen=True, kw_only=True)
class Contributions(Kept, verb="contributions"):
    """What every feature of every point contributes to every output of a network, exactly.

    The network is a function, or a module of Flax NNX, Equinox or PyTorch, in a file of Python. The
    contributions of the features of a point sum to its output minus the offset, and each point has a
    certificate.

    Example: jaxlin contributions --function net.py:predict --data points.csv --out results/points
    """

    beside = (Work,)

    function: Annotated[
        str,
        Option(
            group="map",
            metavar="MODULE:FUNCTION",
            decides=RESULT,
            help="the network: a file of Python, or a module that can be imported, and behind the colon the "
            "name of a function of one point, or of a network module that is not in training mode",
        ),
    ]
    data: Annotated[
        Path,
        Option(
            group="map",
            metavar="FILE",
            decides=RESULT,
            help="the points: .npy, .npz with one array, or with X and text arrays features and points; .csv "
            "or .parquet with a column for every feature, where a first column of text names the points",
        ),
    ]
    batched: Annotated[
        bool,
        Option(
            group="map", decides=RESULT, help="the function takes many points at once, and treats each alone"
        ),
    ] = False
    outputs: Annotated[
        str | None,
        Option(group="map", metavar="A,B", decides=RESULT, help="names of the outputs, with commas between"),
    ] = None
    dtype: Annotated[
        str,
        Option(
            group="memory",
            choices=("float32", "float64"),
            decides=RESULT,
            help="how points are stored and computed",
        ),
    ] = "float32"
    chunk: Annotated[
        int | None,
        Option(
            group="memory",
            least=1,
            help="how many points to compute at once; as many as are fast on this device by default",
        ),
    ] = None
    to: Annotated[
        Path | None,
        Option(
            group="output",
            metavar="FILE",
            help="in place of `out`: a Parquet file, written as it is computed, for what does not fit into "
            "memory",
        ),
    ] = None
