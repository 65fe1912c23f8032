"""What the backend may show on the console, found in its source: kinds of cases, names of details, sentences.

A value is followed from where it is handed over back to its literal: through variables, parameters,
imports, dictionaries and what functions return. What cannot be followed is told, so that nothing is left out
in silence.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cached_property

from tests.house.tree import Finding, Function, Source, Tree

# Who takes a kind and a detail: by its name, the places of the two among what it is given.
SINKS = {
    "NewCase": ("kind", 1, "detail", 3),
    "open_case": ("kind", None, "detail", None),
    "_Case": ("kind", 1, "detail", 2),
    "NewAlarm": (None, None, "detail", 7),
    "Found": (None, None, "detail", 1),
}
PLACE = re.compile(r"\{[^{}]*\}")
_SQL = re.compile(
    r"\b(SELECT|INSERT|UPDATE|DELETE|FROM|WHERE|VALUES|RETURNING|JOIN|NULL|GROUP BY)\b"
)
_LOGS = ("log", "logger", "re")


class Untold(Exception):
    """What a value is cannot be followed in the source."""


class Follower:
    """Follows values through the files of a tree."""

    def __init__(self, tree: Tree) -> None:
        self._sources = {source.path: source for source in tree.sources}

    @cached_property
    def _parents(self) -> dict[int, tuple[Source, Function | None]]:
        """The file and the innermost function of every node."""
        found: dict[int, tuple[Source, Function | None]] = {}

        def mark(source: Source, node: ast.AST, inside: Function | None) -> None:
            found[id(node)] = source, inside
            if isinstance(node, Function):
                inside = node
            for child in ast.iter_child_nodes(node):
                mark(source, child, inside)

        for source in self._sources.values():
            mark(source, source.tree, None)
        return found

    @cached_property
    def _calls(self) -> dict[str, list[ast.Call]]:
        """Every call by the last part of the name that is called."""
        found: dict[str, list[ast.Call]] = {}
        for source in self._sources.values():
            for call in source.of(ast.Call):
                name = call.func.attr if isinstance(call.func, ast.Attribute) else None
                name = call.func.id if isinstance(call.func, ast.Name) else name
                if name is not None:
                    found.setdefault(name, []).append(call)
        return found

    def handed(self) -> Iterator[tuple[Finding, ast.expr, bool]]:
        """Where a kind (True) or a detail (False) is handed over, and what is handed."""
        for name, (kind, kind_at, detail, detail_at) in SINKS.items():
            for call in self._calls.get(name, ()):
                source, _ = self._parents[id(call)]
                for key, at, is_kind in ((kind, kind_at, True), (detail, detail_at, False)):
                    given = None if key is None else _given(call, key, at)
                    if given is not None:
                        yield source.finding(call, ast.unparse(given)), given, is_kind

    def texts(self, node: ast.expr) -> set[str]:
        """Every text that an expression may be. Raises Untold."""
        match node:
            case ast.Constant(value=str(text)):
                return {text}
            case ast.IfExp(body=one, orelse=other):
                return self.texts(one) | self.texts(other)
            case ast.Subscript(value=ast.Name() as table):
                return self._each(table, self._values_of)
            case ast.Name():
                return self._each(node, self.texts)
        raise Untold(ast.unparse(node))

    def keys(self, node: ast.expr) -> set[str]:
        """Every key that a mapping may have. Raises Untold."""
        match node:
            case ast.Dict(keys=keys, values=values):
                named: set[str] = set()
                for key, value in zip(keys, values, strict=True):
                    named |= self.keys(value) if key is None else self.texts(key)
                return named
            case ast.DictComp(generators=[ast.comprehension(iter=ast.Call(func=func))]):
                if isinstance(func, ast.Attribute) and func.attr == "items":
                    return self.keys(func.value)
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return self.keys(left) | self.keys(right)
            case ast.IfExp(body=one, orelse=other):
                return self.keys(one) | self.keys(other)
            case ast.Call(func=ast.Name(id="dict"), args=[one]):
                return self.keys(one)
            case ast.Call(func=ast.Name(id=name)):
                return self._each_return(node, name)
            case ast.Name(id=name):
                source, inside = self._parents[id(node)]
                return self._each(node, self.keys) | _set_later(inside or source.tree, name)
        raise Untold(ast.unparse(node))

    def _values_of(self, node: ast.expr) -> set[str]:
        if not isinstance(node, ast.Dict):
            raise Untold(ast.unparse(node))
        return set[str]().union(*map(self.texts, node.values))

    def _each(self, name: ast.Name, follow: Callable[[ast.expr], set[str]]) -> set[str]:
        found: set[str] = set()
        for value in self._behind(name):
            found |= follow(value)
        return found

    def _each_return(self, call: ast.Call, name: str) -> set[str]:
        source, _ = self._parents[id(call)]
        found: set[str] = set()
        for made in self._functions(source, name):
            for node in ast.walk(made):
                if isinstance(node, ast.Return) and node.value is not None:
                    found |= self.keys(node.value)
        if not found:
            raise Untold(ast.unparse(call))
        return found

    def _functions(self, source: Source, name: str) -> list[Function]:
        home = self._home(source, name)
        return (
            [] if home is None else [each for each in home[0].functions() if each.name == home[1]]
        )

    def _home(self, source: Source, name: str) -> tuple[Source, str] | None:
        """The file in which an imported name is defined, and how it is called there."""
        full = source.names.get(name)
        if full is None:
            return source, name
        module, _, own = full.rpartition(".")
        home = self._sources.get(module.replace(".", "/") + ".py")
        return None if home is None else (home, own)

    def _behind(self, name: ast.Name) -> list[ast.expr]:
        """What a name may stand for: what is assigned to it here, given as this parameter, or assigned in
        the module where it comes from."""
        source, inside = self._parents[id(name)]
        while inside is not None:
            if found := _assigned(inside, name.id):
                return found
            names = [arg.arg for arg in (*inside.args.posonlyargs, *inside.args.args)]
            own = names[1:] if names[:1] in (["self"], ["cls"]) else names
            if name.id in own or name.id in [arg.arg for arg in inside.args.kwonlyargs]:
                at = own.index(name.id) if name.id in own else None
                return self._arguments(source, inside.name, name.id, at)
            inside = self._parents[id(inside)][1]
        home = self._home(source, name.id)
        found = [] if home is None else _assigned(home[0].tree, home[1])
        if not found:
            raise Untold(name.id)
        return found

    def _arguments(
        self, source: Source, function: str, name: str, at: int | None
    ) -> list[ast.expr]:
        calls = [
            call for call in self._calls.get(function, ()) if self._parents[id(call)][0] is source
        ]
        given = [_given(call, name, at) for call in calls]
        if not calls or None in given:
            raise Untold(f"{name} of {function}()")
        return [each for each in given if each is not None]


def _given(call: ast.Call, name: str, at: int | None) -> ast.expr | None:
    by_name = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in by_name:
        return by_name[name]
    return call.args[at] if at is not None and at < len(call.args) else None


def _assigned(scope: ast.AST, name: str) -> list[ast.expr]:
    """What is assigned to a name in a scope, one by one of a tuple."""
    found = []
    for node in ast.walk(scope):
        targets: list[ast.expr] = []
        value: ast.expr | None = None
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign):
            targets, value = [node.target], node.value
        elif isinstance(node, ast.For | ast.comprehension):
            targets, value = [node.target], None
            if isinstance(node.iter, ast.Tuple) and isinstance(node.target, ast.Name):
                found += node.iter.elts if node.target.id == name else []
        for target in targets:
            if isinstance(target, ast.Name) and target.id == name and value is not None:
                found.append(value)
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs = zip(target.elts, value.elts, strict=True)
                found += [v for t, v in pairs if isinstance(t, ast.Name) and t.id == name]
    return found


def _set_later(scope: ast.AST, name: str) -> set[str]:
    """Keys that are put into a mapping after it was made: d["key"] = .., d |= {"key": ..}."""
    found: set[str] = set()
    for node in ast.walk(scope):
        match node:
            case ast.Assign(
                targets=[ast.Subscript(value=ast.Name(id=own), slice=ast.Constant(value=str(key)))]
            ) if own == name:
                found.add(key)
            case ast.AugAssign(target=ast.Name(id=own), value=ast.Dict(keys=keys)) if own == name:
                found |= {str(key.value) for key in keys if isinstance(key, ast.Constant)}
    return found


def texts(source: Source) -> Iterator[tuple[int, str]]:
    """Every text of a file with its line, but for docstrings and the log's; `{}` for what is put into it. Of
    SQL the texts that it puts down."""
    skipped = set(source.docstrings)
    skipped |= {id(node.msg) for node in source.of(ast.Assert) if node.msg is not None}

    def look(node: ast.AST) -> Iterator[tuple[int, str]]:
        below: list[ast.AST] = list(ast.iter_child_nodes(node))
        match node:
            case _ if id(node) in skipped:
                return
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name))) if name in _LOGS:
                return
            case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Add(), right=right):
                yield from ((node.lineno, each) for each in _of_sql(text + "{}"))
                below = [right]
            case ast.Constant(value=str(text)):
                yield from ((node.lineno, each) for each in _of_sql(text))
            case ast.JoinedStr(values=parts):
                inside = [each for each in parts if isinstance(each, ast.FormattedValue)]
                whole = "".join(
                    str(each.value) if isinstance(each, ast.Constant) else "{}" for each in parts
                )
                yield from ((node.lineno, each) for each in _of_sql(whole))
                below = [each.value for each in inside]
        for child in below:
            yield from look(child)

    return look(source.tree)


def _of_sql(text: str) -> list[str]:
    """The text itself; of a statement what stands in it between quotes, `{}` for what is joined into it."""
    if not _SQL.search(text):
        return [text]
    return re.findall(r"'([^']*)'", re.sub(r"' \|\| \S+ \|\| '", "{}", text))


def sentences(source: Source) -> Iterator[tuple[int, str]]:
    """The texts of a file that are of more than one word."""
    for line, text in texts(source):
        if " " in shape(text).strip() and re.search("[a-z]{2}", PLACE.sub("", text)):
            yield line, text


def shape(sentence: str) -> str:
    """A sentence by its words alone: whatever its places are called, behind another one or an article."""
    return PLACE.sub("{}", sentence).removeprefix("; ").removeprefix("a ")
