// Document by document: the paired scatter and the sample browser of a task's page.
"use strict";

var report = (function () {
  const $ = (id) => document.getElementById(id);
  const PAGE = 50;
  const chunks = new Map(), waiting = new Map();
  let data = null, found = [], page = 0, current = -1;

  const text = (tag, content, css) => {
    const node = document.createElement(tag);
    if (content !== undefined && content !== null) node.textContent = content;
    if (css) node.className = css;
    return node;
  };
  const score = (cell, i) => {
    const values = data.values[cell];
    if (typeof values !== "string") return values[i];
    return values[i] === "." ? null : Number(values[i]);
  };
  const binary = () => data.values.every((v) => typeof v === "string");
  const shown = (value) => (value === null ? "not asked" : binary() ? (value >= 1 ? "right" : "wrong") : value.toPrecision(4));
  const title = (i) => `${data.documents[i][0]} ${data.documents[i][1]}`;

  function options(select, cells, chosen) {
    select.replaceChildren(...cells.map((i) => {
      const option = text("option", data.cells[i].name);
      option.value = String(i);
      option.selected = i === chosen;
      return option;
    }));
  }

  function basesOf(cell) {
    return data.cells.map((c, i) => i).filter((i) => data.cells[i].model === data.cells[cell].model);
  }

  // ---- paired scatter -------------------------------------------------------------------------------------------
  // The same place for the same document every time, though right/wrong outcomes all lie on four points.
  const jitter = (i, salt) => {
    let h = Math.imul(i + 1, 2654435761) ^ Math.imul(salt + 1, 40503);
    h = Math.imul(h ^ (h >>> 15), 2246822519);
    return (((h ^ (h >>> 13)) >>> 0) / 4294967296 - 0.5) * 0.7;
  };

  function pairs(cell, base) {
    return data.documents.map((_, i) => [score(base, i), score(cell, i), i]).filter(([a, b]) => a !== null && b !== null);
  }

  function groups(cell, base) {
    const sums = new Map();
    for (const [a, b, i] of pairs(cell, base)) {
      const key = data.documents[i][2] || data.documents[i][0];
      const own = sums.get(key) || [0, 0, 0];
      sums.set(key, [own[0] + a, own[1] + b, own[2] + 1]);
    }
    return Array.from(sums, ([name, [a, b, n]]) => ({ name, a: a / n, b: b / n, n }));
  }

  function draw() {
    const cell = Number($("pair-cell").value), base = Number($("pair-base").value), byGroup = $("pair-by").value === "group";
    const canvas = $("scatter"), context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const all = pairs(cell, base), isBinary = binary() && !byGroup;
    const points = byGroup ? groups(cell, base).map((g) => [g.a, g.b, g]) : all;
    const values = points.flatMap(([a, b]) => [a, b]);
    let low = isBinary ? -0.5 : Math.min(...values, binary() ? 0 : Infinity);
    let high = isBinary ? 1.5 : Math.max(...values, binary() ? 1 : -Infinity);
    if (!(high > low)) { low -= 0.5; high += 0.5; }
    const W = canvas.width, H = canvas.height, M = 56;
    const x = (v) => M + (v - low) / (high - low) * (W - M - 16), y = (v) => H - M - (v - low) / (high - low) * (H - M - 16);
    context.clearRect(0, 0, W, H);
    context.strokeStyle = colour("--quiet");
    context.setLineDash([5, 5]);
    context.beginPath(); context.moveTo(x(low), y(low)); context.lineTo(x(high), y(high)); context.stroke();
    context.setLineDash([]);
    context.font = "14px system-ui, sans-serif";
    for (const [a, b, i] of points) {
      context.fillStyle = colour(b > a ? "--gain" : b < a ? "--loss" : "--even");
      context.globalAlpha = byGroup ? 0.8 : Math.max(0.25, Math.min(0.8, 300 / points.length));
      const size = byGroup ? 3 + 2 * Math.sqrt(i.n) : 2.5;
      context.beginPath();
      context.arc(x(a + (isBinary ? jitter(i, 1) : 0)), y(b + (isBinary ? jitter(i, 2) : 0)), Math.min(size, 22), 0, 7);
      context.fill();
    }
    context.globalAlpha = 1;
    context.fillStyle = colour("--text");
    const ticks = isBinary ? [[0, "wrong"], [1, "right"]] : [[low, low.toPrecision(2)], [high, high.toPrecision(2)]];
    for (const [v, word] of ticks) {
      context.textAlign = isBinary ? "center" : v === low ? "left" : "right";
      context.fillText(word, x(v), H - M + 20);
      context.save(); context.translate(M - 12, y(v)); context.rotate(-Math.PI / 2); context.fillText(word, 0, 0); context.restore();
    }
    context.textAlign = "center";
    context.fillText(data.cells[base].name, W / 2, H - 10);
    context.save(); context.translate(16, H / 2); context.rotate(-Math.PI / 2); context.fillText(data.cells[cell].name, 0, 0); context.restore();
    counts(cell, base, all);
    const better = all.filter(([a, b]) => b > a).length, worse = all.filter(([a, b]) => b < a).length;
    const words = byGroup ? `${points.length} groups, each as large as its documents are many` : `${all.length} documents`;
    const said = `${data.cells[cell].name} (upwards) against ${data.cells[base].name} (to the right): ${words}. `
      + `Above the line the first is better. ${better} documents are better, ${worse} worse, ${all.length - better - worse} alike.`;
    $("scatter-text").textContent = said;
    canvas.setAttribute("aria-label", `Paired scatter. ${said}`);
  }

  function counts(cell, base, all) {
    const table = text("table", null, "quadrants");
    const cells = [["lost", (a, b) => b < a], ["gained", (a, b) => b > a]];
    if (binary()) cells.push(["both", (a, b) => a >= 1 && b >= 1], ["neither", (a, b) => a < 1 && b < 1]);
    const names = { lost: "got worse", gained: "got better", both: "right in both", neither: "wrong in both" };
    const head = table.createTHead().insertRow();
    for (const word of ["documents that", "number"]) { const th = text("th", word); th.scope = "col"; head.append(th); }
    const body = table.createTBody();
    for (const [kind, test] of cells) {
      const row = body.insertRow(), th = document.createElement("th"), button = text("button", names[kind]);
      th.scope = "row"; button.type = "button";
      button.addEventListener("click", () => {
        $("sample-filter").value = kind;
        $("sample-cell").value = String(cell);
        bases(); $("sample-base").value = String(base);
        choose(); $("samples").scrollIntoView();
      });
      th.append(button);
      row.append(th);
      row.insertCell().textContent = String(all.filter(([a, b]) => test(a, b)).length);
    }
    $("quadrants").replaceChildren(table, text("p", "A line shows its documents below.", "legend"));
  }

  // ---- sample browser -------------------------------------------------------------------------------------------
  function keeps(i, kind, base, cell) {
    if (kind === "all") return true;
    if (kind === "differ") {
      const values = data.cells.map((_, c) => score(c, i)).filter((v) => v !== null);
      return values.some((v) => v !== values[0]);
    }
    const a = score(base, i), b = score(cell, i);
    if (a === null || b === null) return false;
    if (kind === "lost") return b < a;
    if (kind === "gained") return b > a;
    return kind === "both" ? a >= 1 && b >= 1 : a < 1 && b < 1;
  }

  function choose(keep) {
    const kind = $("sample-filter").value, base = Number($("sample-base").value), cell = Number($("sample-cell").value);
    const group = $("sample-group").value, number = $("sample-number").value.trim();
    found = data.documents.map((_, i) => i).filter((i) => keeps(i, kind, base, cell)
      && (!group || (data.documents[i][2] || data.documents[i][0]) === group)
      && (!number || String(data.documents[i][1]) === number));
    $("sample-count").textContent = `${found.length} of ${data.documents.length} documents`;
    if (!keep) page = 0;
    list();
  }

  function list() {
    const last = Math.max(0, Math.ceil(found.length / PAGE) - 1);
    page = Math.max(0, Math.min(page, last));
    $("sample-list").replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map((i) => {
      const item = document.createElement("li"), button = text("button", null);
      button.type = "button";
      button.dataset.document = String(i);
      if (i === current) button.setAttribute("aria-current", "true");
      const group = data.documents[i][2];
      button.append(text("span", title(i) + (group ? ` · ${group}` : "")));
      const values = data.cells.map((_, c) => score(c, i));
      const marks = text("span", values.map((v) => (v === null ? "·" : v >= 1 ? "■" : "□")).join(""), "marks");
      marks.setAttribute("role", "img");
      marks.setAttribute("aria-label", binary() ? `${values.filter((v) => v >= 1).length} of ${values.length} right` : "scores");
      button.append(marks);
      button.addEventListener("click", () => open(i));
      item.append(button);
      return item;
    }));
    $("sample-page").textContent = found.length ? `${page * PAGE + 1} to ${Math.min(found.length, (page + 1) * PAGE)}` : "none";
    $("sample-back").disabled = page === 0;
    $("sample-on").disabled = page >= last;
  }

  function load(k) {
    if (chunks.has(k)) return Promise.resolve(chunks.get(k));
    return new Promise((resolve, reject) => {
      waiting.set(k, resolve);
      const script = document.createElement("script");
      script.src = `${$("data").dataset.address}${k}.js`;
      script.onerror = () => reject(new Error(`${script.src} is missing`));
      document.head.append(script);
    });
  }

  async function open(i, quiet) {
    current = i;
    if (!quiet) history.replaceState(null, "", `#document=${i}`);
    for (const button of $("sample-list").querySelectorAll("button")) {
      if (button.dataset.document === String(i)) { button.setAttribute("aria-current", "true"); button.scrollIntoView({ block: "nearest" }); }
      else button.removeAttribute("aria-current");
    }
    try {
      const chunk = await load(Math.floor(i / data.chunk));
      if (i === current) show(i, chunk[i % data.chunk]);
    } catch (error) {
      $("sample").replaceChildren(text("p", String(error.message)));
    }
  }

  function prompt(words, number, of) {
    const box = document.createElement("details");
    box.open = true;
    box.append(text("summary", of > 1 ? `Prompt ${number + 1} of ${of}` : "Prompt"));
    box.append(pre(words === null ? data.why || "The words of this prompt were not kept." : words, "Prompt"));
    return box;
  }

  function pre(words, label) {
    const node = text("pre", words);
    node.tabIndex = 0;  // long ones scroll
    node.setAttribute("role", "region");
    node.setAttribute("aria-label", label);
    return node;
  }

  function show(i, found) {
    const parts = [text("h3", title(i) + (data.documents[i][2] ? ` · ${data.documents[i][2]}` : ""))];
    found.prompts.forEach((words, k) => parts.push(prompt(words, k, found.prompts.length)));
    const right = Number(found.target);
    const named = found.choices && found.target !== "" && Number.isInteger(right) && right < found.choices.length ? found.choices[right] : found.target;
    if (named !== null) { parts.push(text("h4", "What is right")); parts.push(pre(named, "What is right")); }
    parts.push(text("h4", "Answers"));
    const box = text("div", null, "answers");
    data.cells.forEach((cell, c) => box.append(answer(cell, c, i, found)));
    parts.push(box);
    $("sample").replaceChildren(...parts);
  }

  function answer(cell, c, i, found) {
    const value = score(c, i), given = found.answers[c];
    const kind = value === null || !binary() ? "" : value >= 1 ? " right" : " wrong";
    const picked = String(c) === $("sample-cell").value || String(c) === $("sample-base").value;
    const card = text("section", null, `answer${kind}${picked ? " chosen" : ""}`);
    card.append(text("h4", cell.name), text("span", shown(value), `badge${kind}`));
    if (!given) { card.append(text("p", "This document was not asked here.")); return card; }
    const facts = [];
    if (given.level) facts.push(`level ${["I", "II", "III", "IV"][given.level - 1]}`);
    if (given.tokens) facts.push(`${given.tokens} tokens`);
    if (given.route !== undefined) facts.push(`route ${given.route}`);
    if (given.prompt) facts.push(`prompt ${given.prompt + 1}`);
    for (const [name, v] of Object.entries(given.also || {})) facts.push(`${name} ${v === null ? "not finite" : Number(v.toPrecision(4))}`);
    if (facts.length) card.append(text("p", facts.join(" · "), "legend"));
    for (const sample of [].concat(given.text === undefined ? [] : given.text)) card.append(pre(sample, `Answer of ${cell.name}`));
    if (given.read !== undefined && String(given.read) !== String(given.text)) {
      card.append(text("p", "read as", "legend"), pre([].concat(given.read).join("\n"), `What was read of ${cell.name}`));
    }
    if (given.likelihoods) card.append(likelihoods(given.likelihoods, found.choices));
    return card;
  }

  function likelihoods(values, choices) {
    const list = text("ol", null, "legend");
    const finite = values.filter((v) => v !== null), best = finite.length ? Math.max(...finite) : null;
    values.forEach((v, k) => {
      const item = text("li", `${choices ? choices[k].trim() : "choice"}: ${v === null ? "not finite" : v.toFixed(2)}`);
      if (v !== null && v === best) { item.className = "chosen-choice"; item.append(" ← likeliest"); }
      list.append(item);
    });
    return list;
  }

  function step(by) {
    const at = found.indexOf(current), next = at < 0 ? 0 : at + by;
    if (next < 0 || next >= found.length) return;
    page = Math.floor(next / PAGE);
    list();
    open(found[next]);
  }

  function bases() {
    const cell = Number($("sample-cell").value);
    options($("sample-base"), basesOf(cell), data.cells[cell].base ?? basesOf(cell)[0]);
  }

  function start() {
    const every = data.cells.map((_, i) => i), first = every.find((i) => data.cells[i].base !== null) ?? 0;
    for (const id of ["pair-cell", "sample-cell"]) options($(id), every, first);
    options($("pair-base"), basesOf(first), data.cells[first].base ?? first);
    bases();
    const names = Array.from(new Set(data.documents.map((d) => d[2] || d[0]))).sort();
    $("sample-group").append(...names.map((name) => { const o = text("option", name); o.value = name; return o; }));
    $("pair-cell").addEventListener("change", () => {
      const cell = Number($("pair-cell").value);
      options($("pair-base"), basesOf(cell), data.cells[cell].base ?? basesOf(cell)[0]);
      draw();
    });
    for (const id of ["pair-base", "pair-by"]) $(id).addEventListener("change", draw);
    document.addEventListener("themechange", draw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    $("sample-cell").addEventListener("change", () => { bases(); choose(); });
    for (const id of ["sample-filter", "sample-base", "sample-group"]) $(id).addEventListener("change", () => choose());
    $("sample-number").addEventListener("input", () => choose());
    $("sample-filters").addEventListener("submit", (event) => event.preventDefault());
    $("sample-back").addEventListener("click", () => { page -= 1; list(); });
    $("sample-on").addEventListener("click", () => { page += 1; list(); });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|SELECT|TEXTAREA/.test(event.target.tagName)) return;
      if (event.key === "j") step(1);
      else if (event.key === "k") step(-1);
    });
    choose();
    draw();
    const named = /^#document=(\d+)$/.exec(location.hash);
    if (named && Number(named[1]) < data.documents.length) {
      page = Math.floor(Number(named[1]) / PAGE);
      list();
      open(Number(named[1]), true);
      $("samples").scrollIntoView();
    }
  }

  return {
    index(value) { data = value; start(); },
    chunk(k, value) { chunks.set(k, value); const resolve = waiting.get(k); waiting.delete(k); if (resolve) resolve(value); },
  };
})();
