// What the labeling and comparing pages show, and what their reader does with keys and buttons.

const by = (id) => document.getElementById(id);

export class View {
  // keys: [{choice, title, keys}]. Handlers: choose, submit, skip, undo.
  constructor(keys, handlers) {
    this.form = by("answer");
    this.fields = this.form.querySelector("fieldset");
    this.note = by("note");
    this.drawer = by("guidelines");
    this.handlers = handlers;
    this.titles = new Map(keys.map(({ choice, title }) => [choice, title]));
    this.choiceOfKey = new Map(keys.flatMap((one) => one.keys.map((key) => [key, one.choice])));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      handlers.submit();
    });
    this.form.addEventListener("input", () => handlers.choose());
    by("skip").addEventListener("click", () => handlers.skip());
    by("undo").addEventListener("click", () => handlers.undo());
    by("flag").addEventListener("click", () => this.toggleFlag());
    by("open-guidelines").addEventListener("click", () => this.drawer.showModal());
    this.drawer.addEventListener("click", (event) => event.target === this.drawer && this.drawer.close());
    document.addEventListener("keydown", (event) => this.onKey(event));
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || this.drawer.open) return;
    const key = event.key.toLowerCase();
    if (event.target === this.note) {
      if (key === "escape") by("text").focus({ preventScroll: true });
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
    // Enter on a button presses that button.
    if (key === "enter" && event.target.closest("button, a, summary")) return null;
    if (key === "enter" && this.goOn) return this.goOn;
    if (this.fields.disabled) return null;
    if (this.choiceOfKey.has(key)) return () => this.choose(this.choiceOfKey.get(key));
    if (key === "enter") return () => this.handlers.submit();
    if (key === "s") return () => this.handlers.skip();
    if (key === "f") return () => this.toggleFlag();
    return null;
  }

  choose(choice) {
    const radio = [...this.form.elements.choice].find((one) => one.value === choice);
    radio.checked = true;
    radio.focus({ preventScroll: true });
    this.handlers.choose();
  }

  // Taking the flag off keeps what was typed; only a flagged text's note is sent.
  toggleFlag() {
    this.showFlag(!this.flagged);
    if (this.flagged) this.note.focus();
    else by("flag").focus();
    this.handlers.choose();
  }

  get flagged() {
    return by("flag").getAttribute("aria-pressed") === "true";
  }

  get answer() {
    return { choice: this.form.elements.choice.value, note: this.note.value.trim(), flagged: this.flagged };
  }

  titleOf(choice) {
    return this.titles.get(choice);
  }

  show(task, { choice = "", note = "", flagged = false } = {}) {
    by("prompt").textContent = task.prompt;
    by("prompt").hidden = !task.prompt;
    by("completion").textContent = task.completion;
    if (task.rival !== null) by("rival").textContent = task.rival;
    by("message").hidden = true;
    this.goOn = null;
    by("text").hidden = false;
    by("text").setAttribute("aria-busy", "false");
    this.form.reset();
    for (const radio of this.form.elements.choice) radio.checked = radio.value === choice;
    this.note.value = note;
    this.showFlag(flagged);
    this.fields.disabled = false;
    scrollTo(0, 0);
    by("text").focus({ preventScroll: true });
  }

  // Nothing to judge: a message stands where the text was; the answers stay in their place, switched off. With
  // `goOn` the message has a button, and Enter presses it.
  rest(message, { link = null, goOn = null } = {}) {
    by("text").hidden = true;
    by("message-text").textContent = message;
    by("message-link").hidden = !link;
    if (link) by("message-link").textContent = link;
    by("go-on").hidden = !goOn;
    this.goOn = goOn;
    by("go-on").onclick = goOn;
    by("message").hidden = false;
    this.form.reset();
    this.showFlag(false);
    this.fields.disabled = true;
  }

  showFlag(flagged) {
    by("note-field").hidden = !flagged;
    by("flag").setAttribute("aria-pressed", String(flagged));
  }

  // The entrance test's place in the page's head; null once it is over.
  test(place) {
    const words = place ? `Entrance test: ${place.number} of ${place.size}` : "";
    if (by("test").textContent !== words) by("test").textContent = words;
    by("test-help").hidden = !place;
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
