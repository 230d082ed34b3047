// The lists of step 4: search, outcome filter, keys and copying, in the browser, so that 500 pairs answer at once.
// Whenever the server has something new Gradio makes the list's nodes over into it, one by one, and takes away what
// was set on them here; so what is typed and chosen is kept in this file and applied again.
(() => {
  const chosen = new Map(); // by the list's id: {query, outcome, tools (the ones that show it)}
  const texts = new WeakMap(); // what is searched of a pair, in lower case

  let differences = true; // whether words that differ are marked, in every list

  const state = (id) => {
    if (!chosen.has(id)) chosen.set(id, { query: "", outcome: "all", tools: null });
    return chosen.get(id);
  };
  const itemsOf = (id) => document.querySelectorAll(`#${CSS.escape(id)} .st-list > [data-id]`);

  function searched(item) {
    if (!texts.has(item)) {
      const parts = [...item.querySelectorAll(".st-prompt, .st-reply")].map((part) => part.textContent);
      texts.set(item, parts.join("\n").toLowerCase());
    }
    return texts.get(item);
  }

  const isOf = (item, outcome) =>
    outcome === "all" || (outcome === "by you" ? "marked" in item.dataset : item.dataset.outcome === outcome);

  function apply(tools) {
    const view = state(tools.dataset.list);
    const items = [...itemsOf(tools.dataset.list)];
    const words = view.query.toLowerCase().trim();
    let found = 0;
    for (const item of items) {
      const shown = isOf(item, view.outcome) && (!words || searched(item).includes(words));
      if (item.hidden === shown) item.hidden = !shown;
      found += shown;
    }
    for (const count of tools.querySelectorAll("[data-count]")) {
      count.textContent = items.filter((item) => isOf(item, count.dataset.count)).length;
    }
    const all = found === items.length;
    const said = say("{done} of {total} are shown.", { done: found, total: items.length });
    tools.querySelector("[data-found]").textContent = all ? "" : said;
    tools.hidden = !items.length;
    observer.takeRecords(); // what was changed just now needs no answer
  }

  function showDifferences(on) {
    differences = on;
    const root = document.documentElement.style;
    root.setProperty("--st-ins", on ? "underline" : "none");
    root.setProperty("--st-del", on ? "line-through" : "none");
    root.setProperty("--st-differences", on ? "100%" : "0%");
    for (const box of document.querySelectorAll("[data-differences]")) box.checked = on;
  }

  // A list that was made over, or tools that came back with their tab.
  function refresh(records) {
    const touched = new Set();
    for (const { target } of records) {
      const element = target.nodeType === Node.ELEMENT_NODE ? target : target.parentElement;
      const list = element?.closest(".st-slot[id^='set-']");
      if (!list) continue;
      touched.add(list.id);
      texts.delete(element.closest("[data-id]"));
    }
    for (const tools of document.querySelectorAll(".st-tools")) {
      const view = state(tools.dataset.list);
      if (view.tools !== tools) {
        tools.querySelector("[type=search]").value = view.query;
        for (const radio of tools.querySelectorAll("[type=radio]")) radio.checked = radio.value === view.outcome;
        showDifferences(differences);
      } else if (!touched.has(tools.dataset.list)) continue;
      view.tools = tools;
      apply(tools);
    }
  }

  function changed(event) {
    const tools = event.target.closest?.(".st-tools");
    if (!tools) return;
    const view = state(tools.dataset.list);
    if (event.target.type === "search") view.query = event.target.value;
    if (event.target.type === "checkbox") return showDifferences(event.target.checked);
    if (event.target.type === "radio") view.outcome = event.target.value;
    apply(tools);
  }

  // A pair as plain text. Of what is not on the screen only textContent is there.
  function pairText(pair) {
    const lines = [`${say("Prompt")}: ${pair.querySelector(".st-prompt").textContent}`];
    for (const [title, side] of [[say("Before"), "before"], [say("After"), "after"]]) {
      const place = pair.querySelector(`[data-side="${side}"]`)?.closest("section, td");
      if (!place) continue;
      const reply = place.querySelector(".st-reply");
      lines.push(`${title} (${place.querySelector(".st-badge").textContent})${reply ? `: ${reply.textContent}` : ""}`);
    }
    return lines.join("\n\n") + "\n";
  }

  // Moves the focus to the pair after the one that has it (``by`` 1) or before it (-1), among those that are shown.
  function move(list, pair, by) {
    const shown = [...list.children].filter((item) => item.dataset.id && !item.hidden);
    const next = shown[pair ? shown.indexOf(pair) + by : by > 0 ? 0 : shown.length - 1];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  }

  function pressed(event) {
    const list = event.target.closest?.(".st-list");
    if (!list || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, textarea, select, [contenteditable]")) return;
    const pair = event.target.closest("[data-id]");
    const arrows = !event.target.matches(".st-reply"); // a long reply that has the focus scrolls with them
    if (event.key === "j" || (arrows && event.key === "ArrowDown")) move(list, pair, 1);
    else if (event.key === "k" || (arrows && event.key === "ArrowUp")) move(list, pair, -1);
    else if (event.key === "c" && pair) pair.querySelector("[data-copy-pair]").click();
    else return;
    event.preventDefault();
  }

  // Along a strip of verdicts, whose cells are one place for the tab key.
  function walked(event) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by || !event.target.matches?.(".st-strip > [tabindex]")) return;
    const next = by > 0 ? event.target.nextElementSibling : event.target.previousElementSibling;
    if (next?.matches("[tabindex]")) next.focus();
    event.preventDefault();
  }

  document.addEventListener("keydown", pressed);
  document.addEventListener("keydown", walked);
  // Before page.js, which copies: what the button copies is put together when it is pressed.
  document.addEventListener(
    "click",
    (event) => {
      const button = event.target.closest("[data-copy-pair]");
      if (button) button.dataset.copy = pairText(button.closest("[data-id]"));
    },
    { capture: true },
  );
  document.addEventListener("input", changed);
  const observer = new MutationObserver(refresh);
  observer.observe(document.documentElement, {
    subtree: true,
    childList: true,
    characterData: true,
    attributeFilter: ["hidden", "data-id", "data-outcome", "data-marked"],
  });
})();
