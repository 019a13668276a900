"use strict";
const search = document.querySelector("input");
const rows = [...document.querySelectorAll("tbody tr")];
const boxes = new Map([...document.querySelectorAll("[data-number]")].map(box => [box.dataset.number, box]));
function narrow() {
  const words = search.value.toLowerCase().split(/\s+/).filter(word => word);
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const fits = words.every(word => text.includes(word));
    row.hidden = !fits;
    boxes.get(row.dataset.row)?.classList.toggle("hidden", !fits);
    shown += fits ? 1 : 0;
  }
  document.querySelector("output").textContent = `${shown} of ${rows.length}`;
}
search.addEventListener("input", narrow);
document.querySelector("form").addEventListener("submit", event => event.preventDefault());
narrow();
