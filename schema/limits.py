"""What a document may cost, told before it runs; and a cache, because parsing twice is waste.

Strawberry's own depth and alias limiters follow every use of a fragment anew, so forty fragments
that each use the next one twice keep them busy for ever (2**40 steps). Here a fragment is measured
once, and what it costs is multiplied by its uses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from graphql import (
    ASTValidationRule,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    NoSchemaIntrospectionCustomRule,
    SelectionSetNode,
    ValidationContext,
    parse,
    specified_rules,
)
from graphql.language import OperationDefinitionNode
from strawberry.extensions import SchemaExtension
from strawberry.schema.schema import validate_document

from .context import Context

MAX_DEPTH = 10
MAX_ALIASES = 15
MAX_TOKENS = 1_000
MAX_DIRECTIVES = 5
MAX_FIELDS = 600
MAX_NESTING = 40
MAX_TEXT = 20_000
_STRINGS = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_BRACKETS = re.compile(r"[{}\[\]()]")

Rules = tuple[type[ASTValidationRule], ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """Levels of fields, aliases and fields with every fragment spread; directives as written."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    directives: int = 0


class _Meter:
    """Measures a document's definitions, each fragment once."""

    def __init__(self, document: DocumentNode) -> None:
        self._fragments = {
            d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)
        }
        self._measured: dict[str, Cost] = {}
        self._document = document

    def total(self) -> Cost:
        """The document: the deepest operation, and the sum of all else."""
        costs = [
            self._of_set(definition.selection_set)
            for definition in self._document.definitions
            if isinstance(definition, OperationDefinitionNode)
        ]
        return Cost(
            depth=max((cost.depth for cost in costs), default=0),
            aliases=sum(cost.aliases for cost in costs),
            fields=sum(cost.fields for cost in costs),
            directives=_directives(self._document),
        )

    def _of_set(self, chosen: SelectionSetNode | None) -> Cost:
        parts = [self._of_selection(node) for node in chosen.selections] if chosen else []
        return Cost(
            depth=max((part.depth for part in parts), default=0),
            aliases=sum(part.aliases for part in parts),
            fields=sum(part.fields for part in parts),
        )

    def _of_selection(self, node: object) -> Cost:
        if isinstance(node, FieldNode):
            below = self._of_set(node.selection_set)
            # Introspection is held by graphql-core's own rule; its depth is not ours.
            depth = 0 if node.name.value.startswith("__") else below.depth + 1
            return Cost(depth, below.aliases + (node.alias is not None), below.fields + 1)
        if isinstance(node, FragmentSpreadNode):
            return self._of_fragment(node.name.value)
        return self._of_set(getattr(node, "selection_set", None))

    def _of_fragment(self, name: str) -> Cost:
        if name not in self._measured:
            self._measured[name] = Cost()  # a cycle costs nothing here; another rule refuses it
            fragment = self._fragments.get(name)
            self._measured[name] = self._of_set(fragment.selection_set if fragment else None)
        return self._measured[name]


def _directives(document: DocumentNode) -> int:
    count, waiting = 0, list[object](document.definitions)
    while waiting:
        node = waiting.pop()
        count += len(getattr(node, "directives", None) or ())
        waiting.extend(getattr(node, "variable_definitions", None) or ())
        chosen = getattr(node, "selection_set", None)
        waiting.extend(chosen.selections if chosen else ())
    return count


def cost_of(document: DocumentNode) -> Cost:
    """What the document costs: the deepest operation, and the sum of all else."""
    return _Meter(document).total()


class CostRule(ASTValidationRule):
    """Refuses a document that is deeper or wider than any page of ours needs."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        cost = cost_of(context.document)
        for name, value, most in (
            ("levels", cost.depth, MAX_DEPTH),
            ("aliases", cost.aliases, MAX_ALIASES),
            ("fields", cost.fields, MAX_FIELDS),
            ("directives", cost.directives, MAX_DIRECTIVES),
        ):
            if value > most:
                self.report_error(GraphQLError(f"the document has more than {most} {name}"))


# The cost comes first and alone: the other rules are not asked to walk what is too big.
_COST: Rules = (CostRule,)
_OPEN: Rules = tuple(specified_rules)
_CLOSED: Rules = (*specified_rules, NoSchemaIntrospectionCustomRule)


@lru_cache(maxsize=256)
def _prepared(
    schema: GraphQLSchema, text: str, rules: Rules
) -> tuple[DocumentNode | None, list[GraphQLError]]:
    if len(text) > MAX_TEXT:
        return None, [GraphQLError(f"the document is longer than {MAX_TEXT} characters")]
    nested = deepest = 0
    for bracket in _BRACKETS.finditer(_STRINGS.sub("", text)):
        nested += 1 if bracket[0] in "{[(" else -1
        deepest = max(deepest, nested)
    if deepest > MAX_NESTING:
        return None, [GraphQLError(f"the document nests deeper than {MAX_NESTING}")]
    try:
        document = parse(text, max_tokens=MAX_TOKENS)
    except GraphQLSyntaxError as error:
        return None, [error]
    errors = validate_document(schema, document, _COST)
    return document, errors or validate_document(schema, document, rules)


class Documents(SchemaExtension):
    """Parse and validate once per text; introspection only for operators or outside production."""

    def on_operation(self) -> Iterator[None]:
        """A document that is refused unparsed never reaches graphql-core's parser."""
        ask = self.execution_context
        context: Context = ask.context
        closed = context.production and context.scope is None
        self._document, self._errors = _prepared(
            ask.schema._schema, ask.query or "", _CLOSED if closed else _OPEN
        )
        if self._document is None and ask.query:
            ask.graphql_document = _NOTHING
        else:
            ask.graphql_document = self._document
        yield

    def on_validate(self) -> Iterator[None]:
        """The errors found when the text was first seen."""
        self.execution_context.pre_execution_errors = list(self._errors)
        yield


_NOTHING = parse("{ __typename }")
