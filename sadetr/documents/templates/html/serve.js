"use strict";
(() => {
{% include "elements.js" %}

{% include "scheme.js" %}

  const part = (id) => document.getElementById(id);
  const [choose, work, player, timeline] = ["choose", "work", "player", "timeline"].map(part);
  const limits = document.body.dataset;
  const PREFIX = "#video=";
  const SHOWN = 5;
  const NETWORKS = { clip: "CLIP", slowfast: "SlowFast" };
  const [SOON, HEARTBEAT] = [400, 15000];

  /** The video that is here or on its way: `id` once the server has it, `answers` to what was asked. */
  let video = null;
  let answer = null;
  let moment = null;
  let end = null;

  const say = (text) => { part("status").textContent = text; };

  function complain(text) {
    part("error").textContent = text;
    part("error").hidden = !text;
  }

  /** Seconds as players show them, with tenths where there are any. */
  function clock(seconds) {
    const tenths = Math.round(seconds * 10);
    const [whole, rest] = [Math.floor(tenths / 10), tenths % 10];
    const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
    const tail = String(whole % 60).padStart(2, "0") + (rest ? `.${rest}` : "");
    return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
  }

  const figure = (value) => value.toFixed(2).replace("-", "−");
  const range = (each) => `${clock(each.start)} – ${clock(each.end)}`;
  const spoken = (each) => `${clock(each.start)} to ${clock(each.end)}`;
  const address = (...parts) => ["/videos", video.id, ...parts].map(encodeURI).join("/");

  /** What the server says, or an error with its words. */
  async function fetched(path, options = {}) {
    let response;
    try {
      response = await fetch(path, options);
    } catch {
      throw new Error("the server does not answer: is it still running?");
    }
    if (response.status === 204) return null;
    const content = await response.json().catch(() => ({}));
    if (response.ok) return content;
    throw Object.assign(new Error(content.error || `the server failed (${response.status}); its log says why`),
      { status: response.status });
  }

  // A video comes and goes.

  function show() {
    choose.hidden = Boolean(video);
    work.hidden = !video;
  }

  function forget() {
    video = answer = moment = end = null;
    player.removeAttribute("src");
    player.load();
    history.replaceState(null, "", location.pathname);
    for (const id of ["warnings", "history", "moments"]) part(id).replaceChildren();
    part("ask").reset();
    part("note").textContent = "";
    part("answer").hidden = timeline.hidden = true;
    playable(true);
    show();
  }

  /** Forget the video, here and on the server. */
  function remove() {
    if (!video) return;
    if (video.request) video.request.abort();
    if (video.id) fetch(address(), { method: "DELETE" }).catch(() => {});
    forget();
  }

  /** Whether the browser shows the video: without it the moments are all the same. */
  function playable(can) {
    player.hidden = !can;
    part("unplayable").hidden = can;
    work.classList.toggle("silent", !can);
  }

  function begin(name) {
    complain("");
    video = { name, answers: [], waiting: null, ready: false };
    part("name").textContent = name;
    show();
    return video;
  }

  function progress(text, value) {
    part("progress").hidden = !text;
    part("phase").textContent = text;
    if (value === null) part("bar").removeAttribute("value");
    else part("bar").value = value;
  }

  function fail(message) {
    forget();
    complain(message);
    part("file").focus();
  }

  function upload(file) {
    remove();
    if (file.size > Number(limits.bytes)) {
      complain(`${file.name}: is larger than ${limits.size}; cut it, or encode it smaller`);
      return;
    }
    const own = begin(file.name);
    const request = own.request = new XMLHttpRequest();
    const broken = () => own === video
      && fail(`${file.name}: could not be sent; see whether the server is still running, and try again`);
    request.open("POST", `/videos?name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => {
      const done = event.loaded / event.total;
      if (own === video) progress(`Sending, ${Math.floor(100 * done)} %`, done);
    });
    request.addEventListener("error", broken);
    request.addEventListener("load", () => {
      if (own !== video) return;
      own.request = null;
      if (request.status === 201) accept(request.response);
      else if (request.response?.error) fail(request.response.error);
      else broken();
    });
    progress("Sending", 0);
    say(`Sending ${file.name}`);
    request.send(file);
  }

  function accept(told) {
    video.id = told.id;
    part("name").textContent = video.name = told.name;
    history.replaceState(null, "", PREFIX + told.id);
    player.src = address("file");
    follow(video, told);
  }

  /** Look after a video until it goes: how far it is, and that somebody is still here. */
  async function follow(own, told) {
    while (own === video) {
      if (told.state === "failed") {
        const message = told.error;
        remove();
        fail(message);
        return;
      }
      if (told.state !== "ready") progress(...phase(told));
      else if (!own.ready) ready(own, told);
      await new Promise((resolve) => { setTimeout(resolve, own.ready ? HEARTBEAT : SOON); });
      if (own !== video) return;
      try {
        told = await fetched(address());
      } catch (error) {
        if (own !== video) return;
        // Without an answer the server may come back; where it has no such video, that is final.
        if (error.status === 404) fail(`${own.name}: ${error.message}`);
        else if (!own.ready) progress(error.message, null);
      }
    }
  }

  let began = {};

  /** Words and bar of a video that is being read, with the time that is left where that can be said. */
  function phase(told) {
    if (told.state === "waiting") {
      const others = told.before === 1 ? "another video" : `${told.before} other videos`;
      return [told.before ? `Waiting for ${others}` : "Opening", null];
    }
    const key = `${told.id} ${told.number}`;
    if (began.key !== key) began = { key, time: performance.now() };
    const passed = (performance.now() - began.time) / 1000;
    const name = `Reading the video with ${NETWORKS[told.stream] || told.stream}`
      + (told.streams > 1 ? `, ${told.number} of ${told.streams}` : "");
    if (told.part === null) return [name, null];
    const left = told.part > 0.02 && passed > 3 ? passed * (1 - told.part) / told.part : 0;
    const rest = left > 2 ? `, about ${clock(Math.ceil(left))} left` : "";
    return [`${name}: ${Math.floor(100 * told.part)} %${rest}`, (told.number - 1 + told.part) / told.streams];
  }

  function ready(own, told) {
    own.ready = true;
    own.duration = told.duration;
    progress("", 0);
    part("warnings").replaceChildren(...told.warnings.map((text) => make("li", {}, `Note: the video ${text}`)));
    timeline.hidden = false;
    paint();
    say(`${own.name} is ready: say what is to be found`);
    const waiting = own.waiting;
    own.waiting = null;
    if (waiting) ask(waiting);
  }

  // Sentences and answers.

  async function ask(sentence) {
    const own = video;
    const note = part("note");
    complain("");
    const known = own.answers.find((each) => each.sentence === sentence);
    if (known) return choosing(known);
    if (!own.ready) {
      own.waiting = sentence;
      note.textContent = `“${sentence}” is answered as soon as the video is read.`;
      return undefined;
    }
    note.textContent = `Looking for “${sentence}” …`;
    try {
      const found = await fetched(address("sentences"), {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ sentence }),
      });
      if (own !== video) return undefined;
      own.answers.push(found);
      choosing(found);
      part("sentence").select();
    } catch (error) {
      if (own === video) complain(error.message);
    }
    if (own === video) note.textContent = "";
    return undefined;
  }

  function choosing(found) {
    answer = found;
    moment = null;
    part("more").dataset.all = "";
    part("note").textContent = "";
    list();
    paint();
    const count = found.windows.length;
    say(count ? `${count} moments for “${found.sentence}”; the best one is ${spoken(found.windows[0])}`
      : `No moment for “${found.sentence}”`);
  }

  const shown = () => (answer ? answer.windows.slice(0, part("more").dataset.all ? undefined : SHOWN) : []);
  const described = (each, place) =>
    `Moment ${place + 1}: ${spoken(each)}, score ${figure(each.score)}. Play it`;

  function mark(element, chosen) {
    if (chosen) element.setAttribute("aria-current", "true");
    return element;
  }

  /** How long a score's bar is beside the others': scores of some networks are negative. */
  function share(each) {
    const scores = answer.windows.map((other) => other.score);
    const [low, high] = [Math.min(0, ...scores), Math.max(...scores)];
    return high > low ? (each.score - low) / (high - low) : 1;
  }

  function entry(each, place) {
    const meter = make("span", {});
    meter.style.width = `${100 * share(each)}%`;
    const button = make("button", { type: "button", class: "moment", "aria-label": described(each, place) },
      make("span", { class: "rank" }, `${place + 1}`), make("span", { class: "times" }, range(each)),
      make("span", { class: "play" }, "▶ play"), make("span", { class: "meter" }, meter),
      make("span", { class: "numbers" }, `score ${figure(each.score)} · saliency ${figure(each.saliency)}`));
    button.addEventListener("click", () => jump(each));
    return make("li", {}, mark(button, each === moment));
  }

  function list() {
    part("answer").hidden = false;
    part("asked").textContent = `“${answer.sentence}”`;
    part("moments").replaceChildren(...shown().map(entry));
    if (!answer.windows.length) part("moments").append(make("li", {}, "No moment of any length was found."));
    const more = part("more");
    more.hidden = answer.windows.length <= SHOWN;
    more.textContent = more.dataset.all ? `Show the best ${SHOWN}` : `Show all ${answer.windows.length}`;
    part("before").hidden = video.answers.length < 2;
    part("history").replaceChildren(...video.answers.map((each) => {
      const button = make("button", { type: "button", class: "earlier" }, make("span", {}, each.sentence),
        make("span", {}, each.windows.length ? range(each.windows[0]) : "–"));
      button.addEventListener("click", () => choosing(each));
      return make("li", {}, mark(button, each === answer));
    }));
  }

  function jump(each) {
    moment = each;
    for (const button of document.querySelectorAll(".moment, .moment-bar")) button.removeAttribute("aria-current");
    const place = shown().indexOf(each);
    for (const kind of [".moment", ".moment-bar"]) {
      const button = document.querySelectorAll(kind)[place];
      if (button) mark(button, true);
    }
    curve();
    seek(each.start);
    end = each.end;
    player.play().catch(() => { /* The player says why. */ });
    say(player.hidden ? `From ${spoken(each)}` : `Playing ${spoken(each)}`);
  }

  function seek(seconds) {
    end = null;
    player.currentTime = seconds;
    follower(seconds);
  }

  // The timeline.

  const percent = (seconds) => 100 * Math.min(1, Math.max(0, seconds / video.duration));
  const LEAST = 24;
  const LANE = 31;

  function paint() {
    if (!video?.ready) return;
    bars();
    curve();
    axis();
    follower(player.currentTime || 0);
  }

  /** Moments in lanes, the best one first: none covers another. */
  function bars() {
    const lanes = timeline.querySelector(".lanes");
    const wide = lanes.clientWidth;
    const ends = [];
    const parts = shown().flatMap((each, place) => {
      const [start, stop] = [percent(each.start), percent(each.end)].map((share) => share * wide / 100);
      const width = Math.max(LEAST, stop - start);
      const left = Math.max(0, Math.min((start + stop - width) / 2, wide - width));
      let lane = ends.findIndex((taken) => taken.every(([from, to]) => left >= to + 2 || left + width <= from - 2));
      if (lane < 0) lane = ends.push([]) - 1;
      ends[lane].push([left, left + width]);
      const label = make("button", { type: "button", class: "moment-bar", "aria-label": described(each, place) }, `${place + 1}`);
      if (width > 50) label.append(make("small", {}, figure(each.score)));
      label.style.setProperty("--tint", `${Math.round(6 + 26 * share(each))}%`);
      Object.assign(label.style, { left: `${left}px`, width: `${width}px`, top: `${lane * LANE}px` });
      label.addEventListener("click", (event) => {
        event.stopPropagation();
        jump(each);
      });
      // What is too short to be a button is underlined by what it really is.
      const extent = make("div", { class: "extent", "aria-hidden": "true" });
      extent.hidden = stop - start >= LEAST;
      Object.assign(extent.style, { left: `${start}px`, width: `${stop - start}px`, top: `${lane * LANE + 27}px` });
      return [mark(label, each === moment), extent];
    });
    lanes.style.height = `${Math.max(1, ends.length) * LANE}px`;
    lanes.replaceChildren(...parts);
    if (!answer) lanes.append(make("p", {}, "Moments appear here, over the video."));
  }

  function curve() {
    const box = timeline.querySelector(".curve");
    box.hidden = !answer;
    if (!answer) return;
    const { saliency, edges } = answer;
    const [low, high] = [Math.min(...saliency), Math.max(...saliency)];
    const x = (seconds) => 10 * percent(seconds);
    const y = (value) => 92 - 84 * (high > low ? (value - low) / (high - low) : 0);
    const steps = saliency.flatMap((value, place) => [edges[place], edges[place + 1]].map((at) => `${x(at)},${y(value)}`));
    const best = saliency.indexOf(high);
    const svg = draw("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img",
      "aria-label": `Saliency of ${saliency.length} clips; highest from ${clock(edges[best])} to ${clock(edges[best + 1])}` },
      draw("polygon", { class: "area", points: `0,100 ${steps.join(" ")} ${x(edges[edges.length - 1])},100` }),
      draw("polyline", { class: "line", points: steps.join(" ") }));
    if (moment) {
      svg.append(draw("rect", { class: "chosen", x: x(moment.start), width: x(moment.end) - x(moment.start), y: 0, height: 100 }));
    }
    box.replaceChildren(svg, make("span", { "aria-hidden": "true" }, "saliency"));
  }

  function axis() {
    const box = timeline.querySelector(".axis");
    const most = Math.max(2, Math.floor(timeline.clientWidth / 70));
    const step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200].find((each) => video.duration / each <= most) || 14400;
    const marks = [];
    for (let at = 0; at < video.duration; at += step) {
      // The last one must not stick out.
      if (at && percent(at) / 100 * timeline.clientWidth > timeline.clientWidth - 40) break;
      const tick = make("span", {}, clock(at));
      tick.style.left = `${percent(at)}%`;
      marks.push(tick);
    }
    box.replaceChildren(...marks);
  }

  function follower(seconds) {
    if (video?.ready) timeline.querySelector(".playhead").style.left = `${percent(seconds)}%`;
  }

  /** Seconds below the mouse. */
  function under(event) {
    const box = timeline.getBoundingClientRect();
    return video.duration * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  }

  timeline.addEventListener("click", (event) => seek(under(event)));
  timeline.addEventListener("pointermove", (event) => {
    const seconds = under(event);
    const box = timeline.querySelector(".pointer");
    box.hidden = false;
    box.textContent = clock(seconds);
    box.style.left = `clamp(1.5rem, ${percent(seconds)}%, calc(100% - 1.5rem))`;
  });
  timeline.addEventListener("pointerleave", () => { timeline.querySelector(".pointer").hidden = true; });
  new ResizeObserver(paint).observe(timeline);

  // The player.

  player.addEventListener("timeupdate", () => {
    follower(player.currentTime);
    if (end !== null && player.currentTime >= end) {
      end = null;
      player.pause();
    }
  });
  player.addEventListener("seeking", () => {
    follower(player.currentTime);
    // Whoever goes elsewhere wants to see more than the moment.
    if (moment && end !== null && (player.currentTime < moment.start - 0.5 || player.currentTime > moment.end)) end = null;
  });
  player.addEventListener("error", () => playable(!player.getAttribute("src")));
  // Some containers play with sound alone where the pictures are unknown.
  player.addEventListener("loadedmetadata", () => playable(player.videoWidth > 0));
  (function animate() {
    if (!player.paused) follower(player.currentTime);
    requestAnimationFrame(animate);
  })();

  // What a visitor does.

  part("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (file) upload(file);
  });
  part("remove").addEventListener("click", () => {
    const { name } = video;
    remove();
    say(`${name} is removed`);
    part("file").focus();
  });
  part("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const sentence = part("sentence").value.trim();
    if (sentence) ask(sentence);
    else part("note").textContent = "Say in a sentence what is to be found.";
  });
  part("more").addEventListener("click", () => {
    part("more").dataset.all = part("more").dataset.all ? "" : "1";
    list();
    paint();
  });

  const carries = (event) => [...event.dataTransfer.types].includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (!carries(event)) return;
    event.preventDefault();
    if (event.dataTransfer.files.length === 1) upload(event.dataTransfer.files[0]);
    else complain("One video at a time: drop a single file.");
  });

  // A page that is left tells so; one that is loaded again finds its video by its address.

  addEventListener("pagehide", () => {
    if (video?.id) fetch(address("leaving"), { method: "POST", keepalive: true }).catch(() => {});
  });

  async function restore() {
    const id = location.hash.startsWith(PREFIX) && location.hash.slice(PREFIX.length);
    if (id) {
      try {
        const told = await fetched(`/videos/${encodeURIComponent(id)}`);
        begin(told.name);
        accept(told);
        return;
      } catch (error) {
        history.replaceState(null, "", location.pathname);
        complain(error.message);
      }
    }
    show();
  }

  restore();
})();
