"""Diagnostics: one list of what there is to say, with places in the repository and fingerprints that outlive an edit."""

from dataclasses import replace

from fakerun.call_site import CallSite
from fakerun.job.budgets import Budgets, CodeBudget
from fakerun.records.finding_code import FindingCode, Severity
from fakerun.records.findings import Finding
from fakerun.records.run import Blocked, FailureKind, ProcessFailure, RankRecord
from fakerun.report import JobReport, build_report
from fakerun.report.diagnostics import Place, Related, diagnostics_of, rules, shown_paths
from fakerun.report.page.jobs import page_of_jobs
from tests.unit.jobs_by_hand import checked_job, findings, job_report, several_jobs, skipped
from tests.unit.records_by_hand import job, run


def test_the_most_severe_come_first_and_a_failure_before_what_follows_from_it() -> None:
    diagnostics = diagnostics_of(several_jobs())
    assert [each.rule.id for each in diagnostics] == [
        *("missing-collective", "does-not-fit", "script-failed", "script-failed", "operation-mismatch"),
        *("over-budget", "unverified-budget"),
        *("never-waited", "unknown-value"),
    ]
    assert [each.level for each in diagnostics] == [*[Severity.ERROR] * 7, Severity.WARNING, Severity.NOTE]
    failure = ProcessFailure(kind=FailureKind.EXCEPTION, exception="ValueError", message="no", call_site=CallSite("train.py", 3))
    one = JobReport(name="one", report=build_report(job(), run(RankRecord(rank=0, failure=failure, findings=(skipped(),)))))
    assert [each.rule.id for each in diagnostics_of([one])] == ["script-failed", "missing-collective"]


def test_what_jobs_have_in_common_is_said_once() -> None:
    first, second, other = job_report(skipped(), name="a"), job_report(skipped(), name="b"), job_report(skipped(figure=6), name="c")
    assert [each.jobs for each in diagnostics_of([first, second, other])] == [("a", "b"), ("c",)]
    elsewhere = job_report(replace(skipped(), ranks=(0, 2, 5)), name="d")
    assert [(each.jobs, each.ranks) for each in diagnostics_of([first, elsewhere])] == [(("a", "d"), (0, 2, 5))]


def test_a_place_is_the_line_in_the_repository_else_the_program_else_none() -> None:
    places = {each.rule.id: each.place for each in diagnostics_of([job_report(*findings())])}
    program = Place(path="training/train.py", line=None)
    assert places["missing-collective"] == Place(path="training/models/net.py", line=18, function="forward")
    assert places["does-not-fit"] == places["unknown-value"] == program
    (nowhere, *_) = diagnostics_of([replace(job_report(skipped()), paths={})])
    assert nowhere.place is None


def test_the_message_names_a_line_that_no_annotation_can_be_attached_to() -> None:
    messages = {each.rule.id: each.message for each in diagnostics_of([job_report(*findings())])}
    assert messages["unknown-value"] == "reads a value (at accelerate/state.py:12)"
    assert messages["missing-collective"] == skipped().message


def test_what_has_no_line_of_its_own_is_at_the_limit_that_it_is_above() -> None:
    found = {each.rule.id: each for each in diagnostics_of([checked_job()])}
    assert found["over-budget"].place == Place(path="fakerun.yaml", line=7)
    assert found["over-budget"].related == ()
    assert found["unverified-budget"].place == Place(path="training/models/net.py", line=18)
    assert found["unverified-budget"].related == (Related(place=Place(path="fakerun.yaml", line=8), what="the limit on headroom"),)


def test_lines_of_other_ranks_are_related() -> None:
    (only,) = diagnostics_of([job_report(skipped())])
    assert only.related == (Related(place=Place(path="training/train.py", line=44, function="main"), what="what other ranks call"),)


def test_an_unknown_line_is_none() -> None:
    finding = Finding(code=FindingCode.NEVER_WAITED, message="no", call_site=CallSite("train.py", 0))
    (only,) = diagnostics_of([job_report(finding)])
    assert only.place == Place(path="training/train.py", line=None)


def fingerprints(*found: Finding) -> list[str]:
    return [each.fingerprint for each in diagnostics_of([job_report(*found)])]


def test_a_fingerprint_outlives_moved_lines_and_other_figures() -> None:
    assert fingerprints(skipped(18, 5)) == fingerprints(skipped(40, 7))


def test_fingerprints_differ_by_rule_file_function_and_number() -> None:
    one = skipped()
    others = (
        replace(one, code=FindingCode.EXTRA_COLLECTIVE),
        replace(one, call_site=CallSite("train.py", 18, "forward")),
        replace(one, call_site=CallSite("models/net.py", 30, "backward")),
        skipped(19),
    )
    assert len({*fingerprints(one, *others)}) == 5


def test_a_fingerprint_is_of_the_finding_and_not_of_the_job() -> None:
    assert [each.fingerprint for each in diagnostics_of([job_report(skipped(), name="other")])] == fingerprints(skipped())


def test_what_fails_the_job_is_an_error() -> None:
    warning = findings()[2]
    assert [each.level for each in diagnostics_of([job_report(warning)])] == [Severity.WARNING]
    assert [each.level for each in diagnostics_of([job_report(warning, strict=True)])] == [Severity.ERROR]


def test_a_blocked_rank_is_said_where_nothing_else_says_why() -> None:
    blocked = RankRecord(rank=0, blocked=Blocked(call=None, key="go", waits_for=(), call_site=CallSite("train.py", 9)))
    alone = JobReport(name="a", report=build_report(job(), run(blocked)), paths={})
    rules_of = [each.rule.id for each in diagnostics_of([alone])]
    assert rules_of in (["rank-blocked"], ["missing-key"])
    unsaid = replace(alone, report=replace(alone.report, findings=()))
    (only,) = diagnostics_of([unsaid])
    assert (only.rule.id, only.level) == ("rank-blocked", Severity.ERROR)
    assert only.message == "rank 0 waits for the key 'go' of a store, in step 0. (at train.py:9)"


def test_rules_are_those_of_all_findings_and_of_all_failures() -> None:
    ids = [rule.id for rule in rules()]
    assert len(set(ids)) == len(ids)
    assert {code.value for code in FindingCode} < set(ids)
    for kind in FailureKind:
        failure = ProcessFailure(kind=kind, exception=None, message="no")
        (only,) = diagnostics_of([JobReport(name="a", report=build_report(job(), run(RankRecord(rank=0, failure=failure))))])
        assert only.rule in rules()
        assert only.rule.is_ending


def test_shown_paths_are_those_of_every_place_and_of_the_program() -> None:
    report = build_report(
        job(),
        run(
            RankRecord(rank=0, findings=findings()),
            RankRecord(
                rank=1,
                failure=ProcessFailure(kind=FailureKind.EXCEPTION, exception="E", message="no", call_site=CallSite("failed.py", 3)),
            ),
            RankRecord(rank=3, findings=(replace(skipped(), other_call_sites=(CallSite("others.py", 1),)),)),
            RankRecord(rank=2, blocked=Blocked(call=None, key="go", waits_for=(), call_site=CallSite("blocked.py", 9))),
        ),
    )
    assert shown_paths(report) == {
        "train.py",
        "models/net.py",
        "a:b, c%20.py",
        "accelerate/state.py",
        "failed.py",
        "blocked.py",
        "others.py",
    }


def test_what_a_budget_forbids_is_an_error_wherever_it_was_found() -> None:
    """A note at two lines, of a code that is forbidden: the check names the first, and both fail the run."""
    notes = [
        Finding(code=FindingCode.UNKNOWN_VALUE, message="reads a value", ranks=(0,), call_site=CallSite("train.py", line))
        for line in (3, 5)
    ]
    forbidden = Budgets(forbidden=(CodeBudget(code=FindingCode.UNKNOWN_VALUE, source="fakerun.yaml:4"),))
    records = run(RankRecord(rank=0, findings=tuple(notes)))
    one = JobReport(
        name="one", report=build_report(job(), records, forbidden), paths={"train.py": "train.py", "fakerun.yaml": "fakerun.yaml"}
    )
    found = diagnostics_of([one])
    assert [(each.rule.id, each.level, each.place and each.place.line) for each in found] == [
        ("unknown-value", Severity.ERROR, 3),
        ("unknown-value", Severity.ERROR, 5),
    ]
    assert [each.level for each in diagnostics_of([replace(one, report=build_report(job(), records))])] == [Severity.NOTE] * 2
    ignored = Budgets(forbidden=forbidden.forbidden, allowed=forbidden.forbidden)
    assert diagnostics_of([replace(one, report=build_report(job(), records, ignored))]) == ()
    page = page_of_jobs([one, job_report(name="other")])
    assert [section.title for section in page.sections] == ["Jobs", "one"]
    assert page.sections[1].blocks, "what made the job fail is shown"
