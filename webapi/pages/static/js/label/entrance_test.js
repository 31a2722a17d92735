// The entrance test: a new reader answers some texts whose right answer is known before any other.

import { ApiError, NoConnection, call } from "./api.js";

export class EntranceTest {
  // test: { answered, size } while it runs, else null.
  constructor({ test, policy, contact }) {
    this.policy = policy;
    this.contact = contact;
    this.size = test?.size ?? 0;
    this.done = test?.answered ?? 0;
    this.running = test !== null;
  }

  // Whether all its answers are given and nothing is known yet of how it went.
  get over() {
    return this.running && this.size > 0 && this.done >= this.size;
  }

  get nothing() {
    return `No text for your entrance test is free right now. This page looks again by itself; if it stays so, ask ${this.contact}.`;
  }

  answered() {
    if (this.running) this.done += 1;
  }

  // Where `task` stands in the test; a task gone back to is the one before.
  place(task) {
    if (!this.running) return null;
    return { number: Math.min(task.answered ? this.done : this.done + 1, this.size), size: this.size };
  }

  // How the reader stands: { message, link, goOn }; null while it cannot be told.
  async look() {
    let standing;
    try {
      standing = (await call("GET", "me")).standings.find((one) => one.policy.id === this.policy);
    } catch (error) {
      if (error instanceof NoConnection || error instanceof ApiError) return null;
      throw error;
    }
    const link = standing?.feedback ? "See your answers, with the right ones" : null;
    const why = standing?.reason ? ` ${standing.reason}.` : "";
    if (standing?.state === "qualified" && this.over) {
      this.running = false;
      return { message: `Entrance test passed.${why} Real work follows.`, link, goOn: true };
    }
    if (standing?.state !== "paused") return null;
    const wasTest = this.running;
    this.running = false;
    const message = wasTest
      ? `Entrance test not passed.${why} To try again, ask ${this.contact}.`
      : `Your work here is paused.${why} What you have answered so far is kept. To go on, ask ${this.contact}.`;
    return { message, link, goOn: false };
  }
}
