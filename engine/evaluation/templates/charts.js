for (const element of document.querySelectorAll("[data-chart]")) {
  const source = document.querySelector(`[data-figure="${element.dataset.chart}"]`);
  const figure = JSON.parse(source.textContent);
  Plotly.newPlot(element, figure.data, figure.layout, { responsive: true, displayModeBar: false, scrollZoom: false });
}
const fit = (width) => {
  for (const element of document.querySelectorAll("[data-chart]")) {
    Plotly.relayout(element, width ? { width, autosize: false } : { width: null, autosize: true });
  }
};
addEventListener("beforeprint", () => fit(640));
addEventListener("afterprint", () => fit(null));
