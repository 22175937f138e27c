"""The exact linear map of a transformer's forward pass at one prompt, and its singular vectors.

    model = jaxlin.load("demo-llama")
    result = model.svd("The capital of France is", k=8)

The API is the list of names in ``__init__.pyi``; each is loaded when it is first used. Read next:
:mod:`jaxlin.linear.operator`, then :mod:`jaxlin.solvers.svd`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
