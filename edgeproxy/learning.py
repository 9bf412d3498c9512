"""The section of the configuration that says what is learned from accesses."""

from pydantic import Field

from edgeproxy.sections import Section
from edgeproxy.units import Duration, Percentage, Size


class LearnConfig(Section):
    enabled: bool = True
    record: Size = Field(default=256 * 10**6, ge=10**6)
    refit: Duration = 86400.0
    stale: Percentage = Field(default=0.01, ge=0.0001, le=0.5)
    request_cost: Size = Field(default=2**20, ge=0)
    waste: Percentage = Field(default=0.05, ge=0.0, le=0.5)
    late: Percentage = Field(default=0.0, ge=0.0, le=0.5)
    looks: int = Field(default=120, ge=0, le=10_000)
