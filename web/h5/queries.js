// The three documents of the pay page, word for word those of schema/operations (the allow-list),
// and the one way to the backend.
export const PAY_LINK = `query PayLink($token: String!) {
  payLink(token: $token) {
    accountName
    place
    amount
    chips
    min
    max
    ways {
      channel
      method
    }
    meters {
      id
      name
      kind
      state {
        color
        glyph
        word
      }
    }
  }
}`;

export const START_TOP_UP = `mutation StartTopUpByLink(
  $token: String!
  $amount: Money!
  $channel: Channel!
  $method: PayMethod!
  $meter: ID
  $idempotencyKey: String!
) {
  startTopUpByLink(
    token: $token
    amount: $amount
    channel: $channel
    method: $method
    meter: $meter
    idempotencyKey: $idempotencyKey
  ) {
    __typename
    ... on TopUpStarted {
      topUp {
        id
        amount
        money
        meterCredit
        power
      }
      page {
        key
        value
      }
    }
    ... on Problem {
      message
    }
  }
}`;

export const TOP_UP = `query TopUpByLink($token: String!, $id: ID!) {
  topUpByLink(token: $token, id: $id) {
    id
    amount
    channel
    money
    meterCredit
    power
    purchaseNo
    creditedAt
    waitingFor
  }
}`;

/** The backend could not be asked: no network, no answer in time, or a fault on its side. */
export class Unreachable extends Error {}

const ANSWER_MS = 12000;

function isNothingThere(error) {
  return Boolean(error.extensions) && error.extensions.code === "NOT_FOUND";
}

/** Send one document; gives `data`, empty where there is nothing (any more). Throws Unreachable. */
export async function ask(query, operationName, variables) {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), ANSWER_MS);
  try {
    const answer = await fetch("/graphql", {
      method: "POST",
      credentials: "same-origin",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify({ query, operationName, variables }),
      signal: patience.signal,
    });
    const body = await answer.json();
    const errors = body.errors || (body.data ? [] : [{}]);
    if (!errors.every(isNothingThere)) throw new Unreachable("refused: " + answer.status);
    return body.data || {};
  } catch (error) {
    if (error instanceof Unreachable) throw error;
    throw new Unreachable(String(error));
  } finally {
    clearTimeout(timer);
  }
}
