import { chartRules, light } from './chart-style';

const dark = `
  --page: #14171b; --raised: #1d2127; --ink: #e8eaed; --quiet: #a0a9b4; --line: #343b44;
  --accent: #6fb7ee; --on-accent: #0d1a26; --on-middle: #0d1a26; --teacher: #6fb7ee; --step: #a0a9b4; --student: #ff9a52;
  --gone: #22272e; --hatch: #434b56; --mark: #6b4a12; --right: #52c9a0; --wrong: #ff9a52;
  --c0: #3f97d3; --c1: #8fd0f5; --c2: #2cb68f; --c3: #d3cc5e; --c4: #eeb435; --c5: #e8763a;
  --c6: #dc93bb; --c7: #9aa0a6;`;

/** The style sheet of the report. Colours follow Okabe and Ito: they differ for every eye. */
export const style: string = `
:root { color-scheme: light dark; ${light} }
@media screen and (prefers-color-scheme: dark) { :root { ${dark} } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC",
  "PingFang SC", "Microsoft YaHei", sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 40px 28px 80px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 14px; letter-spacing: -0.01em; text-wrap: balance;
  overflow-wrap: anywhere; }
h2 { font-size: 1.35rem; margin: 52px 0 10px; padding-top: 18px; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 28px 0 8px; }
p { max-width: 76ch; margin: 8px 0; }
a { color: var(--accent); }
code, pre, .signatures dd { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono",
  monospace; font-size: 0.86em; }
.quiet { color: var(--quiet); font-weight: 400; }
.together { white-space: nowrap; }
.note { color: var(--quiet); font-size: 0.92rem; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
dl.facts { display: flex; flex-wrap: wrap; gap: 4px 24px; margin: 0; font-size: 0.92rem; }
dl.facts div { display: flex; gap: 6px; }
dl.facts dt { color: var(--quiet); }
dl.facts dd { margin: 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(165px, 100%), 1fr));
  gap: 12px; margin: 28px 0 8px; }
.tiles-name { grid-column: 1 / -1; font-weight: 600; overflow-wrap: anywhere; }
.tile { background: var(--raised); border-radius: 10px; padding: 14px 16px; }
.tile-label { font-size: 0.86rem; color: var(--quiet); }
.tile-value { font-size: 1.75rem; font-weight: 650; line-height: 1.3;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.tile-value .of { font-size: 1.05rem; font-weight: 400; color: var(--quiet); }
.tile-detail { font-size: 0.82rem; color: var(--quiet); line-height: 1.4; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; padding: 0;
  margin: 20px 0 0; font-size: 0.92rem; }
.scroll { overflow-x: auto; margin: 10px 0; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; }
table { border-collapse: collapse; font-size: 0.88rem; line-height: 1.4; min-width: 100%;
  font-variant-numeric: tabular-nums; }
th, td { padding: 7px 10px; text-align: right; vertical-align: top; white-space: nowrap; }
thead th { font-weight: 600; vertical-align: bottom; border-bottom: 1px solid var(--quiet); }
.results thead th { white-space: normal; }
.results th, .results td { padding: 7px 6px; }
.results th:first-child { padding-left: 0; }
thead .quiet { font-size: 0.94em; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
tfoot > tr > * { border-top: 1px solid var(--quiet); }
th:first-child { text-align: left; padding-left: 0; }
tbody th, tfoot th { font-weight: 500; white-space: normal; min-width: 8em; }
.scroll th:first-child { position: sticky; left: 0; background: var(--page); }
.scroll thead tr:nth-child(2) th:first-child { position: static; }
.text, thead th.text { text-align: left; }
thead tr:nth-child(2) th { text-align: right; padding-top: 0; font-weight: 400; color: var(--quiet); }
thead tr:nth-child(2) th:first-child { padding-left: 10px; }
th[colspan] { border-bottom: 0; text-align: right; }
.results td { line-height: 1.35; }
.results td .quiet, .results .kept { font-size: 0.86em; }
.value { font-size: 1.06em; font-weight: 600; }
tr.teacher > th:first-child { color: var(--teacher); font-weight: 650; }
tr.student > th:first-child { color: var(--student); font-weight: 650; }
tr.student > *, .scroll tr.student > th:first-child { background: var(--raised); }
.constant-row { font-style: italic; color: var(--quiet); }
.constant-row .value { font-weight: 400; }
dl.signatures { margin: 6px 0 0; color: var(--quiet); font-size: 0.82rem; }
dl.signatures div { display: flex; gap: 8px; }
dl.signatures dt { flex: 0 0 6.5em; }
dl.signatures dd { margin: 0; overflow-wrap: anywhere; }
.protocol .text, .examples .text, .stages .wide { white-space: normal; }
.stages { max-width: 760px; }
.stages .wide { width: 60%; text-align: left; vertical-align: middle; color: var(--quiet);
  font-size: 0.94em; }
.bar { display: block; height: 10px; min-width: 2px; border-radius: 2px; background: var(--accent); }
.examples td { min-width: 190px; width: 25%; font-size: 1.02em; line-height: 1.5; }
.examples td:first-child { padding-left: 0; }
.examples .quiet { font-size: 0.82em; }
.verdict { float: left; width: 1.35em; font-weight: 700; }
.verdict + span { display: block; margin-left: 1.35em; }
.verdict.right { color: var(--right); }
.verdict.wrong { color: var(--wrong); }
mark { background: var(--mark); color: inherit; border-radius: 2px; padding: 0 1px;
  text-decoration: underline 2px var(--wrong); text-underline-offset: 3px; }
mark.gap { text-decoration: none; font-weight: 700; color: var(--wrong); }
pre { background: var(--raised); border-radius: 10px; padding: 16px 18px; line-height: 1.5;
  tab-size: 2; }
details { margin: 8px 0; font-size: 0.92rem; }
summary { cursor: pointer; color: var(--accent); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr));
  gap: 26px 32px; margin: 14px 0; }
.figures svg { width: 100%; height: auto; }
figure { margin: 0; min-width: 0; max-width: 640px; }
figcaption { font-weight: 600; font-size: 0.95rem; margin-bottom: 4px; }
ul.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 18px; padding: 0;
  margin: 4px 0 14px; font-size: 0.86rem; }
.swatch { display: inline-block; width: 12px; height: 12px; border-radius: 2px; margin-right: 6px; }
${chartRules('svg.chart')}
.part { stroke: var(--page); stroke-width: 1; }
${Array.from({ length: 8 }, (_, i) => `.part-${i} { fill: var(--c${i}); background: var(--c${i}); }`).join('\n')}
@media (max-width: 600px) {
  main { padding: 24px 16px 60px; }
  h1 { font-size: 1.5rem; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .tile { padding: 11px 12px; }
  .tile-value { font-size: 1.4rem; }
  .figures svg.chart text { font-size: 15px; }
}
@media print {
  @page { margin: 14mm; }
  body { font-size: 10.5pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  nav, details { display: none; }
  .scroll { overflow: visible; }
  table { font-size: 7.4pt; }
  th, td { padding: 3px 4px; }
  .scroll > svg.chart { max-width: 100%; height: auto; }
  .figures { grid-template-columns: 1fr 1fr; }
  pre { white-space: pre-wrap; }
  h2, h3 { break-after: avoid; }
  figure, tr, .tile { break-inside: avoid; }
}
`;
