// The report's charts: each element [data-chart=name] from the JSON script [data-figure=name].

for (const element of document.querySelectorAll("[data-chart]")) {
  const source = document.querySelector(`[data-figure="${CSS.escape(element.dataset.chart)}"]`);
  const { data, layout } = JSON.parse(source.textContent);
  window.Plotly.newPlot(element, data, layout, { responsive: true, displayModeBar: false, scrollZoom: false });
}
