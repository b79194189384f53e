"use strict";
(() => {
  const byId = (name) => document.getElementById(name);
  const turns = [...document.querySelectorAll(".turn")];
  const last = turns.length - 1;
  const [place, progress, play] = [byId("place"), byId("progress"), byId("play")];
  let at = 0;
  let timer = null;

  const show = (wanted) => {
    at = Math.max(0, Math.min(last, wanted));
    turns.forEach((turn, index) => { turn.hidden = index !== at; });
    const name = at === last ? "End" : `Turn ${at + 1} of ${last}`;
    progress.textContent = `${name}: ${turns[at].dataset.said}`;
    place.value = String(at);
    place.setAttribute("aria-valuetext", name);
    byId("first").disabled = byId("back").disabled = at === 0;
    byId("next").disabled = byId("last").disabled = at === last;
  };
  const goTo = (wanted) => {
    show(wanted);
    try { history.replaceState(null, "", `#${turns[at].id}`); } catch { /* a page without a history steps all the same */ }
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶\ufe0e Play";
    play.setAttribute("aria-label", "Play (space)");
  };
  const step = (wanted) => { stop(); goTo(wanted); };
  const toggle = () => {
    if (timer !== null) { stop(); return; }
    goTo(at === last ? 0 : at + 1);
    if (at === last) return;
    play.textContent = "❚❚ Pause";
    play.setAttribute("aria-label", "Pause (space)");
    timer = setInterval(() => { goTo(at + 1); if (at === last) stop(); }, 1000);
  };

  const moves = {
    ArrowLeft: () => step(at - 1), ArrowRight: () => step(at + 1),
    Home: () => step(0), End: () => step(last), " ": toggle,
  };
  document.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    // What has the focus may have a use of its own for the key.
    if (event.target.closest("input")) return;
    if (event.key === " " && event.target.closest("button, summary, a")) return;
    event.preventDefault();
    move();
  });
  byId("first").addEventListener("click", moves.Home);
  byId("back").addEventListener("click", moves.ArrowLeft);
  byId("next").addEventListener("click", moves.ArrowRight);
  byId("last").addEventListener("click", moves.End);
  play.addEventListener("click", toggle);
  place.addEventListener("input", () => step(Number(place.value)));

  const shade = () => {
    const chosen = document.querySelector("input[name=shade]:checked");
    document.body.dataset.shade = chosen ? chosen.value : "off";
  };
  document.querySelectorAll("input[name=shade]").forEach((choice) => choice.addEventListener("change", shade));

  const linked = () => turns.findIndex((turn) => `#${turn.id}` === location.hash);
  window.addEventListener("hashchange", () => { if (linked() >= 0) step(linked()); });
  byId("bar").hidden = byId("keys").hidden = false;
  document.body.classList.add("stepping");
  shade();
  show(Math.max(0, linked())); // leaves the address alone: the browser would scroll to what it names
})();
