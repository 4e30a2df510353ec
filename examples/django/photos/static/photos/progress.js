// Asks how far the thumbnails are, twice a second, and shows them when they are there.
const box = document.getElementById("progress");

async function look() {
  const response = await fetch(box.dataset.url);
  const { state, thumbnails } = await response.json();
  for (const [width, percent] of Object.entries(thumbnails)) {
    document.getElementById(`width-${width}`).value = percent;
  }
  if (state === "SUCCESS") {
    location.reload();
  } else if (state === "FAILURE" || state === "REVOKED") {
    box.querySelector("output").value = "that went wrong; the admin shows why";
  } else {
    const sum = Object.values(thumbnails).reduce((a, b) => a + b);
    if (sum > 0) box.querySelector("output").value = `${Math.round(sum / 3)} %`;
    setTimeout(look, 500);
  }
}

look();
