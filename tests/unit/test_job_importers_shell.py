"""What a shell script does up to its commands: words, values, environment, directory."""

import pytest

from fakerun.job.importers.shell import Shell, ShellCommand
from fakerun.job.importers.source import Source


def commands(script: str, **variables: str) -> list[ShellCommand]:
    return list(Shell(Source(name="file", text=script), variables).commands(script))


def words(script: str, **variables: str) -> list[str]:
    """Of the last command."""
    return [word.text for word in commands(script, **variables)[-1].words]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("run a  b\t'c d' \"e f\" g\\ h", ["run", "a", "b", "c d", "e f", "g h"]),
        ("run \\\n  a \\\n  b", ["run", "a", "b"]),
        ("run a#b # comment", ["run", "a#b"]),
        ("run '' \"\"", ["run", "", ""]),
        ("run 2>&1 >out.log a 2>/dev/null", ["run", "a"]),
        ("run a &> all.log", ["run", "a"]),
        ("cat <<EOF\nrun 'not\nEOF\nrun a", ["run", "a"]),
        ("cat <<-'EOF'\n\trun\n\tEOF\nrun a", ["run", "a"]),
        ("A=1; run $A ${A} \"$A\" '$A' \\$A a$A-b", ["run", "1", "1", "1", "$A", "$A", "a1-b"]),
        ("A='x y'; run $A \"$A\" z$A", ["run", "x", "y", "x y", "zx", "y"]),
        ('A=; run $A "$A"', ["run", ""]),
        ('run $UNSET "${UNSET}"', ["run", "$UNSET", "${UNSET}"]),
        ("run ${A:-b} ${A-c} ${A:=d} $A", ["run", "b", "c", "d", "d"]),
        ("A=; run ${A:-b} ${A-c}", ["run", "b"]),
        ("A=1; run ${A%x} ${A##*/} ${A/x/y}", ["run", "${A%x}", "${A##*/}", "${A/x/y}"]),
        ("A=(1 '2 3'); run ${A[@]} \"${A[@]}\" $A ${A[1]} ${#A[@]}", ["run", "1", "2", "3", "1", "2 3", "1", "2", "3", "2"]),
        ('A=(\n  a # first\n  b\n)\nA+=(c)\nrun "x${A[@]}y"', ["run", "xa", "b", "cy"]),
        ("A=1; A+=2; run $A", ["run", "12"]),
        ("declare -a A=(a b); run ${A[@]}", ["run", "a", "b"]),
        ("export A=1 B=2; run $A$B", ["run", "12"]),
        ("A=1; unset A; run ${A:-none}", ["run", "none"]),
        (
            "A=4; run $((A * 2 + 1)) $(( $A / 3 )) $((A % 0)) $((B * 2)) $((2 ** 3))",
            ["run", "9", "1", "$((A % 0))", "$((B * 2))", "$((2 ** 3))"],
        ),
        ("A=4; run $(expr $A \\* 8) $(expr ${A} + 1)", ["run", "32", "5"]),
        ("run $(hostname | head -n 1) `date +%s`", ["run", "$(hostname | head -n 1)", "$(date +%s)"]),
        ('A="$(f "x y")"; run $A', ["run", '$(f "x y")']),
        ("bash -c 'run a; run b c'", ["run", "b", "c"]),
        ("A=1; B='run $A'; eval \"$B x\"", ["run", "1", "x"]),
        ('pre -x bash -lc "run a"', ["pre", "-x", "run", "a"]),
        ("run a | tee log", ["tee", "log"]),
        ("if true; then A=1; else A=2; fi; run $A", ["run", "$A"]),
        ("A=1; if true; then A=2; fi; run ${A:-3}", ["run", "3"]),
        ("for A in 1 2; do B=$A; done; run $A $B", ["run", "$A", "$B"]),
        ("HF_TOKEN=abc; run $HF_TOKEN", ["run", "$HF_TOKEN"]),
        ("TOKENIZERS_PARALLELISM=no; run $TOKENIZERS_PARALLELISM", ["run", "no"]),
        ("run 1$ $", ["run", "1$", "$"]),
    ],
)
def test_the_words_of_the_last_command(script: str, expected: list[str]) -> None:
    assert words(script) == expected


def test_what_is_given_before_the_script_starts() -> None:
    assert words("run $NODES ${NODES}x", NODES="4") == ["run", "4", "4x"]


def test_what_is_unknown_in_a_word_is_named() -> None:
    (command,) = commands("A=1; run --x=$A:$B:$(c d):${E[2]}")
    assert command.words[1].text == "--x=1:$B:$(c d):${E[2]}"
    assert command.words[1].unknown == ("$B", "$(c d)", "${E[2]}")


@pytest.mark.parametrize(
    ("script", "conditional"),
    [
        ("run a", False),
        ("x && run a", False),
        ("x || run a", True),
        ("if x; then run a; fi", True),
        ("if x; then y; fi; run a", False),
        ("while x; do run a; done", True),
        ("f() { run a; }", True),
        ("f() { x; }\nrun a", False),
        ("(run a)", True),
        ("case $x in\na) y;;\n*) z;;\nesac\nrun a", False),
        ("case $x in\na) run a;;\nesac", True),
    ],
)
def test_a_command_that_runs_under_a_condition(script: str, conditional: bool) -> None:
    (command,) = (each for each in commands(script) if each.words[0].text == "run")
    assert command.is_conditional is conditional


def test_exports_up_to_a_command() -> None:
    first, second = commands("export A=1\nB=2\nX=3 run a\nexport B A=4\ndeclare -x C=5\nrun b\n")
    assert {name: (line, word.text) for name, (line, word) in first.exported.items()} == {"A": (1, "1")}
    assert [(name, word.text) for name, word in first.own_env] == [("X", "3")]
    assert {name: word.text for name, (_, word) in second.exported.items()} == {"A": "4", "B": "2", "C": "5"}


def test_variables_are_part_of_what_they_are_used_in() -> None:
    (command,) = commands("A=1; B=$A; C='x y'; D=5; run \"$B\"")
    assert command.used == {"A", "B"}


def test_lines() -> None:
    script = "#!/bin/bash\n\n# comment\nrun a \\\n  b\n\nX=(\n1\n)\nrun c; run d\n"
    assert [command.line for command in commands(script)] == [4, 10, 10]


def test_scripts_in_scripts_have_an_end() -> None:
    script = 'X=\'eval "$X"\'; eval "$X"; run a'
    assert words(script) == ["run", "a"]
