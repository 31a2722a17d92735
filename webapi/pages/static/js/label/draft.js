// The answer that is being made, kept so that a reload or a closed tab does not lose it.

export class Draft {
  constructor(user) {
    this.place = `gauntlet.draft.${user}`;
  }

  keep(task, choice, note) {
    if (choice || note) localStorage.setItem(this.place, JSON.stringify({ task, choice, note }));
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
