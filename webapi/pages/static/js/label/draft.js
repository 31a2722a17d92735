// The answer that is being made, kept so that a reload or a closed tab does not lose it.

export class Draft {
  constructor(user, kind) {
    this.place = `gauntlet.draft.${kind}.${user}`;
  }

  // answer: { choice, note, flagged }.
  keep(task, answer) {
    if (answer.choice || answer.note || answer.flagged) localStorage.setItem(this.place, JSON.stringify({ task, ...answer }));
    else this.drop();
  }

  of(task) {
    try {
      const draft = JSON.parse(localStorage.getItem(this.place));
      return draft?.task === task ? draft : null;
    } catch {
      return null;
    }
  }

  drop() {
    localStorage.removeItem(this.place);
  }
}
