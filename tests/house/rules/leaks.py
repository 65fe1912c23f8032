"""Nothing of one machine and no secret enters the repository."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from ..tree import Finding, Tree

# The paths of a container are the container's own and are agreed on by everybody.
_CONTAINERS = re.compile(r"(^|/)(Dockerfile[\w.-]*|(docker-)?compose[\w.-]*\.ya?ml)$")
_KEY_FILES = frozenset({".pem", ".key", ".p12", ".pfx", ".jks"})

_SECRETS = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----(?:\s|\\n|[\"'(),])*[A-Za-z0-9+/=]{24,}"
    r"|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{30,}\b"
)
_PATHS = re.compile(
    r"(?<![\w.:/~*-])/(?:work|root)/|(?<![\w.:/~*-])/(?:home|Users)/[A-Za-z_][\w-]*/|\b[A-Z]:\\+Users\\+\w"
)
_REGISTRIES = re.compile(
    r"\b(?:pypi\.org/simple|files\.pythonhosted\.org|registry\.npmjs\.org|registry\.npmmirror\.com"
    r"|registry\.yarnpkg\.com|pypi\.tuna\.|mirrors\.(?:aliyun|tencent|cloud|ustc)|artifactory\.|nexus\.)"
)
_WHAT = (
    (_SECRETS, "a secret in the repository: make it at run time"),
    (_PATHS, "a path of one machine"),
    (_REGISTRIES, "a registry host: where to ask is the machine's own setting"),
)


def check(tree: Tree) -> Iterator[Finding]:
    """Keys, tokens, key files, machine paths and registry hosts."""
    for path in tree.files:
        pure = PurePosixPath(path)
        if pure.suffix in _KEY_FILES or pure.name.startswith("id_rsa") or pure.name == ".env":
            yield Finding(path, 1, "a file of keys or settings of one machine")
            continue
        text = tree.text(path)
        if text is None:
            continue
        for pattern, message in _WHAT:
            if pattern is _PATHS and _CONTAINERS.search(path):
                continue
            for match in pattern.finditer(text):
                yield Finding(path, text.count("\n", 0, match.start()) + 1, message)
