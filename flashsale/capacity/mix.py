"""A mix: who asks for what in the peak second of a sale, as shares of all requests."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from flashsale.errors import BadInputError

DEFAULT: Final = "release-day"
_OFF_MAX: Final = 1e-6

Share = Annotated[float, Field(ge=0, le=1)]


class Mix(BaseModel):
    """words: where it comes from. Shares of all requests, together 1:

    kept: answered at the edge, from its cache: the sale as everybody sees it, refusals that hold for everybody;
    refused: refused by an api process without asking anybody; decided: presses that the script decides. at_once: share
    of the decided ones of that second that come in its first moment. request_bytes, reply_bytes: on the wire, with
    headers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    words: str
    kept: Share
    refused: Share
    decided: Annotated[float, Field(gt=0, le=1)]
    at_once: Share = 0.1
    request_bytes: Annotated[int, Field(gt=0)] = 600
    reply_bytes: Annotated[int, Field(gt=0)] = 500

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        whole = self.kept + self.refused + self.decided
        if abs(whole - 1) > _OFF_MAX:
            raise ValueError(f"kept, refused and decided are {whole:g} together, not 1")
        return self


def load(file: Path | None = None) -> Mix:
    """The mix in a TOML file; the release day when none is given. Raises BadInputError that names the key."""
    try:
        text = file.read_text(encoding="utf-8") if file else _own(DEFAULT)
        return Mix.model_validate(tomllib.loads(text))
    except OSError as trouble:
        raise BadInputError(f"{file} can't be read: {trouble.strerror}") from trouble
    except tomllib.TOMLDecodeError as fault:
        raise BadInputError(f"{file} is not valid TOML: {fault}") from fault
    except ValidationError as faults:
        lines = [
            f"{'.'.join(map(str, one['loc'])) or 'mix'}: {one['msg'].removeprefix('Value error, ')}"
            for one in faults.errors()
        ]
        raise BadInputError("The mix was refused:\n  " + "\n  ".join(lines)) from faults


def _own(name: str) -> str:
    return (files(__package__ or "") / f"{name}.toml").read_text(encoding="utf-8")
