"""A job: what one crowd process is to do, written down for it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Job:
    """What one crowd process is to do. fans: numbers first..last-1; a fan's name is <name><number>.

    opens_s: noon, in seconds since 1970 UTC. ports: of more api processes, over which the connections spread. The rest
    as in a scenario's crowd.
    """

    host: str
    port: int
    sale: str
    items: tuple[str, ...]
    weights: tuple[float, ...]
    channels: tuple[str, ...]
    name: str
    first: int
    last: int
    without_right: int
    opens_s: float
    presses_max: int
    early_share: float
    arrive_mean_s: float
    repeat_share: float
    pay_share: float
    connections: int
    seed: int
    out: str
    ports: tuple[int, ...] = ()
    arrive_even_s: float = 0.0
    stay_s: float = 0.0
    cancel_share: float = 0.0
    come_share: float = 1.0
    look_ahead_s: float = 0.0
    look_every_s: float = 10.0

    def write(self, file: Path) -> None:
        """Write it down for the process."""
        file.write_bytes(orjson.dumps(asdict(self)))


def read_job(file: Path) -> Job:
    """The job in a file."""
    data: dict[str, Any] = orjson.loads(file.read_bytes())
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return Job(**fields)
