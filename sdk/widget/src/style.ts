// The element takes the page's design tokens (--bs-*) where there are any. A
// constructed sheet is no inline style: it works under style-src 'self'.

const rules = `
:host { display: block; box-sizing: border-box; font-family: var(--bs-font, "PingFang SC", "HarmonyOS Sans SC", "Noto Sans CJK SC", "Microsoft YaHei", sans-serif);
  font-size: 16px; line-height: 1.6; color: var(--bs-ink, #14213d); text-align: center; }
* { box-sizing: border-box; margin: 0; }
.root { display: grid; grid-template-columns: minmax(0, 1fr); justify-items: center; gap: 12px; }
.frame { position: relative; width: min(332px, 100%); aspect-ratio: 1; }
.code { position: absolute; inset: 8px; border-radius: 8px; overflow: hidden; background: #fff; }
.code svg { display: block; width: 100%; height: 100%; }
.ring { position: absolute; inset: 0; width: 100%; height: 100%; pointer-events: none; }
.ring rect { fill: none; stroke-width: 2; }
.ring .track { stroke: var(--bs-line, #dfe1dc); }
.ring .left { stroke: var(--bs-blue, #1f5eff); stroke-linecap: round; }
.late .left { stroke: var(--bs-amber, #855300); }
.cover { position: absolute; inset: 8px; display: grid; align-content: center; justify-items: center; gap: 8px; padding: 16px; border-radius: 8px;
  background: var(--bs-surface, #fff); transition: opacity var(--bs-motion, 150ms); }
.cover[hidden] { display: none; }
.cover svg { width: 64px; height: 64px; fill: none; stroke: currentColor; stroke-width: 1.75; stroke-linecap: round; stroke-linejoin: round; color: var(--bs-ink-3, #5c667e); }
[data-state=done] .cover svg { color: var(--bs-green, #13693f); }
[data-state=offline] .cover svg, [data-state=expired] .cover svg { color: var(--bs-amber, #855300); }
[data-state=rejected] .cover svg, [data-state=failed] .cover svg { color: var(--bs-red, #c8161d); }
.digits { font-size: 112px; line-height: 1; font-weight: 600; letter-spacing: 0.12em; margin-right: -0.12em; font-variant-numeric: tabular-nums; }
.digits[hidden] { display: none; }
.person { font-size: 28px; font-weight: 600; line-height: 1.3; }
.holder { color: var(--bs-ink-2, #46506a); }
.text { min-height: 76px; max-width: 26em; }
.message { font-weight: 600; }
.hint { font-size: 14px; color: var(--bs-ink-2, #46506a); }
.small { font-size: 12px; color: var(--bs-ink-3, #5c667e); font-family: var(--bs-mono, ui-monospace, Menlo, Consolas, monospace); }
.warning { position: absolute; left: 16px; right: 16px; bottom: 16px; padding: 8px 12px; border-radius: 8px; font-size: 14px; line-height: 1.5; text-align: left;
  color: var(--bs-amber, #855300); background: var(--bs-amber-soft, #fdf1d8); }
.warning[hidden] { display: none; }
.actions { display: flex; gap: 12px; min-height: 44px; }
button { min-width: 112px; min-height: 44px; padding: 8px 20px; border-radius: 8px; border: 1px solid var(--bs-line-strong, #878e9c); background: none;
  color: var(--bs-ink, #14213d); font: inherit; cursor: pointer; transition: background var(--bs-motion, 150ms); }
button.primary { border-color: transparent; background: var(--bs-blue-fill, #1f5eff); color: var(--bs-on-blue, #fff); font-weight: 600; }
button.primary:hover, button.primary:active { background: var(--bs-blue-press, #174bd6); }
button.plain { min-width: 0; border-color: transparent; color: var(--bs-ink-2, #46506a); }
button:focus-visible { outline: 2px solid var(--bs-focus, #1f5eff); outline-offset: 2px; }
button:disabled { opacity: 0.6; cursor: default; }
.dots { display: inline-flex; gap: 10px; height: 64px; align-items: center; }
.dots i { width: 12px; height: 12px; border-radius: 50%; background: var(--bs-blue, #1f5eff); opacity: 0.25; animation: pulse 1.2s infinite; }
.dots i:nth-child(2) { animation-delay: 0.2s; }
.dots i:nth-child(3) { animation-delay: 0.4s; }
@keyframes pulse { 30% { opacity: 1; } 60% { opacity: 0.25; } }
@media (prefers-reduced-motion: reduce) {
  * { transition: none !important; }
  .dots i { animation: none; opacity: 0.7; }
}
`;

export function dress(root: ShadowRoot): void {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(rules);
  root.adoptedStyleSheets = [sheet];
}
