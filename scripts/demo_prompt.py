"""Write the demos' prompt.txt: a long passage ending in an open question that all three answer right.

python scripts/demo_prompt.py --out models/jaxlin_models/demo
"""

from __future__ import annotations

import argparse
from itertools import count
from pathlib import Path
from random import Random

from demo_families import FAMILIES
from demo_world import FACTS, HELD_OUT, prompt_in_passage
from evaluate_demo import answered_right, question_of

import jaxlin

FACT = next(fact for fact in FACTS if (fact.relation, fact.subject) == ("capital", "France"))
FEWEST_TOKENS, MOST_TOKENS = 425, 460


#: Where the embedded checkpoints are.
DEMO = Path("models/jaxlin_models/jaxlin_models/demo")


def main() -> None:
    """Take the first seed whose passage has the wanted length and is continued right by every family."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=DEMO, help="with the checkpoints")
    out = parser.parse_args().out
    models = {name: jaxlin.load(str(out / name)) for name in FAMILIES}

    def tokens(text: str) -> list[int]:
        return [len(model.tokenize(text)) for model in models.values()]

    for seed in count():
        prompt = prompt_in_passage(
            Random(seed), FACT, HELD_OUT[FACT][-1], lambda text: min(tokens(text)) >= FEWEST_TOKENS
        )
        if max(tokens(prompt.text)) <= MOST_TOKENS and all(
            answered_right(model.decoder, [question_of(model.tokenizer, prompt)]).all()
            for model in models.values()
        ):
            break
    (out / "prompt.txt").write_text(prompt.text)
    counts = dict(zip(models, tokens(prompt.text), strict=True))
    print(f"seed {seed}: {counts} tokens, then {prompt.answer}")


if __name__ == "__main__":
    main()
