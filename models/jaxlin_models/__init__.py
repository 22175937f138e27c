"""Transformers as functions of their embeddings, with every nonlinear coefficient open to freezing.

Knows nothing of :mod:`jaxlin` and nothing of SVD. Read :mod:`jaxlin_models.decoder` first. The names are in
``__init__.pyi`` and are loaded when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
