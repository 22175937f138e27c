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
# Freeze the coefficients of a transformer at one prompt, and its last hidden state is exactly linear in the prompt's
# embeddings. This tutorial takes that map apart on a checkpoint that is embedded in the package: no download, a
# minute on a laptop.

# %%
import numpy as np

import jaxlin

model = jaxlin.load("demo-qwen")
prompt = "If you want to see the capital of France, go to"
operator = model.jacobian(prompt)
operator.shape, operator.input_shape

# %% [markdown]
# J has a row for each of the 128 features of the last hidden state, and 128 columns for each of the prompt's tokens. It
# is applied, forwards and backwards, and never built unless asked for. Applied to the prompt's own embeddings it
# gives back what the model said:

# %%
y = operator.matvec(operator.x) + operator.offset
assert np.allclose(y, operator.y, atol=1e-4)
next_token = int(np.argmax(model.logits(y)))
model.token_text(next_token)

# %% [markdown]
# ## Singular vectors
#
# Left vectors decode to output tokens through the head. Every result has a certificate: residuals from fresh passes, an
# adjoint test, and how much of the whole map was captured.

# %%
result = jaxlin.svd(operator, k=4)
assert result.certificate.holds
for s, logits in zip(result.s, model.logits(result.U), strict=True):
    print(f"{s:6.2f}", [model.token_text(int(token)) for token in np.argsort(-logits)[:5]])

# %% [markdown]
# Right vectors say where in the prompt a direction comes from: the norm of each token's block.

# %%
weights = np.linalg.norm(result.V[0], axis=-1)
tokens = [model.token_text(token) for token in model.tokenize(prompt)]
for i in np.argsort(-weights)[:3]:
    print(f"{weights[i]:.2f} {tokens[i]!r}")
assert tokens[int(weights.argmax())].strip() == "France"

# %% [markdown]
# ## Which token brought the answer?
#
# The logit of " Paris" is a sum over tokens, exactly, and also a sum over what every layer's attention and MLP
# added. One backward pass gives the first split.

# %%
from jaxlin.prompts.target import LogitTarget

recording = model.record(prompt)
whole = recording.stretch(0, recording.num_layers - 1)
row = model.logit_row(whole.y, LogitTarget(" Paris"))
split = jaxlin.attribute(whole, recording, row)
assert split.holds
print(f"logit {split.value:.2f} = {split.tokens.sum():.2f} over tokens")
print(f"          = {split.embedding + split.branches.sum():.2f} over layers")
for i in np.argsort(-np.abs(split.tokens))[:3]:
    print(f"{split.tokens[i]:+.2f} {tokens[i]!r}")

# %% [markdown]
# ## Layer by layer
#
# The coefficients were recorded once; every stretch of layers is a linear map too.

# %%
found = jaxlin.layers(recording, k=2, parts=("cumulative",))
for layer, one in zip(found.layers, found.parts["cumulative"], strict=True):
    words = [model.token_text(int(token)) for token in np.argsort(-model.logits(one.U[:1])[0])[:4]]
    print(layer, f"stable rank {one.dimensions.stable_rank:.1f}", words)

# %% [markdown]
# ## Your own function
#
# Any JAX function whose nonlinear coefficients are stopped becomes the same operator.

# %%
import jax
import jax.numpy as jnp

weight = jax.random.normal(jax.random.key(0), (64, 64)) / 8


def gated(x, w):
    return jax.lax.stop_gradient(jax.nn.sigmoid(x)) * (x @ w)


small = jaxlin.linearize(gated, jnp.ones(64), weight, offset=jnp.zeros(64))
assert np.allclose(small.matvec(small.x), small.y, atol=1e-5)
print(jaxlin.svd(small, k=3).s)
