"""Every error that docrag raises, in one tree.

DocragError                   has a message and a hint; its exit_code is that of the command line
  SettingsError               a setting or an argument cannot be used (exit code 2)
    QueryError                a query, a filter or a search mode cannot be used
  ModelError                  a model cannot be loaded or run
    UnknownModel              no model has that name (exit code 2)
    ModelUnavailable          the library or the weights of a model are missing or damaged
    WeightsMismatch           the weights do not belong to the model
    RemoteError               a model behind an HTTP API did not answer, refused, or gave an unusable answer
  DocumentError               a document or a page cannot be read; the other documents are still read
    NotFound                  a file, a document or a page does not exist
    UnsupportedFile           a file is neither a PDF nor an image
    UnreadableDocument        a file is broken or cannot be opened
    EmptyDocument             a document has no pages
    PasswordRequired          a document is encrypted, and none of the given passwords opens it
    PageFailed                one page cannot be read, rendered or encoded; the other pages are still read
  StoreError                  an index cannot be opened, read or written
    IndexNotFound             there is no index at the given location
    IndexInUse                another process has opened or is changing the index
    IndexMismatch             an index was built with another encoder or has another layout
      IndexReplaced           a migration has replaced an index since it was opened
    InvalidRecord             Qdrant would reject a page's record or store it incorrectly
    StorageFull               the disk is full
    ServerUnreachable         a Qdrant server does not answer or fails, and retries did not help
    ServerRefused             a Qdrant server refuses a request, so that a retry cannot help
"""

from __future__ import annotations


class DocragError(Exception):
    """An error that a person can act on.

    Args:
        message: What is wrong, in one line.
        hint: What to do about it, in one line; empty if there is nothing to suggest.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Return the message, followed by the hint in parentheses."""
        return f"{self.message} ({self.hint})" if self.hint else self.message


class SettingsError(DocragError):
    """Raised when a setting or an argument is unknown, malformed, or in conflict with another one."""

    exit_code = 2


class QueryError(SettingsError):
    """Raised when a query is empty or unreadable, a filter is malformed, or the index lacks a search mode."""


class ModelError(DocragError):
    """Raised when a model cannot be loaded or run, such as when its device has too little memory."""


class UnknownModel(ModelError):
    """Raised when no model has the given name, or the model does not fit the option that names it."""

    exit_code = 2


class ModelUnavailable(ModelError):
    """Raised when the library or the weights that a model needs are missing or damaged."""


class WeightsMismatch(ModelError):
    """Raised when weights do not belong to the model: they have another digest or other tensors."""


class RemoteError(ModelError):
    """Raised when a model behind an HTTP API does not answer, refuses, or gives an unusable answer.

    Temporary failures are retried before it is raised.

    Args:
        message: Names the address, never the key.
        hint: What to try.
        status: HTTP status of a refusal; 0 if there was no answer.
    """

    def __init__(self, message: str, hint: str = "", status: int = 0) -> None:
        super().__init__(message, hint)
        self.status = status


class DocumentError(DocragError):
    """Raised when a document or a page cannot be read; an ingest reports it and reads the other documents."""


class NotFound(DocumentError):
    """Raised when a path does not exist, or when a document or page is not in the index."""


class UnsupportedFile(DocumentError):
    """Raised when a file is neither a PDF nor an image in a format that docrag reads."""


class UnreadableDocument(DocumentError):
    """Raised when a file is broken, truncated or too large, or when the system refuses to open it."""


class EmptyDocument(DocumentError):
    """Raised when a file has no bytes, or a document has no pages."""


class PasswordRequired(DocumentError):
    """Raised when a document is encrypted, and none of the given passwords opens it."""


class PageFailed(DocumentError):
    """Raised when one page cannot be read, rendered, captioned or encoded; the other pages are still read."""


class StoreError(DocragError):
    """Raised when an index cannot be opened, read or written."""


class IndexNotFound(StoreError):
    """Raised when there is no index at the given location."""


class IndexInUse(StoreError):
    """Raised when another process has opened the index in a way that excludes others, or is changing it.

    Args:
        message: Names the index.
        hint: What to do about it.
        holder: Who it is, such as "process 1234 (docrag ingest)"; empty if that is unknown.
    """

    def __init__(self, message: str, hint: str = "", holder: str = "") -> None:
        super().__init__(message, hint)
        self.holder = holder


class IndexMismatch(StoreError):
    """Raised when an index was built with another encoder or has another layout than the one asked for."""


class IndexReplaced(IndexMismatch):
    """Raised when a migration, perhaps on another machine, has replaced an index since it was opened."""


class InvalidRecord(StoreError):
    """Raised before a record is written that Qdrant would reject or store incorrectly."""


class StorageFull(StoreError):
    """Raised when the disk that holds an index or its files is full."""


class ServerUnreachable(StoreError):
    """Raised when a Qdrant server does not answer, is too busy or fails, and retries did not help."""


class ServerRefused(StoreError):
    """Raised when a Qdrant server refuses a request, so that a retry cannot help, or is too old for it.

    Args:
        message: Names the address, never the key.
        hint: What to try.
        status: HTTP status of the refusal, also for one that came by gRPC; 0 if there was none.
    """

    def __init__(self, message: str, hint: str = "", status: int = 0) -> None:
        super().__init__(message, hint)
        self.status = status
