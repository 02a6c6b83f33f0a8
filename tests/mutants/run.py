#!/usr/bin/env python3
"""Runs cargo-mutants over the pure code: docs/mutants.md.

Each job has a copy of the repository and a build folder of its own below the target folder. These folders stay, so that
only the first run builds the dependencies.

usage: run.py FOLDER [FILE...] [OPTION...]

FOLDER contains these folders. FILE is code to break, instead of the files in `.cargo/mutants.toml`. The options are
passed to cargo-mutants (such as `--in-diff change.diff`).
"""

import itertools
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "mutants.md"
VERSION = "27.1.0"
CARGO = os.environ.get("CARGO", "cargo")
JOBS = int(os.environ.get("MUTANTS_JOBS", min(os.cpu_count() or 1, 4)))
# A smaller library for each part of the code. It replaces src/lib.rs, because each mutant is one build.
LIBRARIES = {
    "src/lifecycle/": "tests/mutants/lifecycle.rs",
    "src/controller/index": "tests/mutants/pure.rs",
    "src/amplify/throttle": "tests/mutants/pure.rs",
    "src/fair_queue": "tests/mutants/pure.rs",
    "src/leader/rules": "tests/mutants/pure.rs",
    "": "tests/mutants/lib.rs",
}
# A mutant may allocate memory without end.
MEMORY = 8 << 30
# cargo-mutants's exit codes: no mutant missed, a mutant missed, a mutant that timed out.
RAN = (0, 2, 3)
CAUGHT = ("CaughtMutant", "Timeout")
RESULT = re.compile(r"(<!-- written by make mutants -->\n).*?(<!-- end -->\n)", re.DOTALL)
ROW = re.compile(r"^\| `([^`]+)` \|([ |\d]+)\|$", re.MULTILINE)
LISTED = re.compile(r"^- `(?P<change>[^`]+)`(?: at `(?P<line>[^`]+)`)?: ", re.MULTILINE)


def say(text):
    print(f"mutants: {text}", flush=True)


def fail(text):
    say(text)
    sys.exit(1)


def tool(folder):
    """Returns cargo-mutants in the version that this program needs. Installs it if necessary."""
    for program in filter(None, [shutil.which("cargo-mutants"), folder / "tool" / "bin" / "cargo-mutants"]):
        if Path(program).exists():
            found = subprocess.run([program, "mutants", "--version"], capture_output=True, text=True).stdout
            if found.split() == ["cargo-mutants", VERSION]:
                return program
    say(f"installing cargo-mutants {VERSION} into {folder / 'tool'}; about 2 minutes on 2 cores")
    install = [CARGO, "install", "--quiet", "--locked", "--root", folder / "tool", f"cargo-mutants@{VERSION}"]
    if subprocess.run(install, env={**os.environ, "CARGO_TARGET_DIR": str(folder / "tool" / "build")}).returncode:
        fail("cargo-mutants cannot be installed")
    shutil.rmtree(folder / "tool" / "build", ignore_errors=True)
    return folder / "tool" / "bin" / "cargo-mutants"


def mirror(tree, library):
    """Makes this folder a copy of the repository in its current state, but with this library.

    Writes only files that differ, because cargo compares times.
    """
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    wanted = {name for name in names if name and (ROOT / name).is_file()}
    for path in [path for path in tree.rglob("*") if path.is_file()]:
        if str(path.relative_to(tree)) not in wanted:
            path.unlink()
    for name in wanted:
        source, copy = (ROOT / (library if name == "src/lib.rs" else name)).read_bytes(), tree / name
        if not copy.exists() or copy.read_bytes() != source:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source)


def parts(files):
    """Returns the libraries, each with the patterns of its files: the given files, otherwise all in the settings."""
    text = (ROOT / ".cargo" / "mutants.toml").read_text()
    patterns = files or tomllib.loads(text)["examine_globs"]
    found = {}
    for pattern in patterns:
        library = next(library for start, library in LIBRARIES.items() if pattern.startswith(start))
        found.setdefault(library, []).append(pattern)
    return found


def settings(folder, patterns):
    """Returns the options that select the settings: the repository's, limited to these files."""
    text = (ROOT / ".cargo" / "mutants.toml").read_text()
    some = re.sub(r"^examine_globs = \[.*?^\]", f"examine_globs = {json.dumps(patterns)}", text, flags=re.DOTALL | re.MULTILINE)
    (folder / "mutants.toml").write_text(some)
    return ["--config", folder / "mutants.toml"]


def start(program, folder, job, arguments):
    """Starts one job. Its output goes to a file."""
    place = folder / str(job)
    command = [program, "mutants", "--dir", place / "tree", "--in-place", "--output", place]
    command += ["--shard", f"{job}/{JOBS}", "--sharding", "round-robin", *arguments]
    environment = {
        **os.environ,
        "CARGO": shutil.which(CARGO) or CARGO,
        "CARGO_TARGET_DIR": str(place / "build"),
        "CARGO_INCREMENTAL": "1",
        # If random cases find a mutant at all, a few are enough, and the failing case need not be simplified.
        "PROPTEST_CASES": "32",
        "PROPTEST_MAX_SHRINK_ITERS": "0",
        "RUST_BACKTRACE": "0",
    }
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=(place / "log").open("w"),
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )


def outcomes(folder):
    """Returns the outcomes of all mutants so far."""
    found = []
    for job in range(JOBS):
        path = folder / str(job) / "mutants.out" / "outcomes.json"
        try:
            found += [outcome for outcome in json.loads(path.read_text())["outcomes"] if outcome["scenario"] != "Baseline"]
        except (FileNotFoundError, json.JSONDecodeError):
            pass
    return found


def run(program, folder, library, arguments):
    """Runs all jobs to their end, in this library. Returns the mutants."""
    for job in range(JOBS):
        place = folder / str(job)
        mirror(place / "tree", library)
        shutil.rmtree(place / "mutants.out", ignore_errors=True)
    say(f"in {library}, {JOBS} at a time; the logs are {folder}/*/log, what the tests said {folder}/*/mutants.out")
    running = [start(program, folder, job, arguments) for job in range(JOBS)]
    told = time.monotonic()
    while any(job.poll() is None for job in running):
        time.sleep(1)
        if time.monotonic() - told >= 60:
            told = time.monotonic()
            so_far = outcomes(folder)
            missed = sum(outcome["summary"] == "MissedMutant" for outcome in so_far)
            say(f"{len(so_far)} so far, {missed} not caught")
    for number, job in enumerate(running):
        if job.returncode not in RAN:
            log = (folder / str(number) / "log").read_text().splitlines()
            fail("\n  ".join([f"job {number} ended with exit code {job.returncode}:", *log[-40:]]))
    return [Mutant(outcome, folder / "0" / "tree") for outcome in outcomes(folder)]


class Mutant:
    """A mutant and its outcome."""

    def __init__(self, outcome, tree):
        mutant = outcome["scenario"]["Mutant"]
        self.file, self.end = mutant["file"], outcome["summary"]
        start, end = mutant["span"]["start"], mutant["span"]["end"]
        # "src/a.rs:12:34: replace < with <= in f"
        self.place, self.change = re.fullmatch(r"(\S+?:\d+:\d+): (.*)", mutant["name"], re.DOTALL).groups()
        line = (tree / self.file).read_text().splitlines()[start["line"] - 1]
        # Its line with the changed part marked. This does not change when lines are added above.
        self.line = None
        if start["line"] == end["line"]:
            left, right = start["column"] - 1, end["column"] - 1
            self.line = f"{line[:left]}«{line[left:right]}»{line[right:]}".strip()

    def key(self):
        return (self.file, self.change, self.line)

    def __str__(self):
        return f"{self.place}: `{self.change}`" + (f" at `{self.line}`" if self.line else "")


def equal():
    """Returns the mutants that the page lists as equal to the original."""
    listed = set()
    for section in re.split(r"^### ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        file = section.split("\n", 1)[0].strip("` ")
        listed |= {(file, entry["change"], entry["line"]) for entry in LISTED.finditer(section)}
    return listed


def write(mutants, listed):
    """Writes the results into the page: the row of each file that was run, and the sum."""
    page = PAGE.read_text()
    known = RESULT.search(page)[0]
    rows = {row[1]: [int(number) for number in row[2].split("|")] for row in ROW.finditer(known)}
    for file in {mutant.file for mutant in mutants}:
        rows[file] = list(counts([mutant for mutant in mutants if mutant.file == file], listed))
    there = {file: row for file, row in sorted(rows.items()) if (ROOT / file).exists()}
    total = [sum(column) for column in zip(*there.values())]
    lines = ["| code | tested | caught | equal | missed | unviable |", "|---|---:|---:|---:|---:|---:|"]
    lines += [" | ".join([f"| `{file}`", *map(str, row)]) + " |" for file, row in there.items()]
    lines.append(" | ".join(["| **these files**", *map(str, total)]) + " |")
    PAGE.write_text(RESULT.sub(lambda found: found[1] + "\n".join(lines) + "\n" + found[2], page))


def counts(mutants, listed):
    """Returns the number of mutants: all, caught, equal, missed, and not compiling."""
    ends = Counter("equal" if survives(mutant) and mutant.key() in listed else mutant.end for mutant in mutants)
    caught = sum(ends[end] for end in CAUGHT)
    return len(mutants), caught, ends["equal"], ends["MissedMutant"], ends["Unviable"]


def survives(mutant):
    return mutant.end == "MissedMutant"


def main():
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    files = list(itertools.takewhile(lambda word: not word.startswith("-"), sys.argv[2:]))
    options = sys.argv[2 + len(files) :]
    program, mutants = tool(folder), []
    for library, patterns in parts(files).items():
        mutants += run(program, folder, library, [*settings(folder, patterns), *options])
    listed = equal()
    survivors = [mutant for mutant in mutants if survives(mutant)]
    for mutant in survivors:
        if mutant.key() in listed:
            say(f"equal to the original: {mutant}")
    stale = listed - {mutant.key() for mutant in survivors}
    if not options:
        write(mutants, listed)
    if files or options:
        stale = {entry for entry in stale if not options and entry[0] in files}
    for file, change, line in sorted(stale, key=str):
        say(f"listed in {PAGE.relative_to(ROOT)} as equal, and no survivor: {file}: {change} at {line}")
    for mutant in survivors:
        if mutant.key() not in listed:
            say(f"missed: {mutant}")
    tested, caught, _, missed, unviable = counts(mutants, listed)
    say(f"{tested} tested, {caught} caught, {missed} missed, {unviable} unviable")
    sys.exit(1 if missed or stale else 0)


if __name__ == "__main__":
    main()
