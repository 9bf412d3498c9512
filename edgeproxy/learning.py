"""The section of the configuration that says what is learned from accesses."""

from pydantic import Field

from edgeproxy.sections import Section
from edgeproxy.units import Duration, Size


class LearnConfig(Section):
    enabled: bool = True
    record: Size = Field(default=256 * 10**6, ge=10**6)
    refit: Duration = 86400.0
