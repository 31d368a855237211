import type { Frame } from "./view";

const quiet = 4; // modules of white around a code (ISO/IEC 18004, 9.1)
const svg = "http://www.w3.org/2000/svg";

function decode(text: string): Uint8Array {
  const raw = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from(raw, (c) => c.charCodeAt(0));
}

// outline draws the dark modules as one path of horizontal runs.
export function outline(frame: Frame): string {
  const bits = decode(frame.bits);
  const dark = (x: number, y: number): boolean => {
    const n = y * frame.size + x;
    return x < frame.size && ((bits[n >> 3] ?? 0) & (0x80 >> (n & 7))) !== 0;
  };
  let path = "";
  for (let y = 0; y < frame.size; y++) {
    for (let x = 0; x < frame.size; x++) {
      const from = x;
      while (dark(x, y)) x++;
      if (x > from) path += `M${from + quiet} ${y + quiet}h${x - from}v1h${from - x}z`;
    }
  }
  return path;
}

// Code is the picture, white in both colour modes. It shows each frame at its time.
export class Code {
  readonly element = document.createElementNS(svg, "svg");
  private readonly path = document.createElementNS(svg, "path");
  private readonly ground = document.createElementNS(svg, "rect");
  private frames: Frame[] = [];
  private origin = 0; // performance.now() of the answer
  private timer = 0;
  current: Frame | undefined;

  constructor(private readonly shown: (frame: Frame) => void) {
    this.element.setAttribute("part", "qr");
    this.element.setAttribute("role", "img");
    this.element.setAttribute("shape-rendering", "crispEdges");
    this.ground.setAttribute("fill", "#fff");
    this.path.setAttribute("fill", "#000");
    this.element.append(this.ground, this.path);
  }

  show(frames: Frame[], answered: number): void {
    this.frames = frames;
    this.origin = answered;
    this.tick();
  }

  clear(): void {
    clearTimeout(this.timer);
    this.frames = [];
    this.current = undefined;
    this.path.setAttribute("d", "");
  }

  // ahead is how long the frames at hand last, in ms.
  ahead(): number {
    const last = this.frames[this.frames.length - 1];
    return last ? last.in_ms + this.origin - performance.now() : 0;
  }

  private tick(): void {
    clearTimeout(this.timer);
    const now = performance.now() - this.origin;
    let current = this.frames[0];
    let next: Frame | undefined;
    for (const frame of this.frames) {
      if (frame.in_ms <= now) current = frame;
      else next = next ?? frame;
    }
    if (current && current !== this.current) this.draw(current);
    if (next) this.timer = window.setTimeout(() => this.tick(), Math.max(next.in_ms - now, 0) + 1);
  }

  private draw(frame: Frame): void {
    this.current = frame;
    const side = String(frame.size + 2 * quiet);
    this.element.setAttribute("viewBox", `0 0 ${side} ${side}`);
    this.ground.setAttribute("width", side);
    this.ground.setAttribute("height", side);
    this.path.setAttribute("d", outline(frame));
    this.shown(frame);
  }
}
