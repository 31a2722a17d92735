// Tasks held for this page: a few ahead, so that the next is there before the reader looks up; given back on leaving.

import { ApiError, NoConnection, call, callOnLeaving } from "./api.js";

const AHEAD = 3;
const RENEW_SHARE = 0.3;

export class Tasks {
  constructor({ policy, leaseSeconds }) {
    this.policy = policy;
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
    if (this.ready.length < AHEAD - 1) this.fill().catch(() => {});
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
    const count = AHEAD - this.ready.length - had.length;
    const { tasks } = count > 0 ? await call("POST", "tasks/lease", { count, policy: this.policy }) : { tasks: [] };
    if (this.leaving) this.giveBack([...had, ...tasks]);
    else this.ready.push(...had, ...tasks);
  }

  // What this reader held already: a reload may overtake the giving back, a crash gives nothing back.
  async resume() {
    const { results } = await call("GET", "tasks");
    this.resumed = true;
    return results.filter((task) => task.policy.id === this.policy).slice(0, AHEAD);
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
    this.giveBack(this.held());
    this.ready = [];
  }

  giveBack(tasks) {
    if (tasks.length) callOnLeaving("POST", "tasks/release", { leases: tasks.map((task) => task.lease.token) });
  }
}
