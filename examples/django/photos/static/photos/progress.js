// Asks how far the thumbnails are, twice a second, and shows them when they are there.
const box = document.getElementById("progress");
const says = box.querySelector("output");

async function look() {
  const response = await fetch(box.dataset.url);
  if (!response.ok) {
    setTimeout(look, 5000);
    return;
  }
  const { state, thumbnails } = await response.json();
  if (state === "SUCCESS") {
    location.reload();
    return;
  }
  if (state === "FAILURE" || state === "REVOKED") {
    says.value = "that went wrong; the admin shows why";
    return;
  }
  let sum = 0;
  for (const [width, percent] of Object.entries(thumbnails)) {
    document.getElementById(`width-${width}`).value = percent;
    sum += percent;
  }
  if (sum > 0) says.value = `${Math.round(sum / Object.keys(thumbnails).length)} %`;
  setTimeout(look, 500);
}

look();
