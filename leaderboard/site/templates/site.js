"use strict";
// Sorts the tables, filters them and the plots, and keeps both in the address, so that what is seen can be linked to.
(() => {
  const form = document.getElementById("filters");
  const tables = [...document.querySelectorAll("table.board")];
  const original = new Map(tables.map((table) => [table, [...table.tBodies[0].rows]]));
  const filters = ["env", "split", "source"];
  let sort = { key: "", down: false };

  const state = () => {
    const parts = new URLSearchParams();
    for (const name of filters) if (form.elements[name].value) parts.set(name, form.elements[name].value);
    if (sort.key) parts.set("sort", (sort.down ? "-" : "") + sort.key);
    return parts;
  };

  const compare = (one, other, number) => {
    if (!number) return one.localeCompare(other, "en", { numeric: true });
    return Number(one) - Number(other);
  };

  const sortTable = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    const column = heads.findIndex((head) => head.dataset.key === sort.key);
    heads.forEach((head, index) =>
      head.setAttribute("aria-sort", index !== column ? "none" : sort.down ? "descending" : "ascending"));
    const rows = [...original.get(table)];
    if (column >= 0) {
      const number = heads[column].dataset.kind === "number";
      const value = (row) => row.cells[column].dataset.sort;
      rows.sort((one, other) => {
        const [a, b] = [value(one), value(other)];
        if (a === "" || b === "") return (a === "") - (b === "");  // what is not known stands last either way
        return sort.down ? compare(b, a, number) : compare(a, b, number);
      });
    }
    table.tBodies[0].append(...rows);
  };

  const filter = () => {
    const [env, split, source] = filters.map((name) => form.elements[name].value);
    let shown = 0, all = 0;
    for (const section of document.querySelectorAll("section[data-source]")) {
      section.hidden = source !== "" && section.dataset.source !== source;
      let left = 0;
      for (const item of section.querySelectorAll("[data-env]")) {
        item.hidden = (env !== "" && item.dataset.env !== env) || (split !== "" && item.dataset.split !== split);
        left += !item.hidden;
        if (item.tagName === "TR") { all += 1; shown += !item.hidden && !section.hidden; }
      }
      section.querySelector(".none").hidden = left > 0;
      for (const table of section.querySelectorAll(".wide")) table.hidden = left === 0;
    }
    document.getElementById("shown").textContent = `${shown} of ${all} lines`;
  };

  const show = () => { tables.forEach(sortTable); filter(); };

  const changed = () => {
    show();
    const parts = state().toString();
    history.replaceState(null, "", parts ? "#" + parts : location.pathname + location.search);
  };

  const readAddress = () => {
    const hash = location.hash.slice(1);
    if (hash && !hash.includes("=")) return;  // a place on the page, not a state
    const parts = new URLSearchParams(hash);
    for (const name of filters) {
      const choice = form.elements[name];
      choice.value = parts.get(name) || "";
      if (choice.selectedIndex < 0) choice.value = "";
    }
    const key = parts.get("sort") || "";
    sort = { key: key.replace(/^-/, ""), down: key.startsWith("-") };
    show();
  };

  for (const table of tables) {
    for (const head of table.tHead.rows[0].cells) {
      head.querySelector("button").addEventListener("click", () => {
        const again = sort.key === head.dataset.key;
        sort = { key: head.dataset.key, down: again ? !sort.down : head.dataset.kind === "number" && head.dataset.key !== "split" };
        changed();
      });
    }
  }
  form.addEventListener("change", changed);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();  // it would come to pass only after this
    for (const name of filters) form.elements[name].value = "";
    sort = { key: "", down: false };
    changed();
  });
  window.addEventListener("hashchange", readAddress);
  form.hidden = false;
  show();
  readAddress();
})();
