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
    methods
  }
}`;

/** The backend could not be asked: no network, no answer in time, or a fault on its side. */
export class Unreachable extends Error {}

const ANSWER_MS = 12000;

/** Send one document; gives `data`. Throws Unreachable. */
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
    if (!body.data) throw new Unreachable("refused: " + answer.status);
    return body.data;
  } catch (error) {
    if (error instanceof Unreachable) throw error;
    throw new Unreachable(String(error));
  } finally {
    clearTimeout(timer);
  }
}
