"""What judges what is kept: the fixed policy, or the learned one with its record and its model."""

import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from edgeproxy.cache.flights import Spawn
from edgeproxy.cache.notes import Notes
from edgeproxy.interfaces import Clock, Happening, Policy
from edgeproxy.jobs.foresee import Foresee
from edgeproxy.jobs.learn import Learn
from edgeproxy.jobs.refit import Refit
from edgeproxy.jobs.supervise import Job
from edgeproxy.learning import LearnConfig
from edgeproxy.metrics import AnyGauge, Gauge, PolicyGauge
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Reference
from edgeproxy.predict.ahead import Brought
from edgeproxy.predict.fixed import FixedPolicy
from edgeproxy.predict.learned import LearnedPolicy, Standing
from edgeproxy.predict.model import Model
from edgeproxy.predict.shipped import shipped
from edgeproxy.store.disk import DiskStore, once
from edgeproxy.store.record import Record, read, segments
from edgeproxy.store.threads import in_thread

log = logging.getLogger(__name__)
Document = Mapping[str, Any]
_REMEMBERED = 3_000_000
"""Bytes of the record that are told again after a start, in some seconds: more than a hundred thousand answers."""


class Judgement:
    """`policy` for those who ask, `notes` for those who answer; `judging` is the one thread that touches the policy."""

    def __init__(self, config: LearnConfig, store: DiskStore, budget: int, clock: Clock, spawn: Spawn) -> None:
        """`budget`: bytes of the cache."""
        self._clock = clock
        self.judging = ThreadPoolExecutor(1, thread_name_prefix="judging")
        self.notes: Notes | None = None
        self.policy: Policy = FixedPolicy()
        self._learned: LearnedPolicy | None = None
        self.retention: Callable[[Reference], float] | None = None
        """As `cache.retention.Retention` has it."""
        self.foresee: Foresee | None = None
        self._jobs: list[Job] = []
        self.model_from = "none"
        self.trouble = ""
        """Why the model that should be used is not."""
        if config.enabled:
            self._learn(config, store, budget, spawn)

    def _learn(self, config: LearnConfig, store: DiskStore, budget: int, spawn: Spawn) -> None:
        data = store.layout.data
        self.notes, self._record = Notes(), Record(data / "record", config.record)
        refit = Refit(
            data / "model", data / "record", config.refit, budget, self._clock, self._adopt, self._refit_wanted
        )
        self.policy = self._learned = LearnedPolicy(
            FixedPolicy(), self._first_model(refit.current), budget,
            request=config.request_cost, stale=config.stale, waste=config.waste, late=config.late,
        )  # fmt: skip
        self.retention = self._learned.retention.ttl if config.late else None
        salt = once(data / "SALT", secrets.token_hex(16))
        past = partial(_past, data / "record")
        learn = Learn(self.notes, self._record, store, self.policy, self.judging, salt, self._clock, past)
        self._learn_job = learn
        self.foresee = Foresee(self._learned, self.judging, self._clock, spawn, config.looks)
        self._jobs = [
            Job("learn", learn.step, every=1.0, delay=1.0),
            Job("foresee", self.foresee.step, every=1.0, delay=10.0),
            Job("refit", refit.step, every=600.0, delay=300.0),
        ]

    def jobs(self) -> list[Job]:
        return self._jobs

    async def inform(self) -> None:
        """The policy knows of all that was answered until now."""
        if self._learned is not None:
            await self._learn_job.inform()

    async def close(self) -> None:
        """Record what has been noted."""
        if self._learned is not None:
            await self._learn_job.close()
        self.judging.shutdown()

    def _first_model(self, own: Path) -> Model | None:
        choices: dict[str, Callable[[], Model]] = {"site": lambda: Model.load(own.read_bytes()), "shipped": shipped}
        for self.model_from, load in choices.items():
            try:
                return load()
            except FileNotFoundError:
                continue
            except (ValueError, OSError) as error:
                self.trouble = f"the {self.model_from} model cannot be used: {error}"
                log.error("%s; the next best judges", self.trouble)
        self.model_from = "none"
        return None

    def _adopt(self, file: Path) -> str:
        assert self._learned is not None
        try:
            model = Model.load(file.read_bytes())
        except (ValueError, OSError) as error:
            return f"the model cannot be used: {error}"
        self._learned.adopt(model)
        self.model_from, self.trouble = "site", ""
        return ""

    def _refit_wanted(self) -> float:
        """When the model turned out to be worse than what needs none."""
        return self._learned.standing().suspended_at if self._learned else float("-inf")

    # for people

    def document(self) -> Document | None:
        """GET /api/v1/model; `None` where nothing is learned."""
        if self._learned is None:
            return None
        standing, model = self._learned.standing(), self._learned.model
        ahead = self._learned.foresight.ahead.figures()
        return {
            "model": self.model_from if model else "none",
            "trouble": self.trouble,
            "governs": standing.governs,
            "suspended": standing.suspended,
            "shadows": dict(standing.misses),
            "exponent": standing.exponent,
            "known": standing.known,
            "calibration": [each._asdict() for each in self._learned.calibration.points()],
            "stale": self._learned.freshness.stale,
            "late": self._learned.retention.late,
            "ahead": ahead._asdict(),
            "record": self._record.size(),
            "dropped": self.notes.dropped if self.notes else 0,
            "about": {key: value for key, value in (model.about if model else {}).items() if key != "ordinary"},
            "summary": _summary(standing, self.model_from if model else "none", ahead),
        }

    async def explain(self, digest: Digest) -> Document | None:
        """Why a blob stays or goes; `None` where nothing is known of it."""
        learned = self._learned
        found = await in_thread(self.judging, lambda: learned.explain(digest, self._clock.now())) if learned else None
        if found is None:
            return None
        return {
            "digest": digest,
            "worth": found.worth,
            "governs": found.governs,
            "clients": found.clients,
            "chances": [{"within": within, "chance": chance} for within, chance in found.chances.items()],
            "contributions": [each._asdict() for each in found.contributions[:8]],
        }

    def gauges(self) -> list[AnyGauge]:
        def shares() -> Iterable[tuple[str, float]]:
            return self._learned.standing().misses.items() if self._learned else ()

        def governing() -> Iterable[tuple[str, float]]:
            governs = self._learned.standing().governs if self._learned else "fixed"
            return [(name, float(name == governs)) for name in ("fixed", "model", "lru", "s3fifo", "gdsf")]

        def ahead() -> Brought:
            return self._learned.foresight.ahead.figures() if self._learned else Brought(0, 0, 0)

        return [
            Gauge(
                "edgeproxy_model_up",
                "Whether a model is loaded.",
                lambda: float(self._learned is not None and self._learned.model is not None),
            ),
            Gauge(
                "edgeproxy_model_suspended",
                "Whether the model was worse over a day, and has yet to prove itself.",
                lambda: float(self._learned is not None and self._learned.standing().suspended),
            ),
            Gauge(
                "edgeproxy_record_bytes",
                "Bytes of the access record.",
                lambda: self._record.size() if self._learned else 0,
            ),
            Gauge(
                "edgeproxy_record_dropped",
                "Answers that came too fast to be recorded, since the start.",
                lambda: self.notes.dropped if self.notes else 0,
            ),
            Gauge(
                "edgeproxy_tags_stale",
                "Share of late answers for tags that were stale, as far as is known.",
                lambda: self._learned.freshness.stale if self._learned else 0.0,
            ),
            Gauge("edgeproxy_ahead_bytes", "Bytes brought before they were asked for.", lambda: ahead().brought),
            Gauge("edgeproxy_ahead_used_bytes", "Of these, bytes asked for since.", lambda: ahead().used),
            Gauge("edgeproxy_ahead_wasted_bytes", "Of these, bytes in vain.", lambda: ahead().wasted),
            PolicyGauge("edgeproxy_policy_governs", "Which policy decides what is evicted.", governing),
            PolicyGauge("edgeproxy_shadow_missed", "Share of the bytes lately asked for that it would miss.", shares),
        ]


def _past(directory: Path) -> Iterable[Happening]:
    """The newest of the record."""
    chosen, size = list[Path](), 0
    for file in reversed(segments(directory)):
        size += file.stat().st_size
        if chosen and size > _REMEMBERED:
            break
        chosen.append(file)
    return read(reversed(chosen), lambda file, what: log.info("%s is read no further: %s", file, what))


def _summary(standing: Standing, model: str, ahead: Brought) -> str:
    governs = standing.governs
    if governs == "fixed":
        return "Nothing has been learned yet: size, frequency and age decide."
    whose = {"site": "this site's own model", "shipped": "the shipped model"}.get(model, "no model")
    if governs == "model":
        return f"{whose.capitalize()} decides; {standing.known:,} blobs and manifests are known.{_told_of(ahead)}"
    if standing.suspended:
        return f"{governs.upper()} decides: {whose} was worse over a day, and decides again after a day that is better."
    return f"{governs.upper()} decides: lately it would have missed fewer bytes than {whose}."


def _told_of(ahead: Brought) -> str:
    if not ahead.brought:
        return ""
    used = ahead.used / ahead.brought
    return f" {ahead.brought / 1e6:,.0f} MB came before they were asked for, {used:.0%} of them were."
