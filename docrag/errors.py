"""Every error docrag raises, in one tree.

DocragError                   message, hint; exit_code for the command line
  SettingsError               a setting or argument that cannot be used (exit 2)
    QueryError                an empty query, a filter that is not key=value, a mode the index cannot answer
  ModelError                  an encoder cannot be used
    UnknownModel              no family goes by that name
    ModelUnavailable          the library or the weights are not there
    WeightsMismatch           the weights are not the ones that were expected
    RemoteError               a model behind an address did not answer, refused, or answered nonsense
  DocumentError               one file cannot be read; the others go on
    NotFound                  the path does not exist
    UnsupportedFile           not a PDF or an image
    UnreadableDocument        broken beyond repair
    EmptyDocument             no pages
    PasswordRequired          encrypted, and no password given opens it
    PageFailed                one page cannot be read or rendered; the other pages go on
  StoreError                  the index cannot be used
    IndexNotFound             nothing is indexed there
    IndexInUse                another process holds the index
    IndexMismatch             the index was built by another encoder or another layout
    InvalidRecord             a record that Qdrant would reject or corrupt
    StorageFull               the disk is full
    ServerUnreachable         the Qdrant server does not answer, or fails, however often it is asked
    ServerRefused             the Qdrant server says no: a wrong key, a request that it does not take
"""

from __future__ import annotations


class DocragError(Exception):
    """An error a person can act on.

    Args:
        message: What happened, in one line.
        hint: What to do about it, in one line; empty where nothing can be said.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """The message, with the hint behind it in brackets."""
        return f"{self.message} ({self.hint})" if self.hint else self.message


class SettingsError(DocragError):
    """A setting or argument that cannot be used."""

    exit_code = 2


class QueryError(SettingsError):
    """An empty query, a filter that is not key=value, or a mode the index cannot answer."""


class ModelError(DocragError):
    """An encoder cannot be used."""


class UnknownModel(ModelError):
    """No model family goes by that name."""

    exit_code = 2


class ModelUnavailable(ModelError):
    """The library or the weights of a model are not there."""


class WeightsMismatch(ModelError):
    """The weights are not the ones that were expected."""


class RemoteError(ModelError):
    """A model behind an address did not answer, refused, or answered something that cannot be used.

    Args:
        message: Names the address, never the key.
        hint: What to try.
        status: HTTP status of a refusal; 0 where there was none.
    """

    def __init__(self, message: str, hint: str = "", status: int = 0) -> None:
        super().__init__(message, hint)
        self.status = status


class DocumentError(DocragError):
    """One file cannot be read; the others go on."""


class NotFound(DocumentError):
    """The path does not exist."""


class UnsupportedFile(DocumentError):
    """The file is neither a PDF nor an image."""


class UnreadableDocument(DocumentError):
    """The file is broken beyond repair."""


class EmptyDocument(DocumentError):
    """The document has no pages."""


class PasswordRequired(DocumentError):
    """The document is encrypted, and no password given opens it."""


class PageFailed(DocumentError):
    """One page cannot be read or rendered; the other pages go on."""


class StoreError(DocragError):
    """The index cannot be used."""


class IndexNotFound(StoreError):
    """Nothing is indexed there."""


class IndexInUse(StoreError):
    """Another process holds the index."""


class IndexMismatch(StoreError):
    """The index was built by another encoder or with another layout."""


class InvalidRecord(StoreError):
    """A record that Qdrant would reject or store corrupted."""


class StorageFull(StoreError):
    """The disk that holds the index is full."""


class ServerUnreachable(StoreError):
    """The Qdrant server does not answer, is too busy or fails, after as many tries as may help."""


class ServerRefused(StoreError):
    """The Qdrant server refuses a request, and would again.

    Args:
        message: Names the address, never the key.
        hint: What to try.
        status: HTTP status of the refusal, also where it came by gRPC; 0 where there was none.
    """

    def __init__(self, message: str, hint: str = "", status: int = 0) -> None:
        super().__init__(message, hint)
        self.status = status
