// What is wrong with a page as it looks now. Each function runs in the page, so it uses nothing from outside itself.

// What axe-core finds, with the first elements of each rule. A dark page differs in its colours alone.
export async function rules() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const only = dark ? { runOnly: ["color-contrast", "link-in-text-block"] } : {};
  // To a screen reader a drawing is one picture with a name, and axe-core looks at its thousands of points for seconds.
  const drawings = [...document.querySelectorAll("svg[role=img]")].map((one) => [one, [...one.childNodes]]);
  drawings.forEach(([one]) => one.replaceChildren());
  const found = await axe.run(document, { resultTypes: ["violations"], ...only });
  drawings.forEach(([one, parts]) => one.replaceChildren(...parts));
  return found.violations.map(({ id, help, nodes }) =>
    `${id}: ${help}: ${nodes.slice(0, 4).map(({ target, failureSummary }) =>
      `${target} (${failureSummary.replace(/\s+/g, " ").slice(0, 300)})`).join("; ")}`);
}

// What reaches beyond the page, or beyond a box that shows nothing of what is outside of it.
export function cut() {
  const width = document.documentElement.clientWidth;
  // What is clipped away on purpose is for screen readers.
  const unseen = [...document.querySelectorAll("*")].filter((one) => getComputedStyle(one).clipPath.startsWith("inset"));
  const found = [];
  for (const one of document.body.querySelectorAll("*")) {
    if (!one.checkVisibility() || unseen.some((other) => other.contains(one))) continue;
    const drawn = one.ownerSVGElement;
    if (drawn && one.tagName !== "text") continue;
    const box = one.getBoundingClientRect();
    const [left, right] = drawn ? [drawn.getBoundingClientRect().left, drawn.getBoundingClientRect().right] : [0, width];
    const hides = getComputedStyle(one).overflowX !== "visible" && one.scrollWidth > one.clientWidth + 1;
    if (box.width > 0 && (box.left < left - 1 || box.right > right + 1 || (hides && !drawn))) {
      const at = `${Math.round(box.left)} to ${Math.round(box.right)} of ${Math.round(left)} to ${Math.round(right)}`;
      found.push(`${one.tagName.toLowerCase()}.${one.getAttribute("class") ?? ""}, ${at}: `
        + one.textContent.trim().replace(/\s+/g, " ").slice(0, 60));
    }
  }
  return found.slice(0, 10);
}

// Texts of figures with too little contrast to what is behind them: axe-core does not look into drawings.
export function faint() {
  const numbers = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
  const luminance = ([red, green, blue]) => {
    const [r, g, b] = [red, green, blue].map((one) => one / 255)
      .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    for (let each = one; each; each = each.parentElement) {
      const [red, green, blue, alpha = 1] = numbers(getComputedStyle(each).backgroundColor);
      if (alpha === 1) return [red, green, blue];
    }
    return [255, 255, 255];
  };
  const found = new Set();
  for (const text of document.querySelectorAll("svg text")) {
    if (!text.textContent.trim()) continue;
    const [a, b] = [numbers(getComputedStyle(text).fill), behind(text.ownerSVGElement.parentElement)].map(luminance);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.add(`${ratio.toFixed(2)}: ${text.textContent.trim().slice(0, 40)}`);
  }
  return [...found].slice(0, 10);
}

// Grounds that are not light: on paper they cost ink, and dark text on them is lost.
export function dark() {
  const found = new Set();
  for (const one of [document.documentElement, ...document.body.querySelectorAll("*"), document.body]) {
    const [red, green, blue, alpha = 1] = getComputedStyle(one).backgroundColor.match(/[\d.]+/g).map(Number);
    if (alpha > 0 && Math.min(red, green, blue) < 230) found.add(`${one.tagName}.${one.className}: ${red}, ${green}, ${blue}`);
  }
  return [...found];
}

// What can be opened on a screen and stays closed on paper.
export function closed() {
  return [...document.querySelectorAll("details > :not(summary)")]
    .filter((one) => !one.checkVisibility({ contentVisibilityAuto: true }) || one.getBoundingClientRect().height === 0)
    .map((one) => one.textContent.trim().slice(0, 60)).slice(0, 10);
}

// What the keyboard has to reach, in words. Each is given its number.
export function reachable() {
  const found = [...document.querySelectorAll(
    'a[href], summary, button, input, select, textarea, [tabindex]:not([tabindex="-1"])')]
    .filter((one) => one.checkVisibility());
  found.forEach((one, number) => { one.dataset.number = number; });
  return found.map((one) => `${one.tagName.toLowerCase()} ${one.textContent.trim().slice(0, 40)}`);
}

// Where the focus is now, and whether that shows.
export function focused() {
  const one = document.activeElement;
  const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(one);
  const marked = (outlineStyle !== "none" && parseFloat(outlineWidth) >= 1) || boxShadow !== "none";
  return { number: "number" in one.dataset ? Number(one.dataset.number) : null, marked };
}
