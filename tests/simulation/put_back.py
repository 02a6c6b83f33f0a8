#!/usr/bin/env python3
"""Puts faults that were mended back, one at a time, and shows how many of the simulation's fixed seeds find each.

Works on a copy of the last commit, as tests/exploration/mutations.py does, and takes most faults from there. Prints a
table at the end. Ends with 1 when one is not found, or when a place no longer reads as it is written.

    tests/simulation/put_back.py            # all; a minute or two each on 2 cores
    tests/simulation/put_back.py SIGTERM    # those whose name contains one of these words
"""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "exploration"))

import mutations  # noqa: E402

# What is put back, and the mutations that are it.
EXPLORED = {
    "an open intent is no reason to wait": ["1, open intent first: an open intent is no reason to wait"],
    "`sentConfigHash` is stored with the intent": ["2, sentConfigHash: it is stored with the intent, and outlives it"],
    "a job that shows late passes for the attempt after it": [
        "2, sentConfigHash: a job that was found in a list is taken to carry today's configuration"
    ],
    "the job that somebody else started meanwhile is claimed": [
        "2, sentConfigHash: the job that somebody else started meanwhile is taken to carry today's configuration"
    ],
    "a joined job is recorded as this generation's": ["slots: a pending job of somebody else is taken for its own"],
    "a create that AWS refused inside a 200 makes the object its own": [
        "3, origin: a create that failed in AWS's answer makes the object its own"
    ],
    "a delete of unknown outcome is closed at once": ["4, deletes: one of unknown outcome is closed at once"],
    "the index takes an older version for the newest": ["slots: the index takes an older version for the newest"],
    "an update of unknown outcome is closed at once": ["4, updates: one of unknown outcome is closed at once"],
    "the patch does not test observedGeneration": ["3, record: the patch does not test observedGeneration"],
}

# What is put back; then where, what stands there, what is put there.
OTHERS = [
    ("SIGTERM waits for passes for ever", "src/controller/queue.rs",
     "if tokio::time::timeout(FINISH, finished).await.is_err() {",
     "if tokio::time::timeout(LONGEST, finished).await.is_err() {"),
    ("SIGTERM is not heard before the definitions are found", "src/operator.rs",
     "let found = shutdown.run_until_cancelled(wait_for_crds(&client, &namespaces)).await;",
     "let found = CancellationToken::new().run_until_cancelled(wait_for_crds(&client, &namespaces)).await;"),
    ("an update is sent by a look from before the list", "src/lifecycle/update.rs",
     "    seen_since(view)?;\n", ""),
    ("what was recorded is forgotten while the watch lags", "src/controller/memory.rs",
     "Some(latest) if version(&cached).is_before(version(latest.as_ref())) => latest.clone(),",
     "Some(latest) if version(latest.as_ref()).is_before(version(&cached)) => latest.clone(),"),
    ("a new list tells nobody what is gone", "src/controller/watch.rs",
     "                self.forget_the_unseen();\n", ""),
    ("a pass that ends wakes nobody who waits for its slot", "src/controller/pass/mod.rs",
     "    watched.context.wake(freed);\n", "    drop(freed);\n"),
    ("a process that does not lead writes", "src/leader/mod.rs",
     "if is_read(request.method()) || leadership.holds() {",
     "if is_read(request.method()) || leadership.holds() || !request.uri().path().is_empty() {"),
]


def rows():
    """Returns name and edits of each."""
    known = {name: edits for name, *edits, _ in mutations.MUTATIONS}
    for name, parts in EXPLORED.items():
        yield name, [edit for part in parts for edit in known[part]]
    for name, *edits in OTHERS:
        yield name, edits


def simulate(copy, target):
    """How many of the fixed seeds fail, of how many, and what the first says."""
    run = mutations.test(copy, target, "--test", "simulation", "--", "--exact", "whatever_happens_the_promises_are_kept")
    found = re.search(r"^fixed seeds that fail: (\d+) of (\d+)$", run.stdout, re.MULTILINE)
    law = re.search(r"^SIMULATE_SEED=\d+ make simulate\n  (\w+)", run.stdout, re.MULTILINE)
    if found and int(found[1]):
        return int(found[1]), int(found[2]), law[1] if law else ""
    print(run.stdout[-3000:], run.stderr[-3000:], file=sys.stderr)
    return 0, int(found[2]) if found else 0, ""


def main():
    words = sys.argv[1:]
    root = pathlib.Path(__file__).resolve().parents[2]
    copy, target = mutations.prepare(root)
    lines, missed = [], 0
    for name, edits in rows():
        if words and not any(word in name for word in words):
            continue
        with mutations.broken(copy, name, edits):
            failed, seeds, law = simulate(copy, target)
        lines.append(f"| {name} | {failed} of {seeds} | {law} |")
        missed += not failed
        print(lines[-1], file=sys.stderr, flush=True)
    print("| what is put back | found by | what is broken first |")
    print("|---|---|---|")
    print("\n".join(lines))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
