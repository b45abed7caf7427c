"""The seed of the model walk and how far it goes. Printed at the start of each run; the environment gives it back."""

import os
import secrets
from functools import cache
from typing import Final

ENV: Final = "FLASHSALE_WALK_SEED"
EXAMPLES_ENV: Final = "FLASHSALE_WALK_EXAMPLES"
SHRINK_ENV: Final = "FLASHSALE_WALK_SHRINK"
EXAMPLES: Final = 300


@cache
def walk_seed() -> int:
    """The given seed, or a new one that is the same for the whole run, also in the processes that it starts."""
    if not os.environ.get(ENV):
        os.environ[ENV] = str(secrets.randbelow(2**32))
    return int(os.environ[ENV])


def walk_examples() -> int:
    """How many walks to make."""
    return int(os.environ.get(EXAMPLES_ENV) or EXAMPLES)


def walk_shrinks() -> bool:
    """Whether a walk that fails is to be cut down; with FLASHSALE_WALK_SHRINK=0 it is enough to know that it fails."""
    return os.environ.get(SHRINK_ENV) != "0"
