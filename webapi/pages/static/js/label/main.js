// The labeling and comparing pages: lease, show, answer, show the next at once; answers are sent behind the reader's
// back. What differs between the two is in the page and its config.

import { ApiError, NoConnection } from "./api.js";
import { Draft } from "./draft.js";
import { EntranceTest } from "./entrance_test.js";
import { Outbox } from "./outbox.js";
import { Tasks } from "./tasks.js";
import { View } from "./view.js";

const LOOK_AGAIN = 10_000;
const NO_TASK = "Nothing waits for you right now. This page looks for new tasks by itself; you may leave it open.";
const OFFLINE = "The connection is lost. Your answers are kept on this device; this page goes on when it is back.";
const SIGNED_OUT = "You are signed out. Your answers are kept on this device: sign in in another tab and come back to this one.";

const config = JSON.parse(document.getElementById("label-config").textContent);
const counted = `gauntlet.counted.${config.kind}`;
const tasks = new Tasks(config);
const draft = new Draft(config.user, config.kind);
const view = new View(config.keys, { choose, submit, skip, undo });
const outbox = new Outbox(config.user, { onChange: tellSending, onOutcome: tellOutcome });
const test = new EntranceTest(config);
const counts = { session: Number(sessionStorage.getItem(counted)) || 0, allTime: config.allTime };

let last = null; // the task answered last, with its answer: what undo goes back to
let shownAt = 0;
let lookAgain = 0;

function show(task, answer) {
  clearTimeout(lookAgain);
  view.show(task, answer ?? draft.of(task.id) ?? {});
  view.allowUndo(last !== null);
  view.test(test.place(task));
  shownAt = performance.now();
}

async function advance() {
  clearTimeout(lookAgain);
  if (test.over) {
    await tellTest();
    return;
  }
  try {
    const task = await tasks.next();
    if (task) show(task);
    else rest(test.running ? test.nothing : NO_TASK);
  } catch (error) {
    if (error instanceof NoConnection) rest(OFFLINE);
    else if (!(error instanceof ApiError)) throw error;
    else if (error.signedOut) rest(SIGNED_OUT);
    else if (error.code === "annotator_paused") tellPaused();
    else rest(`The server did not give a task: ${error.message} This page tries again by itself.`);
  }
}

function rest(message) {
  view.rest(message);
  view.allowUndo(last !== null);
  lookAgain = setTimeout(() => !tasks.current && advance(), LOOK_AGAIN);
}

// The last answer of the entrance test is given: once all have arrived, the server says how it went.
async function tellTest() {
  last = null;
  tasks.current = null;
  view.allowUndo(false);
  view.test(null);
  const told = outbox.waiting.length ? null : await test.look();
  if (!told) {
    rest("Your entrance test is being marked. This takes a moment.");
    return;
  }
  if (told.goOn) {
    view.rest(told.message, { link: told.link, goOn: advance });
    view.say(`${told.message} Press Enter to begin.`);
  } else {
    view.rest(told.message, { link: told.link });
    view.say(told.message);
  }
}

async function tellPaused() {
  const told = await test.look();
  if (told) view.rest(told.message, { link: told.link });
  else rest(NO_TASK);
  view.allowUndo(false);
}

function choose() {
  if (tasks.current) draft.keep(tasks.current.id, view.answer);
}

function submit() {
  const task = tasks.current;
  const { choice, note: typed, flagged } = view.answer;
  if (!task) return;
  if (!choice) {
    view.say("Choose an answer first.");
    return;
  }
  const note = flagged ? typed : "";
  const changed = task.answered;
  if (changed?.choice !== choice || changed.note !== note || changed.flagged !== flagged) {
    const seconds = Math.round((performance.now() - shownAt) / 100) / 10;
    outbox.add({ task: task.id, lease: task.lease.token, choice, seconds, note, flagged }, { change: Boolean(changed) });
  }
  if (!changed) {
    count(1);
    test.answered();
  }
  last = { ...task, answered: { choice, note, flagged } };
  draft.drop();
  view.say(`${view.titleOf(choice)}${flagged ? ", flagged" : ""}. Next text.`);
  advance();
}

function skip() {
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
  view.say(`Back to the text before. You had answered ${view.titleOf(task.answered.choice)}.`);
}

function count(more) {
  counts.session += more;
  counts.allTime += more;
  sessionStorage.setItem(counted, String(counts.session));
  view.count(counts.session, counts.allTime);
}

function tellSending(waiting, trouble) {
  const kept = `${waiting} answer${waiting === 1 ? "" : "s"} kept on this device`;
  const why = { offline: "no connection", "signed-out": "you are signed out; sign in in another tab" };
  view.sending(trouble && waiting ? `· ${kept}: ${why[trouble]}` : "");
}

// What became of an answer is said where it is not what the reader expects; nothing can be done about it.
function tellOutcome({ label, change }, { outcome, detail }) {
  if (test.over && !tasks.current && outbox.waiting.length === 0) advance();
  if (change && outcome === "duplicate") view.sending("· the change came too late: your first answer stands");
  if (outcome === "recorded" || outcome === "duplicate") return;
  if (last?.id === label.task) last = null;
  view.allowUndo(last !== null);
  if (outcome === "surplus") {
    view.sending("· one answer came too late: others had answered that text. It is kept, but does not count");
    return;
  }
  if (!change) count(-1);
  view.sending(outcome === "lease_not_found" ? "· one answer came too late to be taken" : `· one answer was refused: ${detail ?? outcome}`);
}

// A page that comes back from the browser's cache has given its tasks back.
addEventListener("pageshow", (event) => event.persisted && location.reload());

view.count(counts.session, counts.allTime);
outbox.now();
if (config.paused) tellPaused();
else advance();
