// The one way to the backend. The session is in a cookie that this page cannot read; the documents are files of
// the backend (schema/operations/console), fetched once each.

/** Why something was not done: `code` as in the schema, or NETWORK. */
export class Problem extends Error {
  constructor(code, message, more = {}) {
    super(message);
    this.code = code;
    this.retryAfterS = more.retryAfterS;
  }
}

const ANSWER_MS = 20000;
const documents = new Map();
let ahead = 0; // how far the backend's clock is ahead of ours, ms
let sessionEnded = () => {};

/** Call this when the backend does not know the session any more. */
export function whenSessionEnds(act) {
  sessionEnded = act;
}

/** The session is over: whoever noticed says so here. */
export const tellEnded = () => sessionEnded();

/** The backend's clock, ms since 1970: countdowns go by it, not by the tablet's. */
export const now = () => Date.now() + ahead;

/** The text of a document file. Throws Problem. */
export async function documentOf(name) {
  if (!documents.has(name)) {
    documents.set(name, reached(fetch(`/console/documents/${name}.graphql`)).then((answer) => answer.text()));
    documents.get(name).catch(() => documents.delete(name));
  }
  return documents.get(name);
}

/** Ask one operation of a document file; gives its data, of a mutation its answer. Throws Problem. What the
 *  operator may not see is null in it. */
export async function ask(name, operationName, variables) {
  const query = await documentOf(name);
  const response = await reached(
    fetch("/graphql", {
      method: "POST",
      credentials: "same-origin",
      headers: { "Content-Type": "application/json", Accept: "application/json", "X-Shuidian-Console": "1" },
      body: JSON.stringify({ query, operationName, variables }),
      signal: AbortSignal.timeout(ANSWER_MS),
    }),
  );
  const at = Date.parse(response.headers.get("date"));
  if (at) ahead = Math.abs(at - Date.now()) < 2000 ? 0 : at - Date.now();
  const body = await response.json().catch(() => ({ errors: [{ message: "" }] }));
  return dataOf(body, operationName);
}

async function reached(request) {
  let response;
  try {
    response = await request;
  } catch (error) {
    throw new Problem("NETWORK", "");
  }
  if (response.status >= 500 || response.status === 404) throw new Problem("NETWORK", "");
  return response;
}

function dataOf(body, operationName) {
  const hidden = (error) => error.extensions && error.extensions.code === "FORBIDDEN" && body.data;
  const [error] = (body.errors || []).filter((each) => !hidden(each));
  if (error) throw failed((error.extensions || {}).code || "INTERNAL", error.message, {});
  const answer = body.data && body.data.answer;
  if (answer === undefined) return body.data || {};
  if (!answer.__typename.endsWith("Problem")) return answer;
  if (operationName === "SignIn") throw new Problem(answer.code, answer.message, answer);
  throw failed(answer.code, answer.message, answer);
}

function failed(code, message, more) {
  if (code === "UNAUTHENTICATED") sessionEnded();
  return new Problem(code, message, more);
}
