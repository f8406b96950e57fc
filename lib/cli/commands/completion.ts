import { Argument, Command, type Option } from 'commander';
import { examples } from '../arguments';
import type { Context } from '../context';

const shells = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof shells)[number];

/** @param root whose commands and options are completed */
export function completionCommand(context: Context, root: Command): Command {
  return new Command('completion')
    .description('Print what makes a shell complete commands and options.')
    .addArgument(new Argument('<shell>', 'which shell').choices(shells))
    .addHelpText(
      'after',
      examples(
        'pare completion bash >> ~/.bashrc',
        'pare completion zsh > ~/.zfunc/_pare',
        'pare completion fish > ~/.config/fish/completions/pare.fish',
      ),
    )
    .action((shell: Shell) => context.print(scripts[shell](root.commands)));
}

/** Options that are shown, `--help` and those of commands below included, each once. */
function optionsOf(command: Command): readonly Option[] {
  const all = [command, ...command.commands].flatMap((one) => one.createHelp().visibleOptions(one));
  return all.filter(({ long }, i) => all.findIndex((other) => other.long === long) === i);
}

/** What may stand behind a command's name, where that is known. */
function wordsOf(command: Command): readonly string[] {
  const below = command.commands.map((one) => one.name());
  return [...below, ...(command.registeredArguments[0]?.argChoices ?? [])];
}

const takesValue = (option: Option): boolean => option.required || option.optional;

/** Without what would end a quoted word in a shell, or part a description. */
function plain(text: string): string {
  return text.replace(/[^\p{L}\p{N} ,.;/=+-]/gu, ' ').replace(/ +/g, ' ');
}

const scripts: Record<Shell, (commands: readonly Command[]) => string> = { bash, zsh, fish };

function bash(commands: readonly Command[]): string {
  const cases = commands.map((command) => {
    const words = optionsOf(command).map(({ long }) => long);
    const chosen = optionsOf(command)
      .filter(({ argChoices }) => argChoices !== undefined)
      .map(({ long, argChoices }) => `${long}) choices="${argChoices!.join(' ')}" ;;`);
    const choices = chosen.length > 0 ? ` case "$previous" in ${chosen.join(' ')} esac ;;` : ' ;;';
    const first = wordsOf(command).join(' ');
    const second = first && ` if [ "$COMP_CWORD" -eq 2 ]; then choices="${first}"; fi;`;
    return `    ${command.name()}) options="${words.join(' ')}";${second}${choices}`;
  });
  return `_pare() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}"
  local options="" choices=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${commands.map((command) => command.name()).join(' ')}" -- "$current"))
    return
  fi
  case "\${COMP_WORDS[1]}" in
${cases.join('\n')}
  esac
  if [ -n "$choices" ] && [[ "$current" != -* ]]; then COMPREPLY=($(compgen -W "$choices" -- "$current"))
  elif [[ "$current" == -* ]]; then COMPREPLY=($(compgen -W "$options" -- "$current"))
  else COMPREPLY=($(compgen -f -- "$current"))
  fi
}
complete -o filenames -F _pare pare`;
}

function zsh(commands: readonly Command[]): string {
  const names = commands.map((c) => `    '${c.name()}:${plain(c.description())}'`);
  const cases = commands.map((command) => {
    const specs = optionsOf(command).map((option) => {
      const values = option.argChoices ? `(${option.argChoices.join(' ')})` : '_files';
      const value = takesValue(option) ? `:value:${values}` : '';
      return `'${takesValue(option) ? '*' : ''}${option.long}[${plain(option.description)}]${value}'`;
    });
    const first = wordsOf(command);
    const words = first.length > 0 ? [`'1:word:(${first.join(' ')})'`] : [];
    return `    ${command.name()}) _arguments ${[...specs, ...words, "'*:file:_files'"].join(' ')} ;;`;
  });
  return `#compdef pare
_pare() {
  local -a commands
  commands=(
${names.join('\n')}
  )
  if (( CURRENT == 2 )); then _describe command commands; return; fi
  local command=$words[2]
  shift words; (( CURRENT-- ))
  case $command in
${cases.join('\n')}
  esac
}
if [ "$funcstack[1]" = _pare ]; then _pare "$@"; else compdef _pare pare; fi`;
}

function fish(commands: readonly Command[]): string {
  const lines = commands.flatMap((command) => {
    const name = command.name();
    const here = `complete -c pare -n '__fish_seen_subcommand_from ${name}'`;
    const first = wordsOf(command);
    return [
      ...(first.length > 0 ? [`${here} -f -a '${first.join(' ')}'`] : []),
      `complete -c pare -f -n __fish_use_subcommand -a ${name} -d '${plain(command.description())}'`,
      ...optionsOf(command).map((option) => {
        const choices = option.argChoices && ` -x -a '${option.argChoices.join(' ')}'`;
        const value = choices ?? (takesValue(option) ? ' -r' : '');
        return `${here} -l ${option.long!.slice(2)}${value} -d '${plain(option.description)}'`;
      }),
    ];
  });
  return lines.join('\n');
}
