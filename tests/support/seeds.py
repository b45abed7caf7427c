"""The seed of the model walk and how far it goes. Printed at the start of each run; the environment gives it back."""

import os
import secrets
from functools import cache
from typing import Final

ENV: Final = "FLASHSALE_WALK_SEED"
EXAMPLES_ENV: Final = "FLASHSALE_WALK_EXAMPLES"
EXAMPLES: Final = 300


@cache
def walk_seed() -> int:
    """The given seed, or a new one that is the same for the whole run."""
    return int(os.environ.get(ENV) or secrets.randbelow(2**32))


def walk_examples() -> int:
    """How many walks to make."""
    return int(os.environ.get(EXAMPLES_ENV) or EXAMPLES)
