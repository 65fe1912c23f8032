"""Failure swallowed."""

import builtins
import contextlib

import asyncpg


def run(job: object) -> None:
    """Five broad nets."""
    try:
        job()
    except Exception:  # BAD
        pass
    try:
        job()
    except:  # BAD
        raise
    try:
        job()
    except (ValueError, BaseException):  # BAD
        pass
    try:
        job()
    except builtins.Exception:  # BAD
        pass
    with contextlib.suppress(Exception):  # BAD
        job()


def fine(job: object) -> None:
    """Named failures, and finally for what must happen in every case."""
    try:
        job()
    except (TimeoutError, ConnectionError):
        raise
    finally:
        job()
    with contextlib.suppress(FileNotFoundError):
        job()
    return isinstance(job, Exception)


def listen(job: object) -> None:
    """Lists of one's own."""
    try:
        job()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # BAD
        raise
