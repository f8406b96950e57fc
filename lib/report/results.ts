import { bytes, fixed, integer, interval, metrics, percent, pValue } from './format';
import { html, type Content, type Markup } from './markup';
import { conditions, evaluatedModels } from './select';
import type {
  ConstantAnswer,
  MetricScore,
  ReportData,
  ReportLanguage,
  ReportTestSet,
} from './types';

function scoreCell(score: MetricScore | undefined): Markup {
  if (!score) return html`<td class="quiet">–</td>`;
  const versus = score.versusTeacher;
  const kept: Content[] = versus
    ? [
        html`<div class="kept">
          ${percent(versus.retention)} <span class="quiet">${interval(versus.interval, 100)}</span>
        </div>`,
        versus.pValue !== null && html`<div class="quiet">${pValue(versus.pValue)}</div>`,
      ]
    : [];
  return html`<td>
    <div class="value">${fixed(score.value, 1)}</div>
    <div class="quiet">${interval(score.interval)}</div>
    ${kept}
  </td>`;
}

/** Every signature in use, by metric: one where all rows agree. */
function signatures(scores: readonly Partial<Record<string, MetricScore>>[]): Markup {
  const lines = metrics.flatMap(({ name, label }) =>
    [...new Set(scores.flatMap((all) => all[name]?.signature ?? []))].map(
      (signature) =>
        html`<div>
          <dt>${label}</dt>
          <dd>${signature}</dd>
        </div>`,
    ),
  );
  return html`<dl class="signatures">${lines}</dl>`;
}

function constantRow(constant: ConstantAnswer): Markup {
  return html`<tr class="constant-row">
    <th scope="row">constant answer</th>
    <td>–</td>
    <td>–</td>
    <td>–</td>
    <td>–</td>
    ${metrics.map(({ name }) => scoreCell(constant.scores[name]))}
    <td>–</td>
  </tr>`;
}

function constantSentence(constant: ConstantAnswer, language: ReportLanguage): Markup {
  const exact = constant.scores.exact_match;
  const chrf = constant.scores.chrf;
  return html`<p class="note">
    Always answering “<span lang="${language.code}">${constant.answer}</span>”, whatever is said,
    ${
      exact && html`matches the reference in ${percent(exact.value / 100)} of the segments`
    }${exact && chrf && ' and '}${
      chrf && html`has a chrF of ${fixed(chrf.value, 1)}: that much of it is worth nothing here`
    }.
  </p>`;
}

function resultTable(
  data: ReportData,
  language: ReportLanguage,
  testSet: ReportTestSet,
): Markup | null {
  const rows = evaluatedModels(data, language, testSet);
  const constant = data.constantAnswers.find(
    (c) => c.language === language.code && c.testSet === testSet.id,
  );
  if (rows.length === 0 && !constant) return null;
  const segments = [...new Set(rows.map(({ evaluation }) => integer(evaluation.segments)))];
  const scores = rows.map(({ evaluation }) => evaluation.scores);
  const name = `${language.name}, ${testSet.name}`;
  return html`<h3>
      ${language.name}
      <span class="quiet"
        >${testSet.name}
        (<code>${
          testSet.id
        }</code>${segments.length > 0 && `, ${segments.join(' / ')} segments`})</span
      >
    </h3>
    <div class="scroll" tabindex="0" role="region" aria-label="Results, ${name}">
      <table class="results">
        <caption class="hidden">
          Scores of every model, ${name}
        </caption>
        <thead>
          <tr>
            <th scope="col">Model</th>
            <th scope="col">Decoder layers</th>
            <th scope="col">Logical parameters</th>
            <th scope="col">Stored elements</th>
            <th scope="col">Bytes</th>
            ${metrics.map(
              ({ label, unit }) => html`<th scope="col">${label}${unit && `, ${unit}`}</th>`,
            )}
            <th scope="col">Tokens/s</th>
          </tr>
        </thead>
        <tbody>
          ${rows.map(
            ({ model, evaluation }) =>
              html`<tr class="${model.role}">
                <th scope="row">${model.name}</th>
                <td>${model.size.decoderLayers}</td>
                <td>${integer(model.size.parameters)}</td>
                <td>${integer(model.size.storedElements)}</td>
                <td>${bytes(model.size.bytes)}</td>
                ${metrics.map(({ name: metric }) => scoreCell(evaluation.scores[metric]))}
                <td>${fixed(evaluation.tokensPerSecond, 1)}</td>
              </tr>`,
          )}${constant && constantRow(constant)}
        </tbody>
      </table>
    </div>
    ${constant && constantSentence(constant, language)}
    ${signatures(constant ? [...scores, constant.scores] : scores)}`;
}

/** One table for each language and test set: what every model scores, and what it keeps. */
export function resultTables(data: ReportData): Content {
  const tables = conditions(data)
    .map(({ language, testSet }) => resultTable(data, language, testSet))
    .filter((table) => table !== null);
  if (tables.length === 0) return null;
  return html`<p>
      Each score stands over its 95 % interval. The line below, in per cent, is what is kept of the
      teacher's score, with its 95 % interval and the p-value of a paired bootstrap against the
      teacher.
    </p>
    ${tables}`;
}
