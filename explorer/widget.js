// The page side of widget.py: draws what the traits say, and sends events back. Needs nothing from the network.

const SMALL_ENOUGH = 4_000_000; // bytes: such a file is sent as it is, a larger one is made smaller here
const LONGEST = 1600; // pixels of the longest side after that
const PACE = 900; // milliseconds for each word while it plays
const ENDED = "the kernel has ended: run the cell again";

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const percent = (p) => (p >= 0.995 ? "1.00" : p.toFixed(2));
const isSign = (word) => word.startsWith("<");

async function smaller(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
  const canvas = element("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // below what is transparent: a JPEG would have it black
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
  return blob.arrayBuffer();
}

function render({ model, el }) {
  let playing = null;
  let waiting = 0;
  let panes = []; // {data, words, frames, outlines, choices, ...}: the elements of each caption

  const status = element("p", { class: "message", role: "status", "aria-live": "polite" });
  const say = (sentence) => (status.textContent = sentence);

  // Jupyter throws where no kernel is left to hear it.
  function tell(message) {
    try {
      message();
      return true;
    } catch {
      say(ENDED);
      return false;
    }
  }

  function send(content, buffers = []) {
    if (!tell(() => model.send(content, undefined, buffers))) return;
    waiting += 1;
    root.classList.add("busy");
  }

  // -------------------------------------------------------------------------------------------- pictures

  async function bring(file) {
    if (!file) return;
    let data;
    try {
      data = file.size <= SMALL_ENOUGH ? await file.arrayBuffer() : await smaller(file);
    } catch {
      say(`${file.name} is larger than 4 MB, and this browser cannot open it to make it smaller: save it as a JPEG or PNG.`);
      return;
    }
    send({ event: "upload", name: file.name }, [data]);
  }

  const chooser = element("input", {
    type: "file", accept: "image/*", hidden: true, "aria-hidden": "true", tabindex: "-1",
    onchange: () => { bring(chooser.files[0]); chooser.value = ""; },
  });
  const own = element("button", { class: "own", type: "button", onclick: () => chooser.click() }, "your own", element("br"), "picture …");
  const strip = element("div", { class: "strip", role: "group", "aria-label": "Pictures" });
  const pictures = element("div", { class: "pictures" }, own, chooser, strip); // the button stays, the strip scrolls

  function drawStrip() {
    const thumbnails = model.get("thumbnails").map((thumbnail, number) =>
      element("button", { type: "button", title: thumbnail.alt, onclick: () => send({ event: "choose", number }) },
        element("img", { src: thumbnail.src, alt: thumbnail.alt })));
    strip.replaceChildren(...thumbnails);
    mark();
  }

  function mark() {
    const { number } = model.get("picture");
    [...strip.children].forEach((button, i) => button.setAttribute("aria-pressed", i === number));
    const chosen = strip.children[number];
    if (chosen) strip.scrollLeft = chosen.offsetLeft - (strip.clientWidth - chosen.offsetWidth) / 2;
  }

  // -------------------------------------------------------------------------------------------- captions

  const bare = element("figure", { class: "bare" });
  const stage = element("div", { class: "stage" });

  function drawBare() {
    const { src, alt, said } = model.get("picture");
    bare.replaceChildren(
      element("div", { class: "title small" }, "the picture"),
      element("div", { class: "picture" }, element("img", { src, alt })),
      ...(said ? [element("figcaption", { class: "small" }, `A person says: “${said}”`)] : []));
  }

  function drawPane(data, pane) {
    const { src } = model.get("picture");
    const several = model.get("names").length > 1;
    const what = data.place === null ? null : data.words[data.place];
    const title = [what === null ? "" : "what if ", what === null ? "" : element("b", {}, `“${what}”`),
      several ? `${what === null ? "" : " · "}${data.name}` : what === null ? "the model says" : ""];
    const words = data.words.map((word, place) =>
      element("button", {
        type: "button", class: `word${isSign(word) ? " sign" : ""}${data.place !== null && place < data.place ? " given" : ""}`,
        style: `--p: ${data.probabilities[place]}`, title: `probability ${percent(data.probabilities[place])}`, onclick: () => move(place),
      }, word));
    const frames = data.frames.map((frame) => element("img", { class: "frame", src: frame, alt: "" }));
    const outlines = data.grounded_objects.map((sight) => sight && element("img", { class: "outline", src: sight.src, alt: "" }));
    const view = element("div", { class: "picture", role: "img" }, element("img", { src, alt: "" }), ...frames, ...outlines.filter(Boolean));
    const choices = element("div", { class: "choices", role: "group" });
    const hint = element("div", { class: "small hint" }, "the likeliest here; click one for a what-if");
    const sight = element("div", { class: "small sight" });
    const fall = element("div", { class: "small" });
    const box = element("section", { class: "pane", "data-pane": pane },
      element("div", { class: "title small" }, element("span", {}, ...title),
        ...(what === null ? [] : [element("button", { type: "button", class: "close", "aria-label": "close this what-if",
          onclick: () => send({ event: "close", pane }) }, "×")])),
      element("div", { class: "sentence", role: "group", "aria-label": "The caption, word by word" }, ...words),
      element("div", { class: "look" }, view,
        element("div", { class: "beside" }, element("div", {}, hint, choices), sight, fall, element("div", { class: "small note" }, data.note))));
    return { data, pane, box, words, frames, outlines, view, choices, sight, fall, shown: -1 };
  }

  function drawStage() {
    panes = model.get("panes").map(drawPane);
    slider.max = Math.max(...panes.map(({ words }) => words.length)) - 1;
    arrange();
    show();
  }

  function arrange() {
    const withBare = controls.bare.checked;
    stage.replaceChildren(...(withBare ? [bare] : []), ...panes.map(({ box }) => box));
    stage.classList.toggle("single", panes.length === 1);
    stage.classList.toggle("alone", !withBare);
    stage.style.setProperty("--columns", Math.min(3, panes.length + withBare));
  }

  function showPane(part, position) {
    const { data, pane, words, frames, outlines, view, choices, sight, fall } = part;
    const place = Math.min(position, words.length - 1);
    const word = data.words[place];
    const seen = data.grounded_objects[place];
    frames.forEach((frame, i) => frame.classList.toggle("on", i === place));
    outlines.forEach((outline, i) => outline?.classList.toggle("on", i === place && controls.truth.checked));
    view.setAttribute("aria-label", data.note ? `what the model needs for “${word}”` : `where the model looks for “${word}”`);
    sight.hidden = !(seen && controls.truth.checked);
    sight.className = `small sight ${seen?.inside ? "inside" : "outside"}`;
    sight.textContent = seen ? `the peak is ${seen.inside ? "inside" : "outside"} the true ${seen.category}` : "";
    fall.textContent = data.falls ? `greyed where it matters most, “${word}” loses ${percent(data.falls[place])} of its probability` : "";
    if (part.shown === place) return;
    part.shown = place;
    words.forEach((button, i) => button.setAttribute("aria-current", i === place));
    choices.setAttribute("aria-label", `The likeliest words at place ${place + 1}`);
    choices.replaceChildren(...data.choices[place].map(({ id, word: other, probability }) =>
      element("button", {
        type: "button", class: "choice", disabled: other === word, style: `--p: ${probability}`,
        title: other === word ? null : `what if it said “${other}” here?`,
        "aria-label": other === word ? `said: “${other}”, probability ${percent(probability)}` : `what if “${other}”, probability ${percent(probability)}`,
        onclick: () => send({ event: "what_if", pane, place, word: id }),
      }, element("span", {}, other), element("span", { class: "bar" }), element("span", { class: "number" }, percent(probability)))));
  }

  // -------------------------------------------------------------------------------------------- the slider

  const slider = element("input", { type: "range", min: 0, max: 0, step: 1, "aria-label": "Word", onkeydown: step, oninput: () => move(Number(slider.value)) });
  const here = element("span", { class: "small here", "aria-hidden": "true" });
  const play = element("button", { type: "button", class: "play", onclick: () => (playing ? stop() : start()) });

  function move(position) {
    model.set("position", position);
    tell(() => model.save_changes());
  }

  // The keys of a slider by hand: JupyterLab keeps some of them from the browser.
  function step(event) {
    const last = Number(slider.max);
    const at = Number(slider.value);
    const to = { ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    move(Math.min(last, Math.max(0, to)));
  }

  function show() {
    const position = Math.min(model.get("position"), Number(slider.max));
    slider.value = position;
    panes.forEach((part) => showPane(part, position));
    const [{ data, shown }] = panes;
    const text = `${data.words[shown]}, word ${shown + 1} of ${data.words.length}`;
    slider.setAttribute("aria-valuetext", text);
    here.textContent = `word ${position + 1} of ${Number(slider.max) + 1}`;
  }

  function stop() {
    clearInterval(playing);
    playing = null;
    play.textContent = "▶";
    play.setAttribute("aria-label", "Play");
  }

  function start() {
    if (slider.value === slider.max) move(0);
    playing = setInterval(() => (slider.value === slider.max ? stop() : move(Number(slider.value) + 1)), PACE);
    play.textContent = "❚❚";
    play.setAttribute("aria-label", "Pause");
  }

  // -------------------------------------------------------------------------------------------- the settings

  const set = (name, read) => ({ currentTarget }) => send({ event: "settings", [name]: read(currentTarget) });
  function number(name) {
    const [min, max, step] = model.get("limits")[name];
    return element("input", { type: "number", min, max, step, onchange: set(name, ({ valueAsNumber }) => valueAsNumber) });
  }
  const select = (options, onchange) => element("select", { onchange }, ...options.map(([value, text]) => element("option", { value }, text)));
  const names = model.get("names").map((name) => [name, name]);
  const yes = ({ value }) => value === "yes";
  const controls = {
    name: select(names, set("name", ({ value }) => value)),
    beside: select([["", "nothing"], ...names], set("beside", ({ value }) => value || null)),
    num_beams: number("num_beams"),
    length_penalty: number("length_penalty"),
    temperature: number("temperature"),
    again: element("button", { type: "button", class: "again", onclick: () => send({ event: "again" }) }, "draw again"),
    strength: element("input", { type: "range", min: 0, max: 1, step: 0.05, value: 1,
      oninput: ({ currentTarget }) => root.style.setProperty("--strength", currentTarget.value) }),
    smooth: select([["yes", "smooth"], ["", "grid cells"]], set("smooth", yes)),
    bare: element("input", { type: "checkbox", checked: true, onchange: arrange }),
    truth: element("input", { type: "checkbox", onchange: show }),
  };
  controls.smooth.options[1].value = "no";
  function label(text, control) {
    control.setAttribute("aria-label", text); // the options of a list would be read as a part of its label
    return element("label", {}, text, control);
  }
  const choiceOfModels = [label("model", controls.name), label("beside it", controls.beside)];
  const masks = label("true outlines", controls.truth);
  const settings = element("div", { class: "settings", role: "group", "aria-label": "Settings" },
    ...(names.length > 1 ? choiceOfModels : []),
    label("beam width", controls.num_beams), label("length penalty", controls.length_penalty),
    label("temperature", controls.temperature), controls.again, label("strength", controls.strength),
    label("map", controls.smooth), label("bare picture", controls.bare), masks);

  function drawSettings() {
    const now = model.get("settings");
    for (const name of ["name", "num_beams", "length_penalty", "temperature"]) controls[name].value = now[name];
    controls.beside.value = now.beside ?? "";
    controls.smooth.value = now.smooth ? "yes" : "no";
    controls.again.hidden = !(now.temperature > 0);
    controls.num_beams.disabled = controls.length_penalty.disabled = now.temperature > 0;
    masks.hidden = !model.get("picture").annotated;
  }

  // -------------------------------------------------------------------------------------------- together

  const root = element("div", {
    class: "explorer", role: "group", "aria-label": "Attention explorer",
    "data-lm-suppress-shortcuts": "true", // JupyterLab's own keys stay out of here
    ondragover: (event) => { event.preventDefault(); event.stopPropagation(); root.classList.add("over"); },
    ondragleave: () => root.classList.remove("over"),
    ondrop: (event) => { event.preventDefault(); event.stopPropagation(); root.classList.remove("over"); bring(event.dataTransfer.files[0]); },
  }, pictures, stage, element("div", { class: "player" }, play, slider, here), settings, status);

  function answered() {
    waiting = Math.max(0, waiting - 1);
    root.classList.toggle("busy", waiting > 0);
    drawSettings();
    say(model.get("message"));
  }

  function redrawn() { mark(); drawBare(); drawSettings(); drawStage(); }

  const follow = [
    ["change:thumbnails", drawStrip], ["change:picture", redrawn], ["change:panes", drawStage],
    ["change:settings", drawSettings], ["change:position", show], ["change:answered", answered],
  ];
  follow.forEach(([event, act]) => model.on(event, act));
  stop();
  drawStrip();
  redrawn();
  say(model.get("message"));
  el.append(root);
  return () => { stop(); follow.forEach(([event, act]) => model.off(event, act)); };
}

export default { render };
