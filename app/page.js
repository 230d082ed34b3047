// What this page says in the language of the browser: app/locales, by the English text (see app/language.py).
const CATALOGUE = () => {
  const all = window.gradio_config?.i18n_translations ?? {};
  const wanted = navigator.language.split("-")[0].toLowerCase();
  return Object.hasOwn(all, wanted) ? { language: wanted, texts: all[wanted] } : { language: "en", texts: {} };
};
function say(text, values = {}) {
  const { texts } = CATALOGUE();
  return (Object.hasOwn(texts, text) ? texts[text] : text).replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
}

// Gradio names its own language in the root, which may be one that this page is not in.
(() => {
  const root = document.documentElement;
  const name = () => {
    const { language } = CATALOGUE();
    if (window.gradio_config && root.lang !== language) root.lang = language;
  };
  new MutationObserver(name).observe(root, { attributeFilter: ["lang"] });
  name();
})();

// Copy buttons: any element with data-copy puts that text on the clipboard and says so.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
  } catch (_) {
    // A page without https has no clipboard: an invisible field does.
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  const label = button.textContent;
  button.textContent = say("Copied");
  setTimeout(() => (button.textContent = label), 1500);
});

// Calls ``look`` when the page has changed. Gradio runs this file before or after the page is there.
function whenChanged(look) {
  const start = () =>
    new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true });
  if (document.body) start();
  else addEventListener("DOMContentLoaded", start);
}

// A new error or warning is brought into view, once.
(() => {
  const shown = new Map();
  const look = () => {
    for (const notice of document.querySelectorAll(".st-notice.st-error, .st-notice.st-warning")) {
      const slot = notice.closest(".block")?.id;
      if (!slot || shown.get(slot) === notice.textContent || !notice.offsetParent) continue;
      const first = !shown.has("page");
      shown.set(slot, notice.textContent);
      if (!first) notice.scrollIntoView({ block: "nearest", behavior: "instant" });
    }
    for (const slot of shown.keys()) {
      const block = document.getElementById(slot);
      if (slot !== "page" && block && !block.querySelector(".st-notice")) shown.delete(slot);
    }
  };
  whenChanged(() => requestAnimationFrame(look));
  // What stood there when the page was opened moves nothing.
  for (const event of ["pointerdown", "keydown"])
    addEventListener(event, () => shown.set("page", ""), { capture: true });
})();

// The tab's title follows the job that runs, and whoever ticked "Tell me when it is done" is told.
(() => {
  const KEY = "second-take-tell-me";
  let title = null; // the page's own, while it says something else
  let doing = "";
  const allowed = () => "Notification" in window && Notification.permission === "granted";
  // In this order: the permission is asked of the browser's main process, which takes it milliseconds.
  const wanted = () => sessionStorage.getItem(KEY) === "yes" && allowed();
  const tick = () => {
    for (const box of document.querySelectorAll(".st-tell input")) if (box.checked !== wanted()) box.checked = wanted();
  };
  const look = () => {
    const now = document.querySelector("#now [data-doing]");
    document.body.classList.toggle("st-busy", Boolean(now));
    if (now) {
      title ??= document.title;
      const percent = now.dataset.percent;
      doing = now.dataset.doing;
      const said = `${percent ? `${percent} % · ` : ""}${doing} – ${title}`;
      if (document.title !== said) document.title = said;
      tick();
    } else if (title !== null) {
      document.title = title;
      if (wanted()) new Notification(title, { body: say("It is done. The last part was: {part}", { part: doing }), tag: "second-take" });
      title = null;
    }
  };
  addEventListener("change", async (event) => {
    if (!event.target.matches?.(".st-tell input")) return;
    const box = event.target;
    sessionStorage.setItem(KEY, box.checked ? "yes" : "no");
    if (!box.checked || allowed()) return tick();
    const answer = "Notification" in window ? await Notification.requestPermission() : "denied";
    if (answer !== "granted") box.nextElementSibling.textContent = say("This browser does not let the page tell you");
    tick();
  });
  whenChanged(look);
})();

// Says so while the server does not answer, and keeps what is typed meanwhile. Gradio loads the page anew when the
// server is back, which would lose it.
(() => {
  const KEY = "second-take-typed";
  const FIELDS = ["#prompts textarea", "#trial textarea", "#typed-model textarea, #typed-model input"];
  const SECONDS = 3;
  let bar = null;
  let misses = 0;
  let app = null;
  const keep = () => {
    const typed = FIELDS.map((field) => document.querySelector(field)?.value ?? null);
    sessionStorage.setItem(KEY, JSON.stringify(typed));
  };
  const show = () => {
    bar = document.createElement("div");
    bar.className = "st-lost";
    bar.setAttribute("role", "alert");
    const what = say("The program is not answering.");
    const more = say("It was closed, or the connection to it is gone: start it again.");
    const kept = say("What you typed is kept in this tab, and this page goes on by itself.");
    bar.innerHTML = `<strong>${what}</strong> ${more} ${kept}`;
    document.body.prepend(bar);
    keep();
  };
  const answered = (id) => {
    misses = 0;
    const again = app !== null && id !== app;
    app = id;
    if (again) {
      keep();
      location.reload(); // it was started anew and does not know this page
    } else if (bar) {
      bar.remove();
      bar = null;
    }
  };
  const ask = async () => {
    const { root, api_prefix } = window.gradio_config ?? {};
    if (root === undefined || document.hidden) return;
    try {
      const answer = await fetch(`${root}${api_prefix ?? "/gradio_api"}/app_id`, { signal: AbortSignal.timeout(8000) });
      if (answer.status >= 500) throw new Error(answer.statusText);
      if (answer.ok) answered((await answer.json()).app_id);
    } catch (_) {
      misses += 1;
      if (misses > 1 && !bar) show();
    }
  };
  setInterval(ask, SECONDS * 1000);
  addEventListener("input", () => bar && keep(), { capture: true });

  // After the reload: the server puts back what it knows, and over it goes what was typed since.
  const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  sessionStorage.removeItem(KEY);
  if (!kept) return;
  const own = new Set();
  addEventListener("input", (event) => event.isTrusted && own.add(event.target), { capture: true });
  const put = setInterval(() => {
    FIELDS.forEach((name, i) => {
      const field = document.querySelector(name);
      if (!field || !kept[i] || own.has(field) || field.value === kept[i]) return;
      field.value = kept[i];
      field.dispatchEvent(new Event("input", { bubbles: true }));
    });
  }, 300);
  setTimeout(() => clearInterval(put), 8000);
})();
