// The inspector: a client of the daemon that served it, and a look at what it is told.
//
// Frames are untrusted: they reach the page as text nodes alone. Nothing grows without bound. The token is held in
// `session` and nowhere else: in no address, no store of the browser and no field with a name.

/** Frames in the page; as many wait while it is paused. */
const FRAMES_MAX = 1000;
/** Signs of one cell; the raw frame has all of them. */
const CELL_SIGNS_MAX = 200;
/** The newest latencies that p50 and max speak of. */
const LATENCIES_MAX = 100;
/** The sparkline's width in time. */
const SECONDS = 60;
/** Below it a single event would look like a storm. */
const RATE_SCALE_LEAST = 5;
/** A quiet project's cursor stays young, and a connection that has died is found within two of these. */
const PING_INTERVAL_MS = 25_000;
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 15_000;
/** Membership could not be checked: ask again after this. */
const UNAVAILABLE_RETRY_MS = 3_000;

/** Close codes as in docs/protocol.md: what it means, what to do, and when to come back (not at all where absent). */
const CLOSE = {
  1000: { meaning: "bye", todo: "Connect again when you like." },
  1001: { meaning: "going away", todo: "The daemon drains. Coming back at a random moment.", wait: random(0, 2_000) },
  1002: { meaning: "protocol error", todo: "Not RFC 6455: look at what stands between this page and the daemon." },
  1006: { meaning: "lost without a close frame", todo: "Coming back.", wait: backoff },
  1007: { meaning: "text is not UTF-8", todo: "Look at what stands between this page and the daemon." },
  1013: {
    meaning: "overloaded, or membership can't be checked",
    todo: "Coming back later.",
    wait: random(5_000, 15_000),
  },
  4400: { meaning: "malformed", todo: "The daemon did not understand this page: are both of the same version?" },
  4401: {
    meaning: "token invalid or expired",
    todo: "Paste a fresh token and connect: it goes on from the last cursor.",
  },
  4403: {
    meaning: "forbidden, or ended by an administrator",
    todo: "Use a token that may see the project, or ask who ended it.",
  },
  4408: { meaning: "no auth in time", todo: "Coming back.", wait: backoff },
  4413: { meaning: "frame too large", todo: "Fewer topics, or raise limits.frame_bytes." },
  4429: { meaning: "too many requests or sessions", todo: "Coming back later.", wait: random(5_000, 15_000) },
};

const $ = (id) => document.getElementById(id);

function random(least, most) {
  return () => least + Math.random() * (most - least);
}

function backoff() {
  const most = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** session.attempts);
  return most * (0.5 + Math.random() / 2);
}

/** A value of a frame as a text; absent is empty. */
function text(value) {
  if (value === undefined) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

function short(value) {
  return value.length > CELL_SIGNS_MAX ? `${value.slice(0, CELL_SIGNS_MAX)}…` : value;
}

function clock(time, digits = 0) {
  const options = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  return new Date(time).toLocaleTimeString("en-GB", digits ? { ...options, fractionalSecondDigits: digits } : options);
}

function milliseconds(value) {
  const size = Math.abs(value);
  if (size < 10_000) return `${value} ms`.replace("-", "−");
  if (size < 600_000) return `${(value / 1000).toFixed(1)} s`.replace("-", "−");
  return `${Math.round(value / 60_000)} min`.replace("-", "−");
}

/** `1 frame`, `2 frames`. */
function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** An element with a class and a text. */
function element(name, className, content) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (content !== undefined) made.textContent = content;
  return made;
}

/** JSON with line breaks, value by value as it was sent: parsing it would round large numbers. */
function indented(raw) {
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  return raw.replace(/"(?:[^"\\]|\\.)*"|\{\s*\}|\[\s*\]|[{}[\],:]|\s+/g, (part) => {
    if (part === "{" || part === "[") {
      depth += 1;
      return part + line();
    }
    if (part === "}" || part === "]") {
      depth = Math.max(0, depth - 1);
      return line() + part;
    }
    if (part === ",") return part + line();
    if (part === ":") return ": ";
    return part.trim();
  });
}

// The log: frames in the page, and those that wait.

const log = {
  /** In the page, the oldest first. */
  entries: [],
  /** Not in the page yet, the oldest first. */
  waiting: [],
  /** How many did not fit into `waiting` since the pause began. */
  dropped: 0,
  paused: false,
  /** Words that a frame must have. */
  words: [],
  /** The one that the tab key reaches. */
  current: undefined,
  serial: 0,
  drawing: false,
};

/** Notes a frame; it gets into the page with the next picture that the browser draws. */
function note(raw, frame, facts) {
  log.waiting.push({ raw, frame, facts, at: Date.now() });
  if (log.waiting.length > FRAMES_MAX) {
    log.waiting.shift();
    log.dropped += 1;
  }
  if (!log.drawing) {
    log.drawing = true;
    requestAnimationFrame(draw);
  }
}

function draw() {
  log.drawing = false;
  showLatency();
  if (!log.paused) {
    log.dropped = 0;
    const rows = document.createDocumentFragment();
    for (const entry of log.waiting.splice(0)) {
      show(entry);
      log.entries.push(entry);
      rows.prepend(entry.body);
    }
    $("frames").tHead.after(rows);
    for (const entry of log.entries.splice(0, log.entries.length - FRAMES_MAX)) drop(entry);
    if (!log.current?.body.isConnected) reach(visible().at(-1));
  }
  tell();
}

function drop(entry) {
  const focused = entry.body.contains(document.activeElement);
  entry.body.remove();
  if (focused) reach(visible()[0])?.opener.focus();
}

/** What the toolbar says of the log. */
function tell() {
  const shown = visible().length;
  const all = log.entries.length;
  $("count").textContent =
    all === 0 ? "No frames" : shown === all ? count(all, "frame") : `${shown} of ${count(all, "frame")}`;
  $("copy").disabled = shown === 0;
  $("clear").disabled = all + log.waiting.length === 0;
  $("waiting").hidden = !log.paused;
  if (log.paused) {
    const gone = log.dropped ? `, ${log.dropped} older ones were let go` : "";
    $("waiting").textContent = `Paused: ${count(log.waiting.length, "frame")} waiting${gone}.`;
  }
  $("empty").hidden = shown > 0;
  $("empty-text").textContent = all > 0 ? "No frame has all of these words." : emptiness();
}

function emptiness() {
  if (session.state !== "live")
    return "Frames show up here as a browser would hear them.\nPaste a token, name a project, and connect.";
  return "Connected. Nothing has been told yet:\nchange a row of a watched table.";
}

function visible() {
  return log.entries.filter((entry) => !entry.body.hidden);
}

function fits(entry) {
  const raw = entry.raw.toLowerCase();
  return log.words.every((word) => raw.includes(word));
}

/** Builds the rows of a frame: a table body of its own, so that they come, hide and go together. */
function show(entry) {
  const { frame, facts } = entry;
  const row = element("tr", "summary");
  const cell = (className, content) => row.appendChild(element("td", className, short(content)));
  const time = row.appendChild(element("td", "time"));
  entry.opener = time.appendChild(element("button", "open", clock(entry.at, 3)));
  entry.opener.type = "button";
  entry.opener.tabIndex = -1;
  entry.opener.setAttribute("aria-expanded", "false");
  cell("type", text(frame.type) || "not a frame");
  cell("project", facts.project);
  if (facts.change) {
    cell("resource", text(frame.resource));
    cell(facts.ids === undefined ? "ids whole" : "ids", facts.ids ?? "any row").title = short(facts.ids ?? "");
    const tag = cell("action", "").appendChild(element("span", "tag", short(text(frame.action))));
    tag.dataset.action = text(frame.action);
  } else {
    cell("said", facts.said).colSpan = 3;
  }
  cell("cursor", text(frame.cursor));
  cell("latency", facts.replayed ? "missed" : facts.latency === undefined ? "" : milliseconds(facts.latency));
  entry.body = element("tbody", "frame");
  entry.body.dataset.type = text(frame.type);
  entry.body.dataset.kind = facts.kind;
  entry.body.append(row);
  entry.body.hidden = !fits(entry);
  row.addEventListener("click", () => {
    // Who selects text does not want to open anything.
    if (String(getSelection()) === "") toggle(entry);
  });
  entry.opener.addEventListener("click", (event) => {
    event.stopPropagation();
    toggle(entry);
  });
}

function toggle(entry) {
  reach(entry);
  const open = entry.body.dataset.open === undefined;
  if (open) {
    log.serial += 1;
    const detail = element("tr", "detail");
    const cell = detail.appendChild(element("td"));
    cell.colSpan = 8;
    cell.append(element("pre", "", indented(entry.raw)));
    cell.id = `raw-${log.serial}`;
    entry.body.append(detail);
    entry.body.dataset.open = "";
    entry.opener.setAttribute("aria-controls", cell.id);
  } else {
    entry.body.lastElementChild.remove();
    delete entry.body.dataset.open;
    entry.opener.removeAttribute("aria-controls");
  }
  entry.opener.setAttribute("aria-expanded", String(open));
}

/** Makes this frame the one that the tab key reaches. */
function reach(entry) {
  if (log.current) log.current.opener.tabIndex = -1;
  log.current = entry;
  if (entry) entry.opener.tabIndex = 0;
  return entry;
}

function pause() {
  log.paused = !log.paused;
  $("pause").dataset.paused = String(log.paused);
  $("pause-text").textContent = log.paused ? "Go on" : "Pause";
  draw();
}

function filter() {
  log.words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const entry of log.entries) entry.body.hidden = !fits(entry);
  if (!log.current || log.current.body.hidden) reach(visible().at(-1));
  tell();
}

function clear() {
  for (const entry of log.entries.splice(0)) entry.body.remove();
  log.waiting.length = 0;
  log.dropped = 0;
  reach(undefined);
  figures.latencies.length = 0;
  showLatency();
  tell();
}

async function copy() {
  const frames = visible();
  const json = `[\n${frames.map((entry) => entry.raw).join(",\n")}\n]\n`;
  const done = await toClipboard(json).then(
    () => `Copied ${count(frames.length, "frame")}`,
    () => "The browser does not allow it",
  );
  $("told").textContent = done;
  $("copy").textContent = done;
  setTimeout(() => {
    $("copy").textContent = "Copy as JSON";
    $("told").textContent = "";
  }, 2_000);
}

/** Over plain HTTP there is no clipboard but on this machine; the old way needs a field with the text in it. */
async function toClipboard(json) {
  if (navigator.clipboard) return navigator.clipboard.writeText(json);
  const field = element("textarea", "unseen");
  field.value = json;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  $("copy").focus();
  if (!copied) throw new Error("not copied");
}

// Figures: how many, how fast.

const figures = { latencies: [], counts: new Array(SECONDS).fill(0), second: Math.floor(Date.now() / 1000) };

/** Moves the sparkline to the present; a page in the background is woken rarely. */
function advance() {
  const now = Math.floor(Date.now() / 1000);
  const passed = Math.min(SECONDS, Math.max(0, now - figures.second));
  figures.counts.splice(0, passed);
  figures.counts.push(...new Array(passed).fill(0));
  figures.second = now;
}

function countEvent() {
  advance();
  figures.counts[SECONDS - 1] += 1;
}

function showRate() {
  advance();
  const peak = Math.max(...figures.counts);
  const scale = 22 / Math.max(peak, RATE_SCALE_LEAST);
  const bar = (number, at) => (number ? `M${at * 2} 24v${-(number * scale + 1).toFixed(1)}h1.5V24z` : "");
  const sum = figures.counts.reduce((sum, number) => sum + number, 0);
  $("sparkline").firstElementChild.setAttribute("d", figures.counts.map(bar).join(""));
  const events = sum
    ? `${count(sum, "event")} in the last ${SECONDS} s, at most ${peak} in a second`
    : `No events in the last ${SECONDS} s`;
  $("sparkline").setAttribute("aria-label", events);
  // The last whole second.
  $("rate").textContent = String(figures.counts[SECONDS - 2]);
}

function countLatency(latency) {
  figures.latencies.push(latency);
  if (figures.latencies.length > LATENCIES_MAX) figures.latencies.shift();
}

function showLatency() {
  const sorted = figures.latencies.toSorted((a, b) => a - b);
  const at = (place) => (sorted.length ? milliseconds(sorted[place]) : "–");
  $("latency-p50").textContent = at(Math.ceil(sorted.length / 2) - 1);
  $("latency-max").textContent = at(sorted.length - 1);
}

// Projects: what is asked for, and how it stands.

/** By name: `state`, `word`, `cursor`, and while missed frames are expected `since`, `missed` and `gap`. */
const projects = new Map();

function addProject(name) {
  if (name === "" || projects.has(name)) return;
  const item = element("li");
  const remove = element("button", "remove", "×");
  remove.type = "button";
  remove.setAttribute("aria-label", `Remove project ${name}`);
  remove.addEventListener("click", () => removeProject(name));
  item.append(element("span", "name", short(name)), element("span", "word"), remove);
  item.dataset.project = name;
  projects.set(name, { name, item });
  $("projects").append(item);
  standing(projects.get(name), "idle", "");
  if (session.state === "live") subscribe(projects.get(name));
}

function removeProject(name) {
  const { item, state } = projects.get(name);
  projects.delete(name);
  item.remove();
  if (session.state === "live" && state !== "closed")
    say({ type: "unsubscribe", ref: `leave:${name}`, project_id: name });
  $("project").focus();
}

/** Names from the field; `whole` takes the last one too, which may still be typed. */
function takeProjects(whole) {
  const names = $("project")
    .value.split(",")
    .map((name) => name.trim());
  $("project").value = whole ? "" : names.pop();
  names.forEach(addProject);
}

function standing(project, state, word) {
  project.state = state;
  project.item.dataset.state = state;
  project.item.children[1].textContent = short(word);
  project.item.children[1].title = word;
}

function subscribe(project, since) {
  Object.assign(project, { since, missed: 0, gap: false });
  standing(project, "pending", "subscribing");
  say({
    type: "subscribe",
    ref: `join:${project.name}`,
    project_id: project.name,
    topics: session.topics.length ? session.topics : undefined,
    since,
  });
}

// The session.

const session = {
  /** idle, connecting, live, waiting (for another try) or closed. */
  state: "idle",
  socket: undefined,
  token: "",
  topics: [],
  attempts: 0,
  retryAt: undefined,
  /** A pong is owed. */
  owed: false,
};

function enter(state, words) {
  session.state = state;
  document.body.dataset.state = state;
  $("status").dataset.state = state;
  if ($("status-text").textContent !== words) $("status-text").textContent = words;
  $("submit").textContent = state === "live" ? "Apply" : "Connect";
  $("disconnect").hidden = state === "idle" || state === "closed";
  tell();
}

/** Says what happened and what to do; nothing hides it. */
function notice(kind, words = "") {
  $("notice").hidden = words === "";
  $("notice").dataset.kind = kind;
  $("notice-text").textContent = words;
  $("retry").hidden = session.retryAt === undefined;
}

function address() {
  const url = new URL(`.${document.body.dataset.socket}`, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url;
}

function leave() {
  const { socket } = session;
  session.socket = undefined;
  session.retryAt = undefined;
  session.owed = false;
  socket?.close(1000);
}

function connect() {
  leave();
  enter("connecting", "Connecting");
  $("retry").hidden = true;
  const socket = new WebSocket(address());
  session.socket = socket;
  let opened = false;
  const mine = (act) => (event) => {
    if (session.socket === socket) act(event);
  };
  socket.addEventListener(
    "open",
    mine(() => {
      opened = true;
      say({ type: "auth", token: session.token });
    }),
  );
  socket.addEventListener(
    "message",
    mine(({ data }) => hear(data)),
  );
  socket.addEventListener(
    "close",
    mine(({ code, reason }) => ended(code, reason, opened)),
  );
}

function disconnect() {
  leave();
  for (const project of projects.values()) {
    project.cursor = undefined;
    standing(project, "idle", "");
  }
  enter("idle", "Not connected");
  notice("");
}

function say(frame) {
  if (session.socket?.readyState === WebSocket.OPEN) session.socket.send(JSON.stringify(frame));
}

function ended(code, reason, opened) {
  leave();
  const close = CLOSE[code] ?? { meaning: "a code that this page does not know", todo: "Connect again." };
  for (const project of projects.values()) {
    project.since = undefined;
    if (project.state !== "closed") standing(project, "idle", close.wait ? "waiting" : "");
  }
  let words = `Closed with ${code}: ${reason || close.meaning}. ${close.todo}`;
  if (code === 1006 && !opened) {
    words = `No WebSocket at ${address().pathname}: the daemon is down or full, a proxy does not pass upgrades on, or http.allowed_origins does not list ${location.origin}.`;
  } else if (code === 1006) {
    words =
      "Lost without a close frame (1006): the daemon or the network went away. Coming back, from the last cursor on.";
  }
  if (close.wait) {
    session.retryAt = Date.now() + close.wait();
    session.attempts += 1;
    enter("waiting", opened ? "Lost, coming back" : "Out of reach, trying again");
  } else {
    enter("closed", `Closed: ${close.meaning}`);
    if (code === 4401) $("token").focus();
  }
  notice(close.wait ? "warn" : "bad", words);
  showRetry();
}

function showRetry() {
  if (session.retryAt === undefined) return;
  const left = session.retryAt - Date.now();
  if (left <= 0) connect();
  else $("retry-text").textContent = `Trying again in ${Math.ceil(left / 1000)} s`;
}

function hear(raw) {
  session.owed = false;
  let frame;
  try {
    frame = JSON.parse(raw);
  } catch {
    frame = undefined;
  }
  if (typeof frame !== "object" || frame === null || Array.isArray(frame)) frame = {};
  const facts = understand(frame, String(raw));
  // The answer to a ping of this page's own.
  if (frame.type !== "pong") note(String(raw), frame, facts);
}

/** Does what a frame asks for; what is to be shown of it. */
function understand(frame, raw) {
  const asked = /^(?:join|leave):(.*)$/s.exec(text(frame.ref))?.[1];
  const name = frame.project_id === undefined ? asked : text(frame.project_id);
  const project = projects.get(name);
  const facts = { project: name ?? "", kind: "" };
  const replayed = project?.since !== undefined;
  if (project && typeof frame.cursor === "string") project.cursor = frame.cursor;
  switch (frame.type) {
    case "cache_invalidate": {
      const { data } = frame;
      const ids = data?.ids ?? data?.id;
      facts.change = true;
      facts.ids = Array.isArray(ids) ? ids.map(text).join(", ") : ids === undefined ? undefined : text(ids);
      facts.replayed = replayed;
      countEvent();
      if (replayed) {
        project.missed += 1;
        return facts;
      }
      const latency = Date.now() - Date.parse(data?.timestamp);
      if (Number.isNaN(latency)) return facts;
      facts.latency = latency;
      countLatency(latency);
      return facts;
    }
    case "authenticated":
      session.attempts = 0;
      enter("live", `Live as ${short(text(frame.subject))}`);
      notice("");
      for (const known of projects.values()) subscribe(known, known.cursor);
      facts.said = `${text(frame.subject)}, until ${new Date(frame.expires_at * 1000).toLocaleString("en-GB")}`;
      return facts;
    case "subscribed":
      facts.said = "from now on every change is told";
      if (!project) return facts;
      if (replayed && project.gap) facts.said = "could not resume: refetch";
      else if (replayed) facts.said = `resumed: ${count(project.missed, "missed change")} told`;
      standing(project, "live", replayed ? `live, ${facts.said}` : "live");
      project.since = undefined;
      return facts;
    case "reconnect": {
      const { reason, spread_ms: spread } = frame.data ?? {};
      if (replayed && reason === "history_gap") project.gap = true;
      facts.said = `${text(reason)}: anything held ${name === undefined ? "" : "of it "}may be stale, refetch within ${text(spread)} ms`;
      facts.kind = "warn";
      return facts;
    }
    case "pong":
      for (const known of projects.values()) {
        if (known.state === "live" && typeof frame.cursor === "string") known.cursor = frame.cursor;
      }
      return facts;
    case "unsubscribed":
      facts.said = "no more of it";
      return facts;
    case "revoked":
      facts.said = text(frame.reason);
      facts.kind = "bad";
      if (project) standing(project, "closed", `revoked: ${facts.said}`);
      return facts;
    case "error":
      facts.said = `${text(frame.code)}: ${text(frame.message)}`;
      facts.kind = "bad";
      if (project && text(frame.ref).startsWith("join:")) refused(project, frame);
      return facts;
    default:
      facts.said = raw;
      facts.kind = "warn";
      return facts;
  }
}

function refused(project, frame) {
  const { since } = project;
  project.since = undefined;
  standing(project, "closed", text(frame.message));
  if (frame.code !== "unavailable") return;
  const { socket } = session;
  setTimeout(() => {
    if (session.socket === socket && projects.get(project.name) === project) subscribe(project, since);
  }, UNAVAILABLE_RETRY_MS);
}

function ping() {
  if (session.state !== "live") return;
  // Nothing at all since the last one: the other end has gone without a word.
  if (session.owed) {
    ended(1006, "", true);
    return;
  }
  session.owed = true;
  say({ type: "ping", ref: "inspector" });
}

// The form, the keys, the address.

function submit() {
  takeProjects(true);
  const token = $("token")
    .value.trim()
    .replace(/^Bearer\s+/i, "");
  const topics = $("topics")
    .value.split(",")
    .map((topic) => topic.trim())
    .filter(Boolean);
  const missing = token === "" ? "token" : projects.size === 0 ? "project" : undefined;
  if (missing) {
    notice(
      "warn",
      missing === "token"
        ? "Paste a token: a JWT that the daemon believes."
        : "Name a project: the id by which your tables know it.",
    );
    $(missing).focus();
    return;
  }
  const other = text(topics) !== text(session.topics);
  const live = session.state === "live" && token === session.token;
  session.topics = topics;
  session.token = token;
  session.attempts = 0;
  if (!live) {
    notice("");
    connect();
    return;
  }
  // Other topics are another subscription, which replaces the first; who was refused may ask again.
  for (const project of projects.values()) {
    if (other || project.state === "closed") subscribe(project);
  }
  notice("");
}

/** `#token=...&project=7,8&topics=task:*`: read, and gone from the address before anything else happens. */
function readFragment() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (!given.has("token") && !given.has("project")) return;
  history.replaceState(null, "", location.pathname + location.search);
  disconnect();
  $("token").value = given.get("token") ?? "";
  $("topics").value = given.get("topics") ?? "";
  for (const name of [...projects.keys()]) removeProject(name);
  $("project").value = given.getAll("project").join(",");
  takeProjects(true);
  if ($("token").value && projects.size) submit();
}

function key(event) {
  const typing = event.target.matches?.("input, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey || typing) {
    if (typing && event.key === "Escape" && event.target === $("filter")) {
      $("filter").value = "";
      filter();
    }
    return;
  }
  if (event.key === "p") pause();
  else if (event.key === "/") $("filter").focus();
  else if (event.target.matches?.(".open")) {
    const shown = visible();
    const at = shown.indexOf(log.current);
    // The newest stands on top.
    const to = { ArrowUp: at + 1, ArrowDown: at - 1, Home: shown.length - 1, End: 0 }[event.key];
    if (shown[to] === undefined) return;
    reach(shown[to]).opener.focus();
  } else return;
  event.preventDefault();
}

$("connect").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
$("project").addEventListener("input", () => takeProjects(false));
$("disconnect").addEventListener("click", () => {
  disconnect();
  $("submit").focus();
});
$("retry-now").addEventListener("click", connect);
$("filter").addEventListener("input", filter);
$("pause").addEventListener("click", pause);
$("copy").addEventListener("click", copy);
$("clear").addEventListener("click", clear);
document.addEventListener("keydown", key);
window.addEventListener("hashchange", readFragment);
setInterval(() => {
  showRate();
  showRetry();
}, 1_000);
setInterval(ping, PING_INTERVAL_MS);
enter("idle", "Not connected");
readFragment();
