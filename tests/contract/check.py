"""Runs schemathesis over the document of a server and counts what was asked and answered.

Streams are left out: they answer for ever. The number of cases is shared among the operations.
"""
import argparse
import json
import os
import subprocess
import sys
import urllib.request

STREAMS = ["/ws", "/api/events"]
CHECKS = ",".join(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "ignored_auth",
    ]
)


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ["url", "key", "report", "tool"]:
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--cases", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    wanted = parser.parse_args()
    with urllib.request.urlopen(wanted.url + "/openapi.json") as answer:
        document = json.load(answer)
    operations = sum(len(item) for path, item in document["paths"].items() if path not in STREAMS)
    os.makedirs(wanted.report, exist_ok=True)
    report = os.path.join(wanted.report, "events.ndjson")
    command = [wanted.tool, "run", wanted.url + "/openapi.json", "--header", "X-API-Key: " + wanted.key]
    command += ["--checks", CHECKS, "--seed", str(wanted.seed), "--generation-database", "none"]
    command += ["--max-examples", str(max(1, -(-wanted.cases // operations))), "--phases", "examples,coverage,fuzzing"]
    command += ["--suppress-health-check", "all", "--request-timeout", "60", "--continue-on-failure", "--no-shrink"]
    command += ["--warnings", "off", "--report", "ndjson", "--report-ndjson-path", report]
    for path in STREAMS:
        command += ["--exclude-path", path]
    if wanted.cases < 5_000:
        # The coverage phase alone has thousands of cases.
        command[command.index("examples,coverage,fuzzing")] = "examples,fuzzing"
    ended = subprocess.run(command, check=False)
    counted = count(report)
    print("contract test: %d cases over %d operations, seed %d; answers: %s" % (counted["cases"], operations, wanted.seed, counted["statuses"]))
    server_errors = sum(number for status, number in counted["statuses"].items() if status >= "500")
    print("answers 5xx: %d" % server_errors)
    if counted["cases"] == 0:
        print("no case was run", file=sys.stderr)
        return 1
    return ended.returncode


def count(report: str) -> dict:
    cases, statuses = 0, {}
    with open(report, encoding="utf-8") as lines:
        for line in lines:
            for interaction in interactions(json.loads(line)):
                cases += 1
                response = interaction.get("response") or {}
                status = str(response.get("status_code", "none"))
                statuses[status] = statuses.get(status, 0) + 1
    return {"cases": cases, "statuses": dict(sorted(statuses.items()))}


def interactions(event: dict):
    scenario = event.get("ScenarioFinished") or {}
    recorder = scenario.get("recorder") or {}
    return (recorder.get("interactions") or {}).values()


if __name__ == "__main__":
    sys.exit(main())
