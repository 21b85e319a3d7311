"use strict";
// Draws every figure with Plotly in the colours of the page's theme, as it comes into view.
(() => {
  const ink = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue(`--ink-${name}`).trim();
  const narrow = () => window.innerWidth < 640;

  const faded = (colour, share) => {
    const digits = colour.replace("#", "");
    const [r, g, b] = [0, 2, 4].map((start) => parseInt(digits.slice(start, start + 2), 16));
    return `rgba(${r},${g},${b},${share})`;
  };

  const tracesOf = (spec) =>
    spec.data.map((trace) => {
      const colour = ink(trace.meta.ink);
      const own = { ...trace };
      own.line = { ...trace.line, color: colour };
      own.marker = { ...trace.marker, color: colour };
      if (trace.fill) own.fillcolor = faded(colour, 0.18);
      if (trace.error_x) own.error_x = { ...trace.error_x, color: colour };
      return own;
    });

  const axis = (given, grid) => ({
    ...given, gridcolor: grid, linecolor: grid, zerolinecolor: grid, automargin: true,
    exponentformat: "power",
    title: { ...(given || {}).title, font: { size: 12 } },
  });

  const layoutOf = (spec) => {
    const text = ink("text"), grid = ink("grid");
    return {
      ...spec.layout, autosize: true,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: text, family: "system-ui, sans-serif", size: 12 },
      margin: { l: 48, r: 12, t: 30, b: 40 },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 11 } },
      modebar: { bgcolor: ink("panel"), color: ink("neutral"), activecolor: text },
      hoverlabel: { bgcolor: ink("panel"), bordercolor: grid, font: { color: text } },
      xaxis: axis(spec.layout.xaxis, grid), yaxis: axis(spec.layout.yaxis, grid),
      shapes: (spec.layout.shapes || []).map((shape) => (
        { ...shape, line: { ...shape.line, color: ink(shape.name) } })),
      dragmode: narrow() ? false : "zoom",  // a finger on a figure scrolls the page
    };
  };

  const draw = (figure) => {
    const plot = figure.querySelector(".plot");
    if (!figure.spec) figure.spec = JSON.parse(figure.querySelector("script").textContent);
    figure.dataset.state = "drawing";
    Plotly.react(plot, tracesOf(figure.spec), layoutOf(figure.spec), {
      responsive: true, displaylogo: false, displayModeBar: narrow() ? false : "hover",
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    }).then(() => { figure.dataset.state = "drawn"; });
  };

  const figures = [...document.querySelectorAll(".figure")];
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); }
    }
  }, { rootMargin: "800px 0px" });
  figures.forEach((figure) => seen.observe(figure));

  const redraw = () => figures.filter((figure) => figure.dataset.state).forEach(draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  window.addEventListener("beforeprint", () => figures.forEach(draw));
})();
