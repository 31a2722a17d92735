// Calls of the REST API in this session. A refusal is an ApiError with the problem's code; no answer is a NoConnection.

export class NoConnection extends Error {}

export class ApiError extends Error {
  constructor(status, problem, retryAfter) {
    super(problem?.detail || `The server answered ${status}.`);
    this.status = status;
    this.code = problem?.code || "";
    this.retryAfter = retryAfter;
  }

  // Whether the same request may be taken later: overload, a fault, or the same request still being answered.
  get passing() {
    return this.status >= 500 || this.status === 429 || this.status === 408 || this.code === "conflict";
  }

  get signedOut() {
    return this.status === 401 || this.code === "csrf_failed" || this.code === "not_authenticated";
  }
}

function csrfToken() {
  return document.cookie.split("; ").find((part) => part.startsWith("csrftoken="))?.slice("csrftoken=".length) ?? "";
}

// For `Idempotency-Key`. crypto.randomUUID is not there on plain http.
export function randomKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function request(method, path, body, headers = {}) {
  const options = { method, credentials: "same-origin", headers: { Accept: "application/json", ...headers } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    Object.assign(options.headers, { "Content-Type": "application/json", "X-CSRFToken": csrfToken() });
  }
  return [`/api/v1/${path}`, options];
}

export async function call(method, path, body, headers) {
  let response;
  try {
    response = await fetch(...request(method, path, body, headers));
  } catch {
    throw new NoConnection();
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new ApiError(response.status, answer, Number(response.headers.get("Retry-After")) || 0);
  return answer;
}

// For the moment the page goes away: sent by the browser even after it.
export function callOnLeaving(method, path, body) {
  const [url, options] = request(method, path, body);
  fetch(url, { ...options, keepalive: true }).catch(() => {});
}
