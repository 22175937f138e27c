"""``convert``: a checkpoint in safetensors becomes one that is restored straight onto a mesh of devices."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxlin_models as models
from jaxlin_models import converted
from rich.text import Text

from jaxlin.errors import JaxlinError, printable
from jaxlin.results.staging import staged
from jaxlin.runtime.progress import Progress, silent
from jaxlin.verbs.options import Convert


@dataclass(frozen=True)
class Conversion:
    """A checkpoint that was converted.

    Attributes:
        out: its folder.
        made: what it says of itself.
    """

    out: Path
    made: converted.Converted

    def table(self) -> Text:
        """Where it is and of what."""
        made = self.made
        words = f"{made.source} in {made.dtype}, sha256 of its weights {made.source_sha256}"
        return Text(f"{printable(words)}\nwrote {printable(str(self.out))}", overflow="fold", no_wrap=True)

    def summary(self) -> dict[str, Any]:
        """The same in plain words."""
        return {"wrote": str(self.out), **asdict(self.made)}


def convert(options: Convert, progress: Progress = silent) -> Conversion:
    """Read a checkpoint, check it as ``load`` does, and write it for Orbax; a whole folder or none.

    The weights are held in the host's memory meanwhile, in the dtype that is written.

    Raises:
        JaxlinError: JAX computes on a GPU; a model that is none in safetensors, or cannot be read; a folder
            that cannot be written, or holds something.
    """
    if jax.default_backend() != "cpu":
        raise JaxlinError("a checkpoint is converted in the host's memory: start JAX on the CPU for it")
    if options.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    checkpoint = models.find(options.model)
    if checkpoint.gguf is not None or checkpoint.converted is not None:
        what = "a GGUF file" if checkpoint.gguf is not None else "a converted checkpoint already"
        raise JaxlinError(f"{options.model} is {what}, which is loaded as it is: convert one in safetensors")
    with staged(options.out, overwrite=False) as folder:
        decoder = models.load_decoder(checkpoint, jnp.dtype(options.dtype), progress=progress)
        made = converted.save(
            decoder,
            checkpoint.directory,
            folder,
            name=checkpoint.name,
            revision=checkpoint.revision,
            sha256=models.weights_hash(checkpoint),
        )
    return Conversion(options.out, made)
