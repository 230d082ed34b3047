// Runs once the table of app/variant_table.py is on the page; its frame (``element``) stays when its HTML is new. Gradio
// makes the old nodes over into the new ones, but what a person typed or ticked in a field stands over its HTML: `show`
// puts it right. What they did in the last seconds counts more than a table drawn before the server knew of it.
const WAIT = 400, FRESH = 4000;
const done = new Map(); // by a line's id: what was done to it last, and when
const unfolded = new Set();
let timer = 0, waiting = null;
const idOf = (part) => part.closest("[data-id]").dataset.id;
const tell = (data) => { for (const id of data.ids) done.set(id, {...done.get(id), ...data, at: Date.now()});
  trigger("input", data); };
const send = () => { clearTimeout(timer); if (waiting) tell(waiting); waiting = null; };
const show = () => {
  for (const line of element.querySelectorAll("tr[data-id]")) {
    const box = line.querySelector("input"), field = line.querySelector("textarea");
    let mine = done.get(line.dataset.id);
    if (mine && Date.now() - mine.at > FRESH) mine = null;
    box.checked = mine?.ticked ?? box.defaultChecked;
    const typed = waiting?.ids[0] === line.dataset.id ? waiting.text : mine?.text;
    if (field.value !== (typed ?? field.defaultValue)) field.value = typed ?? field.defaultValue;
  }
  for (const part of element.querySelectorAll("details")) part.open = unfolded.has(part.dataset.seed);
};
element.addEventListener("change", (event) => {
  send();
  if (event.target.matches("input[type=checkbox]"))
    tell({ids: [idOf(event.target)], ticked: event.target.checked});
});
element.addEventListener("input", (event) => {
  if (!event.target.matches("textarea")) return;
  const id = idOf(event.target);
  if (waiting && waiting.ids[0] !== id) send();
  waiting = {ids: [id], text: event.target.value};
  clearTimeout(timer);
  timer = setTimeout(send, WAIT);
});
element.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !event.target.matches("textarea")) return;
  event.preventDefault(); // a prompt is one line
  send();
});
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-tick]");
  if (!button) return;
  send();
  const ticked = button.dataset.tick === "all", ids = [];
  const which = ticked ? "[data-kept] input:enabled" : "input:enabled"; // none is none, what was left out too
  for (const box of (button.closest("[data-seed]") ?? element).querySelectorAll(which)) {
    if (box.checked === ticked || (ticked && !box.closest("tr").querySelector("textarea").value.trim())) continue;
    box.checked = ticked;
    ids.push(idOf(box));
  }
  if (ids.length) tell({ids, ticked});
});
element.addEventListener("toggle", (event) => {
  if (event.target.open) unfolded.add(event.target.dataset.seed);
  else unfolded.delete(event.target.dataset.seed);
}, {capture: true});
watch("value", show);
