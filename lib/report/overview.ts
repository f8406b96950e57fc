import { bytes, duration, integer, interval, metrics, percent, ratio } from './format';
import { html, type Content, type Markup } from './markup';
import { evaluationOf, teacherOf } from './select';
import type { ModelResult, ReportData } from './types';

function tile(label: Content, value: Content, detail: Content): Markup {
  return html`<div class="tile">
    <div class="tile-label">${label}</div>
    <div class="tile-value">${value}</div>
    <div class="tile-detail">${detail}</div>
  </div>`;
}

function sizeTiles(student: ModelResult, teacher: ModelResult): Markup {
  const [small, large] = [student.size, teacher.size];
  return html`${tile(
    'Decoder layers',
    html`${small.decoderLayers} <span class="of">of ${large.decoderLayers}</span>`,
    `${integer(small.parameters)} logical parameters, ${percent(
      ratio(small.parameters, large.parameters),
    )} of the teacher's`,
  )}${tile(
    'Bytes on disk',
    percent(ratio(small.bytes, large.bytes)),
    `${bytes(small.bytes)} (${small.storage}) of ${bytes(large.bytes)} (${large.storage})`,
  )}`;
}

/** The result in a glance: size, and what is kept of chrF and exact match on the main test set. */
function tiles(data: ReportData): Content {
  const teacher = teacherOf(data);
  const testSet = data.testSets[0];
  if (!teacher) return null;
  const students = data.models.filter(({ role }) => role === 'student');
  return students.map((student) => {
    const kept = testSet
      ? data.languages.flatMap((language) => {
          const scores = evaluationOf(student, language, testSet)?.scores;
          return metrics
            .filter(({ name }) => name === 'chrf' || name === 'exact_match')
            .flatMap(({ name, label }) => {
              const versus = scores?.[name]?.versusTeacher;
              return versus ? [{ language, label, versus }] : [];
            });
        })
      : [];
    return html`<section class="tiles" aria-label="${student.name} in a glance">
      ${students.length > 1 && html`<div class="tiles-name">${student.name}</div>`}
      ${sizeTiles(student, teacher)}
      ${kept.map(({ language, label, versus }) =>
        tile(
          `${label} kept, ${language.name}`,
          percent(versus.retention),
          versus.interval
            ? html`95 % interval <span class="together">${interval(versus.interval, 100)}</span>`
            : 'no interval',
        ),
      )}
    </section>`;
  });
}

/** Title, what made the report, and the tiles. */
export function overview(data: ReportData): Markup {
  const { versions } = data;
  const facts: [string, string | undefined][] = [
    ['Recipe', data.recipe.name],
    ['Date', data.date],
    ['pare', versions.pare],
    ['Node', versions.node],
    ['libtorch', versions.libtorch],
    ['CPU', versions.cpu],
    ['GPU', versions.gpu],
    ['Platform', versions.platform],
  ];
  return html`<header>
      <h1>${data.title}</h1>
      <dl class="facts">
        ${facts.map(
          ([name, value]) =>
            value &&
            html`<div>
              <dt>${name}</dt>
              <dd>${value}</dd>
            </div>`,
        )}
      </dl>
    </header>
    ${tiles(data)}`;
}

/** How long each stage took. */
export function stageTable(data: ReportData): Markup {
  const fresh = data.stages.filter((stage) => !stage.reused);
  const longest = Math.max(1e-9, ...fresh.map(({ seconds }) => seconds));
  const total = fresh.reduce((sum, { seconds }) => sum + seconds, 0);
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Duration of the stages">
    <table class="stages">
      <thead>
        <tr>
          <th scope="col">Stage</th>
          <th scope="col">Duration</th>
          <td class="wide"></td>
        </tr>
      </thead>
      <tbody>
        ${data.stages.map(
          ({ name, seconds, reused }) =>
            html`<tr>
              <th scope="row">${name}</th>
              <td>${duration(seconds)}</td>
              <td class="wide">
                ${
                  reused
                    ? 'taken from an earlier run'
                    : html`<span
                        class="bar"
                        style="width:${((seconds / longest) * 100).toFixed(1)}%"
                      ></span>`
                }
              </td>
            </tr>`,
        )}
      </tbody>
      <tfoot>
        <tr>
          <th scope="row">This run</th>
          <td>${duration(total)}</td>
          <td class="wide"></td>
        </tr>
      </tfoot>
    </table>
  </div>`;
}

/** The split's purpose, and whether anything was chosen by it. */
export function protocolTable(data: ReportData): Markup {
  const { splits, bootstrap } = data.protocol;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Splits">
      <table class="protocol">
        <thead>
          <tr>
            <th scope="col">Split</th>
            <th scope="col">Segments</th>
            <th scope="col" class="text">Used for</th>
            <th scope="col" class="text">Chooses anything</th>
          </tr>
        </thead>
        <tbody>
          ${splits.map(
            (split) =>
              html`<tr>
                <th scope="row">${split.name}</th>
                <td>${integer(split.segments)}</td>
                <td class="text">${split.use}</td>
                <td class="text">${split.selects ? 'yes' : 'no'}</td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>
    ${
      bootstrap &&
      html`<p class="note">
        Intervals are 95 % percentile intervals of a bootstrap over segments,
        ${integer(bootstrap.samples)} samples, seed ${bootstrap.seed}; p-values are of the paired
        bootstrap against the teacher on the same segments.
      </p>`
    }`;
}
