"""A group sets up its own official account and SMS account by GraphQL, and they work at once."""

from __future__ import annotations

import base64
import secrets

from .town import Town

LOGIN = "mutation($l: String!, $p: String!) { login(login: $l, password: $p) { ... on SignedIn { token } } }"
WECHAT = (
    "mutation($a: String!, $s: String!, $t: String!, $k: String!) {"
    " setWechatAccount(appId: $a, secret: $s, token: $t, aesKey: $k) { __typename"
    " ... on WechatAccountSet { callbackUrl } ... on InvalidInputProblem { field message } } }"
)
SMS = (
    "mutation($a: String!, $s: String!, $n: String!, $t: String!) {"
    " setSmsAccount(accessKeyId: $a, accessKeySecret: $s, signName: $n, bindTemplate: $t) {"
    " __typename ... on Problem { message } } }"
)


async def test_a_new_official_account_answers_at_the_address_it_was_given(town: Town) -> None:
    login = f"admin@{town.ours.code}"
    signed = await town.graphql(LOGIN, l=login, p=town.secrets.passwords[login])
    token = str(signed["login"]["token"])
    app = {
        "a": "wxnewaccount" + secrets.token_hex(4),
        "s": secrets.token_hex(16),
        "t": secrets.token_hex(8),
        "k": base64.b64encode(secrets.token_bytes(32)).decode().rstrip("="),
    }
    wrong = await town.graphql(WECHAT, token, **(app | {"k": "short"}))
    assert wrong["setWechatAccount"]["field"] == "aesKey"
    assert "short" not in wrong["setWechatAccount"]["message"]

    done = await town.graphql(WECHAT, token, **app)
    url = done["setWechatAccount"]["callbackUrl"]
    registered = {"appid": app["a"], "secret": app["s"], "token": app["t"], "aes_key": app["k"]}
    await town.control("/wechat/control/apps", registered | {"callback_url": url})
    assert (await town.control("/wechat/control/verify", {"appid": app["a"]}))["ok"] is True
    said = {"appid": app["a"], "openid": "oNewFollower", "text": "余额"}
    assert "绑定" in (await town.control("/wechat/control/say", said))["reply"]

    kept = await town.value(
        "SELECT sealed FROM tenancy_credential WHERE key = $1 AND kind = 'WECHAT_OFFICIAL'",
        app["a"],
    )
    assert app["s"].encode() not in bytes(kept)


async def test_an_auditor_may_not_set_accounts_and_another_group_sees_none(town: Town) -> None:
    login = f"street@{town.ours.code}"  # a manager of one project
    signed = await town.graphql(LOGIN, l=login, p=town.secrets.passwords[login])
    refused = await town.graphql(
        SMS, str(signed["login"]["token"]), a="key", s="secret", n="sign", t="SMS_1"
    )
    assert refused["setSmsAccount"]["__typename"] == "ForbiddenProblem"
    count = "SELECT count(*) FROM tenancy_credential WHERE key = 'key'"
    assert await town.value(count) == await town.value(count, group=town.theirs) == 0
