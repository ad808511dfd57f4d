// Mounts a live figure on a page that has no kernel: the element that holds this script also holds the figure's data
// (JSON) and its still picture. The model below answers as anywidget's does in JupyterLab.
(async (host) => {
  const el = host.querySelector(".llmlib-figure");
  try {
    const { module, state, bytes } = JSON.parse(host.querySelector("script[type='application/json']").textContent);
    for (const [name, base64] of Object.entries(bytes)) {
      const packed = new Blob([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))]);
      const stream = packed.stream().pipeThrough(new DecompressionStream("gzip"));
      state[name] = new DataView(await new Response(stream).arrayBuffer());
    }
    const listeners = [];
    const model = {
      get: (name) => state[name],
      set(name, value) {
        if (state[name] === value) return;
        state[name] = value;
        for (const { event, call } of [...listeners]) {
          if (event === "change" || event === `change:${name}`) call();
        }
      },
      on: (event, call) => void listeners.push({ event, call }),
      save_changes() {},
    };
    // A page opened from a disk may not import a file, but it may import what it holds.
    const url = URL.createObjectURL(new Blob([module], { type: "text/javascript" }));
    const figure = await import(url);
    URL.revokeObjectURL(url);
    await figure.default.render({ model, el });
  } catch (error) {
    console.error(error);
    const sentence = document.createElement("p");
    sentence.setAttribute("role", "alert");
    sentence.textContent = `This figure stays a still picture: its program did not start (${error.message}).`;
    el.append(sentence);
  }
})(document.currentScript.parentElement);
