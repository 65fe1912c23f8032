"""Binding and unbinding: account number, code to the REGISTERED phone, six digits, done.

Limits on tries are the backend's. This module keeps the answers alike: whether an account exists
cannot be read from a refusal.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from .answers import human_answer
from .effects import (
    BindingDone,
    BindingRefused,
    BindingStarted,
    ConfirmBinding,
    Refusal,
    StartBinding,
    Turn,
)
from .intents import Bind, Code, Help, Human, Intent, Number, Unknown, Welcome, account_number
from .state import MAX_MISSES, Pending, State, Topic
from .texts import say
from .view import View
from .wording import ADDRESS_CHARS, data_time, mask_phones, short

_MIN_NUMBER = 4

# Only what the customer did, or the service suffered, is told apart; the rest reads the same.
_REFUSED = {
    Refusal.TOO_MANY: "bind.too_many",
    Refusal.TOO_MANY_ACCOUNTS: "bind.too_many_accounts",
    Refusal.WRONG_CODE: "bind.wrong_code",
    Refusal.EXPIRED: "bind.expired",
    Refusal.UNAVAILABLE: "bind.failed",
}


def enrolment_turn(*, state: State, intent: Intent, view: View, now: datetime) -> Turn | None:
    """The turn of a customer who binds, bound or not; None when the words are about something else."""
    question = state.open_question(now)
    topic = question.topic if question else None
    if isinstance(intent, Bind) and intent.account_no is None:
        return Turn((_ask_number(view),), state.asking(Pending(Topic.BIND_NUMBER), now))
    if isinstance(intent, Code) and question is not None and topic is Topic.BIND_CODE:
        effect = ConfirmBinding(question.challenge_id or "", intent.digits)
        return Turn((), state.understood(), effect)
    if isinstance(intent, Code) and state.pending and state.pending.topic is Topic.BIND_CODE:
        return Turn((say("bind.expired"),), state.asking(None, now))
    number = _number_said(intent, expected=topic is Topic.BIND_NUMBER or not view.accounts)
    if number is not None:
        if any(number == account.account_no.upper() for account in view.accounts):
            return Turn((say("bind.already"),), state.asking(None, now))
        return Turn((), state.asking(None, now), StartBinding(number))
    return None


def unbound_turn(*, state: State, intent: Intent, view: View, now: datetime) -> Turn:
    """Whatever an unbound customer says leads to binding first; a person is never hidden."""
    question = state.open_question(now)
    waits_for_code = question is not None and question.topic is Topic.BIND_CODE
    lines = [say("bind.code_please") if waits_for_code else say("bind.first")]
    after = state.understood()
    if not waits_for_code:
        after = state.asking(Pending(Topic.BIND_NUMBER), now)
        if view.closed:
            gone = view.closed[0]
            lines.insert(0, say("closed.told", no=gone.account_no, time=data_time(gone.at, now)))
    if isinstance(intent, Welcome | Help):
        lines.insert(0, say("help.welcome"))
    if isinstance(intent, Unknown):
        after = replace(after, misses=state.missed().misses)
    if isinstance(intent, Human) or after.misses >= MAX_MISSES:
        lines.insert(0, human_answer(view=view))
    return Turn(("\n".join(lines),), after)


def enrolment_answer(
    *, state: State, outcome: BindingStarted | BindingDone | BindingRefused, now: datetime
) -> Turn:
    """What the customer reads of a binding step."""
    if isinstance(outcome, BindingStarted):
        lines = [say("bind.sent", phone=mask_phones(outcome.masked_phone))]
        if address := short(outcome.masked_address, limit=ADDRESS_CHARS):
            lines.append(say("bind.address", address=address))
        waiting = Pending(Topic.BIND_CODE, challenge_id=outcome.challenge_id)
        return Turn(("\n".join(lines),), state.asking(waiting, now))
    if isinstance(outcome, BindingDone):
        lines = [say("bind.done", label=short(outcome.label)), say("bind.done_next")]
        return Turn(("\n".join(lines),), state.asking(None, now))
    # A wrong code may be typed again: the question stays open until its own end.
    keeps = outcome.reason in (Refusal.WRONG_CODE, Refusal.UNAVAILABLE)
    after = state.understood() if keeps else state.asking(None, now)
    if outcome.reason in _REFUSED:
        return Turn((say(_REFUSED[outcome.reason]),), after)
    return Turn((say("bind.refused"),), after)


def _ask_number(view: View) -> str:
    return say("bind.more") if view.accounts else say("bind.first")


def _number_said(intent: Intent, *, expected: bool) -> str | None:
    """The account number in the words; bare digits and codes count only where one is expected."""
    if isinstance(intent, Bind):
        return intent.account_no
    if not expected:
        return None
    if isinstance(intent, Code | Number):
        return intent.digits if len(intent.digits) >= _MIN_NUMBER else None
    return account_number(intent.text) if isinstance(intent, Unknown) else None
