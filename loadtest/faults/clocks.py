"""F9: clocks that differ and jump. Opening is by the bucket's own clock; nobody gets in early."""

import asyncio
import shutil
from pathlib import Path
from typing import ClassVar, Final

import httpx

from flashsale.clock import now_s
from flashsale.outcomes import Outcome
from loadtest.faults.base import After, Fault, Wishes
from loadtest.faults.scene import Scene

_LIBRARIES: Final = ("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1",
                     "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1")  # fmt: skip
CROWD_AHEAD_S: Final = 2.5
_SEEN_S: Final = 30.0


def library() -> str | None:
    """Where libfaketime is, which a Debian package of the name faketime brings; None when it is not here."""
    return next((path for path in _LIBRARIES if Path(path).exists()), None)


class Clocks(Fault):
    """The crowd's clock is ahead, so it comes too early; api's and worker's clocks jump in the middle of the sale."""

    name = "F9"
    words = "clocks of crowd, api and worker differ and jump"
    jump_s: ClassVar[tuple[float, float]] = (60, 240)
    hold_s: ClassVar[float] = 3.0

    def wish(self, wishes: Wishes) -> None:
        """Processes that take the time from files which can be changed."""
        faked = library()
        if faked is None:
            self.skipped = "libfaketime is not here (Debian: faketime; scripts/install-test-tools)"
            return
        wishes.clock_ahead_s = CROWD_AHEAD_S
        for kind in ("serve", "worker", "crowd"):
            wishes.environment[kind] = {
                "LD_PRELOAD": faked,
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_TIMESTAMP_FILE": f"{{clocks}}/{kind}",
            }

    async def inject(self, scene: Scene) -> None:
        """Let both clocks jump, one forward and one back."""
        if self.skipped:
            return
        assert scene.clocks is not None
        signs = scene.random.sample([1, -1], 2)
        jumps = {
            kind: round(sign * scene.moment(*self.jump_s))
            for kind, sign in zip(("serve", "worker"), signs, strict=True)
        }
        self.observed["jumped_s"] = jumps
        for kind, jump in jumps.items():
            set_clock(scene.clocks, kind, jump)
        self.observed["api_clock_off_s"] = 0.0
        await scene.until(lambda: self._seen_off(scene), within_s=_SEEN_S)
        await asyncio.sleep(self.hold_s)

    async def _seen_off(self, scene: Scene) -> bool:
        """Whether the api is seen to have another time. One that another fault has killed tells none."""
        try:
            self.observed["api_clock_off_s"] = await _api_clock_off(scene)
        except httpx.HTTPError:
            return False
        return self.seen_to_work() > 0

    async def heal(self, scene: Scene) -> None:
        """Both are right again."""
        if self.skipped or scene.clocks is None:
            return
        for kind in ("serve", "worker"):
            set_clock(scene.clocks, kind, 0)

    def seen_to_work(self) -> int:
        """Seconds by which the api's clock was seen to be off."""
        return int(abs(self.observed.get("api_clock_off_s", 0)))

    def reasons(self, after: After) -> list[str]:
        """Nobody won before the opening by the bucket's clock, though the crowd pressed before it."""
        first_s = after.result["seconds"]["open_to_first_win"]
        told = after.seen.purchases
        self.observed["early_presses_refused"] = told.within(Outcome.NOT_OPEN, 0, after.opens_s)
        self.observed["early_wins"] = told.within(Outcome.WON, 0, after.opens_s - 0.1)
        found = []
        if first_s is not None and first_s < 0:
            found.append(f"the first win was {-first_s} s before the opening")
        if not self.observed["early_presses_refused"]:
            found.append("nobody pressed before the opening, though the crowd's clock was ahead")
        return found


def set_clock(folder: Path, kind: str, off_s: float) -> None:
    """Let a kind of process see a time that is off by so much, within a second."""
    unfinished = folder / f"{kind}.new"
    unfinished.write_text(f"{off_s:+g}s\n", encoding="ascii")
    shutil.move(unfinished, folder / kind)


async def _api_clock_off(scene: Scene) -> float:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{scene.base_url}/api/v1/time", timeout=5)
    return round(float(answer.json()["now_ms"]) / 1000 - now_s(), 1)
