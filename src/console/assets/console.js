// What pages do better with a script: keys, the palette, times, copying, live parts, plots.
// Every page works without it. It holds no text for people: texts are in the pages' attributes.
"use strict";

(() => {
  const root = document.documentElement;
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // === saying something to a screen reader ===

  function say(text) {
    const place = one("#spoken");
    if (place && text) {
      place.textContent = "";
      setTimeout(() => { place.textContent = text; }, 50);
    }
  }

  // === times ===

  const LIMITS = [[60, 1], [3600, 60], [86400, 3600], [Infinity, 86400]];

  function distance(at) {
    const words = one("#spoken")?.dataset ?? {};
    const seconds = Math.trunc((Date.now() - at) / 1000);
    const far = Math.abs(seconds);
    const unit = LIMITS.findIndex(([limit]) => far < limit);
    const number = new Intl.NumberFormat("en").format(Math.floor(far / LIMITS[unit][1]));
    const span = `${number} ${(words.units ?? "").split(" ")[unit]}`;
    if (far === 0) return words.now;
    return (seconds < 0 ? words.ahead : words.ago).replace("{}", span);
  }

  const LOCAL = new Intl.DateTimeFormat("sv", {
    year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
  });
  const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

  function refreshTimes(within = document) {
    const isLocal = root.dataset.zone === "local";
    for (const time of all("time.t", within)) {
      const at = Date.parse(time.dateTime);
      if (Number.isNaN(at)) continue;
      if (isLocal) time.title = `${LOCAL.format(at)} ${ZONE}`;
      if (!time.classList.contains("abs")) {
        const text = distance(at);
        if (text && time.textContent !== text) time.textContent = text;
      } else if (isLocal) {
        time.textContent = LOCAL.format(at);
      }
    }
  }

  // === copying ===

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without TLS there is no clipboard, but the old command works.
      const box = document.createElement("textarea");
      box.value = text;
      document.body.append(box);
      box.select();
      document.execCommand("copy");
      box.remove();
    }
    say(one("#spoken")?.dataset.copied);
  }

  function copyFrom(button) {
    const text = button.dataset.copy || one("code", button.parentElement)?.textContent;
    if (!text) return;
    copy(text);
    const use = one("use", button);
    if (!use) return;
    const before = use.getAttribute("href");
    use.setAttribute("href", "#i-check");
    setTimeout(() => use.setAttribute("href", before), 1500);
  }

  // === live parts: `data-live` is the address, `data-every` the milliseconds ===

  let isPaused = false;
  const running = new WeakSet();

  function isReading(part) {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && part.contains(selection.anchorNode);
  }

  async function refresh(part) {
    if (running.has(part) || isPaused || document.hidden || isReading(part)) return;
    running.add(part);
    try {
      const headers = { "HX-Request": "true" };
      const answer = await fetch(part.dataset.live, { headers, redirect: "manual" });
      if (answer.type === "opaqueredirect" || answer.status === 401) {
        location.assign(answer.headers.get("HX-Redirect") ?? location.href);
        return;
      }
      if (answer.status === 204) return;
      const html = await answer.text();
      if (isPaused || isReading(part)) return;
      if (answer.ok) {
        await window.htmx.swap({ sourceElement: part, target: part, text: html, swap: "innerMorph" });
        refreshTimes(part);
      }
      part.classList.toggle("stale", !answer.ok);
      if (answer.headers.get("X-Sluice-Live") === "end") delete part.dataset.live;
    } catch {
      part.classList.add("stale");
    } finally {
      running.delete(part);
    }
  }

  const timers = new WeakMap();

  function startLive(within = document) {
    for (const part of all("[data-live]", within)) {
      if (timers.has(part)) continue;
      const every = Math.max(500, Number(part.dataset.every) || 1000);
      timers.set(part, setInterval(() => {
        if (!part.isConnected || !part.dataset.live) {
          clearInterval(timers.get(part));
          timers.delete(part);
          return;
        }
        refresh(part);
      }, every));
    }
  }

  function setPause(paused) {
    isPaused = paused;
    root.toggleAttribute("data-paused", paused);
    for (const button of all("[data-pause]")) {
      button.setAttribute("aria-pressed", String(paused));
      const label = one("[data-label-paused]", button);
      if (label) {
        label.dataset.labelLive ??= label.textContent;
        label.textContent = paused ? label.dataset.labelPaused : label.dataset.labelLive;
      }
      one("use", button)?.setAttribute("href", paused ? "#i-play" : "#i-pause");
    }
    for (const lamp of all(".live")) lamp.classList.toggle("paused", paused);
    document.dispatchEvent(new CustomEvent("sluice:pause", { detail: paused }));
  }

  // === rows of lists ===

  const rows = () => all("table.list tbody tr, [data-row]").filter((row) => row.offsetParent !== null);
  let current = null;

  function move(step) {
    const list = rows();
    if (list.length === 0) return;
    const at = list.indexOf(current);
    const next = list[Math.min(list.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
    current?.classList.remove("at");
    next.classList.add("at");
    current = next;
    (one("th a, a", next) ?? next).focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  }

  function turn(step) {
    // A page of one row has its neighbours as links.
    const link = one(step > 0 ? "a[data-next]" : "a[data-previous]");
    if (link) link.click();
    else move(step);
  }

  function markSelection() {
    for (const box of all("input[data-select]")) {
      box.closest("tr")?.setAttribute("aria-selected", String(box.checked));
    }
    const chosen = all("input[data-select]:checked").length;
    for (const place of all("[data-selected]")) place.textContent = new Intl.NumberFormat("en").format(chosen);
    for (const bar of all("[data-needs-selection]")) bar.toggleAttribute("hidden", chosen === 0);
    const whole = one("input[data-select-all]");
    if (whole) {
      const boxes = all("input[data-select]").length;
      whole.checked = boxes > 0 && chosen === boxes;
      whole.indeterminate = chosen > 0 && chosen < boxes;
    }
  }

  // === keys ===

  const bindings = new Map();
  let pending = "";
  let pendingTimer = 0;

  function readKeys() {
    for (const line of (one("#keys-help")?.dataset.keys ?? "").split("\n")) {
      const at = line.indexOf("=");
      if (at > 0) bindings.set(line.slice(0, at), line.slice(at + 1));
    }
  }

  const opened = () => one("[popover]:popover-open");

  const actions = {
    search() {
      const box = one("#list-search") ?? one("#search");
      box?.focus();
      box?.select?.();
    },
    palette() {
      const palette = one("#palette");
      if (!palette) return;
      if (palette.matches(":popover-open")) palette.hidePopover();
      else palette.showPopover();
    },
    help: () => one("#keys-help")?.togglePopover(),
    pause: () => one("[data-pause]") && setPause(!isPaused),
    down: () => turn(1),
    up: () => turn(-1),
    open: () => (one("th a, a", current ?? document.createElement("i")))?.click(),
    select() {
      const box = current && one("input[data-select]", current);
      if (box) {
        box.checked = !box.checked;
        markSelection();
      }
    },
    explain: () => one("[data-key='e']")?.click(),
    dry: () => one("[data-key='d']")?.click(),
    copy() {
      const drawer = one("#same");
      const text = drawer && one("code", drawer)?.textContent;
      if (text) copy(text);
    },
  };

  function perform(action) {
    if (action.startsWith("/")) location.assign(action);
    else actions[action]?.();
  }

  function isTyping(target) {
    return target instanceof Element && target.closest("input:not([type='checkbox'], [type='radio']), textarea, select, [contenteditable]") !== null;
  }

  function onKey(event) {
    if (event.defaultPrevented || event.isComposing) return;
    if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      perform("palette");
      return;
    }
    if (event.key === "Escape") {
      for (const menu of all("details.menu[open]")) menu.removeAttribute("open");
      if (isTyping(event.target) && !opened()) event.target.blur();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (isTyping(event.target) || root.dataset.keys === "off") return;
    if (opened() && event.key !== "?") return;
    // A link or a button that has the focus takes Enter itself.
    if (event.key === "Enter" && event.target instanceof Element && event.target.closest("a, button, summary")) return;
    const keys = pending ? `${pending} ${event.key}` : event.key;
    pending = "";
    const action = bindings.get(keys) ?? bindings.get(event.key);
    if (action) {
      event.preventDefault();
      perform(action);
    } else if ([...bindings.keys()].some((name) => name.startsWith(`${event.key} `))) {
      pending = event.key;
      clearTimeout(pendingTimer);
      pendingTimer = setTimeout(() => { pending = ""; }, 1500);
    }
  }

  // In the palette, arrows move through what was found.
  function onPaletteKey(event) {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const stops = [one("#jump"), ...all("#jump-to a")];
    const at = stops.indexOf(document.activeElement);
    stops[Math.min(stops.length - 1, Math.max(0, at + (event.key === "ArrowDown" ? 1 : -1)))]?.focus();
    event.preventDefault();
  }

  // === what cannot be undone: its button waits until the name is typed ===

  function watchTyped(within = document) {
    for (const form of all("form[data-typed]", within)) {
      const box = one("input[name='typed']", form);
      const button = one("button.danger", form);
      if (!box || !button) continue;
      const check = () => { button.disabled = box.value !== form.dataset.typed; };
      box.addEventListener("input", check);
      check();
    }
  }

  // === plots: `data-plot` is the address of {"labels": [...], "data": [[seconds], [values], ...]} ===

  const plots = [];

  const DATES = [["{h}:{mm}{aa}", "{HH}:{mm}"], ["{h}{aa}", "{HH}:00"], ["{M}/{D}/{YY}", "{YYYY}-{MM}-{DD}"], ["{M}/{D}", "{MM}-{DD}"]];

  async function draw(place) {
    const answer = await fetch(place.dataset.plot).catch(() => null);
    if (!answer?.ok || !window.uPlot) return;
    const { labels, data } = await answer.json();
    const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
    const probe = document.createElement("i");
    document.body.append(probe);
    const paint = (name) => {
      probe.style.color = `var(${name})`;
      return getComputedStyle(probe).color || colour(name);
    };
    const strokes = ["--accent", "--muted", "--warn", "--ok", "--bad"].map(paint);
    const [text, line] = [paint("--muted"), paint("--line")];
    probe.remove();
    // The numbers of an axis are as wide as its longest one.
    const width = (_plot, texts) => 20 + 7 * Math.max(3, ...(texts ?? []).map((text) => text.length));
    const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    const tzDate = (at) => new Date(at * 1000);
    const utc = (at) => window.uPlot.tzDate(tzDate(at), "Etc/UTC");
    const plot = new window.uPlot({
      width: place.clientWidth,
      height: Number(place.dataset.height) || 180,
      fmtDate: (template) => window.uPlot.fmtDate(DATES.reduce((text, [from, to]) => text.replaceAll(from, to), template)),
      tzDate: root.dataset.zone === "local" ? tzDate : utc,
      axes: [axis, { ...axis, size: width }],
      series: [{}, ...labels.map((label, at) => ({
        label, stroke: strokes[at % strokes.length], width: 1.5, spanGaps: false, points: { show: data[0].length < 60, size: 4 },
      }))],
    }, data, place);
    one("[data-plot-instead]", place.parentElement)?.setAttribute("hidden", "");
    plots.push([place, plot]);
  }

  function startPlots() {
    const places = all("[data-plot]");
    if (places.length === 0) return;
    for (const place of places) draw(place);
    new ResizeObserver(() => {
      for (const [place, plot] of plots) plot.setSize({ width: place.clientWidth, height: plot.height });
    }).observe(one("main"));
  }

  // === start ===

  function prepare(within) {
    refreshTimes(within);
    watchTyped(within);
    startLive(within);
    markSelection();
  }

  for (const part of all("[data-script]")) part.removeAttribute("hidden");
  readKeys();
  document.addEventListener("keydown", onKey);
  one("#palette")?.addEventListener("keydown", onPaletteKey);
  one("#palette")?.addEventListener("toggle", (event) => {
    if (event.newState === "open") one("#jump")?.focus();
  });
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const copying = target?.closest("[data-copy]");
    if (copying) copyFrom(copying);
    if (target?.closest("[data-pause]")) setPause(!isPaused);
    for (const menu of all("details.menu[open]")) {
      if (!menu.contains(target)) menu.removeAttribute("open");
    }
    const row = target?.closest("table.list tbody tr");
    if (row) {
      current?.classList.remove("at");
      current = row;
    }
  });
  document.addEventListener("change", (event) => {
    const box = event.target;
    if (!(box instanceof HTMLInputElement || box instanceof HTMLSelectElement)) return;
    if (box.hasAttribute("data-select-all")) {
      for (const other of all("input[data-select]")) other.checked = box.checked;
    }
    if (box.hasAttribute("data-submit")) box.form?.requestSubmit();
    markSelection();
  });
  document.addEventListener("htmx:after:swap", () => prepare(document));
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) {
      refreshTimes();
      for (const part of all("[data-live]")) refresh(part);
    }
  });
  setInterval(() => document.hidden || isPaused || refreshTimes(), 5000);
  prepare(document);
  startPlots();
})();
