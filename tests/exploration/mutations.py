#!/usr/bin/env python3
"""Breaks each rule of the lifecycle once, and shows which exploration or which table of the lifecycle's tests finds it.

Works on a copy of the last commit. The copy stays in the target folder so that builds are short; the working tree is not
changed. Prints the two tables of docs/exploration.md at the end. Ends with 1 when a broken rule is not found, or when the
code of a rule differs from the text in this file.

    tests/exploration/mutations.py            # all; about a quarter of a minute each on 2 cores
    tests/exploration/mutations.py slot after # those whose name contains one of these words
"""

import contextlib
import io
import os
import pathlib
import re
import subprocess
import sys
import tarfile

# The broken rule; the file; its text; the new text; the exploration that finds it, or the table ("table: NAME").
MUTATIONS = [
    ("1, open intent first: an open intent is no reason to wait", "src/lifecycle/mod.rs",
     "Some((job, Phase::Intended)) => outcome::resolve(view, job),",
     "Some((job, Phase::Intended)) if view.resource.deleting => outcome::resolve(view, job),\n"
     "        Some((_, Phase::Intended)) => keep::idle(view),",
     "a_backend_is_created_once_by_an_operator_that_dies_twice"),
    ("1, adoption: what is there is taken in spite of adoptionPolicy Never", "src/lifecycle/keep.rs",
     "if view.resource.adoption_policy == AdoptionPolicy::Never {",
     "if view.resource.adoption_policy == AdoptionPolicy::Never && view.resource.deleting {",
     "a_backend_of_somebody_else_is_neither_taken_nor_deleted"),
    ("2, finalizer: none is stored before the intent", "src/lifecycle/create.rs",
     "if !view.resource.finalizer {",
     "if !view.resource.finalizer && view.resource.deleting {",
     "src/lifecycle/mod.rs",
     "        && !view.resource.finalizer\n        && (",
     "        && !view.resource.finalizer\n        && view.resource.deleting\n        && (",
     "a_backend_is_created_once_by_an_operator_that_dies_twice"),
    ("2, send in time: an intent is sent however old", "src/lifecycle/create.rs",
     "if timing::is_past(job.request_time, timing::SEND_WITHIN, view.now) {",
     "if timing::is_past(job.request_time, timing::CLOCK_SKEW, view.now) {",
     "two_operators_create_one_backend_though_one_stands_still_for_the_whole_grace"),
    ("2, after: the environment's newest job is not remembered", "src/lifecycle/create.rs",
     "newest = listed.jobs.iter().filter_map(|job| job.create_time).max();",
     "newest = listed.jobs.iter().filter_map(|job| job.create_time).max().filter(|_| false);",
     "a_backend_tells_its_attempt_from_jobs_of_others_though_clocks_differ"),
    ("2, attempt: it is not counted on", "src/lifecycle/view.rs",
     "        attempt.saturating_add(1)", "        (attempt - attempt).saturating_add(1)",
     "a_backend_is_created_once_whatever_is_lost_late_or_stale"),
    ("2, sentConfigHash: it is stored with the intent, and outlives it", "src/lifecycle/record.rs",
     "    state.hashes = Hashes::default();\n    // AWS's refusal stays",
     "    state.hashes.sent.clone_from(&job.config_hash);\n    // AWS's refusal stays",
     "src/lifecycle/keep.rs",
     "    state.hashes = Hashes::default();\n    if view.resource.adoption_policy",
     "    if view.resource.adoption_policy",
     "an_api_that_is_taken_over_after_a_create_that_came_to_nothing_gets_its_configuration"),
    ("2, sentConfigHash: a job that was found in a list is taken to carry today's configuration",
     "src/lifecycle/record.rs",
     "    state.hashes = Hashes::default();\n    record(view, state, job)",
     "    state.hashes.sent.clone_from(&job.config_hash);\n    record(view, state, job)",
     "an_attempt_that_shows_late_does_not_pass_for_the_edit_after_it"),
    ("2, sentConfigHash: the job that somebody else started meanwhile is taken to carry today's configuration",
     "src/lifecycle/record.rs",
     "    state.hashes = Hashes::default();\n    record(view, state, job)",
     "    state.hashes.sent.clone_from(&job.config_hash);\n    record(view, state, job)",
     "an_api_that_somebody_else_makes_while_an_attempt_is_in_doubt_gets_its_configuration"),
    ("2, sentConfigHash: the end of a job that was found in a list passes for Ready", "src/lifecycle/follow.rs",
     "let certain = !view.resource.is_updatable() || (job.config_hash.is_some() && job.config_hash == state.hashes.sent);",
     "let certain = true;",
     "an_api_that_somebody_else_makes_while_an_attempt_is_in_doubt_gets_its_configuration"),
    ("3, origin: it is not recorded with the accepted job", "src/lifecycle/record.rs",
     "        if job.operation.is_create() {\n            state.ledger.origin",
     "        if job.operation.is_delete() {\n            state.ledger.origin",
     "a_backend_is_created_once_by_an_operator_that_dies_twice"),
    ("3, origin: a create that failed in AWS's answer makes the object its own", "src/lifecycle/record.rs",
     "    if job.finish_time.is_none() {\n        if job.operation.is_create()",
     "    if job.finish_time.is_none() || job.operation.is_create() {\n        if job.operation.is_create()",
     "a_create_that_fails_in_its_answer_does_not_take_what_is_there"),
    ("3, record: the patch does not test observedGeneration", "src/controller/patches.rs",
     'for path in ["/job/attempt", "/observedGeneration"] {',
     'for path in ["/job/attempt"] {',
     "two_operators_carry_out_two_edits"),
    ("3, record: what another operator has said of a newer generation is replaced", "src/lifecycle/record.rs",
     "        ledger.conditions.clone_from(&newer.conditions);\n",
     "",
     "two_operators_register_one_environment"),
    ("4, grace: a look and a list are believed at once", "src/lifecycle/outcome.rs",
     "    timing::after(job.request_time, view.settings.outcome_grace)",
     "    job.request_time",
     "a_backend_is_created_once_by_an_operator_that_dies_twice"),
    ("4, claim: a listed job is not taken for the intent's", "src/lifecycle/outcome.rs",
     "return Ok(ours(view, job, &listed.jobs).map(|seen| claim(view, job, seen)));",
     "return Ok(ours(view, job, &listed.jobs[..0]).map(|seen| claim(view, job, seen)));",
     "a_backend_is_created_once_by_an_operator_that_dies_twice"),
    ("4, claim: a job without a time is taken for the intent's", "src/lifecycle/outcome.rs",
     "            && seen\n                .create_time\n                .is_some_and(",
     "            && seen\n                .create_time\n                .is_none_or(",
     "a_backend_does_not_take_an_old_job_without_a_time_for_its_own"),
    ("4, claim: without after, a job of any age is taken for the intent's", "src/lifecycle/outcome.rs",
     "            .saturating_sub(timing::CLOCK_SKEW)",
     "            .saturating_sub(timing::CLOCK_SKEW * 1000)",
     "table: only_a_job_of_the_same_operation_created_later_than_after_is_ours"),
    ("4, claim: a job that AWS began too late to come of the intent is taken for it", "src/lifecycle/outcome.rs",
     "    is_late_enough && created <= latest",
     "    is_late_enough && created <= Timestamp::MAX.max(latest)",
     "a_backend_that_somebody_else_makes_long_after_a_lost_create_is_not_taken"),
    ("4, after is kept: an attempt after an unconfirmed one remembers only newer jobs", "src/lifecycle/create.rs",
     "after: unconfirmed.map_or(newest, |job| Some(outcome::earliest(job))),",
     "after: unconfirmed.map_or(newest, |_| newest),",
     "table: an_attempt_of_unknown_outcome_that_shows_up_after_a_refused_one_is_still_ours"),
    ("4, refusal: with unconfirmed, a refusal is believed without a look and a list", "src/lifecycle/create.rs",
     "let doubtful = job.unconfirmed\n",
     "let doubtful = job.unconfirmed && view.resource.deleting\n",
     "table: a_refusal_of_an_unconfirmed_attempt_is_believed_only_after_a_look_and_a_list"),
    ("4, given up: it is looked for while a sibling's job may not be recorded yet", "src/lifecycle/outcome.rs",
     "    if job.operation.has_job() {\n        slot(view)?;",
     "    if job.operation.has_job() && view.resource.deleting {\n        slot(view)?;",
     "table: an_attempt_that_was_given_up_does_not_take_the_job_of_another_resource_for_its_own"),
    ("4, unconfirmed: a new attempt forgets that the last one's outcome is unknown", "src/lifecycle/outcome.rs",
     "            unconfirmed: true,\n            ..job.clone()",
     "            unconfirmed: false,\n            ..job.clone()",
     "a_job_that_aws_shows_only_after_the_grace_is_still_claimed"),
    ("4, given up: the job of a sibling is claimed", "src/lifecycle/outcome.rs",
     "&& !view.surroundings.jobs_of_others.contains(&seen.id)",
     "",
     "an_api_whose_attempt_was_given_up_does_not_take_its_siblings_job_for_its_own"),
    ("4, deletes: one of unknown outcome is closed at once", "src/lifecycle/record.rs",
     "Reply::Failed(failure) if failure.sent != Sent::Unknown => {",
     "Reply::Failed(failure) if failure.sent != Sent::Unknown || job.operation.is_delete() => {",
     "a_late_delete_does_not_reach_the_next_backend_of_the_name"),
    ("4, deletes: a look right after one of unknown outcome is believed", "src/lifecycle/outcome.rs",
     "    if looked.at < believed || !listed_late {\n        return Ok(come_again(view, job));\n    }\n    if job.operation.is_delete()",
     "    if job.operation.is_delete()",
     "a_late_delete_does_not_reach_the_next_backend_of_the_name"),
    ("4, updates: one of unknown outcome is closed at once", "src/lifecycle/record.rs",
     "Reply::Failed(failure) if failure.sent != Sent::Unknown => {",
     "Reply::Failed(failure) if failure.sent != Sent::Unknown || job.operation.is_update() => {",
     "an_api_never_overlaps_with_itself_though_aws_refuses_nothing"),
    ("4, restart: nothing is listed before the first update or delete", "src/lifecycle/needs.rs",
     "Some(Reason::WaitingForJob) || !view.memory.listed || view.known.jobs.is_some();",
     "Some(Reason::WaitingForJob) || view.known.jobs.is_some();",
     "an_api_never_overlaps_with_itself_though_aws_refuses_nothing"),
    ("4, fresh look: an update or delete is sent by a view that is stale", "tests/exploration/shell.rs",
     "if *write != Write::Create && pass(world, process, name).lag > 0 {",
     "if *write != Write::Create && pass(world, process, name).lag > 200 {",
     "two_operators_carry_out_two_edits"),
    ("5, words: any word but RUNNING is an end", "src/lifecycle/facts.rs",
     'matches!(status, "COMPLETED" | "FAILED")',
     'status != "RUNNING"',
     "a_backend_tells_the_truth_whatever_becomes_of_its_job"),
    ("5, forgotten job: a 404 is believed at once", "src/lifecycle/follow.rs",
     "if looked.at < believed || listed.at < believed {",
     "if looked.at < believed && listed.at < job.request_time {",
     "a_backend_is_created_once_whatever_is_lost_late_or_stale"),
    ("5, absence grace: a 404 is believed right after the job's end", "src/lifecycle/needs.rs",
     "let believed = timing::after(finished, view.settings.absence_grace);",
     "let believed = finished;",
     "table: a_404_after_completed_is_believed_only_after_the_absence_grace"),
    ("6, failed create: what it left behind passes for the backend", "src/lifecycle/needs.rs",
     "let failed = |job: &&Job| is_made && job.operation.is_create() && job.has_failed();",
     "let failed = |job: &&Job| is_made && job.operation.is_delete() && job.has_failed();",
     "a_backend_tells_the_truth_whatever_becomes_of_its_job"),
    ("6, limit: failures are not counted", "src/lifecycle/follow.rs",
     "failures: if completed { 0 } else { job.failures.saturating_add(1) },",
     "failures: 0,",
     "a_backend_tells_the_truth_whatever_becomes_of_its_job"),
    ("7, adoption: it takes no slot", "src/lifecycle/keep.rs",
     "        slot(view)?;\n        none_pending(view, listed(view, Purpose::Write)?)?;", "        none_pending(view, listed(view, Purpose::Write)?)?;",
     "table: what_somebody_is_deleting_is_not_adopted"),
    ("8, delete: a refused one makes a 404 right after the create believed", "src/lifecycle/record.rs",
     "after: view.state.ledger.job.as_ref().and_then(made),", "after: None,",
     "table: a_refused_delete_does_not_make_a_404_right_after_the_create_believed"),
    ("7, drift: each late end is a change by somebody else", "src/lifecycle/follow.rs",
     "Ok(differs.filter(|echo| !is_known(echo)).map(|echo| echo.hash.clone()))", "Ok(differs.map(|echo| echo.hash.clone()))",
     "table: what_aws_writes_in_its_own_way_is_sent_once_more_at_the_most_though_the_end_is_seen_late_each_time"),
    ("4, clocks: an answer is judged by the time before it", "src/lifecycle/create.rs",
     "request_time: job.request_time.clamp(earliest, asked),", "request_time: job.request_time.clamp(earliest.min(job.request_time), asked.max(job.request_time)),",
     "table: what_aws_says_it_has_made_is_its_own_though_the_clock_was_put_right_by_that_answer"),
    ("7, edit: another configuration is not sent", "src/lifecycle/keep.rs",
     "let edited = doubtful || is_skipped(view) || hashes.sent.as_ref() != Some(&config.hash);",
     "let edited = doubtful || is_skipped(view) || hashes.sent.as_ref().is_some_and(String::is_empty);",
     "an_api_is_updated_to_what_its_spec_says"),
    ("8, not owned: the AWS object is deleted all the same", "src/lifecycle/delete.rs",
     "None => false,",
     "None => true,",
     "a_backend_that_somebody_else_makes_meanwhile_is_not_taken"),
    ("8, open intent: deletion does not wait for its outcome", "src/lifecycle/mod.rs",
     "Some((job, Phase::Intended)) => outcome::resolve(view, job),",
     "Some((job, Phase::Intended)) if !view.resource.deleting => outcome::resolve(view, job),\n"
     "        Some((_, Phase::Intended)) => delete::delete(view),",
     "a_backend_is_deleted_with_its_resource"),
    ("8, running job: deletion does not wait for its end", "src/lifecycle/mod.rs",
     "Some((job, Phase::Running)) if !may_leave(view, job) => follow::follow(view, job),",
     "Some((job, Phase::Running)) if !view.resource.deleting => follow::follow(view, job),",
     "a_backend_is_deleted_with_its_resource"),
    ("8, absence grace: the finalizer goes while AWS may show the object late", "src/lifecycle/delete.rs",
     "absence_in_doubt(view).unwrap_or(Step::Release)",
     "absence_in_doubt(view).map_or(Step::Release, |_| Step::Release)",
     "a_backend_is_deleted_with_its_resource"),
    ("8, released: what others still hold takes its finalizer back", "src/lifecycle/mod.rs",
     "if view.resource.deleting && !view.resource.finalizer {",
     "if view.resource.deleting && !view.resource.finalizer && !view.resource.held {",
     "what_is_released_and_held_by_others_stands_in_nobodys_way"),
    ("9, Observe: what came to nothing is tried again", "src/lifecycle/mod.rs",
     "        && !view.resource.observe\n        && view.surroundings.winner.is_none()\n}",
     "        && view.surroundings.winner.is_none()\n}",
     "src/lifecycle/outcome.rs",
     "        || view.resource.observe\n        || view.surroundings.winner",
     "        || view.surroundings.winner",
     "a_backend_is_observed_and_managed_at_any_time"),
    ("9, Observe: what AWS no longer shows stays its own", "src/lifecycle/observe.rs",
     "        state.ledger.origin = None;", "        state.ledger.origin = view.state.ledger.origin;",
     "what_others_make_anew_is_not_its_own_though_it_was_observed_meanwhile"),
    ("10, lock: a write rests on an answer of any age", "src/lifecycle/migration.rs",
     "        is_answer && is_fresh(lock.at, view.now)", "        is_answer",
     "nothing_is_written_to_a_backend_while_it_is_locked"),
    ("10, lock: an intent is sent though the environment is locked by then", "src/lifecycle/create.rs",
     "    match migration::unlocked(view, job.operation) {\n"
     "        Err(Step::Settle { .. }) => return Ok(not_sent(view, job)),\n"
     "        unlocked => unlocked?,\n"
     "    }\n", "",
     "nothing_is_written_to_a_backend_while_it_is_locked"),
    ("10, lock: a deletion asks nothing about it", "src/lifecycle/delete.rs",
     "    migration::unlocked(view, operation)?;\n", "    let _ = migration::unlocked(view, operation);\n",
     "nothing_is_written_to_a_backend_while_it_is_locked"),
    ("10, lock: an update asks nothing about it", "src/lifecycle/update.rs",
     "    migration::unlocked(view, operation)?;\n", "    let _ = migration::unlocked(view, operation);\n",
     "an_api_follows_a_lock_that_comes_and_goes"),
    ("10, lock: what is gone is created again when the lock moves on", "src/lifecycle/migration.rs",
     "    if operation.is_create() && ledger.migration_locked_at.is_some() {",
     "    if operation.is_create() && ledger.migration_locked_at.is_some() && view.resource.deleting {",
     "what_is_gone_after_a_lock_is_not_made_again_unless_its_user_says_so"),
    ("suspend: deletion goes on", "src/lifecycle/delete.rs",
     "if view.resource.suspend {",
     "if view.resource.suspend && !view.resource.deleting {",
     "a_backend_follows_its_user_who_deletes_recreates_suspends_and_asks"),
    ("slots: an open intent does not hold the environment", "src/lifecycle/mod.rs",
     "Some(job) if job.is_open_intent() => Holds::Yes,",
     "Some(job) if job.is_open_intent() => Holds::No,",
     "two_apis_of_one_environment_never_have_overlapping_jobs_though_replies_are_lost"),
    ("slots: a running job does not hold the environment (the list of pending jobs says the same)", "src/lifecycle/mod.rs",
     "Some(job) if job.is_running() && !suspend => Holds::Until(",
     "Some(job) if job.is_running() && suspend => Holds::Until(",
     "table: a_slot_is_held_from_the_intent_to_the_end_of_the_job"),
    ("slots: the index takes an older version for the newest", "src/controller/index.rs",
     "if entry.version.is_before(known.version) {",
     "if entry.version.is_before(known.version) && known.version.is_before(entry.version) {",
     "two_apis_never_overlap_though_a_list_shows_an_old_one_late"),
    ("slots: a pending job of somebody else is taken for its own", "src/lifecycle/reply.rs",
     "            Some(operation) => update::after_update(view, operation, reply),",
     """            Some(operation) => {
                if matches!(reply, Reply::Failed(failure) if failure.class == super::facts::Class::Pending) {
                    let jobs = &super::needs::listed(view, super::Purpose::Outcome)?.jobs;
                    let is_update = |seen: &&super::facts::JobSeen| seen.operation == operation.name();
                    let updates = jobs.iter().filter(is_update).filter(|seen| !seen.is_terminal());
                    if let Some(seen) = super::record::newest(updates) {
                        let config = view.known.config.as_ref().and_then(|config| config.as_ref().ok());
                        let hash = config.map(|config| config.hash.clone());
                        let update = super::record::unintended(view, operation, hash);
                        return Ok(super::record::record_accepted(view, crate::api::Job {
                            id: Some(seen.id.clone()),
                            status: Some(seen.status.clone()),
                            ..update
                        }));
                    }
                }
                update::after_update(view, operation, reply)
            }""",
     "an_update_of_somebody_else_does_not_pass_for_an_edit"),
    ("conflicts: two resources of one AWS object both work", "src/lifecycle/keep.rs",
     "if let Some(winner) = &around.winner {",
     "if let Some(winner) = around.winner.as_ref().filter(|_| view.resource.deleting) {",
     "two_resources_of_one_backend_make_it_once"),
    ("I5: observedGeneration follows the job, not the spec", "src/lifecycle/report.rs",
     "ledger.observed_generation = ledger.observed_generation.max(generation);",
     "ledger.observed_generation = generation;",
     "an_api_is_updated_to_what_its_spec_says"),
]


def main() -> int:
    words = sys.argv[1:]
    chosen = [it for it in MUTATIONS if not words or any(word in it[0] for word in words)]
    copy, target = prepare(pathlib.Path(__file__).resolve().parents[2])
    explored, tabled, missed = [], [], 0
    for what, *edits, finder in chosen:
        table = finder.removeprefix("table: ")
        with broken(copy, what, edits):
            if table != finder:
                others = look_up(copy, target, table)
                tabled.append(f"| {what} | {others or 'not found'} |")
                missed += others is None
            else:
                states, law = explore(copy, target, finder)
                explored.append(f"| {what} | `{finder}` | {states or 'not found'} | {law} |")
                missed += states is None
        print((tabled if table != finder else explored)[-1], file=sys.stderr, flush=True)
    print(f"{len(explored)} by an exploration:\n")
    print("| rule, and how it is broken | found by | after states | what does not hold |")
    print("|---|---|---|---|")
    print("\n".join(explored))
    print(f"\n{len(tabled)} by a table:\n")
    print("| rule, and how it is broken | found by the table |")
    print("|---|---|")
    print("\n".join(tabled))
    return 1 if missed else 0


def prepare(root):
    """Returns the copy and the target folder."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target")).resolve()
    copy = target / "mutations"
    restore(root, copy)
    return copy, target


@contextlib.contextmanager
def broken(copy, what, edits):
    """Applies edits to the copy, and reverts them at the end. Edits: file, old text, new text, and so on."""
    good = {}
    for file, old, new in zip(edits[0::3], edits[1::3], edits[2::3]):
        path = copy / file
        good.setdefault(path, path.read_text())
        text = path.read_text()
        if text.count(old) != 1:
            sys.exit(f"{what}: {file} no longer reads {old!r}")
        path.write_text(text.replace(old, new))
    try:
        yield
    finally:
        for path, text in good.items():
            path.write_text(text)


def restore(root, copy):
    """Makes the copy equal to the last commit. Unchanged files keep their times, so that they are not built again."""
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=root, check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        members = [member for member in files if member.isfile()]
        for member in members:
            path = copy / member.name
            content = files.extractfile(member).read()
            if member.name == "Cargo.toml":
                # In one target folder, cargo distinguishes packages by name and version, not by their place.
                content = re.sub(rb'(?<=\[workspace\.package\]\nversion = ")[^"]*', b"0.0.0-broken", content)
            if not path.exists() or path.read_bytes() != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                path.chmod(member.mode)
    kept = {copy / member.name for member in members}
    for path in copy.rglob("*"):
        if not path.is_dir() and path not in kept:
            path.unlink()


def test(copy, target, *arguments):
    """Runs tests of the copy, and reuses the results of the workspace's own builds."""
    command = [os.environ.get("CARGO", "cargo"), "test", "--quiet", "--workspace", "--all-features", *arguments]
    # Build results are shared. Programs are not, because the workspace's own would be replaced by broken ones.
    places = {"CARGO_BUILD_BUILD_DIR": str(target), "CARGO_TARGET_DIR": str(copy.parent / "mutations-programs")}
    environment = {**os.environ, **places}
    return subprocess.run(command, cwd=copy, capture_output=True, text=True, env=environment)


def explore(copy, target, exploration):
    """Returns how many states the exploration needs to find the fault, and the property that does not hold."""
    run = test(copy, target, "--test", "exploration", "--", "--exact", exploration)
    found = re.search(r"^(.+): it does not hold, as (\d+) states show", run.stdout, re.MULTILINE)
    if found:
        return int(found[2]), found[1]
    print(run.stdout[-2000:], run.stderr[-2000:], file=sys.stderr)
    return None, ""


def look_up(copy, target, table):
    """Returns the table that should find the fault, and how many other tests of the lifecycle fail; None: it passes."""
    run = test(copy, target, "--lib", "--no-fail-fast", "--", "lifecycle::")
    failed = {name.rpartition("::")[2] for name in re.findall(r"^test (\S+) \.\.\. FAILED$|^    (lifecycle\S+)$", run.stdout, re.MULTILINE) for name in name if name}
    if table in failed:
        return f"`{table}`" + (f", and {len(failed) - 1} more" if len(failed) > 1 else "")
    print(run.stdout[-2000:], run.stderr[-2000:], file=sys.stderr)
    return None


if __name__ == "__main__":
    sys.exit(main())
