// Sliders for the sampler, which the figures of Chapter 8 share. Uses controls.js. A model's state has temperature,
// top_k (0 is off), top_p (1 is off) and min_p (0 is off).

const TOP_K = [1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100, 200, 500, 1000, 0];

/** The settings in the way of sampling.js. */
function samplerSettings(model) {
  const [topK, topP, minP] = ["top_k", "top_p", "min_p"].map((name) => model.get(name));
  return { temperature: model.get("temperature"), topK: topK || null, topP: topP < 1 ? topP : null, minP: minP || null };
}

/** Four sliders and a button that switches all filters off; `show()` shows the model's state. */
function samplerControls(model) {
  const sliders = {
    temperature: slider({ label: "Temperature", name: "temperature", max: 2, step: 0.05 }, (temperature) => change(model, { temperature })),
    top_k: slider({ label: "Top-k", name: "top_k", max: TOP_K.length - 1 }, (place) => change(model, { top_k: TOP_K[place] })),
    top_p: slider({ label: "Top-p", name: "top_p", min: 0.05, step: 0.01 }, (top_p) => change(model, { top_p })),
    min_p: slider({ label: "Min-p", name: "min_p", max: 0.5, step: 0.01 }, (min_p) => change(model, { min_p })),
  };
  const off = button("All filters off", () => change(model, { temperature: 1, top_k: 0, top_p: 1, min_p: 0 }));
  return {
    node: h("div", { class: "sampler" }, h("div", { class: "sliders" }, ...Object.values(sliders).map(({ node }) => node)), off),
    show() {
      const { temperature, topK, topP, minP } = samplerSettings(model);
      const two = (value) => number(value, 2);
      const place = topK ? TOP_K.findIndex((k) => k >= topK) : -1;
      sliders.temperature.show({ value: temperature, text: temperature ? two(temperature) : "0, greedy" });
      sliders.top_k.show({ value: place < 0 ? TOP_K.length - 1 : place, text: topK ? number(topK) : "off" });
      sliders.top_p.show({ value: topP ?? 1, text: topP ? two(topP) : "off" });
      sliders.min_p.show({ value: minP ?? 0, text: minP ? two(minP) : "off" });
    },
  };
}
