"""Draws docs/images/dashboard-1.png and dashboard-2.png: the panels of the dashboard, from its own queries, without Grafana.

`make dashboard-picture` runs this program. It starts a dev cluster, the simulator of AWS, the operator and a Prometheus
that scrapes the operator, and lets them work for some minutes. Then it sends each panel's query to Prometheus and stops
all of them. With --prometheus URL it draws the data of a Prometheus that already runs.
"""

import argparse
import json
import math
import os
import random
import re
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.dates import DateFormatter
from matplotlib.ticker import FuncFormatter, MaxNLocator

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "charts/amplify-operator/files/dashboard.json"
APP = "d1a2b3c4d5e6f7"
# Grafana's $__rate_interval for a scrape interval of 5 s.
RATE_INTERVAL = "30s"
COLOURS = ["#7eb26d", "#1f78c1", "#eab839", "#ef843c", "#6ed0e0", "#e24d42", "#ba43a9", "#705da0", "#508642", "#cca300",
           "#447ebc", "#c15c17", "#890f02", "#0a437c"]


def request(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data=data, headers={"content-type": "application/json"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return json.load(answer)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, holds, seconds=300):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if holds():
                return
        except OSError:
            pass
        time.sleep(0.3)
    raise SystemExit(f"{what}: not within {seconds} s")


def answers(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.status == 200


class Work:
    """A cluster, an AWS, an operator at work and a Prometheus."""

    def __init__(self, binaries, stack):
        self.dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.stack = stack
        self.binaries = binaries
        kubeconfig = self.dir / "kubeconfig"
        self.start("devcluster", [binaries / "devcluster", "up", "--kubeconfig", kubeconfig])
        aws, operator, prometheus = free_port(), free_port(), free_port()
        self.aws = f"http://127.0.0.1:{aws}"
        simulator = [binaries / "amplify-simulator", "--listen", f"127.0.0.1:{aws}", "--app", f"{APP}=storefront"]
        log = self.start("simulator", simulator)
        until("the dev cluster", kubeconfig.exists, 1800)
        until("the simulator", lambda: "export AWS_SECRET_ACCESS_KEY" in log.read_text())
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.dir), "KUBECONFIG": str(kubeconfig)}
        self.env |= dict(re.findall(r"^export (AWS_\w+)=(\S+)$", log.read_text(), re.MULTILINE))
        self.kubectl = self.tool("kubectl")
        crds = subprocess.run([binaries / "amplify-operator", "crd"], capture_output=True, text=True, check=True)
        self.apply(crds.stdout)
        self.run(["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"])
        flags = ["--listen", f"127.0.0.1:{operator}", "--drift-interval=60s", "--outcome-grace=30s"]
        flags += ["--aws-requests-per-second=4", "--aws-burst=8"]
        self.start("operator", [binaries / "amplify-operator", "run", *flags], self.env)
        until("the operator", lambda: answers(f"http://127.0.0.1:{operator}/readyz"))
        config = {
            "global": {"scrape_interval": "5s"},
            "scrape_configs": [{"job_name": "amplify-operator",
                                "static_configs": [{"targets": [f"127.0.0.1:{operator}"]}]}],
        }
        (self.dir / "prometheus.yaml").write_text(json.dumps(config))
        data = self.dir / "data"
        self.prometheus = f"http://127.0.0.1:{prometheus}"
        self.start("prometheus", [self.tool("prometheus"), f"--config.file={self.dir / 'prometheus.yaml'}",
                                  f"--storage.tsdb.path={data}", f"--web.listen-address=127.0.0.1:{prometheus}"])
        until("Prometheus", lambda: answers(f"{self.prometheus}/-/ready"))

    def tool(self, name):
        found = subprocess.run([self.binaries / "devcluster", "path", name], stdout=subprocess.PIPE, text=True, check=True)
        return found.stdout.strip()

    def start(self, name, command, env=None):
        log = self.dir / f"{name}.log"
        process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log.open("w"),
                                   stderr=subprocess.STDOUT, env=env, start_new_session=True)
        self.stack.callback(process.wait)
        self.stack.callback(process.terminate)
        return log

    def run(self, arguments, text=None):
        subprocess.run([self.kubectl, *arguments], env=self.env, input=text, text=True, check=True,
                       stdout=subprocess.DEVNULL)

    def apply(self, text):
        self.run(["apply", "-f", "-"], text)

    def create(self, kind, name, spec):
        self.apply(json.dumps({"apiVersion": "amplify-operator.dev/v1alpha1", "kind": kind,
                               "metadata": {"name": name}, "spec": spec}))

    def backend(self, name):
        self.create("AmplifyBackend", name, {"appId": APP, "appName": "storefront", "backendEnvironmentName": name})

    def api(self, name):
        config = {"apiName": name, "service": "AppSync", "transformSchema": "type A @model { id: ID! }",
                  "defaultAuthType": {"mode": "API_KEY"}}
        self.create("BackendApi", name, {"backendRef": {"name": name}, "resourceName": name, "resourceConfig": config})

    def job(self, operation, environment, seconds, ending="completed"):
        end = {"type": "failed", "error": "the stack rolled back", "applied": False} if ending == "failed" else {"type": ending}
        script = {"durationMillis": int(seconds * 1000), "ending": end}
        match = {"operation": operation, "environment": environment}
        request(f"{self.aws}/_simulator/job-faults", {"match": match, "script": script})

    def fault(self, operation, times, status, code, message):
        action = {"type": "respond", "status": status, "code": code, "message": message}
        request(f"{self.aws}/_simulator/faults", {"match": {"operation": operation}, "times": times, "action": action})

    def go(self, minutes):
        """Creates backends with an API each, one after the other.

        Causes a stuck job, failures, throttling, an edit of many APIs, and deletions.
        """
        chance = random.Random(7)
        begin = time.monotonic()
        end = begin + 60 * minutes
        names = [f"env-{number:02}" for number in range(26)]
        waits, done = iter(names), []
        happened = set()

        def once(what, share):
            due = time.monotonic() > begin + 60 * minutes * share
            if due and what not in happened:
                happened.add(what)
                return True
            return False

        self.create("BackendEnvironment", "legacy", {"appId": APP, "environmentName": "legacy", "stackName": "stack",
                                                     "deploymentArtifacts": "bucket"})
        while time.monotonic() < end:
            name = next(waits, None)
            if name:
                self.job("CreateBackend", name, chance.lognormvariate(3.0, 0.5),
                         "stuck" if name == "env-07" else "failed" if name == "env-04" else "completed")
                self.job("CreateBackendAPI", name, chance.lognormvariate(2.7, 0.5))
                self.job("UpdateBackendAPI", name, chance.lognormvariate(2.4, 0.4))
                self.job("DeleteBackendAPI", name, chance.lognormvariate(2.0, 0.3))
                self.job("DeleteBackend", name, chance.lognormvariate(2.5, 0.3))
                self.backend(name)
                self.api(name)
                done.append(name)
            if once("throttling", 0.30):
                self.fault("*", 25, 429, "TooManyRequestsException", "Rate exceeded")
            if once("a policy without GetBackendAPI", 0.5):
                self.fault("GetBackendAPI", 6, 403, "AccessDeniedException", "not authorized")
            if once("an edit of all", 0.58):
                for name in done[:12]:
                    self.run(["patch", "backendapi", name, "--type=merge", "-p",
                              '{"spec":{"resourceConfig":{"transformSchema":"type B @model { id: ID! }"}}}'])
            if once("deletions", 0.78):
                self.run(["delete", "--wait=false", "backendapi,amplifybackend", *done[12:22]])
            time.sleep(3)


class Answers:
    """The answers of Prometheus, kept so that they can be drawn again."""

    def __init__(self, prometheus, start, end, known=None):
        self.prometheus, self.start, self.end, self.known = prometheus, start, end, known or {}

    def get(self, path, **parameters):
        key = f"{path}?{urllib.parse.urlencode(parameters)}"
        if key not in self.known:
            self.known[key] = request(f"{self.prometheus}/api/v1/{key}")["data"]["result"]
        return self.known[key]


def asked(query):
    return query.replace("$__rate_interval", RATE_INTERVAL).replace("$job", ".*")


def series(seen, target):
    start, end = seen.start, seen.end
    step = max(1, round((end - start) / 300))
    for one in seen.get("query_range", query=asked(target["expr"]), start=start, end=end, step=step):
        labels = one["metric"]
        name = re.sub(r"{{\s*(\w+)\s*}}", lambda label: labels.get(label[1], ""), target["legendFormat"])
        points = {float(at): float(value) for at, value in one["values"]}
        yield name, points


def shown(value, unit):
    if not math.isfinite(value):
        return "–"
    if unit == "percentunit":
        return f"{value:.0%}"
    if unit == "s":
        for size, word in ((3600, "h"), (60, "min"), (1, "s")):
            if value >= size:
                return f"{value / size:.3g} {word}"
        return "0 s" if value == 0 else f"{value * 1000:.3g} ms"
    return f"{value:.3g}"


def stat(axes, panel, seen):
    axes.set_axis_off()
    target = panel["targets"][0]
    found = seen.get("query", query=asked(target["expr"]), time=seen.end)
    defaults = panel["fieldConfig"]["defaults"]
    value = float(found[0]["value"][1]) if found else math.nan
    text = shown(value, defaults["unit"])
    if found and panel["options"]["textMode"] == "name":
        text = found[0]["metric"]["version"]
    colour = "green"
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            colour = step["color"]
    colours = {"green": "#37872d", "orange": "#e07b00", "red": "#c4162a"}
    axes.text(0.5, 0.42, text, ha="center", va="center", fontsize=23, color=colours[colour], weight="bold")


def columns(panel):
    return 4 if panel["gridPos"]["w"] > 8 else 3


def drawn_by(panel, seen):
    return sorted((pair for target in panel["targets"] for pair in series(seen, target)), key=lambda pair: pair[0])


def lines(axes, panel, seen, drawn):
    custom = panel["fieldConfig"]["defaults"]["custom"]
    unit = panel["fieldConfig"]["defaults"]["unit"]
    drawstyle = "steps-post" if custom["lineInterpolation"] == "stepAfter" else "default"
    if custom["stacking"]["mode"] == "normal" and drawn:
        times = sorted({at for _, points in drawn for at in points})
        layers = [[points.get(at, 0.0) for at in times] for _, points in drawn]
        step = "post" if drawstyle == "steps-post" else None
        low = [0.0] * len(times)
        for number, ((name, _), layer) in enumerate(zip(drawn, layers)):
            high = [below + value for below, value in zip(low, layer)]
            axes.fill_between([datetime.fromtimestamp(at) for at in times], low, high, step=step, linewidth=0,
                              color=COLOURS[number % len(COLOURS)], alpha=0.75, label=name)
            low = high
    else:
        for number, (name, points) in enumerate(drawn):
            times = [datetime.fromtimestamp(at) for at in points]
            axes.plot(times, list(points.values()), drawstyle=drawstyle, linewidth=1.3, label=name,
                      color=COLOURS[number % len(COLOURS)])
    axes.set_xlim(datetime.fromtimestamp(seen.start), datetime.fromtimestamp(seen.end))
    is_flat = all(value == 0 for _, points in drawn for value in points.values())
    axes.set_ylim(bottom=0, top=1 if is_flat else None)
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, unit)))
    axes.tick_params(labelsize=6.5, length=0, colors="#555555")
    axes.grid(color="#e4e4e8", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    if drawn:
        axes.legend(loc="upper center", bbox_to_anchor=(0.48, -0.07), ncol=columns(panel), fontsize=5.8, frameon=False,
                    handlelength=1.0, handletextpad=0.4, columnspacing=0.9, labelspacing=0.2)


def draw(seen, folder):
    """Draws the panels in two pictures: the row nearest to the middle begins the second."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    middle = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) / 2
    rows = [panel["gridPos"]["y"] for panel in panels if panel["type"] == "row"]
    split = min(rows, key=lambda y: abs(y - middle))
    draw_half(seen, [panel for panel in panels if panel["gridPos"]["y"] < split], 0, folder / "dashboard-1.png")
    draw_half(seen, [panel for panel in panels if panel["gridPos"]["y"] >= split], split, folder / "dashboard-2.png")


def draw_half(seen, panels, start, out):
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) - start
    cell, width = 0.285, 12.5
    figure = plt.figure(figsize=(width, height * cell), facecolor="#f4f5f8")
    for panel in panels:
        at = panel["gridPos"]
        left, right = at["x"] / 24, (at["x"] + at["w"]) / 24
        top = 1 - (at["y"] - start) / height
        bottom = top - at["h"] / height
        if panel["type"] == "row":
            figure.text(left + 0.006, (top + bottom) / 2, panel["title"], fontsize=10, weight="bold", va="center")
            continue
        gap, line = 0.003, 1 / height
        card = plt.Rectangle((left + gap, bottom + gap / 2), right - left - 2 * gap, top - bottom - gap, facecolor="white",
                             edgecolor="#d8d9df", linewidth=0.7, transform=figure.transFigure, zorder=-1)
        figure.add_artist(card)
        figure.text(left + 0.009, top - 0.75 * line, panel["title"], fontsize=8, weight="bold", va="center", zorder=5)
        if panel["type"] == "stat":
            axes = figure.add_axes((left + 0.01, bottom + 0.2 * line, right - left - 0.02, top - bottom - 1.2 * line))
            axes.set_facecolor("none")
            stat(axes, panel, seen)
        else:
            drawn = drawn_by(panel, seen)
            below = (1.0 + 0.4 * math.ceil(len(drawn) / columns(panel))) * line
            axes = figure.add_axes((left + 0.036, bottom + below, right - left - 0.047, top - bottom - below - 1.5 * line))
            lines(axes, panel, seen, drawn)
    figure.savefig(out, dpi=110, pil_kwargs={"optimize": True})
    print(f"{out}: {out.stat().st_size // 1024} KiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", type=Path, default=ROOT / "target/debug", help="where cargo has put them")
    parser.add_argument("--minutes", type=float, default=5.5, help="how long the operator works")
    parser.add_argument("--prometheus", help="draw what this Prometheus has seen in the last --minutes")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images", help="the folder of the pictures")
    parser.add_argument("--answers", type=Path, help="keep what Prometheus answers here; if it is there, only draw it")
    arguments = parser.parse_args()
    if arguments.answers and arguments.answers.exists():
        return draw(Answers(None, **json.loads(arguments.answers.read_text())), arguments.out)
    with ExitStack() as stack:
        prometheus, start = arguments.prometheus, time.time() - 60 * arguments.minutes
        if not prometheus:
            work = Work(arguments.binaries, stack)
            prometheus, start = work.prometheus, time.time()
            work.go(arguments.minutes)
        found = Answers(prometheus, start, time.time())
        draw(found, arguments.out)
    if arguments.answers:
        kept = {"start": found.start, "end": found.end, "known": found.known}
        arguments.answers.write_text(json.dumps(kept))
    return None


if __name__ == "__main__":
    main()
