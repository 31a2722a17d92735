// The agreement page: says so when the figures do not come.

const frame = document.getElementById("figures");

for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(name, ({ target }) => {
    if (target !== frame) return;
    frame.hidden = true;
    document.getElementById("uncounted").hidden = false;
  });
}
