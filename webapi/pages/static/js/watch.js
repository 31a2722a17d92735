// Pages that are watched: charts and times, drawn again after each fragment that comes in.

import { drawCharts } from "./charts.js";
import { localTimes } from "./times.js";

const draw = () => {
  localTimes();
  drawCharts();
};

document.addEventListener("htmx:afterSettle", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
