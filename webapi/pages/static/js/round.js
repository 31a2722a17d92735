// The round page: says aloud when the stage changes, and asks for the controls that fit the new state.

import "./watch.js";

const seen = { state: null, stage: null };

function look() {
  const now = document.querySelector("[data-round-state]")?.dataset;
  if (!now) return;
  const changed = { state: now.roundState !== seen.state, stage: now.stage !== seen.stage };
  if (seen.state !== null && (changed.state || changed.stage)) {
    document.getElementById("announce").textContent = document.getElementById("headline").textContent.trim();
    document.body.dispatchEvent(new CustomEvent("round-stage"));
    document.body.dispatchEvent(new CustomEvent("round-state"));
  }
  seen.state = now.roundState;
  seen.stage = now.stage;
}

document.addEventListener("htmx:afterSettle", look);
look();
