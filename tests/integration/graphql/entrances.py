"""Fields that are no doors: no id is asked for, or that of what they stand on, or it is tried elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from .door import PROBLEM, Variables
from .things import Things


@dataclass(frozen=True)
class Entrance:
    """A field and a document that asks for it; `kind` is the attribute of Things that is its `$id`.

    `answered`: the code that who may ask gets, empty where there is something to see. A write asks for what
    no rule allows, so that nothing is written. `group_wide`: the right to it is the whole group's.
    """

    field: str
    document: str
    kind: str = ""
    answered: str = ""
    group_wide: bool = False

    def variables(self, mine: Things) -> Variables:
        """The id, where one is asked for."""
        return {"id": getattr(mine, self.kind)} if self.kind else {}


def _of_group(field: str, call: str, answered: str = "") -> Entrance:
    write = field.startswith("Mutation.")
    document = f"mutation {{ answer: {call} {{ {PROBLEM} }} }}" if write else f"{{ {call} }}"
    return Entrance(field, document, answered=answered, group_wide=True)


def _merchant(field: str, arguments: str, answered: str) -> Entrance:
    call = f"{field.partition('.')[2]}(project: $id, {arguments})"
    document = f"mutation($id: ID!) {{ answer: {call} {{ {PROBLEM} }} }}"
    return Entrance(field, document, "Project", answered)


def _beneath(field: str, kind: str, asked: str) -> Entrance:
    """A field of an object."""
    query = "query($id: ID!) { node(id: $id) { ... on"
    return Entrance(field, f"{query} {field.partition('.')[0]} {{ {asked} }} }} }}", kind)


ENTRANCES = (
    _of_group("Query.audit", "audit { edges { node { action } } }"),
    _of_group("Query.messageTemplates", "messageTemplates { event }"),
    _of_group("Query.messageTerms", "messageTerms { numberDay }"),
    _of_group(
        "Mutation.addProject",
        'addProject(code: "no", name: "New", kind: "CASTLE")',
        "INVALID_INPUT",
    ),
    _of_group(
        "Mutation.addOperator",
        'addOperator(login: "zhou", name: "Zhou", password: "short")',
        "INVALID_INPUT",
    ),
    _of_group(
        "Mutation.saveMessageTemplate",
        'saveMessageTemplate(event: "none", channel: SMS, templateId: "1", fields: [])',
        "INVALID_INPUT",
    ),
    _of_group(
        "Mutation.removeMessageTemplate",
        'removeMessageTemplate(event: "none", channel: SMS)',
        "NOT_FOUND",
    ),
    _of_group(
        "Mutation.setMessageTerms",
        'setMessageTerms(quietFrom: "25:00", quietUntil: "8:00", numberHour: 1, numberDay: 1,'
        " eventDay: 1, groupDay: 1)",
        "INVALID_INPUT",
    ),
    _of_group(
        "Mutation.setSmsAccount",
        'setSmsAccount(accessKeyId: "", accessKeySecret: "", signName: "", bindTemplate: "")',
        "INVALID_INPUT",
    ),
    _of_group(
        "Mutation.setWechatAccount",
        'setWechatAccount(appId: "wx", secret: "s", token: "t", aesKey: "short")',
        "INVALID_INPUT",
    ),
    _merchant(
        "Mutation.setWechatPay",
        'mchid: "1", appid: "wx", certSerialNo: "1", privateKey: "none", apiv3Key: "short"',
        "UNAVAILABLE",
    ),
    _merchant(
        "Mutation.setAlipay",
        'sellerId: "2088", appId: "2021", privateKey: "none"',
        "UNAVAILABLE",
    ),
    _merchant(
        "Mutation.setUnionpay",
        'merId: "1", pfx: "none", password: "none", rootCertificate: "", middleCertificate: ""',
        "INVALID_INPUT",
    ),
    _merchant(
        "Mutation.setChinapay",
        'merId: "1", privateKey: "none", publicKey: "none"',
        "UNAVAILABLE",
    ),
    _beneath("Account.figures", "ChargedAccount", "figures { available }"),
    _beneath("Account.forecast", "ChargedAccount", "forecast { daysLeft }"),
    _beneath("Account.topUps", "Account", "topUps { edges { node { id } } }"),
    _beneath("Account.meters", "Account", "meters { id }"),
    _beneath("Account.ledger", "Account", "ledger { purse }"),
    _beneath("Project.accounts", "Project", "accounts { edges { node { id } } }"),
    _beneath("Project.areas", "Project", "areas { id }"),
    _beneath("Project.gateways", "Project", "gateways { id }"),
    _beneath("Meter.serves", "Meter", "serves { no }"),
    _beneath("Meter.balance", "HeldMeter", "balance"),
)
