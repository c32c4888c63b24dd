// The live tail: reads the stream of decisions, and puts a row on top for each.
// The page works without it. It holds no text for people: texts are in the page.
"use strict";

(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const tail = one("[data-stream]");
  const model = one("#live-row");
  if (!tail || !model) return;

  const rows = one("tbody", tail);
  const rowsMax = Number(tail.dataset.rows) || 100;
  const root = document.documentElement;
  const number = new Intl.NumberFormat("en");
  const clock = new Intl.DateTimeFormat("sv", {
    hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3,
    timeZone: root.dataset.zone === "local" ? undefined : "UTC",
  });

  // === rows ===

  const encoded = encodeURIComponent;

  function fill(row, name, text) {
    const place = one(`[data-field='${name}']`, row);
    if (place) place.textContent = text ?? "";
    return place;
  }

  function rowOf(line) {
    const row = model.content.firstElementChild.cloneNode(true);
    const time = fill(row, "time", clock.format(Date.parse(line.received_at)));
    time.dateTime = line.received_at;
    time.title = line.received_at;
    for (const badge of row.querySelectorAll("[data-outcome]")) {
      if (badge.dataset.outcome !== line.outcome) badge.remove();
    }
    const sender = line.tenant_id && line.device_id;
    const device = fill(row, "device", sender ? `${line.tenant_id}/${line.device_id}` : "");
    if (sender) device.href = `/console/devices/${encoded(line.tenant_id)}/${encoded(line.device_id)}`;
    else device.remove();
    fill(row, "topic", sender ? "" : line.topic);
    fill(row, "type", line.msg_type);
    const reason = fill(row, "reason", line.reason);
    if (line.reason) {
      const whose = sender ? ` tenant:${line.tenant_id} device:${line.device_id}` : "";
      reason.href = `/console/quarantine?search=${encoded(`reason:${line.reason}${whose}`)}`;
    } else {
      reason.remove();
    }
    fill(row, "detail", line.detail);
    fill(row, "bytes", number.format(line.bytes));
    const cut = line.payload && line.payload_cut ? "…" : "";
    fill(row, "payload", line.payload === null ? null : `${line.payload}${cut}`);
    return row;
  }

  // === pausing: lines wait, and a number says how many ===

  let isPaused = false;
  let waiting = [];
  let waitingCount = 0;

  function isReading() {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && rows.contains(selection.anchorNode);
  }

  function flush() {
    const note = one("[data-waiting]", tail);
    const holds = isPaused || isReading();
    note.toggleAttribute("hidden", !holds || waitingCount === 0);
    fill(note, "waiting", number.format(waitingCount));
    if (holds || waiting.length === 0) return;
    const news = document.createDocumentFragment();
    for (const line of waiting.reverse()) news.append(rowOf(line));
    waiting = [];
    waitingCount = 0;
    rows.prepend(news);
    while (rows.rows.length > rowsMax) rows.lastElementChild.remove();
    one("[data-empty]", tail)?.setAttribute("hidden", "");
    one("[data-full]", tail)?.removeAttribute("hidden");
  }

  function arrived(line) {
    waiting.push(line);
    waitingCount += 1;
    if (waiting.length > rowsMax) waiting.shift();
  }

  // === what the stream says about itself ===

  function showSampling({ one_in: oneIn, matched }) {
    const note = one("[data-sampling]", tail);
    note.toggleAttribute("hidden", oneIn <= 1);
    fill(note, "one-in", number.format(oneIn));
    fill(note, "matched", number.format(matched));
  }

  let dropped = 0;

  function showDropped({ lines }) {
    dropped += lines;
    const note = one("[data-dropped]", tail);
    note.removeAttribute("hidden");
    fill(note, "dropped", number.format(dropped));
  }

  function showTroubles({ troubles }) {
    const texts = Object.entries(troubles).map(([component, why]) => `${component}: ${why}`);
    const note = one("[data-troubles]", tail);
    note.toggleAttribute("hidden", texts.length === 0);
    fill(note, "troubles", texts.join("; "));
  }

  function showState(state, detail = "") {
    tail.dataset.state = state;
    for (const note of tail.querySelectorAll("[data-when]")) {
      note.toggleAttribute("hidden", note.dataset.when !== state);
    }
    fill(tail, "refusal", detail);
  }

  const events = {
    decision: arrived,
    sampling: showSampling,
    dropped: showDropped,
    troubles: showTroubles,
    end: ({ reason }) => { if (reason === "access") location.reload(); },
  };

  function handle(text) {
    let name = "";
    let data = "";
    for (const line of text.split("\n")) {
      if (line.startsWith("event: ")) name = line.slice(7);
      else if (line.startsWith("data: ")) data = line.slice(6);
    }
    events[name]?.(JSON.parse(data));
  }

  // === one stream for a tab that is seen ===

  let open = null;
  let failures = 0;
  let timer = 0;

  async function read(answer) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      failures = 0;
      rest += value;
      for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
        handle(rest.slice(0, end));
        rest = rest.slice(end + 2);
      }
      flush();
    }
  }

  async function start() {
    clearTimeout(timer);
    if (open || document.hidden) return;
    const mine = new AbortController();
    open = mine;
    try {
      const answer = await fetch(tail.dataset.stream, { signal: mine.signal, redirect: "manual", cache: "no-store" });
      if (answer.ok) {
        showState("open");
        await read(answer);
        showState("lost");
      } else if (answer.status === 401) {
        location.reload();
        return;
      } else {
        showState("refused", (await answer.json().catch(() => null))?.detail);
      }
    } catch {
      if (!mine.signal.aborted) showState("lost");
    }
    if (open === mine) open = null;
    if (mine.signal.aborted || document.hidden) return;
    failures += 1;
    timer = setTimeout(start, Math.min(15000, 500 * 2 ** failures));
  }

  function stop() {
    clearTimeout(timer);
    open?.abort();
    open = null;
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stop();
    else start();
  });
  window.addEventListener("pagehide", stop);
  window.addEventListener("pageshow", start);
  document.addEventListener("selectionchange", flush);
  document.addEventListener("sluice:pause", ({ detail }) => {
    isPaused = detail;
    flush();
  });
  for (const time of tail.querySelectorAll("time")) time.textContent = clock.format(Date.parse(time.dateTime));
  start();
})();
