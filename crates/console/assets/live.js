// Live parts: streams of server-sent events, and what stays as somebody left it while a part changes. Without this script pages are still.
(() => {
  "use strict";
  const { all, enhance } = globalThis.posthaste;

  // Streams of events. A browser has six connections to a server (HTTP/1.1): a hidden tab gives its own back.
  const streams = new Set();
  class Stream {
    constructor(url) {
      this.url = url;
      this.heard = [];
      // htmx replaces one that was refused. The new one goes on where it was.
      for (const other of streams) {
        if (other.url !== url) continue;
        this.last = other.last;
        other.close();
      }
      streams.add(this);
      if (!document.hidden) this.wake();
    }
    // After what was shown last.
    get place() {
      if (!this.last) return this.url;
      const place = new URL(this.url, location.href);
      place.searchParams.set("cursor", this.last);
      return place.href;
    }
    get readyState() { return this.source?.readyState ?? EventSource.CONNECTING; }
    wake() {
      if (this.source) return;
      this.source = new EventSource(this.place, { withCredentials: true });
      this.source.onopen = (event) => this.onopen?.(event);
      this.source.onerror = (event) => this.onerror?.(event);
      // Nothing more comes: asking again is up to somebody who looks again.
      this.source.addEventListener("end", (event) => {
        this.sleep();
        ended(event.data);
      });
      for (const [name, listener] of this.heard) this.source.addEventListener(name, listener);
    }
    sleep() {
      this.source?.close();
      this.source = null;
    }
    addEventListener(name, listener) {
      this.heard.push([name, listener]);
      this.source?.addEventListener(name, listener);
    }
    removeEventListener(name, listener) {
      this.heard = this.heard.filter(([other, one]) => other !== name || one !== listener);
      this.source?.removeEventListener(name, listener);
    }
    close() {
      this.sleep();
      streams.delete(this);
    }
  }
  // The server ends the streams of a session with it: whoever logs out needs no news of that.
  document.addEventListener("submit", (event) => {
    if (event.target.getAttribute("action") === "/console/logout") for (const stream of streams) stream.sleep();
  });
  const streamOf = (list) => [...streams].find((stream) => stream.url === list.closest("[sse-connect]")?.getAttribute("sse-connect"));
  // Parts are sent whole when their stream opens.
  const lookAgain = () => {
    const ofLists = new Set([...all("[data-keep]")].map(streamOf));
    for (const stream of streams) {
      if (ofLists.has(stream)) continue;
      stream.sleep();
      stream.wake();
    }
  };
  // Lists are not: what came meanwhile is read with the page, and the stream goes on behind that. Rows that are there stay what they are, with
  // the keyboard on them.
  const renew = (list, fresh) => {
    const known = new Map([...list.children].map((row) => [row.id, row]));
    const focus = list.contains(document.activeElement) ? document.activeElement.closest("tr") : null;
    const rows = [...fresh.children].map((row) => {
      const old = known.get(row.id);
      old?.replaceChildren(...row.children);
      return old ?? row;
    });
    list.replaceChildren(...rows);
    if (focus?.isConnected) focus.querySelector("a[href]")?.focus({ preventScroll: true });
    const stream = streamOf(list);
    const [here, there] = [list, fresh].map((one) => one.closest("[sse-connect]"));
    if (stream && there) {
      stream.url = there.getAttribute("sse-connect");
      stream.last = null;
      here.setAttribute("sse-connect", stream.url);
    }
    htmx.process(list);
    enhance(list);
    for (const empty of all(`[data-empty-of="${list.id}"]`)) empty.hidden = list.children.length > 0;
    const foot = `[data-foot-of="${list.id}"]`;
    const anew = fresh.ownerDocument.querySelector(foot);
    if (anew) document.querySelector(foot)?.replaceWith(anew);
  };
  let turn = 0;
  const catchUp = async () => {
    const lists = [...all("[data-keep]")].filter((list) => list.id);
    const resting = lists.map(streamOf).filter(Boolean);
    if (!resting.length) return;
    turn += 1;
    const mine = turn;
    for (const stream of resting) stream.sleep();
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      const page = answer.ok && !answer.redirected && new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const list of page && mine === turn ? lists : []) {
        const fresh = page.getElementById(list.id);
        if (fresh) renew(list, fresh);
      }
    } catch {
      // The streams go on after what was shown last, and say that they reconnect.
    }
    if (mine === turn && !document.hidden) for (const stream of resting) stream.wake();
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      for (const stream of streams) stream.sleep();
      return;
    }
    lookAgain();
    catchUp();
  });

  // Live lists keep as many rows as they say; what arrives is marked for a moment.
  const state = (on, isRefused) => {
    const sign = document.querySelector(".live");
    if (!sign) return;
    sign.classList.remove("over");
    sign.classList.toggle("on", on);
    const words = sign.querySelector(".words");
    if (words) words.textContent = on ? "Live" : isRefused ? "Not live" : "Reconnecting…";
    sign.title = isRefused ? "Load the page again to see what is new. It goes live by itself when it can." : "";
  };
  document.addEventListener("htmx:sseOpen", () => state(true));
  // A stream that was answered with an error is closed for good: htmx asks anew, less and less often.
  document.addEventListener("htmx:sseError", (event) => state(false, event.detail.source?.readyState === EventSource.CLOSED));
  const ended = (words) => {
    const sign = document.querySelector(".live");
    if (!sign) return;
    sign.classList.remove("on");
    sign.classList.add("over");
    sign.querySelector(".words").textContent = words;
    sign.title = "Nothing more changes here by itself.";
  };
  // The notices of a part are said when they are others than before, and not whenever something beside them changes.
  const said = new WeakMap();
  const notices = (part) => [...all("[data-says]", part)].map((notice) => notice.textContent.trim()).join(" ");
  const say = (part) => {
    const words = notices(part);
    const news = document.getElementById("news");
    if (news && words !== (said.get(part) ?? "")) news.textContent = words;
    said.set(part, words);
  };
  // What somebody opened stays open when its part is written anew, and nothing changes below a selection. What has a name is known by it: another
  // request or attempt may have come before it.
  const opened = new WeakMap();
  const names = (part) => [...all("details", part)].map((details, at) => [details.dataset.fold ?? at, details]);
  const reached = (part, fold) => {
    const place = fold === undefined ? part : part.querySelector(`[data-fold="${CSS.escape(fold)}"]`);
    return place ? [...all("a[href], button, summary", place)].filter((one) => (one.closest("[data-fold]") ?? part) === place) : [];
  };
  const keyboard = (part) => {
    const one = document.activeElement;
    if (!part.contains(one)) return null;
    const fold = one.closest("[data-fold]")?.dataset.fold;
    return { fold, href: one.getAttribute("href"), at: reached(part, fold).indexOf(one) };
  };
  const giveBack = (part, { fold, href, at }) => {
    const there = reached(part, fold);
    const one = (href && there.find((other) => other.getAttribute("href") === href)) || there[at];
    one?.focus({ preventScroll: true });
  };
  let missed = false;
  document.addEventListener("selectionchange", () => {
    if (!missed || !document.getSelection().isCollapsed) return;
    missed = false;
    lookAgain();
  });
  document.addEventListener("htmx:sseBeforeMessage", (event) => {
    const part = event.target;
    const paused = part.closest("[data-hold]")?.querySelector("[data-pause]")?.getAttribute("aria-pressed") === "true";
    const selection = document.getSelection();
    if (paused || (!selection.isCollapsed && part.contains(selection.anchorNode) && !part.dataset.keep)) {
      event.preventDefault();
      missed = missed || !paused;
      return;
    }
    if (part.dataset.keep) return;
    const open = new Map(names(part).map(([name, details]) => [name, details.open]));
    opened.set(part, { open, focus: keyboard(part) });
  });
  document.addEventListener("htmx:sseMessage", (event) => {
    const { target: part, detail: message } = event;
    for (const stream of streams) if (stream.source === message.target) stream.last = message.lastEventId || stream.last;
    const before = opened.get(part);
    if (!before) return;
    for (const [name, details] of names(part)) if (before.open.has(name)) details.open = before.open.get(name);
    if (before.focus) giveBack(part, before.focus);
    enhance(part);
    say(part);
  });
  document.addEventListener("htmx:load", (event) => {
    const element = event.target;
    enhance(element.parentElement ?? element);
    const list = element.closest?.("[data-keep]");
    if (list) {
      element.classList.add("fresh");
      // The page may have shown it already: it was made while the stream began. Others may have come since: it need not be the first.
      for (const twin of [...list.children]) if (twin !== element && twin.id && twin.id === element.id) twin.remove();
      const most = Number(list.dataset.keep);
      const isLonger = list.children.length > most;
      while (list.children.length > most) list.lastElementChild.remove();
      for (const empty of all(`[data-empty-of="${list.id}"]`)) empty.hidden = true;
      foot(list, isLonger);
    }
  });
  // The foot of a live list. What left its end begins the next page.
  const foot = (list, isLonger) => {
    const place = document.querySelector(`[data-foot-of="${list.id}"]`);
    if (!place) return;
    const next = place.lastElementChild.lastElementChild;
    if (isLonger) {
      const address = new URL(next.getAttribute("href") ?? location.href, location.href);
      address.searchParams.set("cursor", list.lastElementChild.dataset.cursor);
      next.href = address.href;
      next.rel = "next";
      next.hidden = false;
    }
    const count = list.children.length;
    const { one, more } = place.dataset;
    place.firstElementChild.textContent = `${count} ${count === 1 ? one : more} ${next.hidden ? "in all" : "on this page"}`;
  };
  document.addEventListener("click", (event) => {
    const pause = event.target.closest("[data-pause]");
    if (!pause) return;
    const paused = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", String(paused));
    pause.querySelector(".words").textContent = paused ? "Go on" : "Hold";
    if (!paused) catchUp();
  });
  document.addEventListener("htmx:afterSwap", (event) => { if (!event.target.matches("[sse-swap]")) say(event.target); });

  const begin = () => {
    for (const part of all("[sse-swap]")) said.set(part, notices(part));
    // Before htmx looks at the page.
    if (globalThis.htmx) htmx.createEventSource = (url) => new Stream(url);
  };
  // After `console.js`, which writes the times.
  if (document.readyState === "complete") begin(); else document.addEventListener("DOMContentLoaded", begin);
})();
