// Answers on their way to the server. They are in localStorage until the server has said what became of them, so that
// neither a lost connection nor a closed tab loses one; an idempotency key keeps a repeated one from counting twice.

import { ApiError, NoConnection, call, randomKey } from "./api.js";

const LONGEST_WAIT = 30_000;

// Two tabs share the answers; one sends at a time where the browser can see to it (elsewhere the keys do).
function alone(work) {
  return navigator.locks ? navigator.locks.request("gauntlet.outbox", work) : work();
}

export class Outbox {
  // onChange(waiting, trouble): trouble is "", "offline" or "signed-out". onOutcome(answer, outcome).
  constructor(user, { onChange, onOutcome }) {
    this.place = `gauntlet.outbox.${user}`;
    this.onChange = onChange;
    this.onOutcome = onOutcome;
    this.wait = 1000;
    this.sending = false;
    addEventListener("online", () => this.now());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.now());
  }

  get waiting() {
    try {
      return JSON.parse(localStorage.getItem(this.place)) ?? [];
    } catch {
      return [];
    }
  }

  set waiting(answers) {
    localStorage.setItem(this.place, JSON.stringify(answers));
  }

  // label: the body of `POST /labels`. Another answer to the same task takes the place of one that was not yet sent.
  add(label, { change }) {
    const unsent = this.waiting.find((one) => one.label.task === label.task && one.key !== this.inFlight);
    const kept = this.waiting.filter((one) => one.key !== unsent?.key);
    this.waiting = [...kept, { key: randomKey(), label, change: unsent ? unsent.change : change }];
    this.now();
  }

  now() {
    clearTimeout(this.timer);
    this.send();
  }

  send() {
    if (this.sending) return;
    this.sending = true;
    alone(() => this.sendAll());
  }

  async sendAll() {
    try {
      for (let [first] = this.waiting; first; [first] = this.waiting) {
        if (!(await this.sendOne(first))) break;
      }
    } finally {
      this.sending = false;
    }
  }

  // Whether to go on with the next.
  async sendOne(answer) {
    this.inFlight = answer.key;
    try {
      const told = await call("POST", "labels", answer.label, { "Idempotency-Key": answer.key });
      this.done(answer, told);
    } catch (error) {
      if (error instanceof NoConnection || (error instanceof ApiError && (error.passing || error.signedOut))) {
        this.later(error);
        return false;
      }
      this.done(answer, { outcome: error.code || "refused", detail: error.message });
    } finally {
      this.inFlight = null;
    }
    return true;
  }

  done(answer, outcome) {
    this.waiting = this.waiting.filter((one) => one.key !== answer.key);
    this.wait = 1000;
    this.onChange(this.waiting.length, "");
    this.onOutcome(answer, outcome);
  }

  later(error) {
    this.onChange(this.waiting.length, error.signedOut ? "signed-out" : "offline");
    this.timer = setTimeout(() => this.send(), Math.max(this.wait, (error.retryAfter ?? 0) * 1000));
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
  }
}
