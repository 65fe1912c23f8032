"""TODO in prose is prose."""

import wechatpy  # type: ignore  # BAD
import arq  # type: ignore[import-untyped]  # the library has no types
import aliyunsdkcore  # type: ignore[import-untyped]  BAD

# TODO: cut the meter  # BAD
MARK = "TODO"


def cut() -> None:
    """Not yet."""
    raise NotImplementedError  # BAD


def restore() -> None:  # noqa: D103  # BAD
    """At once."""
