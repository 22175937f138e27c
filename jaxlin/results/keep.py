"""What is stored of right vectors, which are the largest part of a result by far: k · T · d numbers."""

from __future__ import annotations

from collections.abc import Mapping

#: The vectors; rounded to bfloat16; ‖v_t‖ and σ⟨v_t, x_t⟩ at every position; nothing.
VECTORS, BFLOAT16, NORMS, NOTHING = "vectors", "bf16", "norms", "none"
KEPT: Mapping[str, str] = {
    VECTORS: "the right vectors as they are",
    BFLOAT16: "the right vectors rounded to bfloat16; the certificate is that of the vectors before",
    NORMS: "of the right vectors, their norms and contributions at every position",
    NOTHING: "of the right vectors, what is said of them in words",
}
#: What leaves no vectors to be read.
WITHOUT = (NORMS, NOTHING)
