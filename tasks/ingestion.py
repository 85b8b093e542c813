"""Sources -> corpus: normalised, filtered, deduplicated, split and leak-checked rows by role."""

from __future__ import annotations

from pydantic import Field, model_validator

from tasks.corpus.deduplication import DeduplicationConfig
from tasks.corpus.filtering import FilterConfig
from tasks.corpus.normalization import NormalizationConfig
from tasks.corpus.sources import Source
from tasks.corpus.splitting import SplittingConfig
from tasks.runtime.stages import StageConfig

VERSION = 1


class Config(StageConfig):
    """What the corpus is made of and which rules its rows must pass."""

    source_language: str = Field(description="BCP-47 tag of the teacher's language, such as en")
    target_language: str = Field(description="BCP-47 tag of the student's language, such as zh")
    sources: tuple[Source, ...] = Field(
        min_length=1, max_length=256, description="where rows come from, in order of preference"
    )
    normalization: NormalizationConfig = Field(
        default=NormalizationConfig(), description="how texts are brought into one form"
    )
    filters: FilterConfig = Field(
        default=FilterConfig(), description="rules that look at one row at a time"
    )
    deduplication: DeduplicationConfig = Field(
        default=DeduplicationConfig(), description="copies and leaks"
    )
    splitting: SplittingConfig = Field(
        default=SplittingConfig(), description="validation and test rows where sources bring none"
    )
    max_quarantine_rate: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="the run fails if a larger share of the rows is set aside; null: the limit "
        "of the corpus contract",
    )
    keep_quarantined_text: bool = Field(
        default=False,
        description="keep the text of quarantined rows beside its hash; off, because such rows "
        "may hold personal data",
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> Config:
        names = [source.name for source in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"source names must differ: {', '.join(twice)} is used twice")
        return self

    def locations(self) -> tuple[str, ...]:
        """URIs of all sources."""
        return tuple(source.uri for source in self.sources)
