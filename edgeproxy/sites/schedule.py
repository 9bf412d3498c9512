"""When a policy is due: a cron expression of five fields, in the site's own time. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from cronsim import CronSim, CronSimError


class ScheduleInvalid(ValueError):
    """What is wrong with a schedule, and what to write."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Minute, hour, day of the month, month, day of the week, as in crontab(5)."""

    text: str

    @classmethod
    def parse(cls, text: str) -> "Schedule":
        """Raises `ScheduleInvalid`."""
        try:
            next(CronSim(text, datetime(2024, 1, 1)))  # noqa: DTZ001 - any time will do
        except CronSimError as error:
            raise ScheduleInvalid(f'{text!r} is no schedule: {error}; write five fields, as in "30 3 * * *"') from error
        except StopIteration:
            raise ScheduleInvalid(f"{text!r} is never due: there is no such day") from None
        return cls(text)

    def following(self, after: float, zone: tzinfo | None = None) -> float:
        """The first time it is due after that, by the clocks of the zone, else of the site; seconds since the epoch."""
        start = datetime.fromtimestamp(after, UTC).astimezone(zone)
        return next(CronSim(self.text, start)).timestamp()

    def __str__(self) -> str:
        return self.text
