"""Templates of messages: what each channel takes in a field, and whether an event's values fit it. Pure.

Field types of WeChat: reference/channels.md section 1.6 [doc]; their forms of a time as the provider's
console shows them (`15:01`, `2026年11月28日 15:01`) [own]. SMS variables: section 5 [doc] (no address in a
variable); their 35 characters are the console's limit [own, not in the reference]. Alipay: section 3.3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Formatter

from backend.kernel.errors import InvalidInput

from .ports import MessageChannel
from .texts import sentences

SMS_LONGEST = 35
# Cut what may be cut: names of places are as long as they are.
_CUT = {"thing": 20, "phrase": 5, "name": 10}
_CLOCK = r"([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d)?"
_DAY = r"\d{4}年\d{1,2}月\d{1,2}日"
_FORMS = {
    "character_string": re.compile(r"[\x21-\x7e]{1,32}"),
    "amount": re.compile(r"[¥￥]?-?\d{1,10}(\.\d{1,4})?元?"),
    "number": re.compile(r"-?\d{1,24}(\.\d{1,8})?"),
    "phone_number": re.compile(r"[\d+\- ]{1,17}"),
    "phrase": re.compile(r"[\u4e00-\u9fff]+"),
    "time": re.compile(rf"({_DAY} )?{_CLOCK}"),
    "date": re.compile(rf"{_DAY}( {_CLOCK})?"),
}
_FREE = frozenset({"thing", "name", "const", "letter", "symbol", "car_number"})
_WECHAT_FIELD = re.compile(r"([a-z_]+?)(\d{1,2})")
_NAMES = {
    MessageChannel.WECHAT: _WECHAT_FIELD,
    MessageChannel.ALIPAY: re.compile(r"first|remark|keyword([1-9]|10)"),
    MessageChannel.SMS: re.compile(r"[A-Za-z][A-Za-z0-9_]{0,19}"),
}
# The provider's own answer to an address in a variable is isv.PARAM_NOT_SUPPORT_URL.
_ADDRESS = re.compile(r"(?i)https?://|www\.|\b[a-z0-9-]+\.(com|cn|net|org|top|xyz|io)\b")
# What each value of a sentence looks like; `when` goes with every event.
SAMPLES = {
    "account": "1号楼101室",
    "amount": "23.60",
    "remaining": "73.60",
    "time": "11-28 21:00",
    "when": "2026年11月28日 21:00",
    "days": "3",
    "no": "100001",
    "code": "482913",
    "meter": "202611280001",
    "reason": "余额不足",
    "back": "充值到账后自动恢复",
    "why": "余额不足",
}


class Unfit(InvalidInput):
    """A value does not fit the field of a template: the provider would refuse the message."""


@dataclass(frozen=True, slots=True)
class MessageTemplate:
    """A template as a provider approved it. `fields`: its own names (`thing1`, `keyword2`, `amount`), each
    with the value of our sentence that goes there; `sign_name` is SMS's; `url` opens elsewhere."""

    template_id: str
    fields: Mapping[str, str] = field(default_factory=dict)
    sign_name: str = ""
    url: str = ""


def params_of(event: str) -> frozenset[str]:
    """The values that the event's sentence has. Raises InvalidInput for no such event."""
    text = sentences().get(event)
    if text is None:
        raise InvalidInput("no such event", field="event")
    return frozenset(name for _, name, _, _ in Formatter().parse(text) if name) | {"when"}


def samples_of(event: str) -> dict[str, str]:
    """An example of each value of an event. Raises InvalidInput."""
    return {name: SAMPLES[name] for name in sorted(params_of(event))}


def check_template(*, channel: MessageChannel, event: str, template: MessageTemplate) -> None:
    """Raises InvalidInput that names what is wrong: an unknown event, field or value, a value that does not
    fit its field, an address that is no https."""
    known = params_of(event)
    if not re.fullmatch(r"[A-Za-z0-9_\-]{1,64}", template.template_id):
        raise InvalidInput("a template's id is letters, digits, _ and -", field="templateId")
    if (channel is MessageChannel.SMS) != bool(template.sign_name.strip()):
        raise InvalidInput("a signature name belongs to SMS, and only there", field="signName")
    if len(template.sign_name) > 32:
        raise InvalidInput("a signature name has at most 32 characters", field="signName")
    if template.url and (channel is MessageChannel.SMS or not _is_https(template.url)):
        raise InvalidInput("a template opens an https address, and not from SMS", field="url")
    if channel is not MessageChannel.SMS and not template.fields:
        raise InvalidInput("say what goes into the template's fields", field="fields")
    for name, param in template.fields.items():
        if _NAMES[channel].fullmatch(name) is None:
            raise InvalidInput(f"{channel} has no field {name}", field="fields")
        if param not in known:
            raise InvalidInput(
                f"{event} has no value {param}; it has {', '.join(sorted(known))}", field="fields"
            )
    filled(channel=channel, template=template, params=samples_of(event))


def filled(
    *, channel: MessageChannel, template: MessageTemplate, params: Mapping[str, str]
) -> dict[str, str]:
    """The template's fields with their values, cut where that is allowed. Raises Unfit."""
    return {
        name: fit(channel=channel, name=name, value=params.get(param, ""))
        for name, param in template.fields.items()
    }


def fit(*, channel: MessageChannel, name: str, value: str) -> str:
    """`value` in the form that the field `name` demands. Raises Unfit."""
    if not value:
        raise Unfit(f"the template field {name} has no value", field="fields")
    if channel is MessageChannel.SMS:
        if _ADDRESS.search(value):
            raise Unfit(f"an SMS variable may hold no address ({name})", field="fields")
        return value if len(value) <= SMS_LONGEST else value[: SMS_LONGEST - 1] + "…"
    if channel is MessageChannel.ALIPAY:
        return value
    match = _WECHAT_FIELD.fullmatch(name)
    kind = match.group(1) if match else ""
    if kind not in _FORMS and kind not in _FREE:
        raise Unfit(f"WeChat has no type of field {kind or name}", field="fields")
    form = _FORMS.get(kind)
    if form is not None and form.fullmatch(value) is None:
        raise Unfit(f"the template field {name} cannot hold {_shown(value)}", field="fields")
    limit = _CUT.get(kind)
    if limit is not None and len(value) > limit:
        return value[: limit - 1] + "…" if kind == "thing" else value[:limit]
    return value


def _shown(value: str) -> str:
    return f"a value like {value[:20]}"


def _is_https(url: str) -> bool:
    return re.fullmatch(r"https://[A-Za-z0-9.-]+(:\d{1,5})?(/\S*)?", url) is not None
