"use strict";
(() => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const form = document.querySelector(".controls");
  const dialog = document.getElementById("provenance");
  const body = document.getElementById("provenance-body");
  const PREFIX = "#cell=";

{% include "elements.js" %}

{% include "scheme.js" %}

  // Rows: which of them are shown.

  const sections = [...document.querySelectorAll("section.filtered")];
  const items = sections.flatMap((section) => [...section.querySelectorAll("tbody tr, figure")]).map((element) => ({
    element,
    table: element.dataset.experiment || element.closest("article").dataset.experiment,
    verdicts: (element.dataset.verdicts || element.dataset.verdict || "").split("|"),
    words: element.textContent.toLowerCase(),
  }));

  function filter() {
    const [table, verdict] = [form.elements.table.value, form.elements.verdict.value];
    const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const item of items) {
      const fits = (!table || item.table === table) && (!verdict || item.verdicts.includes(verdict))
        && words.every((word) => item.words.includes(word));
      item.element.hidden = !fits;
      shown += fits && item.element.tagName === "TR";
    }
    // What has lost all its rows goes too, with its title.
    const filtered = table || verdict || words.length;
    for (const part of document.querySelectorAll("section.filtered .table, section.filtered article")) {
      part.hidden = Boolean(filtered) && !part.querySelector("tbody tr:not([hidden])");
    }
    for (const section of sections) {
      section.querySelector(".nothing").hidden = !filtered
        || Boolean(section.querySelector("tbody tr:not([hidden]), figure:not([hidden])"));
    }
    const rows = items.filter((item) => item.element.tagName === "TR").length;
    document.getElementById("shown").textContent = `${shown} of ${rows} rows shown`;
  }

  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));

  // Rows: their order.

  /** The headings of every column of a table, from the one that it shares to its own. */
  function headings(table) {
    const rows = [...table.tHead.rows];
    const grid = rows.map(() => []);
    rows.forEach((row, top) => {
      let place = 0;
      for (const cell of row.cells) {
        while (grid[top][place]) place += 1;
        for (let down = 0; down < cell.rowSpan; down += 1) {
          for (let right = 0; right < cell.colSpan; right += 1) grid[top + down][place + right] = cell;
        }
      }
    });
    return grid[grid.length - 1].map((own, place) => [...new Set(grid.map((row) => row[place]))]);
  }

  const NUMBER = /^(?:[±<=]\s*)?([-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)(?=$|[\s*†‡§¶‖])/;
  const collator = new Intl.Collator("en", { numeric: true });

  /** Rows by a column: numbers by size, words (which are set to the left) by letter, and last what is neither. */
  function ordered(rows, place, descending) {
    const keyed = rows.map((row) => {
      const cell = row.cells[place];
      const text = cell.innerText.trim();
      const number = cell.matches(".left") ? null : text.match(NUMBER);
      return { row, text, number: number ? Number(number[1]) : null };
    });
    const numeric = keyed.some((each) => each.number !== null);
    const absent = (each) => (numeric ? each.number === null : each.text === "" || each.text === "–");
    const sign = descending ? -1 : 1;
    keyed.sort((first, second) => {
      if (absent(first) !== absent(second)) return absent(first) - absent(second);
      return sign * (numeric ? first.number - second.number : collator.compare(first.text, second.text));
    });
    return keyed.map((each) => each.row);
  }

  function sortable(table) {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < 2) return;
    const columns = headings(table);
    columns.forEach((path, place) => {
      const own = path[path.length - 1];
      const name = path.map((cell) => cell.textContent.trim()).join(", ");
      const button = make("button", { type: "button", "aria-label": `Sort by ${name}` }, ...own.childNodes);
      own.append(button);
      button.addEventListener("click", () => {
        const next = { none: "descending", descending: "ascending", ascending: "none" }[own.getAttribute("aria-sort") || "none"];
        for (const cell of table.tHead.querySelectorAll("th")) cell.removeAttribute("aria-sort");
        if (next !== "none") own.setAttribute("aria-sort", next);
        table.tBodies[0].append(...(next === "none" ? rows : ordered(rows, place, next === "descending")));
      });
    });
  }

  // Dialogs: where a number comes from.

  function list(pairs) {
    return make("dl", {}, ...pairs.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  }

  function settings(found) {
    if (!found.differs.length) return make("p", {}, `The settings are the full model's (${found.full}).`);
    const header = ["key", "here", "full model", "set by"].map((text) => make("th", { scope: "col" }, text));
    const rows = found.differs.map(([key, ...others]) => make("tr", {},
      make("th", { scope: "row" }, key), ...others.map((text) => make("td", {}, text))));
    return make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Settings that differ" },
      make("table", {},
        make("caption", { class: "unseen" }, `Settings that differ from the full model's (${found.full})`),
        make("thead", {}, make("tr", {}, ...header)), make("tbody", {}, ...rows)));
  }

  /** A small line chart of values by epoch; nulls are epochs without one. */
  function curve(name, epochs, values, chosen) {
    const points = epochs.map((epoch, place) => [epoch, values[place]]).filter(([, value]) => value !== null);
    if (!points.length) return "";
    const [width, height, left, top, bottom] = [320, 140, 46, 10, 24];
    const numbers = points.map(([, value]) => value);
    const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
    const [first, last] = [epochs[0], epochs[epochs.length - 1]];
    const x = (epoch) => left + ((epoch - first) / (last - first || 1)) * (width - left - 12);
    const y = (value) => top + ((high - value) / (high - low || 1)) * (height - top - bottom);
    const label = (number, at, down, anchor) =>
      draw("text", { x: at, y: down, "text-anchor": anchor }, String(Number(number.toPrecision(3))));
    const ends = `from ${numbers[0]} to ${numbers[numbers.length - 1]}`;
    const described = `${name} over ${points.length} epochs, ${ends}; lowest ${low}, highest ${high}`;
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": described },
      draw("line", { class: "axis", x1: left, x2: width - 12, y1: height - bottom, y2: height - bottom }),
      draw("polyline", { class: "line", points: points.map(([epoch, value]) => `${x(epoch)},${y(value)}`).join(" ") }),
      label(high, left - 6, y(high) + 4, "end"),
      ...(low < high ? [label(low, left - 6, y(low) + 4, "end")] : []),
      label(first, x(first), height - 8, "middle"),
      ...(first < last ? [label(last, x(last), height - 8, "middle")] : []));
    if (points.length < 30) {
      svg.append(...points.map(([epoch, value]) => draw("circle", { class: "point", cx: x(epoch), cy: y(value), r: 2.5 })));
    }
    if (chosen) {
      svg.append(draw("line", { class: "chosen", x1: x(chosen), x2: x(chosen), y1: top, y2: height - bottom }));
    }
    return make("figure", {}, svg, make("figcaption", {}, name));
  }

  function curves(run, cell) {
    if (!run.curves) return "";
    const names = Object.keys(run.curves.series);
    const own = names.find((name) => name === cell.series)
      || names.find((name) => name.endsWith(`/${cell.metric}`)) || names.find((name) => name.includes("/"));
    const chosen = run.epochs[cell.checkpoint];
    return make("div", { class: "curves" }, ...[own, "loss"].filter((name) => names.includes(name)).map(
      (name) => curve(name, run.curves.epochs, run.curves.series[name], chosen)),
      ...(chosen ? [make("p", {}, `Dashed: epoch ${chosen}, whose weights this cell is of (${cell.checkpoint}).`)] : []));
  }

  function aboutRun(name, cell, open) {
    const run = facts.runs[name];
    const value = cell.values[name];
    const details = make("details", {}, make("summary", {}, value === undefined ? name : `${name}: ${value}`));
    details.open = open;
    details.append(...run.notes.map((text) => make("p", { class: "bad" }, text)), curves(run, cell), list(run.facts));
    return details;
  }

  function fill(cell) {
    document.getElementById("provenance-title").textContent = cell.title;
    const kept = facts.settings[facts.runs[cell.runs[0]].settings];
    body.replaceChildren(
      ...(facts.banner ? [make("p", { class: "banner" }, facts.banner)] : []),
      list(cell.facts),
      make("h3", {}, "Settings"), settings(kept),
      make("h3", {}, cell.runs.length > 1 ? `Runs, one for each of ${cell.runs.length} seeds` : "Run"),
      ...cell.runs.map((name, place) => aboutRun(name, cell, place === 0)));
  }

  function find(experiment, row, metric) {
    return facts.cells[experiment]?.[row]?.[metric];
  }

  /** Open what the address names, and close what it does not. */
  function follow() {
    const hash = location.hash;
    if (!hash.startsWith(PREFIX)) {
      if (dialog.open) dialog.close();
      const target = hash.length > 1 && document.getElementById(decodeURIComponent(hash.slice(1)));
      if (target && target.closest("[hidden]")) {
        form.reset();
        setTimeout(() => target.scrollIntoView());
      }
      return;
    }
    const cell = find(...hash.slice(PREFIX.length).split("/").map(decodeURIComponent));
    if (!cell) return;
    fill(cell);
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  }

  for (const place of document.querySelectorAll("td.ours[data-metric]")) {
    const { experiment, row, metric, verdict } = place.dataset;
    const cell = find(experiment, row, metric);
    if (!cell) continue;
    const button = make("button", { type: "button", "aria-haspopup": "dialog" }, ...place.childNodes);
    button.setAttribute("aria-label", [place.textContent.trim() + button.textContent.trim(), verdict, cell.title]
      .filter(Boolean).join(", "));
    place.append(button);
    button.addEventListener("click", () => {
      history.replaceState(null, "", PREFIX + [experiment, row, metric].map(encodeURIComponent).join("/"));
      follow();
    });
  }
  dialog.addEventListener("close", () => {
    if (location.hash.startsWith(PREFIX)) history.replaceState(null, "", location.pathname + location.search);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  document.getElementById("close").addEventListener("click", () => dialog.close());
  addEventListener("hashchange", follow);

  document.querySelectorAll("main .table table").forEach(sortable);
  form.hidden = false;
  filter();
  follow();
})();
