// Charts from data in the page: an element [data-chart=kind][data-source=id of a JSON script]. Drawn by Plotly.

const KINDS = { curves, days, funnel, intervals, losses, places, trend };
const drawn = new WeakMap();

export function drawCharts() {
  if (!window.Plotly) return;
  for (const element of document.querySelectorAll("[data-chart]")) {
    const source = document.getElementById(element.dataset.source);
    if (!source) continue;
    const ink = colours();
    const key = source.textContent + ink.paper;
    if (drawn.get(element) === key) continue;
    drawn.set(element, key);
    const { traces, layout } = KINDS[element.dataset.chart](JSON.parse(source.textContent), ink, element);
    window.Plotly.react(element, traces, { ...frame(ink), ...layout }, { displayModeBar: false, responsive: true });
    element.removeAllListeners?.("plotly_click");
    element.on("plotly_click", ({ points: [point] }) => point.customdata?.url && location.assign(point.customdata.url));
  }
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return { ink: of("ink"), soft: of("soft"), line: of("line"), accent: of("accent"), warn: of("warn"), fail: of("fail"), paper: of("paper"), edge: of("edge"), font: of("sans") };
}

function frame(ink) {
  return {
    paper_bgcolor: "transparent",
    plot_bgcolor: "transparent",
    font: { family: ink.font, size: 13, color: ink.soft },
    margin: { l: 8, r: 8, t: 8, b: 36 },
    showlegend: false,
    hoverlabel: { bgcolor: ink.paper, bordercolor: ink.edge, font: { color: ink.ink, family: ink.font } },
    dragmode: false,
  };
}

function axis(ink, { title, ...more }) {
  const plain = { gridcolor: ink.line, linecolor: ink.line, zerolinecolor: ink.line, fixedrange: true, automargin: true };
  return { ...plain, ...(title && { title: { text: title, standoff: 8, font: { color: ink.soft, size: 13 } } }), ...more };
}

function funnel({ rows, axis: unit }, ink) {
  const labels = rows.map((row) => row.label);
  const last = rows.length - 1;
  const most = Math.max(...rows.map((row) => row.count));
  return {
    traces: [{
      type: "bar", orientation: "h", y: labels, x: rows.map((row) => row.count),
      customdata: rows, cliponaxis: false,
      text: rows.map((row) => row.count.toLocaleString("en")), textposition: "outside", textfont: { color: ink.ink },
      marker: { color: rows.map((_, i) => (i === last ? ink.fail : ink.accent)) },
      hovertemplate: `%{x:,} ${unit}<extra></extra>`,
    }],
    layout: {
      bargap: 0.35, margin: { l: 8, r: 56, t: 4, b: 36 },
      xaxis: axis(ink, { title: unit, rangemode: "tozero", nticks: 5, tickformat: ",d", ...(most < 5 && { dtick: 1 }) }),
      yaxis: axis(ink, { autorange: "reversed", showgrid: false, tickfont: { color: ink.ink }, ticks: "", ticksuffix: "  " }),
    },
  };
}

function days({ days, series, axis: unit }, ink) {
  const names = days.map((day) => new Date(day).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" }));
  const shades = [ink.fail, ink.warn, ink.accent];
  const colour = (i) => (series.length === 1 ? ink.accent : shades[Math.min(i, shades.length - 1)]);
  const shown = series.map((one, i) => ({ ...one, colour: colour(i) })).filter((one) => one.values.some(Boolean));
  return {
    traces: shown.map((one) => ({
      type: "bar", name: one.name, x: names, y: one.values, marker: { color: one.colour },
      width: Math.min(0.7, 0.12 * names.length),
      hovertemplate: `%{y:,} ${one.name}, %{x}<extra></extra>`,
    })),
    layout: {
      barmode: "stack", bargap: 0.3, showlegend: shown.length > 1,
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, traceorder: "normal", itemclick: false, itemdoubleclick: false },
      margin: { l: 8, r: 8, t: shown.length > 1 ? 32 : 8, b: 36 },
      xaxis: axis(ink, { type: "category", showgrid: false, nticks: 8, title: "day (UTC)" }),
      yaxis: axis(ink, { title: unit, rangemode: "tozero", nticks: 5, tickformat: ",d" }),
    },
  };
}

const CHARACTER = 6.5; // its width in pixels, on average
const LEAST_PLOT = 96;

// A row with `limit` saw none of what it counts: the interval is drawn and its end marked, but no point at 0.
function intervals({ rows, axis: unit, counted, mark, percent }, ink, element) {
  element.style.height = `${rows.length * 26 + 60}px`;
  // By place and not by name: two may have the same.
  const places = rows.map((_, place) => place);
  const longest = Math.min(60, Math.floor((element.clientWidth - LEAST_PLOT) / CHARACTER));
  const names = rows.map(({ label }) => (label.length > longest ? `${label.slice(0, longest - 1)}…` : label));
  const at = rows.map((row) => (row.limit ? row.high : row.estimate));
  const above = rows.map((row, i) => (row.high === null ? 0 : row.high - at[i]));
  const below = rows.map((row, i) => (row.low === null ? 0 : at[i] - row.low));
  const words = (row) => `${row.estimate.toFixed(2)} ${row.low === null ? "(no interval)" : `(${row.low.toFixed(2)} to ${row.high.toFixed(2)})`}, ${row.n} ${counted}`;
  return {
    traces: [{
      type: "scatter", mode: "markers", y: places, x: at,
      marker: { color: ink.accent, size: 8, symbol: rows.map((row) => (row.limit ? "triangle-left-open" : row.low === null ? "circle-open" : "circle")) },
      error_x: { type: "data", symmetric: false, array: above, arrayminus: below, color: ink.edge, thickness: 1.5, width: 0 },
      customdata: rows,
      text: rows.map((row) => `${row.label}: ${row.words ?? words(row)}`),
      hovertemplate: "%{text}<extra></extra>",
    }],
    layout: {
      margin: { l: 8, r: 8, t: 8, b: 48 },
      // Flush right and not in the middle of the plot, where names leave it too little room on a phone.
      annotations: [{ text: unit, showarrow: false, xref: "paper", x: 1, xanchor: "right", yref: "paper", y: 0, yanchor: "top", yshift: -24, font: { color: ink.soft, size: 13 } }],
      xaxis: axis(ink, { nticks: element.clientWidth < 480 ? 3 : 6, tickangle: 0, ...(rows.some((row) => row.limit !== undefined) && { rangemode: "tozero" }), ...(percent && { tickformat: ",.0%" }) }),
      yaxis: axis(ink, { range: [rows.length - 0.5, -0.5], tickvals: places, ticktext: names, zeroline: false, showgrid: false, tickfont: { color: ink.ink }, ticksuffix: "  " }),
      ...(mark !== undefined && {
        shapes: [{ type: "line", x0: mark, x1: mark, yref: "paper", y0: 0, y1: 1, line: { color: ink.warn, width: 1.5, dash: "dot" } }],
      }),
    },
  };
}

function trend({ keys, counts, dated, axis: unit, series, urls }, ink) {
  const years = new Set(keys.map((key) => key.slice(0, 4)));
  const words = (key) => new Date(key).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC", ...(years.size > 1 && { year: "2-digit" }) });
  const names = dated ? keys.map(words) : keys;
  const colours = [ink.soft, ink.accent];
  const symbols = ["diamond", "circle"];
  const of = (value, digits) => (value === null ? "?" : value.toFixed(digits));
  return {
    traces: series.map((one, n) => ({
      type: "scatter", mode: dated ? "lines+markers" : "markers", name: one.name, x: names, y: one.estimate,
      line: { color: colours[n], width: 1.5 }, marker: { color: colours[n], size: 7, symbol: symbols[n] },
      error_y: {
        type: "data", symmetric: false, color: colours[n], thickness: 1.5, width: 0,
        array: one.high.map((high, i) => (high === null ? 0 : high - one.estimate[i])),
        arrayminus: one.low.map((low, i) => (low === null ? 0 : one.estimate[i] - low)),
      },
      customdata: urls.map((url) => ({ url })),
      text: one.estimate.map((value, i) => `${one.name} ${of(value, 2)} (${of(one.low[i], 2)} to ${of(one.high[i], 2)}), ${counts[i].toLocaleString("en")} snippets judged twice, ${names[i]}`),
      hovertemplate: "%{text}<extra></extra>",
    })),
    layout: {
      margin: { l: 8, r: 8, t: 28, b: 36 },
      // The upper line is named above its last points, the lower one below them.
      annotations: series.map((one, n) => {
        const late = (values) => values.slice(Math.floor(values.length * 0.6)).filter((value) => value !== null);
        const edge = n === 0 ? Math.max(...late(one.high)) : Math.min(...late(one.low));
        return { x: names.at(-1), y: edge, text: one.name, showarrow: false, xanchor: "right", yanchor: n === 0 ? "bottom" : "top", font: { color: colours[n], size: 13 } };
      }).filter((label) => Number.isFinite(label.y)),
      xaxis: axis(ink, { type: "category", showgrid: false, nticks: 8, title: unit, range: [-0.6, names.length - 0.4] }),
      yaxis: axis(ink, { title: "agreement, 1 is perfect", nticks: 6, tickformat: ".1f", range: [Math.min(0, lowest(series) - 0.12), 1.1] }),
    },
  };
}

// Snippets as points: told apart by shape as well as by colour.
function places({ kinds, url }, ink) {
  const looks = {
    apart: { color: ink.soft, symbol: "x-thin-open", size: 6, opacity: 0.55 },
    left: { color: ink.edge, symbol: "circle-open", size: 5, opacity: 0.6 },
    plain: { color: ink.warn, symbol: "diamond-open", size: 8, opacity: 1 },
    chosen: { color: ink.accent, symbol: "circle", size: 7, opacity: 0.9 },
    chance: { color: ink.fail, symbol: "star", size: 11, opacity: 1 },
  };
  const bare = { title: "", showgrid: false, showticklabels: false, zeroline: false, ticks: "" };
  return {
    traces: kinds.map(({ name, kind, count, x, y, keys, scores, why }) => ({
      type: "scatter", mode: "markers", name: `${name}, ${count.toLocaleString("en")}`, x, y,
      marker: { ...looks[kind], line: { width: kind === "apart" ? 1 : 1.2, color: looks[kind].color } },
      customdata: keys.map((key) => ({ url: url.replace("KEY", key) })),
      text: keys.map((_, i) => (scores[i] === null ? name : `score ${scores[i]}<br>${why[i]}`)),
      hovertemplate: "%{text}<extra></extra>",
    })),
    layout: {
      showlegend: true, hovermode: "closest",
      legend: { orientation: "h", y: 1.01, yanchor: "bottom", x: 0, itemclick: false, itemdoubleclick: false, itemsizing: "constant", font: { color: ink.ink } },
      margin: { l: 8, r: 8, t: 8, b: 8 },
      xaxis: axis(ink, bare),
      yaxis: axis(ink, { ...bare, scaleanchor: "x" }),
    },
  };
}

function lowest(series) {
  return Math.min(0, ...series.flatMap((one) => one.low.filter((low) => low !== null)));
}

// A line a run; the picked one is in the accent colour, named at its end and drawn last.
function curves({ curves: lines, x, y }, ink) {
  const ordered = [...lines].sort((a, b) => a.picked - b.picked);
  const picked = ordered.at(-1).picked ? ordered.at(-1) : null;
  return {
    traces: ordered.map((one) => ({
      type: "scatter", mode: one.x.length < 2 ? "markers" : "lines", x: one.x, y: one.y, name: one.label,
      line: { color: one.picked ? ink.accent : ink.edge, width: one.picked ? 2.5 : 1 },
      marker: { color: one.picked ? ink.accent : ink.edge, size: 7 },
      text: one.y.map((value, i) => `${one.label}: ${value.toFixed(3)} after ${one.x[i].toLocaleString("en")} examples`),
      hovertemplate: "%{text}<extra></extra>",
    })),
    layout: {
      margin: { l: 8, r: 8, t: 16, b: 36 },
      annotations: picked ? [{ x: picked.x.at(-1), y: picked.y.at(-1), text: "picked", showarrow: false, xanchor: "right", yanchor: "bottom", font: { color: ink.accent, size: 13 } }] : [],
      xaxis: axis(ink, { title: x, rangemode: "tozero", nticks: 6, tickformat: ",d" }),
      yaxis: axis(ink, { title: y, rangemode: "tozero", nticks: 6 }),
    },
  };
}

// Lines by step, each named at its end; `mark` is the step that was kept.
function losses({ series, mark, axis: steps, unit }, ink) {
  const colours = [ink.soft, ink.accent];
  const last = (one) => one.y.at(-1);
  const upper = series.reduce((most, one) => (last(one) > last(most) ? one : most));
  return {
    traces: series.map((one, n) => ({
      type: "scatter", mode: "lines+markers", name: one.name, x: one.x, y: one.y,
      line: { color: colours[n], width: 1.5 }, marker: { color: colours[n], size: 6, symbol: ["diamond", "circle"][n] },
      hovertemplate: `${one.name} %{y:.3f}, step %{x:,}<extra></extra>`,
    })),
    layout: {
      margin: { l: 8, r: 8, t: 16, b: 36 },
      annotations: series.map((one, n) => ({
        x: one.x.at(-1), y: last(one), text: one.name, showarrow: false, xanchor: "right",
        yanchor: one === upper ? "bottom" : "top", yshift: one === upper ? 6 : -6, font: { color: colours[n], size: 13 },
      })),
      shapes: [{ type: "line", x0: mark, x1: mark, yref: "paper", y0: 0, y1: 1, line: { color: ink.edge, width: 1.5, dash: "dot" } }],
      xaxis: axis(ink, { title: steps, rangemode: "tozero", nticks: 6, tickformat: ",d" }),
      yaxis: axis(ink, { title: unit, nticks: 6 }),
    },
  };
}
