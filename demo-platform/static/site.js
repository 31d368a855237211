// Copy buttons, remaining times, and the demo's commands. Pages work without it, but for the sign-in.

const toast = document.querySelector(".toast");
let toastTimer = 0;

function say(text) {
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { toast.hidden = true; }, 2500);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    say(document.body.dataset.copied);
  } catch {
    say(document.body.dataset.copyFailed);
  }
}

// An animated code changes every two seconds, so a command takes the link at the moment it is copied.
function withLink(command) {
  const link = document.querySelector("bidseal-qr")?.link;
  if (!link || command === "LINK") return link ?? command;
  return command.replace(/'?\bLINK\b'?/, `'${link}'`);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy], [data-copy-command]");
  if (!button) return;
  copy(button.dataset.copy ?? withLink(button.dataset.copyCommand));
});

// Remaining times are rendered by the server; here they only keep counting. The page's clock may be wrong, so its
// offset to the server's is taken from the time in the footer.
const patterns = document.body.dataset;
const rendered = Date.parse(document.querySelector(".foot time").dateTime);
const loaded = performance.now();

function left(until) {
  const minutes = Math.ceil((Date.parse(until) - rendered - (performance.now() - loaded)) / 60000);
  if (minutes <= 0) return patterns.leftNone;
  const days = Math.floor(minutes / 1440), hours = Math.floor(minutes / 60) % 24;
  const pattern = days > 0 ? patterns.leftDays : hours > 0 ? patterns.leftHours : patterns.leftMinutes;
  return pattern.replace("{days}", days).replace("{hours}", hours).replace("{minutes}", minutes % 60);
}

function tick() {
  for (const element of document.querySelectorAll("[data-until]")) {
    const text = left(element.dataset.until);
    if (element.textContent !== text) element.textContent = text;
  }
}

setInterval(tick, 15000);
