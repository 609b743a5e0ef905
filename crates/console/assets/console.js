// What pages get from scripts, but for live parts (`live.js`). They work without: this adds times in the viewer's zone, copying, dialogs and keys.
(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");
  const all = (selector, from = document) => from.querySelectorAll(selector);

  // Times: the server writes UTC; the viewer reads their own zone, and the exact UTC time in the tooltip.
  const today = (date) => date.toDateString() === new Date().toDateString();
  const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
  const dated = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const hour = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
  const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
  const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
  const ago = (date) => {
    const seconds = (date - Date.now()) / 1000;
    for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
      if (Math.abs(seconds) >= size) return relative.format(Math.round(seconds / size), unit);
    }
    return relative.format(Math.round(seconds), "second");
  };
  const times = (from) => {
    for (const time of all("time[datetime]", from)) {
      const date = new Date(time.dateTime);
      if (Number.isNaN(date.getTime())) continue;
      time.title = `${full.format(date)}\n${time.dateTime}`;
      const style = time.dataset.style;
      if (style === "short") { time.textContent = (today(date) ? hour : day).format(date); continue; }
      time.textContent = style === "ago" ? ago(date) : style === "full" ? full.format(date) : (today(date) ? clock : dated).format(date);
    }
  };
  setInterval(() => all('time[data-style="ago"]').forEach((time) => { time.textContent = ago(new Date(time.dateTime)); }), 30000);

  // Fields for a local time: shown in the viewer's zone, sent as RFC 3339.
  const localTimes = (from) => {
    for (const input of all("input[data-time]", from)) {
      const date = new Date(input.dataset.time);
      if (input.dataset.time && !Number.isNaN(date.getTime())) {
        input.value = new Date(date.getTime() - date.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
      }
    }
  };
  document.addEventListener("formdata", (event) => {
    for (const input of all("input[data-time]", event.target)) {
      const date = new Date(input.value);
      if (input.value && !Number.isNaN(date.getTime())) event.formData.set(input.name, date.toISOString());
    }
  });

  // Editors with line numbers.
  const editors = (from) => {
    for (const editor of all(".editor", from)) {
      const area = editor.querySelector("textarea");
      const lines = editor.querySelector(".lines");
      const number = () => {
        const count = area.value.split("\n").length;
        lines.textContent = Array.from({ length: count }, (_, i) => i + 1).join("\n");
        lines.scrollTop = area.scrollTop;
      };
      if (!lines || !area) continue;
      area.addEventListener("input", number);
      area.addEventListener("scroll", () => { lines.scrollTop = area.scrollTop; });
      number();
    }
  };

  const toast = (text, kind = "ok") => {
    const place = document.getElementById("toasts");
    if (!place) return;
    const note = document.createElement("div");
    note.className = `notice ${kind}`;
    const inner = document.createElement("div");
    inner.className = "text";
    inner.textContent = text;
    note.append(inner);
    place.append(note);
    setTimeout(() => note.remove(), 4000);
  };

  const enhance = (from) => { times(from); localTimes(from); editors(from); };

  // Without HTTPS browsers have no clipboard for scripts. The old way copies a selection, so there has to be one, in the dialog if one is open.
  const copyText = async (text, button) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    area.setAttribute("aria-hidden", "true");
    (button.closest("dialog") ?? document.body).append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    button.focus();
    if (!isCopied) throw new Error("not copied");
  };
  document.addEventListener("click", async (event) => {
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      const source = copy.closest(".code-box, .secret").querySelector("[data-source]");
      const text = source.dataset.raw ?? source.value ?? source.textContent;
      try {
        await copyText(text, copy);
        toast("Copied");
      } catch {
        toast("The browser did not allow copying", "bad");
      }
      return;
    }
    // A link to a confirmation page opens the same question as a dialog.
    const opener = event.target.closest("[data-dialog]");
    if (opener && !event.ctrlKey && !event.metaKey) {
      const dialog = document.getElementById(opener.dataset.dialog);
      if (dialog) {
        event.preventDefault();
        dialog.showModal();
      }
      return;
    }
    if (event.target.closest("[data-close]")) {
      const holder = event.target.closest("dialog, .notice");
      if (holder instanceof HTMLDialogElement) { event.preventDefault(); holder.close(); } else holder?.remove();
      return;
    }
    for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
    const chooser = event.target.closest("[data-shows]");
    if (chooser) choose(chooser);
  });
  // Parts of a form that belong to one choice: <select data-shows="channel"> and <div data-when-channel="webhook slack">. One may be within
  // another: what stands in any hidden part is neither checked nor sent.
  const choose = (chooser) => {
    const name = `data-when-${chooser.dataset.shows}`;
    for (const part of all(`[${name}]`)) {
      part.hidden = !part.getAttribute(name).split(" ").includes(chooser.value);
      for (const field of all("input, select, textarea", part)) field.disabled = field.closest("[hidden]") !== null;
    }
  };
  const choices = () => all("[data-shows]").forEach(choose);

  // Keys. `g` and a letter goes somewhere: the letters are in the navigation (data-key). Who speaks to the computer turns them off: any word
  // would be a row of keys.
  const SWITCH = "posthaste-keys";
  const hasKeys = () => {
    try { return localStorage.getItem(SWITCH) !== "off"; } catch { return true; }
  };
  document.addEventListener("change", (event) => {
    if (!event.target.matches("[data-keys]")) return;
    try {
      if (event.target.checked) localStorage.removeItem(SWITCH); else localStorage.setItem(SWITCH, "off");
    } catch {
      event.target.checked = true;
      toast("The browser did not allow keeping this", "bad");
    }
  });
  let waits = 0;
  // The row that was gone to, and its place: rows of live lists come and go.
  let at = null;
  let place = 0;
  const rows = () => [...all("main tbody tr")].filter((row) => row.querySelector("a[href]"));
  const move = (by) => {
    const list = rows();
    if (!list.length) return;
    let from = list.indexOf(at);
    if (from < 0) from = by > 0 ? place - 1 : place;
    place = Math.min(list.length - 1, Math.max(0, from + by));
    at?.classList.remove("at");
    at = list[place];
    at.classList.add("at");
    at.querySelector("a[href]").focus({ preventScroll: true });
    at.scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") for (const menu of all("details.menu[open]")) { menu.open = false; menu.querySelector("summary").focus(); }
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !hasKeys()) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable], dialog[open]")) return;
    const go = Date.now() < waits;
    waits = 0;
    if (go) {
      const link = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); location.href = link.href; }
      return;
    }
    const actions = {
      g: () => { waits = Date.now() + 1500; },
      "/": () => document.querySelector("[data-search]")?.focus(),
      "?": () => document.getElementById("keys")?.showModal(),
      n: () => document.querySelector("[data-new]")?.click(),
      j: () => move(1),
      k: () => move(-1),
    };
    if (actions[event.key]) { event.preventDefault(); actions[event.key](); }
  });

  // A form is sent once: who presses its button again while the answer is under way would do the same again. Somebody who stops the browser,
  // writes on, or waits for long may send it anew.
  const WAITS = 30000;
  const sent = new WeakMap();
  const anew = (form) => {
    sent.delete(form);
    for (const button of all("button[aria-busy]", form)) button.removeAttribute("aria-busy");
  };
  document.addEventListener("submit", (event) => {
    const { target: form, submitter } = event;
    if (event.defaultPrevented || form.getAttribute("method") !== "post") return;
    const before = sent.get(form);
    if (before && before.submitter === submitter && Date.now() - before.at < WAITS) { event.preventDefault(); return; }
    anew(form);
    sent.set(form, { submitter, at: Date.now() });
    submitter?.setAttribute("aria-busy", "true");
  });
  document.addEventListener("input", (event) => { if (event.target.form) anew(event.target.form); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") for (const form of document.forms) anew(form); });
  addEventListener("pageshow", () => { for (const form of document.forms) anew(form); });

  // Text that follows something else as long as nobody wrote over it: the rule that the name of an event type gives.
  const followed = new WeakMap();
  const follow = (from) => {
    for (const source of all("[data-prefill]", from)) {
      const field = document.getElementById(source.dataset.prefill);
      if (!field || document.activeElement === field) continue;
      if (field.value === "" || followed.get(field) === field.value) {
        field.value = source.dataset.text;
        followed.set(field, field.value);
        field.dispatchEvent(new Event("input"));
      }
    }
  };
  document.addEventListener("htmx:configRequest", (event) => {
    const rule = document.getElementById("f-rule");
    if (rule && event.target.id === "found" && followed.get(rule) === rule.value) event.detail.parameters.rule = "";
  });
  document.addEventListener("htmx:afterSwap", (event) => { follow(event.target); enhance(event.target); });

  // Blocks of a template are moved by their grips and their buttons where they are. What the server counts is their order in the form.
  const rearranged = (list, words) => {
    const blocks = [...list.children];
    blocks.forEach((block, at) => {
      block.id = `block-${at}`;
      block.querySelector("[data-number]").textContent = at + 1;
      for (const button of all('button[name="do"]', block)) {
        button.value = button.value.replace(/:\d+/, `:${at}`);
        button.setAttribute("formaction", button.getAttribute("formaction").replace(/#.*/, `#block-${at}`));
        const label = button.getAttribute("aria-label");
        if (label) button.setAttribute("aria-label", label.replace(/block \d+$/, `block ${at + 1}`));
        if (button.value.startsWith("up:")) button.disabled = at === 0;
        if (button.value.startsWith("down:")) button.disabled = at === blocks.length - 1;
      }
    });
    for (const add of all('button[value^="add-"]', list.parentElement)) {
      add.setAttribute("formaction", add.getAttribute("formaction").replace(/#.*/, `#block-${blocks.length}`));
    }
    list.parentElement.querySelector("[data-moved]").textContent = words;
    list.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const placeOf = (block) => `Block ${[...block.parentElement.children].indexOf(block) + 1} of ${block.parentElement.children.length}`;
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.('.blocks button[name="do"]');
    if (!button) return;
    const block = button.closest(".block");
    const list = block.parentElement;
    const verb = button.value.split(":")[0];
    const [before, after] = [block.previousElementSibling, block.nextElementSibling];
    if (verb === "up" && before) before.before(block);
    else if (verb === "down" && after) after.after(block);
    else if (verb === "remove" && (before || after)) block.remove();
    else return;
    event.preventDefault();
    if (verb === "remove") {
      rearranged(list, "Removed");
      (after ?? before).focus();
      return;
    }
    rearranged(list, placeOf(block));
    // At the end of the way the button is of no more use: the one of the way back is beside it.
    (button.disabled ? block.querySelector('.tools button:not(:disabled)') : button).focus();
    block.scrollIntoView({ block: "nearest" });
  });
  let moving = null;
  document.addEventListener("dragstart", (event) => {
    const grip = event.target.closest?.("[data-grip]");
    if (!grip) return;
    moving = grip.closest(".block");
    moving.classList.add("moving");
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", "");
    event.dataTransfer.setDragImage(moving, 20, 20);
  });
  document.addEventListener("dragover", (event) => {
    const over = moving && event.target.closest?.(".block");
    if (!over || over.parentElement !== moving.parentElement) return;
    event.preventDefault();
    if (over === moving) return;
    const box = over.getBoundingClientRect();
    const behind = event.clientY > box.top + box.height / 2;
    over.parentElement.insertBefore(moving, behind ? over.nextSibling : over);
  });
  document.addEventListener("drop", (event) => { if (moving) event.preventDefault(); });
  document.addEventListener("dragend", () => {
    if (!moving) return;
    moving.classList.remove("moving");
    rearranged(moving.parentElement, placeOf(moving));
    moving = null;
  });

  const begin = () => {
    // What was done is said once: not again when the page is loaded again, or by a link that was copied.
    const here = new URL(location.href);
    if (here.searchParams.has("done")) {
      here.searchParams.delete("done");
      history.replaceState(history.state, "", here);
    }
    enhance(document);
    choices();
    follow(document);
    for (const box of all("[data-keys]")) box.checked = hasKeys();
  };
  globalThis.posthaste = { all, enhance };
  // All scripts have been loaded then, and htmx, which listens later, has not begun.
  if (document.readyState === "complete") begin(); else document.addEventListener("DOMContentLoaded", begin);
})();
