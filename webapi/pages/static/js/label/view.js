// What the labeling page shows, and what its reader does with keys and buttons.

const by = (id) => document.getElementById(id);

export class View {
  // Handlers: choose, submit, skip, undo.
  constructor(keys, handlers) {
    this.form = by("answer");
    this.fields = this.form.querySelector("fieldset");
    this.remark = by("remark");
    this.drawer = by("guidelines");
    this.handlers = handlers;
    this.choiceOfKey = new Map(keys.flatMap(({ choice, digit, letter }) => [[digit, choice], [letter, choice]]));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      handlers.submit();
    });
    this.form.addEventListener("input", () => handlers.choose());
    by("skip").addEventListener("click", () => handlers.skip());
    by("undo").addEventListener("click", () => handlers.undo());
    by("open-guidelines").addEventListener("click", () => this.drawer.showModal());
    this.drawer.addEventListener("click", (event) => event.target === this.drawer && this.drawer.close());
    by("open-remark").addEventListener("click", () => this.showRemark(by("remark-field").hidden));
    document.addEventListener("keydown", (event) => this.onKey(event));
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || this.drawer.open) return;
    const key = event.key.toLowerCase();
    if (event.target === this.remark) {
      if (key === "escape") this.showRemark(false);
      return;
    }
    const act = this.actionOf(key, event);
    if (!act) return;
    event.preventDefault();
    act();
  }

  actionOf(key, event) {
    if (key === "g") return () => this.drawer.showModal();
    if (key === "z") return () => !by("undo").disabled && this.handlers.undo();
    if (this.fields.disabled) return null;
    if (this.choiceOfKey.has(key)) return () => this.choose(this.choiceOfKey.get(key));
    // Enter on a button presses that button.
    if (key === "enter" && !event.target.closest("button, a, summary")) return () => this.handlers.submit();
    if (key === "s") return () => this.handlers.skip();
    if (key === "r") return () => this.showRemark(true);
    return null;
  }

  choose(choice) {
    const radio = [...this.form.elements.choice].find((one) => one.value === choice);
    radio.checked = true;
    radio.focus({ preventScroll: true });
    this.handlers.choose();
  }

  get answer() {
    return { choice: this.form.elements.choice.value, note: this.remark.value.trim() };
  }

  show(task, { choice = "", note = "" } = {}) {
    by("prompt").textContent = task.prompt;
    by("prompt").hidden = !task.prompt;
    by("completion").textContent = task.completion;
    by("message").hidden = true;
    by("text").hidden = false;
    by("text").setAttribute("aria-busy", "false");
    this.form.reset();
    for (const radio of this.form.elements.choice) radio.checked = radio.value === choice;
    this.remark.value = note;
    this.showRemark(Boolean(note), false);
    this.fields.disabled = false;
    scrollTo(0, 0);
    by("text").focus({ preventScroll: true });
  }

  // Nothing to judge: a message stands where the text was; the answers stay in their place, switched off.
  rest(message) {
    by("text").hidden = true;
    by("message").textContent = message;
    by("message").hidden = false;
    this.fields.disabled = true;
  }

  showRemark(open, focus = true) {
    by("remark-field").hidden = !open;
    by("open-remark").setAttribute("aria-expanded", String(open));
    if (open && focus) this.remark.focus();
    else if (focus) by("open-remark").focus();
  }

  allowUndo(allowed) {
    by("undo").disabled = !allowed;
  }

  count(session, allTime) {
    by("count-session").textContent = session.toLocaleString("en");
    by("count-all").textContent = allTime.toLocaleString("en");
  }

  sending(text) {
    if (by("sending").textContent !== text) by("sending").textContent = text;
  }

  // For screen readers; the same words twice are said twice.
  say(text) {
    by("said").textContent = "";
    setTimeout(() => {
      by("said").textContent = text;
    }, 30);
  }
}
