"""The doors of messages: what an account was told or would get, a project's webhook, an Alipay user."""

from __future__ import annotations

from .door import Door, mutation

MESSAGE_DOORS = (
    Door(
        "Query.messages",
        "account",
        "Account",
        "query($id: ID!) { answer: messages(account: $id) { edges { node { event text } } } }",
    ),
    Door(
        "Query.messagePreview",
        "account",
        "Account",
        'query($id: ID!) { answer: messagePreview(account: $id, event: "low_1") { heldUntil } }',
    ),
    Door(
        "Query.webhook",
        "project",
        "Project",
        "query($id: ID!) { answer: webhook(project: $id) { url lastError } }",
    ),
    Door(
        "Mutation.setWebhook",
        "project",
        "Project",
        mutation(
            "$id: ID!",
            'setWebhook(project: $id, url: "https://a.example/n", secret: "0123456789abcdef")',
        ),
        write=True,
    ),
    Door(
        "Mutation.removeWebhook",
        "project",
        "Project",
        mutation("$id: ID!", "removeWebhook(project: $id)"),
        write=True,
    ),
    Door(
        "Mutation.bindAlipayUser",
        "account",
        "Account",
        mutation(
            "$id: ID!",
            'bindAlipayUser(account: $id, appId: "2021000000000001", userId: "2088000000000007")',
        ),
        write=True,
    ),
)
