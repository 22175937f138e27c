# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A prompt as a matrix
#
# Freeze the coefficients of a transformer at one prompt. Then its last hidden state is exactly linear in the embeddings
# of the prompt. This tutorial computes that map and its singular vectors on a model that is embedded in the package: no
# download, a minute on a laptop.

# %%
import numpy as np

import jaxlin

model = jaxlin.load("demo-qwen")
prompt = "If you want to see the capital of France, go to"
result = model.svd(prompt, k=4, metric="fisher")
assert result.certificate.holds
print(result)

# %% [markdown]
# `metric="fisher"` measures an output by what it changes in the prediction: a unit step along a right vector changes the
# prediction by ½σ², in nats.
#
# A notebook shows a result as tables; `rich.print(result.table())` prints the same. The certificate comes first. It
# is computed from fresh passes, after the solver has finished. Then come the singular directions: what each left vector
# writes, what it contributes to the logits of the predicted token and of its strongest rival, and which tokens of the
# prompt its right vector points to.

# %%
result

# %% [markdown]
# The same in numbers. `U` and `V` are the singular vectors, `s` the singular values, and `directions` are the vectors
# read as tokens.

# %%
for s, direction in zip(result.s, result.directions, strict=True):
    print(f"{s:6.2f}", [token.text for token in direction.outputs[:5]])
first = result.directions[0].inputs[0]
print(f"the first right vector has weight {first.norm:.2f} on {first.text!r}, at position {first.position}")
assert first.text.strip() == "France"

# %% [markdown]
# ## The metric of the paper
#
# Without `metric` an output is measured by its length as a vector, as in the paper. Then σ says how much a direction
# changes the hidden state, whether or not that changes the prediction.

# %%
hidden = model.svd(prompt, k=4)
for name, found in (("fisher", result), ("hidden", hidden)):
    print(name, [direction.outputs[0].text for direction in found.directions])

# %% [markdown]
# ## Which token contributes most to the answer?
#
# By how much the logit of the predicted token exceeds that of its strongest rival is a sum over tokens, exactly. It is
# also a sum over what every attention head and every MLP adds, and with `by_token` over both at once. Without a target
# the two tokens are chosen from the prediction.

# %%
split = model.attribute(prompt, by_token=True)
assert split.holds
print(f"{split.target} = {split.value:.2f}")
print(f"    = {split.tokens.sum() + split.offset:.2f} over tokens")
print(f"    = {split.embedding + split.branches.sum():.2f} over heads and MLPs")
layer, branch = split.splits[0].strongest[0]
print(f"most through {split.splits[0].name_of(layer, branch)}: {split.splits[0].each[layer, branch]:+.2f}")
split

# %% [markdown]
# Several targets go through the same passes. `heads` has what each attention head adds [layers, heads].

# %%
several = model.attribute(prompt, [" Paris", " Rome", 'logits:" Paris"-" Berlin"'])
for title, one in zip(several.titles, several.splits, strict=True):
    print(title, "· strongest head", abs(one.heads).max().round(2))

# %% [markdown]
# ## Layer by layer
#
# The coefficients are recorded once. Every stretch of layers is a linear map too, and each has a certificate.

# %%
layers = model.layers(prompt, k=2, parts=("cumulative",))
layers

# %% [markdown]
# Every result can be saved (`result.save(folder)`), drawn (`result.plot(folder)`) and put into a report
# (`jaxlin.report([result, split, layers], out="report.html")`).
#
# ## The map itself
#
# J has a row for each of the 128 features of the last hidden state, and 128 columns for each token of the prompt. It is
# applied, forwards and backwards, and is not built unless you ask for it. Applied to the prompt's own embeddings it
# gives back the output of the model:

# %%
operator = model.jacobian(prompt)
y = operator.matvec(operator.x) + operator.offset
assert np.allclose(y, operator.y, atol=1e-4)
operator

# %% [markdown]
# ## Your own function
#
# Any JAX function becomes the same operator, if its nonlinear coefficients are under `stop_gradient`.

# %%
import jax
import jax.numpy as jnp

weight = jax.random.normal(jax.random.key(0), (64, 64)) / 8


def gated(x, w):
    return jax.lax.stop_gradient(jax.nn.sigmoid(x)) * (x @ w)


small = jaxlin.linearize(gated, jnp.ones(64), weight, offset=jnp.zeros(64))
assert np.allclose(small @ small.x, small.y, atol=1e-5)
jaxlin.svd(small, k=3).s
