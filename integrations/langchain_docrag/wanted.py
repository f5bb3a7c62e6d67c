"""What a retriever is asked for: fields of the retriever, and arguments of each call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from docrag.errors import QueryError
from docrag.types import Hit, Mode
from langchain_docrag.ranking import best_of_documents, documents_in

FIRST_LOOK = 4
"""Pages looked at for each one that is wanted, where only the best of each document count."""
MOST_LOOKED_AT = 1000
"""Pages looked at in search of more documents."""


class Wanted(BaseModel):
    """Which pages are wanted, and what is told of them."""

    model_config = ConfigDict(extra="forbid")

    k: int = Field(default=4, ge=1)
    """How many pages; documents, where they are grouped. Neighbours come on top."""
    mode: Mode = "hybrid"
    """Which signals rank the pages: hybrid, late, cosine or text."""
    filter: Any = None
    """What metadata must be like, as `Index.search` takes it, such as {"file_name": "report.pdf"}."""
    score_threshold: float | None = None
    """Pages with a lower score are left out. Scores are comparable within one mode only: 1 is the best there
    can be in hybrid, cosine runs from -1 to 1; late and text have no bounds."""
    neighbours: int = Field(default=0, ge=0, le=10)
    """Also give so many pages before and after each page found."""
    group_by_document: int = Field(default=0, ge=0)
    """Give so many of the best pages of each document, True for one; k counts documents then."""
    include_images: bool = False
    """Put the page image into the metadata, as base64: some 250 KB a page, which traces keep too."""

    @classmethod
    def of(cls, defaults: BaseModel, given: Mapping[str, Any]) -> Self:
        """What one call wants.

        Args:
            defaults: Has the fields, such as the retriever.
            given: What the call says otherwise.

        Raises:
            QueryError: An argument is unknown or cannot be used.
        """
        fields = {name: getattr(defaults, name) for name in cls.model_fields}
        try:
            return cls(**{**fields, **given})
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            known = f"it takes {', '.join(cls.model_fields)}"
            if first["type"] == "extra_forbidden":
                raise QueryError(f"the retriever has no argument {name!r}", known) from None
            raise QueryError(f"{name}={first['input']!r}: {first['msg']}", known) from None

    @property
    def first_look(self) -> int:
        """How many pages to ask the index for at first."""
        return self.k * self.group_by_document * FIRST_LOOK or self.k

    def enough(self, hits: list[Hit], asked: int) -> bool:
        """Whether looking at more pages than were asked for cannot help, or would take too long."""
        if not self.group_by_document or len(hits) < asked or asked >= MOST_LOOKED_AT:
            return True
        return len(documents_in(hits)) >= self.k or len(self._good(hits)) < len(hits)

    def best(self, hits: list[Hit]) -> list[Hit]:
        """Those of the hits that are wanted."""
        good = self._good(hits)
        return best_of_documents(good, self.k, self.group_by_document) if self.group_by_document else good

    def _good(self, hits: list[Hit]) -> list[Hit]:
        threshold = self.score_threshold
        return hits if threshold is None else [hit for hit in hits if hit.score >= threshold]
