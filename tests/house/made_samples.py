"""Bad samples that must not lie in the repository as files: too long, or caught by other scanners.

Each maker writes a small tree under `root` and returns the breaches that must be found in it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Breaches = set[tuple[str, int]]


def write(root: Path, path: str, text: str) -> None:
    """Put a file of the sample in its place."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def over_budget(root: Path) -> Breaches:
    """Files, functions and resolvers one line over, each beside a twin that is just inside."""
    head = '"""A file."""\n'
    write(root, "backend/ledger/long.py", head + "x = 1\n" * 400)
    write(root, "backend/ledger/full.py", head + "x = 1\n" * 399)
    write(root, "tests/unit/test_long.py", head + "x = 1\n" * 500)
    write(root, "tests/unit/test_full.py", head + "x = 1\n" * 499)
    write(root, "web/h5/long.tsx", "export {};\n" * 401)
    write(root, "web/shared/generated/types.ts", "export {};\n" * 401)
    write(root, "web/h5/texts.json", "1\n" * 401)
    write(root, "docs/long.html", "x\n" * 401)

    def function(name: str, lines: int) -> str:
        return f"def {name}():\n" + "    x = 1\n" * (lines - 1)

    write(root, "workers/sweep.py", head + function("inside", 70) + function("over", 71))
    write(root, "tests/unit/test_one.py", head + function("test_one", 71))

    def resolver(name: str, decorator: str, lines: int) -> str:
        return f"{decorator}\ndef {name}():\n    'Says.'\n" + "    x = 1\n" * lines

    parts = (
        resolver("inside", "@strawberry.field", 12),
        resolver("read", "@strawberry.field(description='x')", 13),
        resolver("write", "@strawberry.mutation", 13),
        resolver("listen", "@strawberry.subscription", 13),
        resolver("guarded", "@permitted_mutation('topup.refund')", 13),
        resolver("given", "@plain", 13),
        resolver("not_a_resolver", "@plain", 13),
        "balance = strawberry.field(resolver=given, default=not_a_resolver)\n",
        "total = strawberry.field(resolver=lambda: 0)\n",
        "@strawberry.field\ndef calls():\n    x()\n" + "    x = 1\n" * 12,
        "@strawberry.field\ndef only_says():\n    'Says.'\n",
    )
    text = head + "".join(parts)
    write(root, "schema/topups.py", text)
    write(root, "bots/menu.py", head + resolver("read", "@strawberry.field", 13))
    lines = text.splitlines()
    over = ("read", "write", "listen", "guarded", "given", "calls")
    resolvers = {("schema/topups.py", lines.index(f"def {name}():") + 1) for name in over}
    return resolvers | {
        ("backend/ledger/long.py", 401),
        ("tests/unit/test_long.py", 501),
        ("web/h5/long.tsx", 401),
        ("workers/sweep.py", 72),
        ("tests/unit/test_one.py", 2),
    }


def leaks(root: Path) -> Breaches:
    """Keys, tokens, machine paths and registries; and texts that only look like them."""
    home, top, dash = "/ho" + "me/", "/wo" + "rk/", "-" * 5
    key = f"{dash}BEGIN RSA PRIVATE KEY{dash}\nMIIEowIBAAKCAQEAx7Z0c2VjcmV0c2VjcmV0\n"
    write(root, "backend/integrations/keys.py", f'"""Keys."""\nPEM = """{key}"""\n')
    write(root, "docs/run.md", f"cd {top}main\nls {home}ann/x\nsee https://a.example{top}x\n")
    write(root, "Dockerfile", f"WORKDIR {top}app\nCOPY . {home}app/\n")
    write(root, "Makefile", "setup:\n\tpip install -i https://" + "pypi." + "tuna.example/simple\n")
    write(root, "tests/certs/merchant.pem", "x\n")
    write(root, "deploy/id_rsa_site", "x\n")
    write(root, "compose.yaml", "key: AK" + "IA" + "A1B2" * 4 + "\n")
    (root / "docs/photo.png").write_bytes(b"\x89PNG\xff\xfe")
    write(root, ".env", "X=1\n")
    write(root, ".env.example", "X=\n")
    write(root, "bots/tokens.py", f'"""T."""\nT = "{"gh" + "p_" + "a1B2" * 9}"\n')
    write(
        root, "backend/integrations/wrap.py", f'"""W."""\nHEAD = "{dash}BEGIN PRIVATE KEY{dash}"\n'
    )
    return {
        ("backend/integrations/keys.py", 2),
        ("docs/run.md", 1),
        ("docs/run.md", 2),
        ("Makefile", 2),
        ("tests/certs/merchant.pem", 1),
        ("deploy/id_rsa_site", 1),
        ("compose.yaml", 1),
        (".env", 1),
        ("bots/tokens.py", 2),
    }


MADE: dict[str, Callable[[Path], Breaches]] = {"sizes": over_budget, "leaks": leaks}
