"""Maps side by side, against their dense matrices."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from conftest import check_pytree
from scipy.linalg import subspace_angles
from tiny_checkpoints import prompt_ids

from jaxlin.analyses.comparison import compare

NAME = "llama-biases"


def test_policies_side_by_side(tiny_model):
    model, ids = tiny_model(NAME, "float64"), prompt_ids(NAME)
    policies = ("detached", "half", "none")
    operators = {policy: model.jacobian(ids, policy=policy) for policy in policies}
    comparison = compare(operators.items(), 3)
    sides = comparison.policies
    assert list(sides) == list(policies)
    check_pytree(comparison)
    assert list(jax.tree.map(np.asarray, comparison).policies) == list(policies)  # in their order
    dense = {name: np.asarray(each.dense()).reshape(each.shape) for name, each in operators.items()}
    svds = {name: np.linalg.svd(each, full_matrices=False) for name, each in dense.items()}
    first = svds["detached"]
    for name, side in sides.items():
        u, s, vt = svds[name]
        np.testing.assert_allclose(side.result.s, s[:3], rtol=1e-10)
        assert side.dimensions.stable_rank == pytest.approx((s**2).sum() / s[0] ** 2, rel=1e-9)
        for angles, mine, theirs in (
            (side.left_angles, u[:, :3], first[0][:, :3]),
            (side.right_angles, vt[:3].T, first[2][:3].T),
        ):
            np.testing.assert_allclose(angles, subspace_angles(mine, theirs)[::-1], atol=1e-6)
    x, y = np.asarray(operators["none"].x).ravel(), np.asarray(operators["none"].y)
    assert sides["detached"].reconstruction < 1e-13
    assert sides["half"].reconstruction < 1e-13
    without = np.linalg.norm(dense["none"] @ x - y) / np.linalg.norm(y)  # no offset is fitted to y
    assert sides["none"].reconstruction == pytest.approx(without, rel=1e-10)
    assert sides["none"].reconstruction > 1e-2
