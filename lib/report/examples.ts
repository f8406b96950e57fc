import { diff } from './diff';
import { html, type Content, type Markup } from './markup';
import { chooseExamples } from './select';
import type { ReportData, ReportLanguage, TranslationExample } from './types';

/** Examples shown for each language. */
const shown = 10;

function marked(text: string, reference: string, code: string): Markup {
  const parts = diff(text, reference).map(({ text: part, kind }) => {
    if (kind === 'same') return part;
    if (kind === 'changed') return html`<mark>${part}</mark>`;
    return html`<mark class="gap" title="something is missing here">∅</mark>`;
  });
  const verdict =
    text === reference
      ? html`<span class="verdict right" title="equals the reference">✓</span>`
      : html`<span class="verdict wrong" title="differs from the reference">✗</span>`;
  return html`<td class="text">${verdict}<span lang="${code}">${parts}</span></td>`;
}

function row(example: TranslationExample, language: ReportLanguage): Markup {
  return html`<tr>
    <td class="text">
      <span lang="en">${example.source}</span>
      <div class="quiet">${example.id} · ${example.testSet}</div>
    </td>
    <td class="text"><span lang="${language.code}">${example.reference}</span></td>
    ${marked(example.teacher, example.reference, language.code)}${marked(
      example.student,
      example.reference,
      language.code,
    )}
  </tr>`;
}

/** What was said, what should come out, what teacher and student make of it. */
export function exampleTables(data: ReportData): Content {
  return data.languages.map((language) => {
    const all = data.examples.filter((example) => example.language === language.code);
    if (all.length === 0) return null;
    const differ = all.filter(({ teacher, student }) => teacher !== student).length;
    const chosen = chooseExamples(all, shown);
    return html`<h3>${language.name}</h3>
      <p>
        Of ${all.length} examples kept, teacher and student differ in ${differ}; ${chosen.length}
        are shown, those that differ preferred. Marked is what differs from the reference; ∅ stands
        where something is missing.
      </p>
      <div class="scroll" tabindex="0" role="region" aria-label="Examples, ${language.name}">
        <table class="examples">
          <thead>
            <tr>
              <th scope="col" class="text">Said</th>
              <th scope="col" class="text">Reference</th>
              <th scope="col" class="text">Teacher</th>
              <th scope="col" class="text">Student</th>
            </tr>
          </thead>
          <tbody>
            ${chosen.map((example) => row(example, language))}
          </tbody>
        </table>
      </div>`;
  });
}
