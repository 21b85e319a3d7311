"use strict";
// The gallery: rows as JSON, filtered and sorted as indices, and only those in view in the document.
// Every text is set as text, never as HTML: texts of data sets may be hostile.
(() => {
  const source = document.getElementById("gallery-data");
  if (!source) return;
  const { columns, rows, pictures } = JSON.parse(source.textContent);
  const at = Object.fromEntries(columns.map((name, place) => [name, place]));
  const value = (index, name) => rows[index][at[name]];
  const part = (name) => document.getElementById(`gallery-${name}`);
  const detail = (name) => document.getElementById(`detail-${name}`);

  const SORTS = [
    ["", "order of the data", false], ["iig", "IIG (scorer)", true],
    ["iig_chosen", "IIG chosen (policy)", true], ["iig_rejected", "IIG rejected", true],
    ["recovered", "recovered share", true], ["linf", "largest change", true],
    ["chosen_clean", "chosen, clean", true], ["chosen_negative", "chosen, negative", true],
    ["chosen_blank", "chosen, blank", true], ["rejected_clean", "rejected, clean", true],
    ["rejected_negative", "rejected, negative", true], ["rejected_blank", "rejected, blank", true],
    ["tokens", "tokens", true], ["attempt", "draws until kept", true], ["rank", "rank", false],
  ];
  const PAGE = 8;  // rows of a Page Up or Down
  const MARGIN = 6;  // rows drawn above and below those in view

  const make = (tag, name, text) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined && text !== null) made.textContent = text;
    return made;
  };
  const figure = (number, digits = 2) =>
    number === null || number === undefined ? "–" : number.toFixed(digits).replace("-", "−");

  // Filtering and sorting

  let texts = null;
  const textOf = (index) => {
    texts ||= rows.map((row) => ["id", "source_id", "question", "chosen", "rejected", "source",
      "reason"].map((name) => row[at[name]] || "").join("\n").toLowerCase());
    return texts[index];
  };
  const holds = (index) => {
    const chosen = { selected: part("selected").value, kind: part("kind").value,
      reason: part("reason").value, recovered: part("recovered").value };
    const share = value(index, "recovered");
    const words = part("search").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    return (!chosen.selected || value(index, "selected") === (chosen.selected === "selected"))
      && (!chosen.kind || value(index, "kind") === chosen.kind)
      && (!chosen.reason || (chosen.reason === "kept" ? value(index, "reason") === null
        : value(index, "reason") === chosen.reason.slice(1)))
      && (!chosen.recovered || (chosen.recovered === "unknown" ? share === null
        : share !== null && (share >= 0.5) === (chosen.recovered === "high")))
      && (!part("pictures").checked || value(index, "picture") !== null)
      && words.every((word) => textOf(index).includes(word));
  };
  const sorted = (indices) => {
    const name = part("sort").value;
    if (!name) return falling ? indices.reverse() : indices;
    const sign = falling ? -1 : 1;
    return indices.sort((a, b) => {  // what is not known comes last, either way
      const one = value(a, name), other = value(b, name);
      if (one === null || other === null) return (one === null) - (other === null) || a - b;
      return sign * (one - other) || a - b;
    });
  };

  let shown = [];
  let falling = false;
  const update = () => {
    shown = sorted(rows.map((_, index) => index).filter(holds));
    part("count").textContent = `${shown.length.toLocaleString("en")} of ${
      rows.length.toLocaleString("en")} rows`;
    part("direction").textContent = falling ? "↓ falling" : "↑ rising";
    part("direction").setAttribute("aria-pressed", String(falling));
    part("scroll").scrollTop = 0;
    render(true);
  };

  // Rows in view

  const scroll = part("scroll"), list = part("list");
  const height = () => parseFloat(getComputedStyle(list).getPropertyValue("--row-height"));
  const drawn = new Map();

  const render = (afresh) => {
    if (afresh) { list.replaceChildren(); drawn.clear(); }
    const tall = height();
    list.style.height = `${shown.length * tall}px`;
    const first = Math.max(0, Math.floor(scroll.scrollTop / tall) - MARGIN);
    const last = Math.min(shown.length,
      Math.ceil((scroll.scrollTop + scroll.clientHeight) / tall) + MARGIN);
    for (const [place, row] of drawn) {
      if (place < first || place >= last) { row.remove(); drawn.delete(place); }
    }
    for (let place = first; place < last; place++) {
      if (drawn.has(place)) continue;
      const row = rowOf(place);
      row.style.transform = `translateY(${place * tall}px)`;
      drawn.set(place, row);
      // In their order, so that Tab and screen readers go from top to bottom.
      const next = [...drawn.keys()].filter((other) => other > place);
      list.insertBefore(row, next.length ? drawn.get(Math.min(...next)) : null);
    }
  };

  const imageOf = (data, words) => {
    if (!data) return make("span", "no-picture");
    const image = make("img");
    image.src = `data:image/webp;base64,${data}`;
    image.alt = words;
    return image;
  };
  const NAMES = ["clean picture", "negative picture", "difference, enlarged eight times"];

  const rowOf = (place) => {
    const index = shown[place], item = make("div", "row");
    item.setAttribute("role", "listitem");
    item.setAttribute("aria-setsize", shown.length);
    item.setAttribute("aria-posinset", place + 1);
    const button = make("button");
    button.type = "button";
    button.dataset.place = place;
    const images = make("span", "thumbnails");
    const picture = value(index, "picture");
    const data = picture === null ? [null, null, null] : pictures[picture];
    images.append(...data.map((each, number) => imageOf(each, NAMES[number])));
    const words = make("span", "words");
    const reason = value(index, "reason");
    const head = make("span", "question", value(index, "question") || "(no question)");
    if (reason) head.append(make("span", "reason", reason));
    words.append(head, make("span", "chosen", value(index, "chosen") || "–"),
      make("span", "rejected", value(index, "rejected") || "–"));
    const gain = value(index, "iig_chosen");
    button.append(images, words, make("span", "number", figure(gain ?? value(index, "iig"))),
      make("span", "number", figure(value(index, "iig_rejected"))),
      make("span", "number", figure(value(index, "recovered"))));
    item.append(button);
    return item;
  };

  const focusRow = (place) => {
    const wanted = Math.max(0, Math.min(shown.length - 1, place)), tall = height();
    if (wanted * tall < scroll.scrollTop) scroll.scrollTop = wanted * tall;
    const below = (wanted + 1) * tall - scroll.clientHeight;
    if (below > scroll.scrollTop) scroll.scrollTop = below;
    render(false);
    drawn.get(wanted)?.firstChild.focus({ preventScroll: true });
  };

  // One row in full

  let open = 0;
  const show = (place) => {
    open = Math.max(0, Math.min(shown.length - 1, place));
    const index = shown[open];
    detail("title").textContent =
      `${value(index, "source_id") || value(index, "id")} · ${open + 1} of ${shown.length}`;
    const picture = value(index, "picture");
    const figures = (picture === null ? [] : pictures[picture]).map((data, number) => {
      const one = make("figure");
      one.append(imageOf(data, NAMES[number]),
        make("figcaption", "", data ? NAMES[number] : `no ${NAMES[number]}`));
      return one;
    });
    detail("pictures").replaceChildren(...(figures.length ? figures
      : [make("p", "note", `The page has no pictures of this row; its sample is ${value(index, "id")}.`)]));
    const source = value(index, "source");
    const texts = [["question", value(index, "question")], ["chosen", value(index, "chosen")],
      [source ? `rejected (${source})` : "rejected", value(index, "rejected")]];
    detail("texts").replaceChildren(...texts.map(([name, text]) => {
      const line = make("p", name.split(" ")[0]);
      line.append(make("b", "", name), document.createTextNode(` ${text ?? "–"}`));
      return line;
    }));
    const body = detail("figures").querySelector("tbody");
    body.replaceChildren(...["chosen", "rejected"].map((role) => {
      const line = make("tr");
      const head = make("th", role, role);
      head.scope = "row";
      line.append(head, ...["clean", "negative", "blank"].map(
        (under) => make("td", "number", figure(value(index, `${role}_${under}`)))),
        make("td", "number", figure(value(index, `iig_${role}`), 3)));
      return line;
    }));
    const facts = [["sample", value(index, "id")], ["kind", value(index, "kind")],
      ["selected", value(index, "selected") ? `yes, rank ${value(index, "rank") ?? "–"}` : "no"],
      ["reason", value(index, "reason") ?? "kept"], ["IIG (scorer)", figure(value(index, "iig"), 3)],
      ["tokens", value(index, "tokens") ?? "–"], ["recovered", figure(value(index, "recovered"), 3)],
      ["largest change", value(index, "linf") === null ? "–" : `${value(index, "linf")}/255`],
      ["draws", value(index, "attempt") ?? "–"]];
    detail("facts").replaceChildren(...facts.map(([name, text]) => {
      const fact = make("div");
      fact.append(make("dt", "", name), make("dd", "", text));
      return fact;
    }));
    detail("before").disabled = open === 0;
    detail("after").disabled = open === shown.length - 1;
    if (!part("detail").open) part("detail").showModal();
  };

  // What the reader does

  const options = (select, found) => {
    for (const [name, words] of found) {
      const option = make("option", "", words);
      option.value = name;
      select.append(option);
    }
  };
  const counted = (name) => {
    const counts = new Map();
    for (const row of rows) {
      const found = row[at[name]];
      if (found !== null) counts.set(found, (counts.get(found) || 0) + 1);
    }
    return [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  };
  options(part("kind"), counted("kind").map(([name, n]) => [name, `${name} (${n})`]));
  options(part("reason"), counted("reason").map(([name, n]) => [`=${name}`, `${name} (${n})`]));
  options(part("sort"), SORTS.filter(([name]) => !name || rows.some((row) => row[at[name]] !== null)));

  let waiting = 0;
  part("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(update, 120);
  });
  for (const name of ["selected", "kind", "reason", "recovered", "pictures"]) {
    part(name).addEventListener("change", update);
  }
  part("sort").addEventListener("change", () => {
    falling = SORTS.find(([name]) => name === part("sort").value)[2];
    update();
  });
  part("direction").addEventListener("click", () => { falling = !falling; update(); });
  part("reset").addEventListener("click", () => {
    for (const name of ["search", "selected", "kind", "reason", "recovered", "sort"]) {
      part(name).value = "";
    }
    part("pictures").checked = false;
    falling = false;
    update();
  });

  let asked = false;
  scroll.addEventListener("scroll", () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; render(false); });
  });
  window.addEventListener("resize", () => render(true));
  list.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) show(Number(button.dataset.place));
  });
  list.addEventListener("keydown", (event) => {
    const place = Number(document.activeElement.dataset.place);
    const to = { ArrowDown: place + 1, ArrowUp: place - 1, PageDown: place + PAGE,
      PageUp: place - PAGE, Home: 0, End: shown.length - 1 }[event.key];
    if (to === undefined || Number.isNaN(place)) return;
    event.preventDefault();
    focusRow(to);
  });
  detail("before").addEventListener("click", () => show(open - 1));
  detail("after").addEventListener("click", () => show(open + 1));
  detail("close").addEventListener("click", () => part("detail").close());
  part("detail").addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(open - 1);
    if (event.key === "ArrowRight") show(open + 1);
  });
  part("detail").addEventListener("click", (event) => {
    if (event.target === part("detail")) part("detail").close();  // the backdrop
  });
  part("detail").addEventListener("close", () => focusRow(open));
  update();
})();
