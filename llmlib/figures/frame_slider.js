// A slider over plots that were drawn ahead of time. Uses controls.js; which of the two images shows is up to the CSS
// of style.py.

export default figure((model, root) => {
  const values = model.get("values");
  const pictures = model.get("pictures");
  const control = slider({ label: model.get("label"), name: "index", max: values.length - 1 }, (index) =>
    change(model, { index }),
  );
  const images = ["light", "dark"].map((theme) => [theme, h("img", { class: `only-${theme}`, alt: "" })]);
  root.append(control.node, h("div", { class: "llmlib-picture" }, ...images.map(([, image]) => image)));
  return () => {
    const index = model.get("index");
    control.show({ value: index, text: values[index] });
    for (const [theme, image] of images) {
      image.src = pictures[index][theme];
      image.alt = pictures[index].alt;
    }
  };
});
