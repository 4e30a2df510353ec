// Shows of the fields for a rule those that the chosen kind has.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const kind = document.getElementById("id_kind");
  if (!kind) {
    return;
  }
  const rows = {
    every: [".field-every"],
    crontab: [".field-crontab"],
    solar: [".field-event"],
    once: [".field-moment"],
    other: [".field-rule"],
  };
  const show = () => {
    for (const [name, selectors] of Object.entries(rows)) {
      for (const selector of selectors) {
        for (const row of document.querySelectorAll(`.form-row${selector}`)) {
          row.hidden = name !== kind.value;
        }
      }
    }
  };
  kind.addEventListener("change", show);
  show();
});
