"""Every J_t from all m rows: m passes backwards, then one small SVD a position.

The rows wait in a scratch file, so that never more than a chunk of them and the results are in memory.
"""

from __future__ import annotations

import numpy as np

from jaxlin.linear.operator import DetachedJacobian
from jaxlin.linear.rows import RowFile
from jaxlin.per_token.blocks import factorise_blocks
from jaxlin.per_token.result import TokenRequest, TokenTriplets


def exact_tokens(operator: DetachedJacobian, request: TokenRequest) -> TokenTriplets:
    """The triplets of every position, to the accuracy of their own small SVDs. m passes."""
    m = operator.shape[0]
    with RowFile(operator, m, request.scratch) as rows:
        for _, chunk in operator.rows(np.eye(m, dtype=operator.dtype), request.progress):
            rows.append(np.asarray(chunk))
        u, s, v, misfit, norms = factorise_blocks(operator, rows, np.eye(m, dtype=rows.dtype), request)
    return TokenTriplets(u, s, v, misfit, norms, rank=m, passes=m, confidence=1.0)
