#!/usr/bin/env python3
"""Puts fixed faults back, one at a time, and shows which scene or how many fixed seeds of the simulation find each.

Works on a copy of the last commit, as tests/exploration/mutations.py does, and takes many of the faults from there.
Prints a table at the end. Ends with 1 when a fault is not found, or when the code differs from the text in this file.

    tests/simulation/put_back.py            # all; a minute or two each on 2 cores
    tests/simulation/put_back.py SIGTERM    # those whose name contains one of these words
"""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "exploration"))

import mutations  # noqa: E402

FIXED_SEEDS = "whatever_happens_the_promises_are_kept"

# The fault, the test that should find it, and the mutation that puts it back.
EXPLORED = [
    ("an open intent is no reason to wait", FIXED_SEEDS,
     "1, open intent first: an open intent is no reason to wait"),
    ("`sentConfigHash` is stored with the intent (A1)",
     "an_api_that_is_taken_over_after_a_refused_create_gets_its_configuration",
     "2, sentConfigHash: it is stored with the intent, and outlives it"),
    ("a job that shows late passes for the attempt after it (A2)",
     "a_job_that_shows_late_does_not_pass_for_the_edit_after_it",
     "2, sentConfigHash: a job that was found in a list is taken to carry today's configuration"),
    ("the job that somebody else started meanwhile is claimed (A3)",
     "a_job_that_somebody_else_starts_meanwhile_does_not_make_its_configuration_ours",
     "2, sentConfigHash: the job that somebody else started meanwhile is taken to carry today's configuration"),
    ("a joined job is recorded as this generation's (A4)", "a_pending_job_of_somebody_else_does_not_pass_for_an_edit",
     "slots: a pending job of somebody else is taken for its own"),
    ("a create that AWS refused inside a 200 makes the object its own (B1)", "a_create_that_fails_in_its_answer_owns_nothing",
     "3, origin: a create that failed in AWS's answer makes the object its own"),
    ("a delete of unknown outcome is closed at once (B2)",
     "a_delete_that_arrives_late_does_not_reach_the_next_backend_of_the_name",
     "4, deletes: one of unknown outcome is closed at once"),
    ("an update of unknown outcome is closed at once (B4)", "an_update_that_arrives_late_does_not_undo_the_edit_after_it",
     "4, updates: one of unknown outcome is closed at once"),
    ("what is recorded lowers observedGeneration (B5)",
     "of_two_operators_neither_takes_back_what_the_other_says_of_a_later_edit",
     "3, record: the patch does not test observedGeneration"),
]

# The fault, the test that should find it; then the file, its text, the new text.
OTHERS = [
    ("the index takes in what is older than it knows (B3)", "what_a_list_shows_late_gives_no_environment_to_another",
     "src/controller/index.rs",
     "            if entry.version.is_before(known.version) {", "            if false {"),
    ("SIGTERM waits for passes for ever (D2)", "a_process_ends_although_what_it_records_is_refused",
     "src/controller/queue.rs",
     "if tokio::time::timeout(FINISH, finished).await.is_err() {",
     "if tokio::time::timeout(LONGEST, finished).await.is_err() {"),
    ("SIGTERM is not heard before the definitions are found (D2)", "a_process_ends_although_the_definitions_are_missing",
     "src/operator.rs",
     "let found = shutdown.run_until_cancelled(wait_for_crds(&client, &namespaces)).await;",
     "let found = CancellationToken::new().run_until_cancelled(wait_for_crds(&client, &namespaces)).await;"),
    ("what cannot be read stays in the index when it is gone (E7)", "what_could_not_be_read_owns_nothing_when_it_is_gone",
     "src/controller/watch.rs",
     "                if let Some(key) = key_of::<K>(object.meta()) {", "                if let (Some(key), Ok(_)) = (key_of::<K>(object.meta()), &object.0) {"),
    ("times are the machine's, not AWS's (E8)", "a_lost_reply_is_found_out_by_a_machine_whose_clock_is_wrong",
     "src/clock.rs",
     "        if date.as_second() < FIRST {", "        if date.as_second() < i64::MAX {"),
    ("all namespaces begin when the last is read (D1)", "a_namespace_that_cannot_be_read_delays_no_other", "src/operator.rs",
     "        self.filled(lists).await;\n", "        join_all(all.iter().map(|scope| scope.filled(lists))).await;\n"),
    ("one region may take all places (D5)", "a_region_that_hangs_delays_no_other", "src/amplify/throttle.rs",
     "        self.away + self.reserved >= most", "        self.away + self.reserved >= most && most == 0"),
    ("a reservation that is not needed is kept (D12)", "who_needs_no_call_after_all_holds_no_place", "src/controller/pass/mod.rs",
     "    if !pass.is_queued {", "    if !pass.is_queued && key.name.is_empty() {"),
    ("tokens and passes are first come, first served (D4)", "a_crowd_in_a_namespace_delays_no_other", "src/controller/context.rs",
     "|key: &ObjectKey| &key.namespace", '|_: &ObjectKey| ""'),
    ("who waits for an environment goes by chance (D9)", "those_who_wait_for_an_environment_go_in_the_order_of_their_creation",
     "src/controller/index.rs", "        if is_held || self.is_kept_for_another(key, &places, now) {", "        if is_held {"),
    ("a refused recording keeps its place", "what_a_namespace_refuses_to_record_delays_no_other", "src/controller/queue.rs",
     "        self.taken = None;\n        sleep(time).await;", "        sleep(time).await;"),
    ("a new leader goes by what its watches have shown", "a_new_leader_knows_what_its_silent_watches_have_not_shown",
     "src/operator.rs", "let lists = if stands_by { Lists::OfLeader } else { Lists::First };",
     "let lists = if stands_by { Lists::First } else { Lists::OfLeader };"),
    ("the lease may be given back for ever", "a_process_ends_in_time_whenever_the_api_server_falls_silent", "src/leader/mod.rs",
     "            tokio::time::sleep(GIVE_BACK).await;", "            tokio::time::sleep(GIVE_BACK * 1000).await;"),
]


def rows():
    """Returns name, test and edits of each fault."""
    known = {name: edits for name, *edits, _ in mutations.MUTATIONS}
    for name, test, mutation in EXPLORED:
        yield name, test, known[mutation]
    for name, test, *edits in OTHERS:
        yield name, test, edits


def simulate(copy, target, test):
    """Returns the seeds or the scene that find the fault, and the first broken law; None: nothing finds it."""
    run = mutations.test(copy, target, "--test", "simulation", "--", "--exact", test)
    found = re.search(r"^fixed seeds that fail: (\d+) of (\d+)$", run.stdout, re.MULTILINE)
    law = re.search(r"^SIMULATE_SEED=\d+ make simulate\n  (\w+)", run.stdout, re.MULTILINE)
    if found and int(found[1]):
        return f"{found[1]} of {found[2]} seeds", law[1] if law else ""
    if test != FIXED_SEEDS and f"test {test} " in run.stdout and "FAILED" in run.stdout:
        return f"`{test}`", ""
    print(run.stdout[-3000:], run.stderr[-3000:], file=sys.stderr)
    return None


def main():
    words = sys.argv[1:]
    root = pathlib.Path(__file__).resolve().parents[2]
    copy, target = mutations.prepare(root)
    lines, missed = [], 0
    for name, test, edits in rows():
        if words and not any(word in name for word in words):
            continue
        with mutations.broken(copy, name, edits):
            found = simulate(copy, target, test)
        by, law = found or ("**nothing**", "")
        lines.append(f"| {name} | {by} | {law} |")
        missed += not found
        print(lines[-1], file=sys.stderr, flush=True)
    print("| what is put back | found by | what is broken first |")
    print("|---|---|---|")
    print("\n".join(lines))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
