/** Colours on white paper. They follow Okabe and Ito: they differ for every eye. */
export const light: string = `
  --page: #ffffff; --raised: #f5f6f8; --ink: #1b1f24; --quiet: #5b6470; --line: #d9dde3;
  --accent: #0b5c9a; --on-accent: #ffffff; --on-middle: #101418; --teacher: #0b5c9a; --step: #6b7480; --student: #c04a00;
  --gone: #eceef1; --hatch: #c3c9d1; --mark: #ffe3b8; --right: #00734f; --wrong: #b03a00;
  --c0: #0072b2; --c1: #56b4e9; --c2: #009e73; --c3: #b8b13a; --c4: #e69f00; --c5: #d55e00;
  --c6: #cc79a7; --c7: #888888;`;

/** How the parts of a plot look; `&` stands for the plot, so that no rule reaches beyond it. */
const rules = `
& { display: block; overflow: visible; font-family: inherit; }
& text { fill: var(--ink); font-size: 12px; font-variant-numeric: tabular-nums; }
& text.tick, & text.axis-name { fill: var(--quiet); }
& .end { text-anchor: end; }
& .middle, & .cell-value, & .cell-mark { text-anchor: middle; }
& text.strong { font-weight: 650; }
& text.tick.strong { fill: var(--ink); }
& text.label { paint-order: stroke; stroke: var(--page); stroke-width: 3px;
  stroke-linejoin: round; }
& text.label.teacher { fill: var(--teacher); font-weight: 650; }
& text.label.student { fill: var(--student); font-weight: 650; }
& .grid { stroke: var(--line); stroke-width: 1; }
& .axis { stroke: var(--quiet); stroke-width: 1; }
& .cell { fill: var(--accent); }
& .cell-value { font-size: 11px; }
& .on-middle { fill: var(--on-middle); }
& .on-strong { fill: var(--on-accent); }
& .cell-removed { fill: none; stroke: var(--student); stroke-width: 3; }
& .cell-gone { fill: var(--gone); }
& .cell-mark { fill: var(--quiet); }
& .hatch { stroke: var(--hatch); stroke-width: 3; }
& .mark { stroke: var(--page); stroke-width: 1.5; }
& .mark.teacher { fill: var(--teacher); }
& .mark.step { fill: var(--step); }
& .mark.student { fill: var(--student); }
& .whisker { fill: none; stroke: var(--step); stroke-width: 1.2; opacity: 0.75; }
& .leader { stroke: var(--step); stroke-width: 0.7; }
& .constant { stroke: var(--quiet); stroke-width: 1.2; stroke-dasharray: 5 4; }
& .curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
& .curve.train { stroke: var(--teacher); }
& .curve.dev { stroke: var(--student); stroke-dasharray: 6 3; }
& .curve.rate { stroke: var(--quiet); }
& .curve-point { fill: var(--student); }
& .ribbon { fill: var(--teacher); opacity: 0.18; }
& .curve.ctc { stroke: var(--c2); stroke-dasharray: 2.5 1.8; }
& .ribbon.ctc { fill: var(--c2); }
`;

/** {@link rules} for the plots that a selector finds. */
export function chartRules(selector: string): string {
  return rules.replaceAll('&', selector);
}
