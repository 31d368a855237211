import { Code } from "./code";
import { dress } from "./style";
import type { Frame } from "./view";

const svg = "http://www.w3.org/2000/svg";

export type Shown =
  | "waiting" | "scanned" | "confirm" | "working" | "done"
  | "rejected" | "expired" | "failed" | "offline";

export interface Action {
  text: string;
  kind: "primary" | "quiet" | "plain";
  run: () => void;
}

// Scene is all that is on the screen at one time.
export interface Scene {
  state: Shown;
  message: string;
  hint: string;
  small?: string; // a code, for the help desk
  warning?: string;
  digits?: string;
  digitsLabel?: string;
  person?: string;
  holder?: string;
  busy?: boolean; // something runs: dots in place of a sign
  actions: Action[];
}

const signs: Partial<Record<Shown, string>> = {
  scanned: "M8 2.5h8a1.5 1.5 0 0 1 1.5 1.5v16a1.5 1.5 0 0 1-1.5 1.5H8A1.5 1.5 0 0 1 6.5 20V4A1.5 1.5 0 0 1 8 2.5zM11 18.5h2",
  done: "M12 2.5 20 6v5.5c0 5-3.4 8.6-8 10-4.6-1.4-8-5-8-10V6zM8.5 12l2.5 2.5 4.5-5",
  rejected: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM9 9l6 6M15 9l-6 6",
  failed: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 7.5v6M12 16.5v.01",
  expired: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 7.5V12l3 2",
  offline: "M3 9a14 14 0 0 1 18 0M6.5 12.5a9 9 0 0 1 11 0M10 16a4 4 0 0 1 4 0M12 19.5v.01M4 3l16 18",
};

function make<K extends keyof HTMLElementTagNameMap>(tag: K, className: string, part?: string): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  element.className = className;
  if (part) element.setAttribute("part", part);
  return element;
}

function rect(className: string): SVGRectElement {
  const element = document.createElementNS(svg, "rect");
  for (const [name, value] of Object.entries({ class: className, x: 1, y: 1, width: 284, height: 284, rx: 14, pathLength: 100 })) {
    element.setAttribute(name, String(value));
  }
  return element;
}

// Page is the element's shadow tree.
export class Page {
  readonly code: Code;
  private readonly root = make("div", "root", "root");
  private readonly frame = make("div", "frame");
  private readonly cover = make("div", "cover", "cover");
  private readonly ring = document.createElementNS(svg, "svg");
  private readonly left = rect("left");
  private readonly digits = make("div", "digits", "digits");
  private readonly message = make("p", "message", "message");
  private readonly hint = make("p", "hint", "hint");
  private readonly small = make("p", "small", "code");
  private readonly warning = make("p", "warning", "warning");
  private readonly actions = make("div", "actions", "action");
  private scene = "";

  constructor(private readonly host: HTMLElement, shadow: ShadowRoot, shown: (frame: Frame) => void) {
    dress(shadow);
    this.code = new Code(shown);
    this.ring.setAttribute("class", "ring");
    this.ring.setAttribute("part", "ring");
    this.ring.setAttribute("viewBox", "0 0 286 286");
    this.ring.setAttribute("aria-hidden", "true");
    this.ring.append(rect("track"), this.left);
    const box = make("div", "code");
    box.append(this.code.element);
    this.frame.append(box, this.cover, this.ring, this.warning);
    const text = make("div", "text");
    text.setAttribute("role", "status");
    text.setAttribute("aria-live", "polite");
    text.append(this.message, this.hint, this.small);
    this.warning.setAttribute("role", "alert");
    this.root.append(this.frame, text, this.actions);
    shadow.append(this.root);
  }

  // show puts a scene on; the same scene again changes nothing, so that a
  // screen reader is not told twice and the focus stays.
  show(scene: Scene, label: string): void {
    const key = JSON.stringify([scene, scene.actions.map((a) => a.text), label]);
    if (key === this.scene) return;
    this.scene = key;
    const held = this.actions.contains((this.root.getRootNode() as ShadowRoot).activeElement);
    this.root.dataset.state = scene.state;
    this.host.dataset.state = scene.state;
    this.code.element.setAttribute("aria-label", label);
    this.message.textContent = scene.message;
    this.hint.textContent = scene.hint;
    this.small.textContent = scene.small ?? "";
    this.warning.textContent = scene.warning ?? "";
    this.warning.hidden = !scene.warning;
    this.draw(scene);
    this.actions.replaceChildren(...scene.actions.map((action) => this.button(action)));
    if (held || scene.state === "done") this.actions.querySelector("button")?.focus({ preventScroll: true });
  }

  private draw(scene: Scene): void {
    const covered = scene.state !== "waiting" || scene.busy === true;
    this.cover.hidden = !covered;
    this.digits.textContent = scene.digits ?? "";
    if (!covered) {
      this.cover.replaceChildren();
      return;
    }
    if (scene.digits) {
      this.digits.setAttribute("aria-label", scene.digitsLabel ?? scene.digits);
      this.digits.setAttribute("role", "img");
      this.cover.replaceChildren(this.digits);
      return;
    }
    const parts: Element[] = [scene.busy ? this.dots() : this.sign(scene.state)];
    if (scene.person) {
      const person = make("p", "person", "person");
      person.textContent = scene.person;
      parts.push(person);
    }
    if (scene.holder) {
      const holder = make("p", "holder", "holder");
      holder.textContent = scene.holder;
      parts.push(holder);
    }
    this.cover.replaceChildren(...parts);
  }

  private dots(): Element {
    const dots = make("span", "dots");
    dots.setAttribute("aria-hidden", "true");
    dots.append(make("i", ""), make("i", ""), make("i", ""));
    return dots;
  }

  private sign(state: Shown): Element {
    const sign = document.createElementNS(svg, "svg");
    sign.setAttribute("viewBox", "0 0 24 24");
    sign.setAttribute("aria-hidden", "true");
    const path = document.createElementNS(svg, "path");
    path.setAttribute("d", signs[state] ?? "");
    sign.append(path);
    return sign;
  }

  private button(action: Action): HTMLButtonElement {
    const button = make("button", action.kind, `button ${action.kind}`);
    button.type = "button";
    button.textContent = action.text;
    button.addEventListener("click", () => {
      for (const other of this.actions.querySelectorAll("button")) other.disabled = true;
      action.run();
    });
    return button;
  }

  // enable gives the buttons back after an action that changed nothing.
  enable(): void {
    for (const button of this.actions.querySelectorAll("button")) button.disabled = false;
  }

  // countdown shows which part of the time is left, 0 to 1.
  countdown(part: number): void {
    this.left.setAttribute("stroke-dasharray", `${(part * 100).toFixed(2)} 100`);
    this.left.style.visibility = part > 0 ? "visible" : "hidden";
    this.frame.classList.toggle("late", part > 0 && part < 0.15);
  }
}
