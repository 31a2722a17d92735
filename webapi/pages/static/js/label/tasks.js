// Tasks held for this page: two ahead, so that the next is there before the reader looks up; given back on leaving.

import { ApiError, NoConnection, call, callOnLeaving, randomKey } from "./api.js";

const AHEAD = 2;
const RENEW_SHARE = 0.3;

export class Tasks {
  constructor({ policy, kind, leaseSeconds }) {
    this.policy = policy;
    this.kind = kind;
    this.ready = [];
    this.current = null;
    this.leaving = false;
    this.resumed = false;
    setInterval(() => this.renew(), leaseSeconds * RENEW_SHARE * 1000);
    addEventListener("pagehide", () => this.leave());
  }

  // The next task, or null if there is none now. Throws NoConnection or ApiError when none is at hand and none can be had.
  async next() {
    this.current = null;
    if (this.ready.length === 0) await this.fill();
    this.current = this.ready.shift() ?? null;
    if (this.current && this.ready.length < AHEAD) this.fill().catch(() => {});
    return this.current;
  }

  // One request at a time; who asks meanwhile waits for the same answer.
  fill() {
    this.filling ??= this.lease().finally(() => {
      this.filling = null;
    });
    return this.filling;
  }

  async lease() {
    const had = this.resumed ? [] : await this.resume();
    const count = AHEAD + (this.current ? 0 : 1) - this.ready.length - had.length;
    const tasks = count > 0 && !this.leaving ? await this.take(count) : [];
    if (this.leaving) this.giveBack([...had, ...tasks]);
    else this.ready.push(...had, ...tasks);
  }

  async take(count) {
    this.taking = randomKey();
    try {
      const wanted = { count, policy: this.policy, kind: this.kind };
      return (await call("POST", "tasks/lease", wanted, { "Idempotency-Key": this.taking })).tasks;
    } finally {
      this.taking = null;
    }
  }

  // What this reader held already: a reload may overtake the giving back, a crash gives nothing back.
  async resume() {
    const { results } = await call("GET", "tasks");
    this.resumed = true;
    return results.filter((task) => task.policy.id === this.policy && task.kind === this.kind).slice(0, AHEAD + 1);
  }

  // Goes back to a task that was answered; the one on show waits as the next.
  putBack(task) {
    if (this.current) this.ready.unshift(this.current);
    this.current = task;
  }

  async skip() {
    const skipped = this.current;
    this.current = null;
    await call("POST", "tasks/release", { leases: [skipped.lease.token] }).catch((error) => {
      if (!(error instanceof NoConnection || error instanceof ApiError)) throw error;
    });
  }

  held() {
    return [this.current, ...this.ready].filter((task) => task && !task.answered);
  }

  async renew() {
    const tokens = this.held().map((task) => task.lease.token);
    if (tokens.length === 0) return;
    try {
      const { results } = await call("POST", "tasks/renew", { leases: tokens });
      const lost = new Set(results.filter((one) => one.outcome === "not_held").map((one) => one.token));
      this.ready = this.ready.filter((task) => !lost.has(task.lease.token));
    } catch (error) {
      if (!(error instanceof NoConnection || error instanceof ApiError)) throw error;
    }
  }

  leave() {
    this.leaving = true;
    this.giveBack(this.held(), this.taking);
    this.ready = [];
  }

  // A lease whose answer is on its way has no token here yet: the key of its request stands for it.
  giveBack(tasks, request) {
    const leases = tasks.map((task) => task.lease.token);
    if (leases.length || request) callOnLeaving("POST", "tasks/release", { leases, ...(request && { request }) });
  }
}
