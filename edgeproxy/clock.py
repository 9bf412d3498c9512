"""The time of day, as a part that is handed in."""

import asyncio
import time


class SystemClock:
    """Implements `interfaces.Clock`."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
