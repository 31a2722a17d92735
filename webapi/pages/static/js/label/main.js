// The labeling page: lease, show, answer, show the next at once; answers are sent behind the reader's back.

import { ApiError, NoConnection } from "./api.js";
import { Draft } from "./draft.js";
import { Outbox } from "./outbox.js";
import { Tasks } from "./tasks.js";
import { View } from "./view.js";

const LOOK_AGAIN = 10_000;
const TOO_LATE = new Set(["label_not_wanted", "lease_not_found"]);
const NO_TASK = "Nothing waits for you right now. This page looks for new tasks by itself; you may leave it open.";

const config = JSON.parse(document.getElementById("label-config").textContent);
const tasks = new Tasks(config);
const draft = new Draft(config.user);
const view = new View(config.keys, { choose, submit, skip, undo });
const outbox = new Outbox(config.user, { onChange: tellSending, onOutcome: tellOutcome });
const counts = { session: Number(sessionStorage.getItem("gauntlet.labelled")) || 0, allTime: config.allTime };

let last = null; // the task answered last, with its answer: what undo goes back to
let shownAt = 0;

function show(task, answer) {
  view.show(task, answer ?? draft.of(task.id) ?? {});
  view.allowUndo(last !== null);
  shownAt = performance.now();
}

async function advance() {
  try {
    const task = await tasks.next();
    if (task) show(task);
    else rest(NO_TASK);
  } catch (error) {
    if (error instanceof NoConnection) rest("The connection is lost. Your answers are kept on this device; this page goes on when it is back.");
    else if (error instanceof ApiError && error.signedOut) rest("You are signed out. Your answers are kept on this device: sign in in another tab and come back to this one.");
    else if (error instanceof ApiError) rest(`The server did not give a task: ${error.message} This page tries again by itself.`);
    else throw error;
  }
}

function rest(message) {
  view.rest(message);
  view.allowUndo(last !== null);
  setTimeout(() => !tasks.current && advance(), LOOK_AGAIN);
}

function choose() {
  const { choice, note } = view.answer;
  if (tasks.current) draft.keep(tasks.current.id, choice, note);
}

function submit() {
  const task = tasks.current;
  const { choice, note } = view.answer;
  if (!task) return;
  if (!choice) {
    view.say("Choose an answer first.");
    return;
  }
  const changed = task.answered;
  if (changed?.choice !== choice || changed?.note !== note) {
    const seconds = Math.round((performance.now() - shownAt) / 100) / 10;
    outbox.add({ task: task.id, lease: task.lease.token, choice, seconds, note }, { change: Boolean(changed) });
  }
  if (!changed) count(1);
  last = { ...task, answered: { choice, note } };
  draft.drop();
  view.say(`${choice}. Next text.`);
  advance();
}

async function skip() {
  if (!tasks.current) return;
  draft.drop();
  if (tasks.current.answered) view.say("Left as it was. Next text.");
  else {
    tasks.skip();
    view.say("Skipped. Next text.");
  }
  advance();
}

function undo() {
  if (!last) return;
  const task = last;
  last = null;
  tasks.putBack(task);
  show(task, task.answered);
  view.say(`Back to the text before. You had answered ${task.answered.choice}.`);
}

function count(more) {
  counts.session += more;
  counts.allTime += more;
  sessionStorage.setItem("gauntlet.labelled", String(counts.session));
  view.count(counts.session, counts.allTime);
}

function tellSending(waiting, trouble) {
  const kept = `${waiting} answer${waiting === 1 ? "" : "s"} kept on this device`;
  const why = { offline: "no connection", "signed-out": "you are signed out; sign in in another tab" };
  view.sending(trouble && waiting ? `· ${kept}: ${why[trouble]}` : "");
}

// What the server refused for good is said; nothing can be done about it.
function tellOutcome({ label, change }, { outcome, detail }) {
  if (change && outcome === "duplicate") view.sending("· the change came too late: the batch is complete, your first answer stands");
  if (outcome === "recorded" || outcome === "duplicate") return;
  if (last?.id === label.task) last = null;
  view.allowUndo(last !== null);
  if (!change) count(-1);
  view.sending(TOO_LATE.has(outcome)
    ? "· one answer came too late: others had answered that text"
    : `· one answer was refused: ${detail ?? outcome}`);
}

// A page that comes back from the browser's cache has given its tasks back.
addEventListener("pageshow", (event) => event.persisted && location.reload());

view.count(counts.session, counts.allTime);
outbox.now();
advance();
